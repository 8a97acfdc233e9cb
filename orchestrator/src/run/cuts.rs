//! Which ordered pairs of nodes are cut, without a list of them: two halves of a thousand nodes are half a million pairs.
//!
//! A pair is cut while *any* fault cuts it. Whether one pair is cut is looked up; how many there are is counted by
//! arithmetic over nodes that are on the same sides of everything.

use std::collections::{BTreeMap, BTreeSet};

use netsplit_plan::plan::NodeName;

use super::state::ActiveFault;

/// An ordered pair of nodes: packets from the first to the second.
pub type Pair = (NodeName, NodeName);

/// The ordered pairs that some faults cut.
#[derive(Clone, Debug, Default)]
pub struct Cuts(Vec<Sides>);

/// Who is on which side of one fault.
#[derive(Clone, Debug)]
struct Sides {
    of: BTreeMap<NodeName, usize>,
    one_way: bool,
}

impl Sides {
    /// Whether packets from one side to the other are dropped; nodes on no side stay connected to all.
    const fn separate(&self, from: Option<usize>, to: Option<usize>) -> bool {
        match (from, to) {
            (Some(from), Some(to)) if self.one_way => from == 0 && to == 1,
            (Some(from), Some(to)) => from != to,
            _ => false,
        }
    }
}

impl Cuts {
    /// The pairs that any of these faults cuts.
    pub fn of<'f>(faults: impl IntoIterator<Item = &'f ActiveFault>) -> Self {
        Self(
            faults
                .into_iter()
                .map(|fault| Sides::of_groups(&fault.groups, fault.one_way))
                .collect(),
        )
    }

    /// The pairs that a partition into these groups cuts.
    #[must_use]
    pub fn of_groups(groups: &[Vec<NodeName>], one_way: bool) -> Self {
        Self(vec![Sides::of_groups(groups, one_way)])
    }

    /// Whether packets from one node to the other are dropped.
    #[must_use]
    pub fn is_cut(&self, from: &NodeName, to: &NodeName) -> bool {
        self.0
            .iter()
            .any(|sides| sides.separate(sides.of.get(from).copied(), sides.of.get(to).copied()))
    }

    /// How many ordered pairs are cut.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count_both(self)
    }

    /// How many ordered pairs these and `others` cut alike.
    #[must_use]
    pub fn count_both(&self, others: &Self) -> u64 {
        let all: Vec<&Sides> = self.0.iter().chain(&others.0).collect();
        let own = self.0.len();
        let nodes: BTreeSet<&NodeName> = all.iter().flat_map(|sides| sides.of.keys()).collect();
        // Nodes on the same side of everything are cut from the same others, and never from each other.
        let mut alike: BTreeMap<Vec<Option<usize>>, u64> = BTreeMap::new();
        for node in nodes {
            let place = all.iter().map(|sides| sides.of.get(node).copied());
            *alike.entry(place.collect()).or_default() += 1;
        }
        let cut = |sides: &[&Sides], from: &[Option<usize>], to: &[Option<usize>]| {
            let mut places = sides.iter().zip(from.iter().zip(to));
            places.any(|(sides, (from, to))| sides.separate(*from, *to))
        };
        let mut count = 0;
        for (from, senders) in &alike {
            for (to, receivers) in &alike {
                if cut(&all[..own], &from[..own], &to[..own])
                    && cut(&all[own..], &from[own..], &to[own..])
                {
                    count += senders * receivers;
                }
            }
        }
        count
    }

    /// Whether every pair that these cut is cut by `others` as well.
    #[must_use]
    pub fn are_within(&self, others: &Self) -> bool {
        self.count_both(others) == self.count()
    }

    /// The cut pairs among these nodes.
    #[must_use]
    pub fn among(&self, nodes: &BTreeSet<NodeName>) -> BTreeSet<Pair> {
        nodes
            .iter()
            .flat_map(|from| nodes.iter().map(move |to| (from, to)))
            .filter(|(from, to)| self.is_cut(from, to))
            .map(|(from, to)| (from.clone(), to.clone()))
            .collect()
    }
}

impl Sides {
    fn of_groups(groups: &[Vec<NodeName>], one_way: bool) -> Self {
        let of = groups
            .iter()
            .enumerate()
            .flat_map(|(side, group)| group.iter().map(move |node| (node.clone(), side)))
            .collect();
        Self { of, one_way }
    }
}

