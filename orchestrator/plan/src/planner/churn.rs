//! When whom leaves and comes back.

use super::random::Stream;
use crate::plan::{ChurnEvent, NodeName, NodeVerb};

/// What churn is like; times in milliseconds.
pub(super) struct Rhythm {
    /// How many leave, and when.
    pub(super) leaves: Leaves,
    /// How long each stays away; below `length`.
    pub(super) down: u64,
    /// How long all of it lasts.
    pub(super) length: u64,
}

/// How many leave, and when.
#[derive(Clone, Copy, Debug)]
pub(super) enum Leaves {
    /// Many in rounds.
    Rounds {
        /// Which part of the nodes leaves each time.
        fraction: f64,
        /// How often, in milliseconds.
        every: u64,
    },
    /// One by one, so large a part of the nodes per millisecond.
    Steadily(f64),
}

/// All departures and returns, in order of time. Whoever leaves is there, and everybody is back when it is over.
pub(super) fn schedule(
    nodes: &[NodeName],
    rhythm: &Rhythm,
    stream: &mut Stream,
) -> Vec<ChurnEvent> {
    let mut absences = Absences {
        back: vec![0; nodes.len()],
        down: rhythm.down,
        nodes,
        events: Vec::new(),
    };
    let last_leave = rhythm.length.saturating_sub(rhythm.down);
    match rhythm.leaves {
        Leaves::Rounds { fraction, every } => {
            absences.rounds(leaving(nodes.len(), fraction), every, last_leave, stream);
        }
        Leaves::Steadily(rate) => absences.steadily(rate, last_leave, stream),
    }
    let mut events = absences.events;
    events.sort_by(|a, b| (a.at_ms, &a.node).cmp(&(b.at_ms, &b.node)));
    events
}

/// Who is away until when.
struct Absences<'a> {
    nodes: &'a [NodeName],
    /// When each node is back.
    back: Vec<u64>,
    down: u64,
    events: Vec<ChurnEvent>,
}

impl Absences<'_> {
    /// Places of the nodes that are there.
    fn there(&self, at: u64) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|place| self.back.get(*place).is_some_and(|back| *back <= at))
            .collect()
    }

    fn leave(&mut self, place: usize, at: u64) {
        let (Some(node), Some(back)) = (self.nodes.get(place), self.back.get_mut(place)) else {
            return;
        };
        *back = at + self.down;
        let event = |at_ms, verb| ChurnEvent {
            at_ms,
            node: node.clone(),
            verb,
        };
        self.events.push(event(at, NodeVerb::Kill));
        self.events.push(event(*back, NodeVerb::Start));
    }

    /// In each round, `every` long, a fresh choice of the nodes that are there leaves, each at its own moment; a round in
    /// which nobody could be back in time has none.
    fn rounds(&mut self, leaving: usize, every: u64, last_leave: u64, stream: &mut Stream) {
        let mut start = 0;
        while start <= last_leave {
            let latest = last_leave.min(start + every - 1);
            for place in stream.choose(&self.there(start), leaving) {
                let at = start + stream.below(latest - start + 1);
                self.leave(place, at);
            }
            start += every;
        }
    }

    /// Time is divided into as many equal parts as nodes are to leave, at least one; in each a node that is there leaves at a
    /// moment of its own, unless all are away.
    fn steadily(&mut self, rate: f64, last_leave: u64, stream: &mut Stream) {
        let span = last_leave + 1;
        let parts = parts(self.nodes.len(), rate, last_leave);
        let border = |part: u64| {
            let wide = u128::from(span) * u128::from(part) / u128::from(parts);
            u64::try_from(wide).expect("no part ends after the span")
        };
        for part in 0..parts {
            let (from, to) = (border(part), border(part + 1));
            let at = from + stream.below((to - from).max(1));
            let there = self.there(at);
            if let Some(place) = stream.choose(&there, 1).first() {
                self.leave(*place, at);
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fraction of a number of nodes is small and not negative"
)]
fn leaving(nodes: usize, fraction: f64) -> usize {
    ((nodes as f64 * fraction).round() as usize).clamp(1, nodes.max(1))
}

/// How many nodes leave steadily in this time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a number of departures is not negative, and far below 2^53 for any plan that fits into memory"
)]
fn parts(nodes: usize, rate: f64, last_leave: u64) -> u64 {
    ((nodes as f64 * rate * last_leave as f64).round() as u64).max(1)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

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
            for leaves in [Leaves::Rounds { fraction, every }, Leaves::Steadily(fraction / 1_000.0)] {
                let rhythm = Rhythm { leaves, down, length: down + longer };
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
    }

    #[test]
    fn one_per_cent_per_second_of_a_thousand_is_ten_each_second() {
        let nodes: Vec<NodeName> = (0..1_000).map(|i| NodeName(format!("n-{i:03}"))).collect();
        let rhythm = Rhythm {
            leaves: Leaves::Steadily(0.01 / 1_000.0),
            down: 3_000,
            length: 20_000,
        };
        let events = schedule(&nodes, &rhythm, &mut Stream::new(1, "churn"));
        let leaves = events.iter().filter(|event| event.verb == NodeVerb::Kill);
        let mut by_second = [0; 17];
        for event in leaves {
            by_second[usize::try_from(event.at_ms).unwrap().min(16_999) / 1_000] += 1;
        }
        assert_eq!(by_second.iter().sum::<u32>(), 170);
        assert!(
            by_second.iter().all(|leaves| (9..=11).contains(leaves)),
            "{by_second:?}"
        );
        let again = schedule(&nodes, &rhythm, &mut Stream::new(1, "churn"));
        assert_eq!(events, again);
        assert_ne!(
            events,
            schedule(&nodes, &rhythm, &mut Stream::new(2, "churn"))
        );
    }

    #[test]
    fn a_rate_that_would_take_longer_still_takes_one() {
        let nodes = [NodeName("a".to_owned())];
        let rhythm = Rhythm {
            leaves: Leaves::Steadily(0.001 / 1_000.0),
            down: 1_000,
            length: 2_000,
        };
        let events = schedule(&nodes, &rhythm, &mut Stream::new(1, "churn"));
        assert_eq!(events.len(), 2);
    }

    #[test]
    fn a_third_of_twelve_is_four() {
        assert_eq!(leaving(12, 1.0 / 3.0), 4);
        assert_eq!(leaving(3, 0.01), 1);
        assert_eq!(leaving(3, 1.0), 3);
    }
}
