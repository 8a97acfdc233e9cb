//! `confirmed`, `balance` and `supply`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Since, select};
use crate::{
    amount::Amount,
    assertion::{Judgement, TxRef},
    observe::{BlockId, NodeView, Observations, Query, SentFact, Tip},
    plan::NodeName,
};

/// Blocks after which the subsidy halves on regtest (Bitcoin Core `chainparams.cpp`).
const REGTEST_HALVING: u32 = 150;
/// The first subsidy in satoshis.
const FIRST_SUBSIDY: u64 = 50 * 100_000_000;

/// What all blocks up to and including `height` may create, in satoshis. The genesis block's output is not spendable and
/// in no UTXO set.
pub(super) fn subsidies(height: u32) -> u64 {
    (1..=height)
        .map(|h| FIRST_SUBSIDY.checked_shr(h / REGTEST_HALVING).unwrap_or(0))
        .sum()
}

fn find<'a>(seen: &'a Observations, tx: &TxRef) -> Option<&'a SentFact> {
    let sent = seen.transactions();
    match tx {
        TxRef::Last => sent.last(),
        TxRef::Step(id) => sent.iter().rev().find(|sent| sent.id.as_ref() == Some(id)),
    }
}

fn block_query(node: &NodeName, block: &BlockId) -> Query {
    Query::rpc(node, "getblock", &json!([block.as_str(), 1]))
}

/// Asks for the contents of every block that may hold the transaction and has not been seen yet: those on the active
/// chains of the selected nodes, accepted since it was sent.
pub(super) fn tx_queries(
    seen: &Observations,
    nodes: Option<&[NodeName]>,
    tx: &TxRef,
) -> Vec<Query> {
    let Some(sent) = find(seen, tx) else {
        return Vec::new();
    };
    let mut queries = select::unknown_tips(seen, nodes);
    let mut asked = BTreeSet::new();
    let fresh: BTreeSet<&BlockId> = seen.blocks().accepted_since(sent.at).collect();
    for node in select::with_chain(seen, nodes) {
        let Some(tip) = select::tip(seen, node) else {
            continue;
        };
        for block in seen.blocks().chain(&tip.hash) {
            if !fresh.contains(&block.hash) {
                break;
            }
            if seen.contents(&block.hash).is_none() && asked.insert(block.hash.clone()) {
                queries.push(block_query(node, &block.hash));
            }
        }
    }
    queries
}

pub(super) fn confirmed(
    seen: &Observations,
    nodes: Option<&[NodeName]>,
    tx: &TxRef,
    depth: u32,
) -> Judgement {
    let Some(sent) = find(seen, tx) else {
        return Judgement::Violated {
            witness: "no such transaction was sent".to_owned(),
        };
    };
    let nodes = select::with_chain(seen, nodes);
    if nodes.is_empty() {
        return select::nobody();
    }
    let tips = match select::tips(seen, &nodes) {
        Ok(tips) => tips,
        Err(unknown) => return unknown,
    };
    let depths: Vec<_> = tips
        .iter()
        .map(|(node, tip)| (*node, depth_of(seen, sent, tip)))
        .collect();
    let shallow: Vec<_> = depths.iter().filter(|(_, found)| *found < depth).collect();
    let Some((worst, found)) = shallow.iter().min_by_key(|(_, found)| *found) else {
        let least = depths.iter().map(|(_, found)| *found).min().unwrap_or(0);
        let witness = format!("{least} deep or deeper on {}", select::count(depths.len()));
        return Judgement::Holds { witness };
    };
    Judgement::NotYet {
        status: format!(
            "{} of {} nodes have it less than {depth} deep, `{worst}` {found}",
            shallow.len(),
            depths.len()
        ),
    }
}