/// How many ordered pairs of different members any of these drops names, each being who sends and who receives.
pub(crate) fn count_dropped<'d, T: Ord + 'd>(
    drops: impl IntoIterator<Item = (&'d [T], &'d [T])>,
) -> u64 {
    /// The drops in which a member sends, and those in which it receives.
    type Places = (BTreeSet<usize>, BTreeSet<usize>);
    let mut members: BTreeMap<&T, Places> = BTreeMap::new();
    for (place, (from, to)) in drops.into_iter().enumerate() {
        for member in from {
            members.entry(member).or_default().0.insert(place);
        }
        for member in to {
            members.entry(member).or_default().1.insert(place);
        }
    }
    let mut alike: BTreeMap<Places, u64> = BTreeMap::new();
    for places in members.into_values() {
        *alike.entry(places).or_default() += 1;
    }
    let mut count = 0;
    for (from, senders) in &alike {
        for (to, receivers) in &alike {
            if !from.0.is_disjoint(&to.1) {
                // Nobody is cut from itself.
                count += senders * (receivers - u64::from(from == to));
            }
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use netsplit_runtime::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn node(number: usize) -> NodeName {
        NodeName(format!("n-{number}"))
    }

    fn fault(groups: Vec<Vec<NodeName>>, one_way: bool) -> ActiveFault {
        ActiveFault {
            id: "x".to_owned(),
            kind: "partition".to_owned(),
            groups,
            one_way,
            since: Timestamp(1),
            pairs: 0,
            verified: true,
        }
    }

    /// The side of each of six nodes, or none of them, and whether packets are dropped one way only.
    fn drawn() -> impl Strategy<Value = Vec<ActiveFault>> {
        let fault =
            (prop::collection::vec(0_usize..4, 6), any::<bool>()).prop_map(|(sides, one_way)| {
                let groups = if one_way { 2 } else { 3 };
                let group = |side| (0..6).filter(|n| sides[*n] == side).map(node).collect();
                fault((0..groups).map(group).collect(), one_way)
            });
        prop::collection::vec(fault, 0..4)
    }

    /// Every pair, one by one.
    fn listed(faults: &[ActiveFault]) -> BTreeSet<Pair> {
        let mut pairs = BTreeSet::new();
        for fault in faults {
            for (i, from) in fault.groups.iter().enumerate() {
                for (j, to) in fault.groups.iter().enumerate() {
                    if i != j && (!fault.one_way || (i, j) == (0, 1)) {
                        let all = from.iter().flat_map(|a| to.iter().map(move |b| (a, b)));
                        pairs.extend(all.map(|(a, b)| (a.clone(), b.clone())));
                    }
                }
            }
        }
        pairs
    }

    proptest! {
        #[test]
        fn pairs_are_counted_as_if_they_were_listed(own in drawn(), others in drawn()) {
            let (pairs, other_pairs) = (listed(&own), listed(&others));
            let (cuts, other_cuts) = (Cuts::of(&own), Cuts::of(&others));
            prop_assert_eq!(cuts.count(), pairs.len() as u64);
            let both = pairs.intersection(&other_pairs).count() as u64;
            prop_assert_eq!(cuts.count_both(&other_cuts), both);
            prop_assert_eq!(cuts.are_within(&other_cuts), pairs.is_subset(&other_pairs));
            let everybody: BTreeSet<NodeName> = (0..7).map(node).collect();
            prop_assert_eq!(cuts.among(&everybody), pairs);
        }

        #[test]
        fn dropped_pairs_are_counted_as_if_they_were_listed(
            drops in prop::collection::vec(
                (prop::collection::vec(0_u8..6, 0..5), prop::collection::vec(0_u8..6, 0..5)), 0..5)
        ) {
            let listed: BTreeSet<(u8, u8)> = drops
                .iter()
                .flat_map(|(from, to)| from.iter().flat_map(move |a| to.iter().map(move |b| (*a, *b))))
                .filter(|(a, b)| a != b)
                .collect();
            let drops = drops.iter().map(|(from, to)| (from.as_slice(), to.as_slice()));
            prop_assert_eq!(count_dropped(drops), listed.len() as u64);
        }
    }

    #[test]
    fn a_cut_into_three_drops_both_ways_between_all() {
        let groups = vec![vec![node(1)], vec![node(2)], vec![node(3), node(4)]];
        assert_eq!(Cuts::of_groups(&groups, false).count(), 10);
    }

    #[test]
    fn one_way_drops_from_the_first_group_to_the_second_only() {
        let cuts = Cuts::of_groups(&[vec![node(1)], vec![node(2)]], true);
        assert_eq!(cuts.count(), 1);
        assert!(cuts.is_cut(&node(1), &node(2)));
        assert!(!cuts.is_cut(&node(2), &node(1)));
    }

    /// A list of these pairs would take gigabytes.
    #[test]
    fn pairs_of_many_nodes_are_counted_without_a_list() {
        let half = |from: usize| (from..from + 50_000).map(node).collect::<Vec<_>>();
        let cuts = Cuts::of_groups(&[half(0), half(50_000)], false);
        assert_eq!(cuts.count(), 5_000_000_000);
    }
}
