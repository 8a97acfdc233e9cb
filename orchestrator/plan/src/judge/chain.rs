//! `height`.

use super::select;
use crate::{assertion::Judgement, observe::Observations, plan::NodeName};

pub(super) fn height(seen: &Observations, nodes: Option<&[NodeName]>, at_least: u32) -> Judgement {
    let nodes = select::with_chain(seen, nodes);
    if nodes.is_empty() {
        return select::nobody();
    }
    let tips = match select::tips(seen, &nodes) {
        Ok(tips) => tips,
        Err(unknown) => return unknown,
    };
    let low: Vec<_> = tips
        .iter()
        .filter(|(_, tip)| tip.height < at_least)
        .copied()
        .collect();
    if low.is_empty() {
        let lowest = tips.iter().map(|(_, tip)| tip.height).min().unwrap_or(0);
        return Judgement::Holds {
            witness: format!("the lowest of {} is at {lowest}", select::count(tips.len())),
        };
    }
    Judgement::NotYet {
        status: format!(
            "{} of {} nodes below {at_least}: {}",
            low.len(),
            tips.len(),
            select::describe_tips(&low)
        ),
    }
}