/// Confirmations on the chain of `tip`: 0 when it is not there.
fn depth_of(seen: &Observations, sent: &SentFact, tip: &Tip) -> u32 {
    seen.blocks()
        .chain(&tip.hash)
        .take_while(|block| {
            seen.blocks()
                .first_accepted(&block.hash)
                .is_some_and(|at| at >= sent.at)
        })
        .find(|block| {
            seen.contents(&block.hash)
                .is_some_and(|txids| txids.contains(&sent.txid))
        })
        .map_or(0, |block| tip.height.saturating_sub(block.height) + 1)
}

pub(super) fn balance_queries(nodes: &[NodeName]) -> Vec<Query> {
    nodes.iter().map(balance_query).collect()
}

fn balance_query(node: &NodeName) -> Query {
    Query::rpc(node, "getbalance", &json!([]))
}

pub(super) fn balance(
    seen: &Observations,
    since: &Since,
    nodes: &[NodeName],
    at_least: Option<u64>,
    at_most: Option<u64>,
) -> Judgement {
    if nodes.is_empty() {
        return select::nobody();
    }
    let mut shown = Vec::new();
    let mut wrong = false;
    for node in nodes {
        let answer = match seen.answered_since(&balance_query(node), since.at) {
            None => {
                return Judgement::NotYet {
                    status: format!("`{node}` has not answered"),
                };
            }
            Some(Err(reason)) => {
                return Judgement::NotYet {
                    status: format!("`{node}`: {reason}"),
                };
            }
            Some(Ok(value)) => value,
        };
        let Some(balance) = Amount::from_json(answer) else {
            let reason = format!("`{node}` answered with {answer}, which is no amount");
            return Judgement::Inconclusive { reason };
        };
        let sats = balance.sats();
        wrong |= at_least.is_some_and(|least| sats < least);
        wrong |= at_most.is_some_and(|most| sats > most);
        shown.push(format!("`{node}` has {balance}"));
    }
    let shown = shown.join(", ");
    if wrong {
        Judgement::NotYet { status: shown }
    } else {
        Judgement::Holds { witness: shown }
    }
}

fn supply_query(node: &NodeName) -> Query {
    Query::rpc(node, "gettxoutsetinfo", &json!([]))
}

pub(super) fn supply_queries(
    seen: &Observations,
    nodes: Option<&[NodeName]>,
    since: &Since,
) -> Vec<Query> {
    select::select(seen, nodes, NodeView::keeps_coins)
        .into_iter()
        .map(supply_query)
        .filter(|query| !matches!(seen.answered_since(query, since.at), Some(Ok(_))))
        .collect()
}

pub(super) fn supply(seen: &Observations, since: &Since, nodes: Option<&[NodeName]>) -> Judgement {
    let nodes = select::select(seen, nodes, NodeView::keeps_coins);
    if nodes.is_empty() {
        return select::nobody();
    }
    let mut lowest = u32::MAX;
    for node in &nodes {
        let answer = match seen.answered_since(&supply_query(node), since.at) {
            None => {
                return Judgement::NotYet {
                    status: format!("`{node}` has not answered"),
                };
            }
            Some(Err(reason)) => {
                return Judgement::NotYet {
                    status: format!("`{node}`: {reason}"),
                };
            }
            Some(Ok(value)) => value,
        };
        let height = answer
            .get("height")
            .and_then(Value::as_u64)
            .and_then(|h| h.try_into().ok());
        let total = answer.get("total_amount").and_then(Amount::from_json);
        let (Some(height), Some(total)) = (height, total) else {
            let reason = format!("`{node}` answered without height and total_amount: {answer}");
            return Judgement::Inconclusive { reason };
        };
        let due = Amount::from_sats(subsidies(height));
        if total != due {
            return Judgement::Violated {
                witness: format!("`{node}` holds {total} at height {height}, subsidies are {due}"),
            };
        }
        lowest = lowest.min(height);
    }
    Judgement::Holds {
        witness: format!(
            "coins are the subsidies on {}, the lowest at {lowest}",
            select::count(nodes.len())
        ),
    }
}
