//! How an assertion stands, as a pure function of what was seen.

mod chain;
mod coins;
mod converged;
mod diverged;
mod network;
mod select;

use serde::{Deserialize, Serialize};

use crate::{
    assertion::{Assertion, Judgement},
    observe::{At, Observations, Query},
    plan::{Check, Hold},
};

/// From when on an assertion is judged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    /// When the step began.
    pub at: At,
    /// Whether an instant since then is enough.
    pub mode: Mode,
}

/// Which instants count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Any instant since the step began.
    Eventually,
    /// This one: the assertion is judged again after every event.
    Now,
}

impl Check {
    /// From when on this check is judged, if its step began at `at`.
    #[must_use]
    pub const fn since(&self, at: At) -> Since {
        let mode = match self.hold {
            Hold::Within { .. } => Mode::Eventually,
            Hold::Now | Hold::For { .. } => Mode::Now,
        };
        Since { at, mode }
    }
}

impl Assertion {
    /// What has to be asked before [`Assertion::judge`] can tell. Ask again, with fresh answers, until it holds: judging
    /// takes no answer older than `since`.
    #[must_use]
    pub fn queries(&self, seen: &Observations, since: &Since) -> Vec<Query> {
        match self {
            Self::Converged {
                nodes,
                fresh_blocks,
                ..
            } => converged::queries(seen, nodes.as_deref(), fresh_blocks.is_some()),
            Self::Diverged { between, nodes, .. } => {
                diverged::queries(seen, between, nodes.as_deref())
            }
            Self::Height { nodes, .. } => select::unknown_tips(seen, nodes.as_deref()),
            Self::Peers { nodes, .. } => network::peer_queries(seen, nodes.as_deref()),
            Self::Reachable { from, to, .. } => network::reach_queries(from, to),
            Self::Confirmed { nodes, tx, .. } => coins::tx_queries(seen, nodes.as_deref(), tx),
            Self::Balance { nodes, .. } => coins::balance_queries(nodes),
            Self::Supply { nodes } => coins::supply_queries(seen, nodes.as_deref(), since),
        }
    }

    /// How it stands.
    #[must_use]
    pub fn judge(&self, seen: &Observations, since: &Since) -> Judgement {
        match self {
            Self::Converged {
                nodes,
                lag,
                min_height,
                fresh_blocks,
            } => {
                let wanted = converged::Wanted {
                    lag: *lag,
                    min_height: min_height.unwrap_or(0),
                    fresh_blocks: fresh_blocks.unwrap_or(0),
                };
                converged::judge(seen, since, nodes.as_deref(), &wanted)
            }
            Self::Diverged {
                between,
                nodes,
                min_blocks,
            } => diverged::judge(seen, between, nodes.as_deref(), *min_blocks),
            Self::Height { nodes, at_least } => chain::height(seen, nodes.as_deref(), *at_least),
            Self::Peers { nodes, between } => {
                network::peers(seen, since, nodes.as_deref(), *between)
            }
            Self::Reachable { from, to, expect } => {
                network::reachable(seen, since, from, to, *expect)
            }
            Self::Confirmed { nodes, tx, depth } => {
                coins::confirmed(seen, nodes.as_deref(), tx, *depth)
            }
            Self::Balance {
                nodes,
                at_least,
                at_most,
            } => coins::balance(seen, since, nodes, *at_least, *at_most),
            Self::Supply { nodes } => coins::supply(seen, since, nodes.as_deref()),
        }
    }
}
