//! When whom leaves and comes back.

use super::random::Stream;
use crate::plan::{ChurnEvent, NodeName, NodeVerb};

/// What churn is like; times in milliseconds.
pub(super) struct Rhythm {
    /// Which part of the nodes leaves each time.
    pub(super) fraction: f64,
    /// How often.
    pub(super) every: u64,
    /// How long each stays away; below `length`.
    pub(super) down: u64,
    /// How long all of it lasts.
    pub(super) length: u64,
}

/// All departures and returns, in order of time. In each round, `every` long, a fresh choice of the nodes that are there
/// leaves, each at its own moment; a round in which nobody could be back in time has none.
pub(super) fn schedule(
    nodes: &[NodeName],
    rhythm: &Rhythm,
    stream: &mut Stream,
) -> Vec<ChurnEvent> {
    let leaving = leaving(nodes.len(), rhythm.fraction);
    let last_leave = rhythm.length.saturating_sub(rhythm.down);
    let mut back: Vec<u64> = vec![0; nodes.len()];
    let mut events = Vec::new();
    let mut start = 0;
    while start <= last_leave {
        let latest = last_leave.min(start + rhythm.every - 1);
        let there: Vec<usize> = (0..nodes.len())
            .filter(|place| back.get(*place).is_some_and(|back| *back <= start))
            .collect();
        for place in stream.choose(&there, leaving) {
            let at = start + stream.below(latest - start + 1);
            let (Some(node), Some(back)) = (nodes.get(place), back.get_mut(place)) else {
                continue;
            };
            *back = at + rhythm.down;
            let event = |at_ms, verb| ChurnEvent {
                at_ms,
                node: node.clone(),
                verb,
            };
            events.push(event(at, NodeVerb::Kill));
            events.push(event(*back, NodeVerb::Start));
        }
        start += rhythm.every;
    }
    events.sort_by(|a, b| (a.at_ms, &a.node).cmp(&(b.at_ms, &b.node)));
    events
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fraction of a number of nodes is small and not negative"
)]
fn leaving(nodes: usize, fraction: f64) -> usize {
    ((nodes as f64 * fraction).round() as usize).clamp(1, nodes.max(1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whoever_leaves_was_there_and_is_back_in_time(
            count in 1_usize..20,
            fraction in 0.01_f64..=1.0,
            every in 1_u64..5_000,
            down in 1_u64..4_000,
            longer in 1_u64..20_000,
            seed in any::<u64>(),
        ) {
            let nodes: Vec<NodeName> = (0..count).map(|i| NodeName(format!("n-{i:02}"))).collect();
            let rhythm = Rhythm { fraction, every, down, length: down + longer };
            let events = schedule(&nodes, &rhythm, &mut Stream::new(seed, "churn"));
            prop_assert!(!events.is_empty());
            let mut away: BTreeMap<&NodeName, u64> = BTreeMap::new();
            for event in &events {
                prop_assert!(event.at_ms <= rhythm.length);
                match event.verb {
                    NodeVerb::Kill => prop_assert!(away.insert(&event.node, event.at_ms).is_none()),
                    _ => prop_assert_eq!(away.remove(&event.node), Some(event.at_ms - down)),
                }
            }
            prop_assert!(away.is_empty());
        }
    }

    #[test]
    fn a_third_of_twelve_is_four() {
        assert_eq!(leaving(12, 1.0 / 3.0), 4);
        assert_eq!(leaving(3, 0.01), 1);
        assert_eq!(leaving(3, 1.0), 3);
    }
}
