//! `wait` and `assert`.

use netsplit_api::config::Role;

use super::stage::Stage;
use crate::{
    assertion::{Assertion, TxRef},
    plan::{Action, Check, Hold, NodeName, PlannedNode},
    problem::{Fault, did_you_mean},
    topology::{
        scalars::{Selector, Within},
        steps::{
            BalanceWords, CheckWords, ConfirmedWords, ConvergedWords, DivergedWords, PeersWords,
            ReachableWords,
        },
        tree::Path,
        words::OneOrMany,
    },
};

/// What `within: auto` is while no `bitcoind` takes part (design §5).
const AUTO_MS: u64 = 10_000;

/// The assertions, by name.
pub(crate) const ASSERTIONS: [&str; 8] = [
    "converged",
    "diverged",
    "height",
    "peers",
    "reachable",
    "confirmed",
    "balance",
    "supply",
];

impl Stage<'_> {
    pub(super) fn wait(&mut self, words: &CheckWords, path: &Path) -> Option<Action> {
        let Some(id) = &words.over else {
            return self.check(words, path).map(Action::Wait);
        };
        let alone = named(words).is_empty() && words.within.is_none() && words.for_.is_none();
        if !alone {
            let fault = Fault::new("`over` stands alone").label("with something else");
            self.report_key(&path.key("over"), fault.help("make a step of each"));
        }
        self.over(&id.0, &path.key("over"))
    }

    pub(super) fn check(&mut self, words: &CheckWords, path: &Path) -> Option<Check> {
        if words.over.is_some() {
            let fault = Fault::new("`over` is no assertion").label("not here");
            self.report_key(&path.key("over"), fault.help("write `wait: { over: … }`"));
            return None;
        }
        let hold = self.hold(words, path);
        let names = named(words);
        if names.len() != 1 {
            if names.is_empty() && self.damage.steps {
                return None;
            }
            let fault = Fault::new(format!(
                "exactly one assertion is wanted, here are {}",
                names.len()
            ))
            .label(if names.is_empty() {
                "what is to hold?"
            } else {
                "make a step of each"
            })
            .help(format!("assertions are {}", ASSERTIONS.join(", ")));
            self.report(path, fault);
            return None;
        }
        let assertion = self.assertion(words, path);
        self.world.waited |= hold != Hold::Now;
        Some(Check {
            assertion: assertion?,
            hold,
        })
    }

    fn hold(&mut self, words: &CheckWords, path: &Path) -> Hold {
        match (words.within, words.for_) {
            (Some(_), Some(for_)) => {
                let fault =
                    Fault::new("`within` and `for` exclude each other").label("one too many");
                let help = "`within`: it holds at some time; `for`: it holds all the time";
                self.report_key(&path.key("for"), fault.help(help));
                Hold::For { ms: for_.0 }
            }
            (Some(Within::Auto), None) => Hold::Within { ms: AUTO_MS },
            (Some(Within::Time(time)), None) => Hold::Within { ms: time.0 },
            (None, Some(for_)) => Hold::For { ms: for_.0 },
            (None, None) => Hold::Now,
        }
    }

    fn assertion(&mut self, words: &CheckWords, path: &Path) -> Option<Assertion> {
        if let Some(converged) = &words.converged {
            return Some(self.converged(converged, &path.key("converged")));
        }
        if let Some(diverged) = &words.diverged {
            return Some(self.diverged(diverged, &path.key("diverged")));
        }
        if let Some(height) = &words.height {
            let path = path.key("height");
            let nodes = self.with_chain(height.nodes.as_ref(), &path);
            self.reachable_height(height.at_least, &path.key("at_least"));
            return Some(Assertion::Height {
                nodes,
                at_least: height.at_least,
            });
        }
        if let Some(peers) = &words.peers {
            return Some(self.peers(peers, &path.key("peers")));
        }
        if let Some(reachable) = &words.reachable {
            return Some(self.reachable(reachable, &path.key("reachable")));
        }
        if let Some(confirmed) = &words.confirmed {
            return Some(self.confirmed(confirmed, &path.key("confirmed")));
        }
        if let Some(balance) = &words.balance {
            return Some(self.balance(balance, &path.key("balance")));
        }
        let supply = words.supply.as_ref()?;
        let keeps = |role: Role| !matches!(role, Role::DnsSeed | Role::Routing);
        let path = path.key("supply");
        let nodes = self.nodes_with(supply.nodes.as_ref(), &path, keeps, "keeps no coins");
        Some(Assertion::Supply { nodes })
    }

    /// Those of the named nodes that have a role that `fits`; a problem if there are none.
    fn nodes_with(
        &mut self,
        words: Option<&OneOrMany<Selector>>,
        path: &Path,
        fits: fn(Role) -> bool,
        lack: &str,
    ) -> Option<Vec<NodeName>> {
        let path = path.key("nodes");
        let nodes = self.select(words?, &path);
        let fit =
            |node: &PlannedNode| node.roles.is_empty() || node.roles.iter().any(|role| fits(*role));
        let fitting: Vec<NodeName> = nodes
            .iter()
            .filter(|name| self.planned(name).is_some_and(fit))
            .cloned()
            .collect();
        if let Some(first) = nodes.first().filter(|_| fitting.is_empty()) {
            let fault = Fault::new(format!("`{first}` {lack}")).label("nobody fits");
            self.report(
                &path,
                fault.help("leave `nodes` out to take every running node that counts"),
            );
        }
        Some(fitting)
    }

    fn with_chain(
        &mut self,
        words: Option<&OneOrMany<Selector>>,
        path: &Path,
    ) -> Option<Vec<NodeName>> {
        self.nodes_with(words, path, |role| role != Role::DnsSeed, "keeps no chain")
    }

    fn converged(&mut self, words: &ConvergedWords, path: &Path) -> Assertion {
        let nodes = self.with_chain(words.nodes.as_ref(), path);
        if let Some(height) = words.min_height {
            self.reachable_height(height, &path.key("min_height"));
        }
        if words.fresh_blocks.is_some_and(|blocks| blocks > 0) {
            self.growth(&path.key("fresh_blocks"));
        }
        self.world.height = self.world.height.max(words.min_height.unwrap_or(0));
        let (lag, min_height, fresh_blocks) = (words.lag, words.min_height, words.fresh_blocks);
        Assertion::Converged {
            nodes,
            lag,
            min_height,
            fresh_blocks,
        }
    }

    /// Reports a height that nobody can bring about.
    fn reachable_height(&mut self, height: u32, path: &Path) {
        if height > self.premine && !self.damage.nodes && !self.world.can_grow(self.nodes) {
            let fault = Fault::new(format!(
                "the chain never grows beyond {}: nobody mines",
                self.premine
            ))
            .label("out of reach")
            .help("add a node with the role `miner`, or a step `mine`");
            self.report(path, fault);
        }
    }

    fn growth(&mut self, path: &Path) {
        if !self.damage.nodes && !self.world.can_grow(self.nodes) {
            let fault = Fault::new("there are no new blocks: nobody mines")
                .label("out of reach")
                .help("add a node with the role `miner`, or a step `mine`");
            self.report(path, fault);
        }
    }

    fn diverged(&mut self, words: &DivergedWords, path: &Path) -> Assertion {
        let id = words.between.0.clone();
        let between = path.key("between");
        let nodes = self.with_chain(words.nodes.as_ref(), path);
        self.growth(path);
        match self.world.cuts.get(&id).cloned() {
            Some(sides) => self.sides(&id, &sides, nodes.as_deref(), &between),
            None if self.damage.words.contains(&id) => {}
            None => {
                let known: Vec<&str> = self.world.cuts.keys().map(String::as_str).collect();
                let fault = Fault::new(format!("no cut `{id}` was made before this step"))
                    .label("no such cut")
                    .maybe_help(did_you_mean(&id, known));
                self.report(&between, fault);
            }
        }
        Assertion::Diverged {
            between: id,
            nodes,
            min_blocks: words.min_blocks,
        }
    }

    /// Each side needs somebody with a chain.
    fn sides(
        &mut self,
        id: &str,
        sides: &[Vec<NodeName>],
        nodes: Option<&[NodeName]>,
        path: &Path,
    ) {
        let chain = |name: &NodeName| {
            let roles = self.planned(name).map(|node| &node.roles);
            roles.is_some_and(|roles| roles.is_empty() || roles.iter().any(|r| *r != Role::DnsSeed))
        };
        let counts =
            |name: &&NodeName| chain(name) && nodes.is_none_or(|nodes| nodes.contains(name));
        // An empty side was reported with the cut.
        let empty = |side: &&Vec<NodeName>| !side.is_empty() && !side.iter().any(|n| counts(&n));
        if sides.iter().any(|side| empty(&side)) && !self.damage.nodes {
            let fault = Fault::new(format!(
                "a side of `{id}` has no selected node with a chain"
            ));
            self.report(path, fault.label("one side is empty"));
        }
    }

    fn peers(&mut self, words: &PeersWords, path: &Path) -> Assertion {
        let nodes = self.with_chain(words.nodes.as_ref(), path);
        let (fewest, most) = words.between;
        let between = path.key("between");
        if fewest > most {
            let fault =
                Fault::new(format!("{fewest} is above {most}")).label("the wrong way round");
            self.report(&between, fault.help(format!("write `[{most}, {fewest}]`")));
        }
        let limit = nodes.iter().flatten().filter_map(|name| self.planned(name));
        let limit = limit.map(|node| u32::from(node.peers.max)).min();
        if let Some(limit) = limit.filter(|limit| fewest > *limit) {
            let fault = Fault::new(format!(
                "no more than {limit} peers are allowed by `max_peers`"
            ));
            self.report(&between, fault.label("out of reach"));
        }
        Assertion::Peers {
            nodes,
            between: words.between,
        }
    }

    fn reachable(&mut self, words: &ReachableWords, path: &Path) -> Assertion {
        let from = self.select(&words.from, &path.key("from"));
        let to = self.select(&words.to, &path.key("to"));
        if from.len() == 1 && from == to {
            let fault = Fault::new(format!(
                "`{}` alone makes no pair",
                words
                    .to
                    .0
                    .iter()
                    .map(|s| s.0.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            ));
            self.report(&path.key("to"), fault.label("the same node"));
        }
        Assertion::Reachable {
            from,
            to,
            expect: words.expect,
        }
    }

    fn confirmed(&mut self, words: &ConfirmedWords, path: &Path) -> Assertion {
        let nodes = self.with_chain(words.nodes.as_ref(), path);
        let tx = &words.tx.0;
        let known = self.world.sent.iter().flatten().map(String::as_str);
        let suggestion = did_you_mean(tx, known.clone());
        let sent = if tx == "last" {
            !self.world.sent.is_empty()
        } else {
            known.clone().any(|id| id == tx)
        };
        let lost = if tx == "last" {
            self.damage.steps
        } else {
            self.damage.words.contains(tx)
        };
        if !sent && !lost {
            let fault = Fault::new(format!("no transaction `{tx}` was sent before this step"))
                .label("never sent")
                .help("put a `send` before it")
                .maybe_help(suggestion);
            self.report(&path.key("tx"), fault);
        }
        self.growth(path);
        let tx = if tx == "last" {
            TxRef::Last
        } else {
            TxRef::Step(tx.clone())
        };
        Assertion::Confirmed {
            nodes,
            tx,
            depth: words.depth,
        }
    }

    fn balance(&mut self, words: &BalanceWords, path: &Path) -> Assertion {
        let wallet = |role: Role| role == Role::Wallet;
        let named = self.nodes_with(words.nodes.as_ref(), path, wallet, "has no wallet");
        let everybody = self
            .nodes
            .iter()
            .filter(|node| node.roles.contains(&Role::Wallet));
        let absent = &self.world.absent;
        let default = || {
            everybody
                .map(|n| n.name.clone())
                .filter(|n| !absent.contains(n))
                .collect()
        };
        let nodes: Vec<NodeName> = named.unwrap_or_else(default);
        if nodes.is_empty() && words.nodes.is_none() && !self.damage.nodes {
            let fault = Fault::new("no node has the role `wallet`").label("nobody");
            self.report(path, fault);
        }
        let least = words.at_least.map(|coins| coins.0);
        let most = words.at_most.map(|coins| coins.0);
        if least.is_none() && most.is_none() && !self.damage.steps {
            let fault = Fault::new("neither `at_least` nor `at_most` is given");
            self.report(path, fault.label("says nothing"));
        }
        if let (Some(least), Some(most)) = (least, most)
            && least > most
        {
            let fault = Fault::new(format!("{least} is above {most}")).label("above `at_most`");
            self.report(&path.key("at_least"), fault);
        }
        let (at_least, at_most) = (least.map(|a| a.sats()), most.map(|a| a.sats()));
        Assertion::Balance {
            nodes,
            at_least,
            at_most,
        }
    }
}

/// Names of the assertions that are there.
fn named(words: &CheckWords) -> Vec<&'static str> {
    let CheckWords {
        converged,
        diverged,
        height,
        peers,
        reachable,
        confirmed,
        balance,
        supply,
        over: _,
        within: _,
        for_: _,
    } = words;
    let there = [
        converged.is_some(),
        diverged.is_some(),
        height.is_some(),
        peers.is_some(),
        reachable.is_some(),
        confirmed.is_some(),
        balance.is_some(),
        supply.is_some(),
    ];
    ASSERTIONS
        .iter()
        .zip(there)
        .filter(|(_, there)| *there)
        .map(|(name, _)| *name)
        .collect()
}
