//! Whom an assertion is about.

use std::collections::BTreeMap;

use crate::{
    assertion::Judgement,
    observe::{NodeView, Observations, Query, Tip},
    plan::NodeName,
};

/// `1 node`, `2 nodes`.
pub(super) fn count(nodes: usize) -> String {
    format!("{nodes} node{}", if nodes == 1 { "" } else { "s" })
}

/// The named nodes, or every running one that `default` takes.
pub(super) fn select<'a>(
    seen: &'a Observations,
    nodes: Option<&'a [NodeName]>,
    default: impl Fn(&NodeView) -> bool,
) -> Vec<&'a NodeName> {
    match nodes {
        Some(nodes) => nodes.iter().collect(),
        None => seen
            .nodes()
            .filter(|(_, view)| view.is_running() && default(view))
            .map(|(name, _)| name)
            .collect(),
    }
}

/// The named nodes, or every running one that keeps a chain.
pub(super) fn with_chain<'a>(
    seen: &'a Observations,
    nodes: Option<&'a [NodeName]>,
) -> Vec<&'a NodeName> {
    select(seen, nodes, NodeView::keeps_chain)
}

/// Asks nodes that run for tips that events did not tell.
pub(super) fn unknown_tips(seen: &Observations, nodes: Option<&[NodeName]>) -> Vec<Query> {
    with_chain(seen, nodes)
        .into_iter()
        .filter(|node| tip(seen, node).is_none())
        .map(Query::status)
        .collect()
}

pub(super) fn tip<'a>(seen: &'a Observations, node: &NodeName) -> Option<&'a Tip> {
    seen.node(node)?.tip()
}

/// All tips, or who has none that is known.
pub(super) fn tips<'a>(
    seen: &'a Observations,
    nodes: &[&'a NodeName],
) -> Result<Vec<(&'a NodeName, &'a Tip)>, Judgement> {
    let mut known = Vec::new();
    let mut unknown = Vec::new();
    for &node in nodes {
        match tip(seen, node) {
            Some(tip) => known.push((node, tip)),
            None => unknown.push(node),
        }
    }
    if unknown.is_empty() {
        return Ok(known);
    }
    Err(Judgement::NotYet {
        status: format!("the tip of {} is not known", list(&unknown)),
    })
}

/// `empty` as a verdict.
pub(super) fn nobody() -> Judgement {
    Judgement::Violated {
        witness: "no node is selected: none that counts is running".to_owned(),
    }
}

/// At most four names, and how many more.
pub(super) fn list(nodes: &[&NodeName]) -> String {
    let mut text = nodes
        .iter()
        .take(4)
        .map(|n| format!("`{n}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if nodes.len() > 4 {
        text = format!("{text} and {} more", nodes.len() - 4);
    }
    text
}

/// Who is on which tip, highest first.
pub(super) fn describe_tips(tips: &[(&NodeName, &Tip)]) -> String {
    let mut groups: BTreeMap<(std::cmp::Reverse<u32>, &Tip), Vec<&NodeName>> = BTreeMap::new();
    for (node, tip) in tips {
        groups
            .entry((std::cmp::Reverse(tip.height), *tip))
            .or_default()
            .push(node);
    }
    let count = groups.len();
    let shown: Vec<String> = groups
        .iter()
        .take(4)
        .map(|((_, tip), nodes)| format!("{tip} on {}", list(nodes)))
        .collect();
    let more = if count > shown.len() {
        format!("; {} more", count - shown.len())
    } else {
        String::new()
    };
    format!(
        "{count} tip{}: {}{more}",
        if count == 1 { "" } else { "s" },
        shown.join("; ")
    )
}

/// Nodes whose events were lost at some time.
pub(super) fn lossy(seen: &Observations) -> Vec<&NodeName> {
    seen.nodes()
        .filter(|(_, view)| view.lost_events())
        .map(|(name, _)| name)
        .collect()
}

/// `Holds`, unless events were lost that could have told otherwise.
pub(super) fn holds_if_complete(seen: &Observations, witness: String) -> Judgement {
    let lossy = lossy(seen);
    if lossy.is_empty() {
        return Judgement::Holds { witness };
    }
    Judgement::Inconclusive {
        reason: format!(
            "events of {} were lost: when blocks were first accepted is not known",
            list(&lossy)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!(count(1), "1 node");
        assert_eq!(count(0), "0 nodes");
    }
}
