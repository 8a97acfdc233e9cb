//! Which pairs are probed: all that changed, or a seeded sample; and which unchanged ones stand as controls.

use std::collections::BTreeSet;

use netsplit_plan::plan::NodeName;

use crate::run::cuts::{Cuts, Pair};

/// Above so many nodes a sample of so many is probed (design §5).
pub(crate) const SAMPLE_ABOVE: usize = 40;

/// The nodes whose pairs are probed: all that run, or [`SAMPLE_ABOVE`] of them, taken in turn from every group in an
/// order that the seed decides.
pub(crate) fn nodes(
    groups: &[Vec<NodeName>],
    runs: &BTreeSet<NodeName>,
    seed: u64,
    label: &str,
) -> BTreeSet<NodeName> {
    let mut sides: Vec<Vec<&NodeName>> = groups
        .iter()
        .map(|group| group.iter().filter(|node| runs.contains(*node)).collect())
        .collect();
    for side in &mut sides {
        side.sort_by_key(|node| rank(seed, label, node));
    }
    let longest = sides.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest)
        .flat_map(|place| {
            sides
                .iter()
                .filter_map(move |side| side.get(place).copied())
        })
        .take(SAMPLE_ABOVE)
        .cloned()
        .collect()
}

/// FNV-1a over seed, label and name, finished by a multiplication so that neighbours part.
fn rank(seed: u64, label: &str, node: &NodeName) -> u64 {
    let bytes = seed.to_le_bytes();
    let hash = bytes
        .iter()
        .chain(label.as_bytes())
        .chain(&[0])
        .chain(node.0.as_bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    (hash ^ (hash >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// For every probed node one pair from it that no cut touches, and one to it, where there are any: a ring through
/// each side. A pair open both ways is better than one open in its own direction only.
pub(crate) fn controls(
    probed: &BTreeSet<NodeName>,
    runs: &BTreeSet<NodeName>,
    cut: &Cuts,
) -> BTreeSet<Pair> {
    let open = |from: &NodeName, to: &NodeName| !cut.is_cut(from, to);
    let find = |node: &NodeName, good: &dyn Fn(&NodeName) -> bool| -> Option<NodeName> {
        let ring = |set: &BTreeSet<NodeName>| {
            let after = set.iter().filter(|other| *other > node);
            let before = set.iter().filter(|other| *other < node);
            after.chain(before).find(|other| good(other)).cloned()
        };
        ring(probed).or_else(|| ring(runs))
    };
    let mut pairs = BTreeSet::new();
    for node in probed {
        let both = |other: &NodeName| open(node, other) && open(other, node);
        if let Some(to) = find(node, &both).or_else(|| find(node, &|other| open(node, other))) {
            pairs.insert((node.clone(), to));
        }
    }
    let received: BTreeSet<NodeName> = pairs.iter().map(|(_, to)| to.clone()).collect();
    for node in probed.difference(&received) {
        let both = |other: &NodeName| open(node, other) && open(other, node);
        if let Some(from) = find(node, &both).or_else(|| find(node, &|other| open(other, node))) {
            pairs.insert((from, node.clone()));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(prefix: &str, count: usize) -> Vec<NodeName> {
        (1..=count)
            .map(|n| NodeName(format!("{prefix}-{n}")))
            .collect()
    }

    #[test]
    fn small_testnets_are_probed_whole_and_large_ones_by_a_sample_of_every_group() {
        let groups = [group("a", 3), group("b", 30)];
        let all: BTreeSet<_> = groups.iter().flatten().cloned().collect();
        assert_eq!(nodes(&groups, &all, 1, "cut"), all);

        let groups = [group("a", 3), group("b", 90)];
        let all: BTreeSet<_> = groups.iter().flatten().cloned().collect();
        let sample = nodes(&groups, &all, 1, "cut");
        assert_eq!(sample.len(), SAMPLE_ABOVE);
        assert!(groups[0].iter().all(|node| sample.contains(node)));
        assert_eq!(sample, nodes(&groups, &all, 1, "cut"));
        assert_ne!(sample, nodes(&groups, &all, 2, "cut"));
    }

    #[test]
    fn every_node_sends_and_receives_a_control_where_one_is_left() {
        let groups = vec![group("a", 3), group("b", 2)];
        let all: BTreeSet<_> = groups.iter().flatten().cloned().collect();
        let cut = Cuts::of_groups(&groups, false);
        let controls = controls(&all, &all, &cut);
        assert!(controls.iter().all(|(from, to)| !cut.is_cut(from, to)));
        for node in &all {
            assert!(
                controls.iter().any(|(from, _)| from == node),
                "{node} sends none"
            );
            assert!(
                controls.iter().any(|(_, to)| to == node),
                "{node} receives none"
            );
        }
    }

    #[test]
    fn a_lonely_node_has_no_control_and_one_way_leaves_the_way_back() {
        let groups = vec![group("a", 1), group("b", 1)];
        let all: BTreeSet<_> = groups.iter().flatten().cloned().collect();
        assert!(controls(&all, &all, &Cuts::of_groups(&groups, false)).is_empty());
        let back = controls(&all, &all, &Cuts::of_groups(&groups, true));
        assert_eq!(
            back.into_iter().collect::<Vec<_>>(),
            [(groups[1][0].clone(), groups[0][0].clone())]
        );
    }
}
