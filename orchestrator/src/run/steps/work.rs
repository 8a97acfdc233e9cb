//! `mine` and `send`.

use std::{collections::BTreeSet, time::Duration};

use netsplit_api::{config::Role, event::Event, rpc::code};
use netsplit_plan::{observe::At, plan::NodeName};
use netsplit_runtime::{CallError, Timestamp};
use serde_json::{Value, json};

use super::{Ended, Progress, Step};
use crate::{
    event::StepStatus,
    run::{
        stage::{Notice, Outcome, Stage, StepKey},
        state::SentTransaction,
    },
};

/// A node tells of a block it has just made within this.
const TOLD: Duration = Duration::from_secs(10);
const LATE: u32 = 1;

/// Lets a node make blocks, and returns when it has told of the last one.
pub(crate) struct Mining {
    key: StepKey,
    node: NodeName,
    blocks: u32,
    /// Nodes that may give an address to pay to, in the order they are asked.
    payees: Vec<NodeName>,
    stage: Mine,
    accepted: BTreeSet<String>,
}

enum Mine {
    Address,
    Blocks,
    /// The blocks are made, oldest first.
    Told {
        hashes: Vec<String>,
    },
}

impl Mining {
    pub(crate) const fn new(key: StepKey, node: NodeName, blocks: u32) -> Self {
        Self {
            key,
            node,
            blocks,
            payees: Vec::new(),
            stage: Mine::Address,
            accepted: BTreeSet::new(),
        }
    }

    /// Asks the next possible payee.
    fn ask_address(&mut self, stage: &mut Stage<'_>) -> Progress {
        if self.payees.is_empty() {
            return Progress::Ended(Ended::error("no node has a wallet to pay the blocks to"));
        }
        let payee = self.payees.remove(0);
        stage.call(self.key, &payee, "getnewaddress", json!([]));
        Progress::Going
    }

    fn answered(&mut self, stage: &mut Stage<'_>, answer: &Result<Value, CallError>) -> Progress {
        match (&self.stage, answer) {
            (Mine::Address, Ok(Value::String(address))) => {
                self.stage = Mine::Blocks;
                let params = json!([self.blocks, address]);
                stage.call(self.key, &self.node, "generatetoaddress", params);
                Progress::Going
            }
            (Mine::Address, Err(CallError::Node(error))) if lacks_wallet(error.code) => {
                self.ask_address(stage)
            }
            (Mine::Blocks, Ok(Value::Array(hashes))) => self.made(stage, hashes),
            (_, Err(error)) => Progress::Ended(call_failed(error)),
            (_, Ok(other)) => Progress::Ended(Ended::error(format!(
                "`{}` answered with {other}",
                self.node
            ))),
        }
    }

    fn made(&mut self, stage: &mut Stage<'_>, hashes: &[Value]) -> Progress {
        if hashes.len() != usize::try_from(self.blocks).unwrap_or(usize::MAX) {
            let message = format!(
                "`{}` made {} of {} blocks",
                self.node,
                hashes.len(),
                self.blocks
            );
            return Progress::Ended(Ended::error(message));
        }
        let hashes = hashes.iter().filter_map(Value::as_str);
        self.stage = Mine::Told {
            hashes: hashes.map(str::to_owned).collect(),
        };
        stage.wake(self.key, LATE, TOLD);
        self.look()
    }

    fn look(&self) -> Progress {
        let Mine::Told { hashes } = &self.stage else {
            return Progress::Going;
        };
        let Some(last) = hashes.last() else {
            return Progress::Ended(Ended::passed("no block was asked for"));
        };
        self.accepted
            .contains(last)
            .then(|| {
                let short = last.get(last.len().saturating_sub(8)..).unwrap_or(last);
                let message = match hashes.len() {
                    1 => format!("block ..{short}"),
                    many => format!("{many} blocks, the last is ..{short}"),
                };
                Ended::passed(message)
                    .with_evidence(json!({ "blocks": self.blocks, "tip": last, "hashes": hashes }))
            })
            .into()
    }
}

impl Step for Mining {
    fn begin(&mut self, stage: &mut Stage<'_>) -> Progress {
        let running = stage.roster.running();
        let keeps_keys = |role: &Role| matches!(role, Role::Wallet | Role::Miner);
        let others = stage.plan().nodes.iter().filter(|node| {
            node.name != self.node
                && running.contains_key(&node.name)
                && node.roles.iter().any(keeps_keys)
        });
        self.payees = std::iter::once(self.node.clone())
            .chain(others.map(|node| node.name.clone()))
            .collect();
        self.ask_address(stage)
    }

