//! `mine` and `send`.

use netsplit_api::config::Role;

use super::{nodes::payee_nodes, stage::Stage, world::State};
use crate::{
    plan::{Action, NodeName},
    problem::Fault,
    topology::{
        steps::{MineWords, SendWords},
        tree::Path,
    },
};

/// A coinbase output can be spent in the hundredth block after its own (Bitcoin Core `consensus.h`).
const MATURITY: u32 = 100;
/// The least that nodes relay to a P2WPKH output, in satoshis (Bitcoin Core's dust limit).
const DUST: u64 = 294;

impl Stage<'_> {
    pub(super) fn mine(&mut self, words: &MineWords, path: &Path) -> Option<Action> {
        let node_path = path.key("node");
        let node = self.single(&words.node, &node_path)?;
        self.must_run(&node, &node_path);
        let keeps = |role: &Role| !matches!(role, Role::DnsSeed | Role::Routing);
        if self
            .planned(&node)
            .is_some_and(|n| !n.roles.is_empty() && !n.roles.iter().any(keeps))
        {
            let fault = Fault::new(format!("`{node}` keeps no blocks and cannot create any"));
            self.report(&node_path, fault.label("not a full node"));
        }
        self.world.mined.insert(node.clone());
        self.world.funded.insert(node.clone());
        self.world.height = self.world.height.saturating_add(words.blocks);
        Some(Action::Mine {
            node,
            blocks: words.blocks,
        })
    }

    pub(super) fn send(&mut self, words: &SendWords, path: &Path) -> Option<Action> {
        let (from_path, to_path) = (path.key("from"), path.key("to"));
        let from = self.single(&words.from, &from_path);
        let to = self.single(&words.to, &to_path);
        let id = words.id.as_ref().map(|id| id.0.clone());
        self.transaction_id(id.as_deref(), path);
        let amount = words.amount.0;
        if amount.sats() < DUST {
            let fault = Fault::new(format!("{amount} is dust, which nobody relays"));
            self.report(
                &path.key("amount"),
                fault.help(format!("send at least {DUST} sat")),
            );
        }
        if let Some(from) = &from {
            self.payer(from, &from_path);
        }
        if let Some(to) = &to {
            self.payee(to, &to_path);
        }
        self.world.sent.push(id.clone());
        self.world.funded.extend(to.clone());
        Some(Action::Send {
            id,
            from: from?,
            to: to?,
            amount: amount.sats(),
            fee_rate: words.fee_rate.map(|rate| rate.0),
        })
    }

    fn transaction_id(&mut self, id: Option<&str>, path: &Path) {
        let Some(id) = id else { return };
        if id == "last" {
            let fault = Fault::new("`last` is a reserved word").label("reserved");
            self.report(
                &path.key("id"),
                fault.help("it means the transaction sent last"),
            );
        } else if self.world.sent.iter().flatten().any(|other| other == id) {
            let fault = Fault::new(format!("a transaction `{id}` was sent before"));
            self.report(
                &path.key("id"),
                fault.label("again").help("choose another id"),
            );
        }
    }

    fn payer(&mut self, from: &NodeName, path: &Path) {
        self.must_run(from, path);
        let Some(node) = self.planned(from) else {
            return;
        };
        if !node.roles.contains(&Role::Wallet) {
            if !node.roles.is_empty() {
                let fault = Fault::new(format!("`{from}` has no wallet"))
                    .label("not a wallet")
                    .help("give it the role `wallet`, e.g. `roles: [full, wallet]`");
                self.report(path, fault);
            }
            return;
        }
        let mines = node.roles.contains(&Role::Miner);
        if mines || self.world.ran_before || self.world.funded.contains(from) {
            return;
        }
        let place = payee_nodes(self.nodes).position(|payee| payee.name == *from);
        let block = place.and_then(|place| u32::try_from(place + 1).ok());
        match block.filter(|block| *block <= self.premine) {
            None => {
                let fault = Fault::new(format!("`{from}` has no coins to send"))
                    .label("no coins")
                    .help("raise `chain.premine` so that a block pays it");
                self.report(path, fault);
            }
            Some(block) => self.maturity(from, block, path),
        }
    }

    /// The coin of `block` is spendable once the tip is at `block + 99`.
    fn maturity(&mut self, from: &NodeName, block: u32, path: &Path) {
        let needed = block + MATURITY - 1;
        let may_grow = self.world.waited && self.world.can_grow(self.nodes);
        if self.world.height >= needed || may_grow {
            return;
        }
        let fault = Fault::new(format!("no coin of `{from}` can be mature here"))
            .label(format!("its first is of block {block}"))
            .help(format!(
                "coins of a new block can be spent {MATURITY} blocks later: set `chain.premine` to {} or more",
                needed + 1
            ));
        self.report(path, fault);
    }

    fn payee(&mut self, to: &NodeName, path: &Path) {
        self.must_run(to, path);
        let Some(node) = self.planned(to) else { return };
        let keys = |role: &Role| matches!(role, Role::Wallet | Role::Miner);
        if !node.roles.is_empty() && !node.roles.iter().any(keys) {
            let fault = Fault::new(format!("`{to}` has no keys to be paid to"))
                .label("not a wallet or miner");
            self.report(
                path,
                fault.help("pay a node with the role `wallet` or `miner`"),
            );
        }
    }

    fn must_run(&mut self, node: &NodeName, path: &Path) {
        let state = self.world.state(node);
        if matches!(state, State::Down | State::Paused | State::Absent) {
            let fault = Fault::new(format!("`{node}` {} here", state.phrase()));
            self.report(path, fault.label(state.phrase()));
        }
    }
}
