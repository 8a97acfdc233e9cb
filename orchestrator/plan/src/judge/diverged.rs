//! `diverged`: above the common ancestor each side of a cut has blocks of its own, accepted after the cut was verified.

use super::{converged::ancestry, select};
use crate::{
    assertion::Judgement,
    observe::{CutFact, Gap, Observations, Query, Tip},
    plan::NodeName,
};

/// The selected nodes of each side: named ones, or the running ones with a chain.
fn sides<'a>(
    seen: &'a Observations,
    cut: &'a CutFact,
    nodes: Option<&[NodeName]>,
) -> Vec<Vec<&'a NodeName>> {
    let counts = |node: &NodeName| match nodes {
        Some(nodes) => nodes.contains(node),
        None => seen
            .node(node)
            .is_some_and(|view| view.is_running() && view.keeps_chain()),
    };
    cut.groups
        .iter()
        .map(|side| side.iter().filter(|node| counts(node)).collect())
        .collect()
}

/// The highest tip of a side, if any is known.
fn best<'a>(seen: &'a Observations, side: &[&'a NodeName]) -> Option<(&'a NodeName, &'a Tip)> {
    side.iter()
        .filter_map(|&node| select::tip(seen, node).map(|tip| (node, tip)))
        .max_by_key(|(_, tip)| tip.height)
}

pub(super) fn queries(
    seen: &Observations,
    between: &str,
    nodes: Option<&[NodeName]>,
) -> Vec<Query> {
    let Some(cut) = seen.cut(between) else {
        return Vec::new();
    };
    let sides = sides(seen, cut, nodes);
    let silent = sides
        .iter()
        .flatten()
        .filter(|node| select::tip(seen, node).is_none());
    let unknown: Vec<Query> = silent.map(|node| Query::status(node)).collect();
    if !unknown.is_empty() {
        return unknown;
    }
    let bests = sides.iter().filter_map(|side| best(seen, side));
    bests
        .filter_map(|(node, tip)| ancestry(seen, node, tip))
        .collect()
}

pub(super) fn judge(
    seen: &Observations,
    between: &str,
    nodes: Option<&[NodeName]>,
    min_blocks: u32,
) -> Judgement {
    let Some(cut) = seen.cut(between) else {
        return Judgement::Violated {
            witness: format!("no cut `{between}` was made"),
        };
    };
    let sides = sides(seen, cut, nodes);
    if sides.iter().any(Vec::is_empty) {
        return Judgement::Violated {
            witness: format!("a side of `{between}` has no running node with a chain"),
        };
    }
    let mut tips = Vec::new();
    for side in &sides {
        let Some(tip) = best(seen, side) else {
            return Judgement::NotYet {
                status: format!("no tip of {} is known", select::list(side)),
            };
        };
        tips.push(tip);
    }
    match own_blocks(seen, cut, &tips, min_blocks) {
        Err(Gap(block)) => Judgement::NotYet {
            status: format!("what lies below block ..{} is not known", block.short()),
        },
        Ok(own) => conclude(seen, cut, between, &tips, &own, min_blocks),
    }
}

/// For each side the fewest blocks that it has and another side has not.
fn own_blocks(
    seen: &Observations,
    cut: &CutFact,
    tips: &[(&NodeName, &Tip)],
    min_blocks: u32,
) -> Result<Vec<u32>, Gap> {
    let mut own = Vec::new();
    for (i, (_, tip)) in tips.iter().enumerate() {
        let mut fewest = u32::MAX;
        for (j, (_, other)) in tips.iter().enumerate() {
            if i != j {
                let fork = seen.blocks().fork(tip, other)?;
                let count = seen
                    .blocks()
                    .fresh(tip, fork.height, cut.verified, min_blocks)?;
                fewest = fewest.min(count);
            }
        }
        own.push(fewest);
    }
    Ok(own)
}

fn conclude(
    seen: &Observations,
    cut: &CutFact,
    between: &str,
    tips: &[(&NodeName, &Tip)],
    own: &[u32],
    min_blocks: u32,
) -> Judgement {
    let shown: Vec<String> = tips
        .iter()
        .zip(own)
        .map(|((node, tip), own)| format!("`{node}` at {tip} with {own} of its own"))
        .collect();
    let shown = shown.join("; ");
    if own.iter().all(|count| *count >= min_blocks) {
        return select::holds_if_complete(seen, shown);
    }
    if cut.healed.is_some() {
        return Judgement::Violated {
            witness: format!("`{between}` was healed before: {shown}"),
        };
    }
    Judgement::NotYet { status: shown }
}
