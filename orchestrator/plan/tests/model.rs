//! Convergence and cuts against naive models, under random histories.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use netsplit_api::event::{Event, EventRecord};
use netsplit_plan::{
    assertion::{Assertion, Judgement},
    cuts::ActiveCuts,
    judge::Mode,
    plan::{NodeName, Partition},
};
use proptest::prelude::*;
use world::{World, hash};

/// One node gets a tip at a time.
type Change = (usize, u8, u64);

/// Whether there was an instant at or after `since` at which all nodes had one tip: replays all changes in order of time.
fn naive(changes: &[Change], nodes: usize, since: u64) -> bool {
    let mut sorted = changes.to_vec();
    sorted.sort_by_key(|(_, _, at)| *at);
    let mut tips: BTreeMap<usize, u8> = BTreeMap::new();
    let agree = |tips: &BTreeMap<usize, u8>| {
        tips.len() == nodes && tips.values().collect::<BTreeSet<_>>().len() == 1
    };
    let mut instants: Vec<u64> = sorted.iter().map(|(_, _, at)| *at).collect();
    instants.push(since);
    instants.sort_unstable();
    instants.dedup();
    instants.into_iter().any(|instant| {
        tips.clear();
        for (node, tip, _) in sorted.iter().filter(|(_, _, at)| *at <= instant) {
            tips.insert(*node, *tip);
        }
        instant >= since && agree(&tips)
    })
}

/// The world after these changes, which arrive node by node in the order of `arrival`.
fn observed(changes: &[Change], arrival: &[usize]) -> World {
    let mut world = World::new();
    let nodes = world.chain_names();
    let mut streams: BTreeMap<usize, Vec<EventRecord>> = BTreeMap::new();
    let mut sorted = changes.to_vec();
    sorted.sort_by_key(|(_, _, at)| *at);
    for (node, tip, at) in sorted {
        let event = Event::TipChanged {
            hash: hash(&format!("t{tip}")),
            height: u32::from(tip),
            previous: hash("x"),
        };
        let record = world.record(&nodes[node], at, event);
        streams.entry(node).or_default().push(record);
    }
    let mut next: BTreeMap<usize, usize> = BTreeMap::new();
    let everything = arrival
        .iter()
        .copied()
        .chain((0..nodes.len()).flat_map(|n| vec![n; 20]));
    for node in everything {
        let place = next.entry(node).or_default();
        if let Some(record) = streams.get(&node).and_then(|stream| stream.get(*place)) {
            world.seen.node_event(&nodes[node], 1, record);
            *place += 1;
        }
    }
    world
}

/// Changes at times that are all different.
fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = (0_usize..5, 0_u8..3);
    prop::collection::vec(change, 0..14).prop_map(|changes| {
        let at = |i: usize| u64::try_from(i).map_or(0, |i| i * 10 + 10);
        changes
            .into_iter()
            .enumerate()
            .map(|(i, (node, tip))| (node, tip, at(i)))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn convergence_is_what_a_replay_of_the_merged_stream_finds(
        changes in changes(),
        arrival in prop::collection::vec(0_usize..5, 0..30),
        since in 0_u64..160,
    ) {
        let world = observed(&changes, &arrival);
        let check =
            Assertion::Converged { nodes: None, lag: 0, min_height: None, fresh_blocks: None };
        let judged = world.judge(&check, since, Mode::Eventually);
        let expected = naive(&changes, 5, since);
        prop_assert_eq!(matches!(judged, Judgement::Holds { .. }), expected, "{:?}", judged);
    }

    #[test]
    fn a_pair_is_cut_while_any_cut_separates_it(
        sides in prop::collection::vec((prop::collection::vec(0_u8..4, 6), any::<bool>()), 0..6),
        healed in prop::collection::vec(any::<bool>(), 6),
    ) {
        let node = |i: usize| NodeName(format!("n-{i}"));
        let mut cuts = ActiveCuts::default();
        let mut model: BTreeMap<String, (Vec<u8>, bool)> = BTreeMap::new();
        for (i, (sides, one_way)) in sides.iter().enumerate() {
            let id = format!("cut-{i}");
            // Side 3 is nobody's: such nodes stay connected to all. One way is for two groups.
            let count = if *one_way { 2 } else { 3 };
            let group = |side| (0..6).filter(|n| sides.get(*n) == Some(&side)).map(node).collect();
            let groups: Vec<Vec<NodeName>> = (0..count).map(group).collect();
            let cut = Partition { id: id.clone(), groups, one_way: *one_way, for_ms: None };
            prop_assert!(cuts.insert(cut.clone()).is_ok());
            prop_assert!(cuts.insert(cut).is_err(), "one id, one cut");
            model.insert(id, (sides.clone(), *one_way));
        }
        for (i, _) in healed.iter().enumerate().filter(|(_, healed)| **healed) {
            let id = format!("cut-{i}");
            prop_assert_eq!(cuts.remove(&id).is_some(), model.remove(&id).is_some());
        }
        let pairs = cuts.pairs();
        for a in 0..6 {
            for b in 0..6 {
                let cut = model.values().any(|(sides, one_way)| {
                    let (x, y) = (sides[a], sides[b]);
                    if *one_way { x == 0 && y == 1 } else { x != y && x < 3 && y < 3 }
                });
                prop_assert_eq!(pairs.contains(&(node(a), node(b))), cut);
                prop_assert_eq!(cuts.is_cut(&node(a), &node(b)), cut);
            }
        }
    }
}
