//! `converged`: at one instant of the merged event stream all selected nodes have one active tip.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Mode, Since, select};
use crate::{
    assertion::Judgement,
    observe::{At, Gap, Held, NodeView, Observations, Query, Tip},
    plan::NodeName,
};

/// What is asked beyond one tip.
pub(super) struct Wanted {
    /// Blocks a node may be behind.
    pub(super) lag: u32,
    /// Least height of the tip.
    pub(super) min_height: u32,
    /// Blocks of the chain first accepted after the last heal, else after the step began.
    pub(super) fresh_blocks: u32,
}

pub(super) fn queries(seen: &Observations, nodes: Option<&[NodeName]>, fresh: bool) -> Vec<Query> {
    let unknown = select::unknown_tips(seen, nodes);
    if !unknown.is_empty() || !fresh {
        return unknown;
    }
    let nodes = select::with_chain(seen, nodes);
    let Ok(tips) = select::tips(seen, &nodes) else {
        return unknown;
    };
    let tallest = tips.iter().max_by_key(|(_, tip)| tip.height);
    tallest
        .into_iter()
        .filter_map(|(node, tip)| ancestry(seen, node, tip))
        .collect()
}

/// Asks for the first block of a chain whose parent nobody told of.
pub(super) fn ancestry(seen: &Observations, node: &NodeName, tip: &Tip) -> Option<Query> {
    let last = seen
        .blocks()
        .chain(&tip.hash)
        .last()
        .unwrap_or_else(|| tip.clone());
    // What lies below the premined tip is the same everywhere and of no interest.
    (last.height > seen.premine())
        .then(|| Query::rpc(node, "getblockheader", &json!([last.hash.as_str()])))
}

pub(super) fn judge(
    seen: &Observations,
    since: &Since,
    nodes: Option<&[NodeName]>,
    wanted: &Wanted,
) -> Judgement {
    let nodes = select::with_chain(seen, nodes);
    if nodes.is_empty() {
        return select::nobody();
    }
    let now = current(seen, since, &nodes, wanted);
    if since.mode == Mode::Now || wanted.lag > 0 || !matches!(now, Judgement::NotYet { .. }) {
        return now;
    }
    // Most tips are told apart by height and freshness alone, which is cheaper than who held them when.
    held_by_first(seen, since, &nodes)
        .into_iter()
        .map(|tip| (tip, verdict(seen, since, tip, nodes.len(), wanted)))
        .filter(|(_, judgement)| !matches!(judgement, Judgement::NotYet { .. }))
        .find(|(tip, _)| held_at_once(seen, since, &nodes, tip))
        .map_or(now, |(_, judgement)| judgement)
}

/// How it stands now.
fn current(seen: &Observations, since: &Since, nodes: &[&NodeName], wanted: &Wanted) -> Judgement {
    let tips = match select::tips(seen, nodes) {
        Ok(tips) => tips,
        Err(unknown) => return unknown,
    };
    let Some((_, best)) = tips.iter().max_by_key(|(_, tip)| tip.height) else {
        return select::nobody();
    };
    let behind = |tip: &Tip| {
        tip.height + wanted.lag >= best.height
            && seen
                .blocks()
                .fork(best, tip)
                .is_ok_and(|fork| fork.hash == tip.hash)
    };
    if tips
        .iter()
        .all(|(_, tip)| tip.hash == best.hash || behind(tip))
    {
        return verdict(seen, since, best, nodes.len(), wanted);
    }
    Judgement::NotYet {
        status: select::describe_tips(&tips),
    }
}

fn held<'a>(seen: &'a Observations, node: &NodeName) -> impl Iterator<Item = &'a Held> + use<'a> {
    seen.node(node).into_iter().flat_map(NodeView::held)
}

/// Tips that the first node had since the step began: what all had is among them.
fn held_by_first<'a>(
    seen: &'a Observations,
    since: &Since,
    nodes: &[&NodeName],
) -> BTreeSet<&'a Tip> {
    let first = nodes.first().into_iter();
    first
        .flat_map(|first| held(seen, first))
        .filter(|held| held.until.is_none_or(|until| until > since.at))
        .filter_map(|held| held.tip.as_ref())
        .collect()
}

/// Whether all nodes had this tip at one instant not before the step began.
fn held_at_once(seen: &Observations, since: &Since, nodes: &[&NodeName], tip: &Tip) -> bool {
    let spans = nodes.iter().map(|node| {
        held(seen, node)
            .filter(|held| held.tip.as_ref() == Some(tip))
            .map(|held| (held.from, held.until.unwrap_or(At(u64::MAX))))
            .collect::<Vec<_>>()
    });
    overlap(spans, since.at)
}

/// Whether one span of each set contains one common instant not before `from`. Spans contain their first instant, not
/// their last.
fn overlap(sets: impl Iterator<Item = Vec<(At, At)>>, from: At) -> bool {
    let mut common = vec![(from, At(u64::MAX))];
    for spans in sets {
        common = common
            .iter()
            .flat_map(|(a, b)| spans.iter().map(move |(c, d)| (*a.max(c), *b.min(d))))
            .filter(|(start, end)| start < end)
            .collect();
        if common.is_empty() {
            return false;
        }
    }
    true
}

/// All nodes are on `tip`: is it high and fresh enough?
fn verdict(
    seen: &Observations,
    since: &Since,
    tip: &Tip,
    nodes: usize,
    wanted: &Wanted,
) -> Judgement {
    if tip.height < wanted.min_height {
        return Judgement::NotYet {
            status: format!("one tip, {tip}, but below {}", wanted.min_height),
        };
    }
    let witness = format!("{} on one tip, {tip}", select::count(nodes));
    if wanted.fresh_blocks == 0 {
        return Judgement::Holds { witness };
    }
    let after = seen.last_heal().unwrap_or(since.at);
    match seen
        .blocks()
        .fresh(tip, seen.premine(), after, wanted.fresh_blocks)
    {
        Ok(fresh) if fresh >= wanted.fresh_blocks => {
            select::holds_if_complete(seen, format!("{witness}, {fresh} of its blocks fresh"))
        }
        Ok(fresh) => Judgement::NotYet {
            status: format!(
                "one tip, {tip}, {fresh} of {} fresh blocks",
                wanted.fresh_blocks
            ),
        },
        Err(Gap(block)) => Judgement::NotYet {
            status: format!(
                "one tip, {tip}, but what lies below block ..{} is not known",
                block.short()
            ),
        },
    }
}