    fn on(&mut self, stage: &mut Stage<'_>, notice: &Notice<'_>) -> Progress {
        match notice {
            Notice::Node(node, Event::BlockAccepted { hash, .. }) if **node == self.node => {
                self.accepted.insert(hash.clone());
                self.look()
            }
            Notice::Done(Outcome::Call(_, answer)) => self.answered(stage, answer),
            Notice::Due(LATE) => Progress::Ended(
                Ended::error(format!(
                    "`{}` did not tell of the blocks it made",
                    self.node
                ))
                .suspect(),
            ),
            _ => Progress::Going,
        }
    }

    fn status(&self, _stage: &Stage<'_>) -> Option<String> {
        Some(format!("{} is mining", self.node))
    }
}

/// Whether the node said that it keeps no wallet.
const fn lacks_wallet(code: i32) -> bool {
    matches!(
        code,
        code::WALLET_NOT_FOUND | code::METHOD_NOT_FOUND | code::WALLET_ERROR
    )
}

/// A node that answers with a refusal works as it should; one that does not answer does not.
fn call_failed(error: &CallError) -> Ended {
    match error {
        CallError::Node(_) => Ended::new(StepStatus::Failed, error.to_string()),
        CallError::Unreachable { .. } => Ended::error(error.to_string()).suspect(),
    }
}

/// Lets one node pay another, and returns when the payer has the transaction in its mempool.
pub(crate) struct Sending {
    key: StepKey,
    id: Option<String>,
    from: NodeName,
    to: NodeName,
    amount: u64,
    fee_rate: Option<u64>,
    /// When the payer was asked: a block that it is in may come before the answer does.
    asked: Option<Timestamp>,
}

impl Sending {
    pub(crate) const fn new(
        key: StepKey,
        id: Option<String>,
        from: NodeName,
        to: NodeName,
        amount: u64,
        fee_rate: Option<u64>,
    ) -> Self {
        Self {
            key,
            id,
            from,
            to,
            amount,
            fee_rate,
            asked: None,
        }
    }

    /// Core's parameters: amounts in coins, by place up to `fee_rate`, the tenth.
    fn parameters(&self, address: &str) -> Value {
        #[expect(
            clippy::cast_precision_loss,
            reason = "all amounts are below 2^53 satoshis"
        )]
        let coins = self.amount as f64 / 1e8;
        match self.fee_rate {
            None => json!([address, coins]),
            Some(rate) => {
                json!([
                    address, coins, "", "", false, null, null, "unset", null, rate
                ])
            }
        }
    }

    fn sent(&self, stage: &mut Stage<'_>, txid: &str, at: Timestamp) -> Ended {
        stage.observations.sent(self.id.as_deref(), txid, At(at.0));
        stage.state.sent.push(SentTransaction {
            id: self.id.clone(),
            txid: txid.to_owned(),
            from: self.from.clone(),
            to: self.to.clone(),
            amount: self.amount,
            at,
        });
        stage.save();
        Ended::passed(format!("transaction {txid}")).with_evidence(json!({ "txid": txid }))
    }
}

impl Step for Sending {
    fn begin(&mut self, stage: &mut Stage<'_>) -> Progress {
        stage.call(self.key, &self.to, "getnewaddress", json!([]));
        Progress::Going
    }

    fn on(&mut self, stage: &mut Stage<'_>, notice: &Notice<'_>) -> Progress {
        let Notice::Done(Outcome::Call(node, answer)) = notice else {
            return Progress::Going;
        };
        match answer {
            Ok(Value::String(address)) if self.asked.is_none() => {
                self.asked = Some(stage.now());
                let params = self.parameters(address);
                stage.call(self.key, &self.from, "sendtoaddress", params);
                Progress::Going
            }
            Ok(Value::String(txid)) => {
                let asked = self.asked.unwrap_or_else(|| stage.now());
                Progress::Ended(self.sent(stage, txid, asked))
            }
            Ok(other) => Progress::Ended(Ended::error(format!("`{node}` answered with {other}"))),
            Err(error) => Progress::Ended(call_failed(error)),
        }
    }

    fn status(&self, _stage: &Stage<'_>) -> Option<String> {
        Some(format!("{} pays {}", self.from, self.to))
    }
}
