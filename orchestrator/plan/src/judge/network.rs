//! `peers` and `reachable`.

use serde_json::Value;

use super::{Since, select};
use crate::{
    assertion::Judgement,
    observe::{Lifecycle, Observations, Query, Reached},
    plan::NodeName,
};

pub(super) fn peer_queries(seen: &Observations, nodes: Option<&[NodeName]>) -> Vec<Query> {
    select::with_chain(seen, nodes)
        .into_iter()
        .filter(|node| seen.node(node).is_some_and(|view| view.peers().is_none()))
        .map(Query::status)
        .collect()
}

/// Number of peers from events; from a fresh answer where events were lost.
fn peer_count(seen: &Observations, since: &Since, node: &NodeName) -> Option<u64> {
    let view = seen.node(node)?;
    if view.lifecycle() != Lifecycle::Running {
        return None;
    }
    if let Some(peers) = view.peers() {
        return u64::try_from(peers).ok();
    }
    let answer = seen
        .answered_since(&Query::status(node), since.at)?
        .as_ref()
        .ok()?;
    answer.get("peers").and_then(Value::as_u64)
}

pub(super) fn peers(
    seen: &Observations,
    since: &Since,
    nodes: Option<&[NodeName]>,
    (fewest, most): (u32, u32),
) -> Judgement {
    let nodes = select::with_chain(seen, nodes);
    if nodes.is_empty() {
        return select::nobody();
    }
    let counts: Vec<_> = nodes
        .iter()
        .map(|node| (*node, peer_count(seen, since, node)))
        .collect();
    let wrong: Vec<String> = counts
        .iter()
        .filter(|(_, count)| {
            count.is_none_or(|count| count < u64::from(fewest) || count > u64::from(most))
        })
        .map(|(node, count)| match count {
            Some(count) => format!("`{node}` has {count}"),
            None => format!("`{node}` is not heard of"),
        })
        .collect();
    if wrong.is_empty() {
        let low = counts
            .iter()
            .filter_map(|(_, count)| *count)
            .min()
            .unwrap_or(0);
        let high = counts
            .iter()
            .filter_map(|(_, count)| *count)
            .max()
            .unwrap_or(0);
        let have = if counts.len() == 1 { "has" } else { "have" };
        let number = if low == high {
            low.to_string()
        } else {
            format!("{low} to {high}")
        };
        let plural = if high == 1 { "" } else { "s" };
        let nodes = select::count(counts.len());
        let witness = format!("{nodes} {have} {number} peer{plural}");
        return Judgement::Holds { witness };
    }
    let shown = wrong.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
    Judgement::NotYet {
        status: format!(
            "{} of {} nodes do not have {fewest} to {most} peers: {shown}",
            wrong.len(),
            counts.len()
        ),
    }
}

pub(super) fn reach_queries(from: &[NodeName], to: &[NodeName]) -> Vec<Query> {
    vec![Query::Reach {
        from: from.to_vec(),
        to: to.to_vec(),
    }]
}

pub(super) fn reachable(
    seen: &Observations,
    since: &Since,
    from: &[NodeName],
    to: &[NodeName],
    expect: bool,
) -> Judgement {
    let query = Query::Reach {
        from: from.to_vec(),
        to: to.to_vec(),
    };
    let pairs: Vec<Reached> = match seen.answered_since(&query, since.at) {
        None => {
            return Judgement::NotYet {
                status: "no probe is back".to_owned(),
            };
        }
        Some(Err(reason)) => {
            return Judgement::NotYet {
                status: reason.clone(),
            };
        }
        Some(Ok(value)) => match serde_json::from_value(value.clone()) {
            Ok(pairs) => pairs,
            Err(error) => {
                return Judgement::Inconclusive {
                    reason: format!("probes make no sense: {error}"),
                };
            }
        },
    };
    let answered = |a: &NodeName, b: &NodeName| pairs.iter().find(|p| p.from == *a && p.to == *b);
    let mut wrong = Vec::new();
    let mut asked = 0_usize;
    for a in from {
        for b in to.iter().filter(|b| *b != a) {
            asked += 1;
            if answered(a, b).is_none_or(|pair| pair.reached != expect) {
                wrong.push(format!("`{a}` to `{b}`"));
            }
        }
    }
    if asked == 0 {
        return Judgement::Violated {
            witness: "there is no pair of different nodes".to_owned(),
        };
    }
    let word = if expect { "reachable" } else { "cut off" };
    if wrong.is_empty() {
        return Judgement::Holds {
            witness: format!("{asked} ordered pairs are {word}"),
        };
    }
    let shown = wrong.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
    Judgement::NotYet {
        status: format!(
            "{} of {asked} ordered pairs are not {word}: {shown}",
            wrong.len()
        ),
    }
}
