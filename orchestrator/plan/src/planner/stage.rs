//! Goes through a scenario step by step: resolves what each step names and reports what cannot be.

use std::collections::BTreeMap;

use super::{
    select::Choice,
    world::{State, World},
};
use crate::{
    plan::{Action, NodeName, NodeVerb, PlannedNode, PlannedStep},
    problem::{Collector, Fault, did_you_mean},
    topology::{
        Damage,
        scalars::Selector,
        steps::{JoinWords, Step, Targets, WaitFor},
        tree::{Path, Tree},
        words::OneOrMany,
    },
};

/// A scenario that is being planned.
pub(super) struct Stage<'a> {
    pub(super) nodes: &'a [PlannedNode],
    pub(super) world: World,
    pub(super) seed: u64,
    pub(super) damage: Damage,
    pub(super) premine: u32,
    /// How many steps of each kind there were, for default ids.
    pub(super) counted: BTreeMap<&'static str, usize>,
    tree: &'a Tree,
    path: Path,
    problems: &'a mut Collector,
}

impl<'a> Stage<'a> {
    pub(super) fn new(
        nodes: &'a [PlannedNode],
        world: World,
        seed: u64,
        damage: Damage,
        tree: &'a Tree,
        path: Path,
        problems: &'a mut Collector,
    ) -> Self {
        let counted = BTreeMap::new();
        Self {
            nodes,
            world,
            seed,
            damage,
            premine: 0,
            counted,
            tree,
            path,
            problems,
        }
    }

    pub(super) const fn premine(&mut self, blocks: u32) {
        self.premine = blocks;
    }

    /// Plans all steps; those that cannot be are reported and left out.
    pub(super) fn steps(&mut self, steps: &[Option<Step>]) -> Vec<PlannedStep> {
        let mut planned = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let path = self.path.index(index);
            let Some(step) = step else { continue };
            if let Some(action) = self.step(step, &path) {
                let text = path
                    .get(self.tree)
                    .map_or_else(String::new, Tree::step_text);
                planned.push(PlannedStep {
                    index: index + 1,
                    text,
                    action,
                });
            }
        }
        planned
    }

    fn step(&mut self, step: &Step, path: &Path) -> Option<Action> {
        match step {
            Step::Wait(WaitFor::Time(time)) => {
                self.world.waited = true;
                Some(Action::Sleep { ms: time.0 })
            }
            Step::Wait(WaitFor::Check(check)) => self.wait(check, &path.key("wait")),
            Step::Assert(check) => self.check(check, &path.key("assert")).map(Action::Assert),
            Step::Partition(words) => self.partition(words, &path.key("partition")),
            Step::Heal(id) => self.heal(&id.0, &path.key("heal")),
            Step::Kill(targets) => self.verb(NodeVerb::Kill, targets, &path.key("kill")),
            Step::Stop(targets) => self.verb(NodeVerb::Stop, targets, &path.key("stop")),
            Step::Start(targets) => self.verb(NodeVerb::Start, targets, &path.key("start")),
            Step::Restart(targets) => self.verb(NodeVerb::Restart, targets, &path.key("restart")),
            Step::Pause(targets) => self.verb(NodeVerb::Pause, targets, &path.key("pause")),
            Step::Resume(targets) => self.verb(NodeVerb::Resume, targets, &path.key("resume")),
            Step::Churn(words) => self.churn(words, &path.key("churn")),
            Step::Join(words) => self.join(words, &path.key("join")),
            Step::Mine(words) => self.mine(words, &path.key("mine")),
            Step::Send(words) => self.send(words, &path.key("send")),
        }
    }

    pub(super) fn report(&mut self, path: &Path, fault: Fault) {
        self.problems.report(path.span(self.tree), fault);
    }

    pub(super) fn report_key(&mut self, path: &Path, fault: Fault) {
        self.problems.report(path.key_span(self.tree), fault);
    }

    pub(super) fn planned(&self, name: &NodeName) -> Option<&'a PlannedNode> {
        self.nodes.iter().find(|node| node.name == *name)
    }

    /// Nodes that a selector names; nothing (and a problem) if there are none.
    pub(super) fn select_one(&mut self, selector: &Selector, path: &Path) -> Vec<NodeName> {
        let choice = Choice {
            nodes: self.nodes,
            absent: &self.world.absent,
            damage: &self.damage,
        };
        match choice.resolve(selector) {
            Ok(nodes) => nodes,
            Err(fault) => {
                self.report(path, fault);
                Vec::new()
            }
        }
    }

    /// Nodes that selectors name, each once, in the plan's order.
    pub(super) fn select(&mut self, selectors: &OneOrMany<Selector>, path: &Path) -> Vec<NodeName> {
        let mut chosen = Vec::new();
        for (i, selector) in selectors.0.iter().enumerate() {
            chosen.extend(self.select_one(selector, &path.index(i)));
        }
        self.in_order(&chosen)
    }

    pub(super) fn in_order(&self, chosen: &[NodeName]) -> Vec<NodeName> {
        let names = self.nodes.iter().map(|node| &node.name);
        names
            .filter(|name| chosen.contains(name))
            .cloned()
            .collect()
    }

    /// The one node that a selector names.
    pub(super) fn single(&mut self, selector: &Selector, path: &Path) -> Option<NodeName> {
        let mut nodes = self.select_one(selector, path);
        if nodes.len() > 1 {
            let names: Vec<String> = nodes
                .iter()
                .take(3)
                .map(|node| format!("`{node}`"))
                .collect();
            let fault = Fault::new(format!("`{}` names {} nodes", selector.0, nodes.len()))
                .label("one is wanted")
                .help(format!("name one of them, e.g. {}", names.join(", ")));
            self.report(path, fault);
            return None;
        }
        nodes.pop()
    }

    /// The id that words give, or the next of its kind.
    pub(super) fn id_or_next(&mut self, id: Option<&str>, kind: &'static str) -> String {
        let count = self.counted.entry(kind).or_default();
        *count += 1;
        id.map_or_else(|| format!("{kind}-{count}"), str::to_owned)
    }

    fn verb(&mut self, verb: NodeVerb, targets: &Targets, path: &Path) -> Option<Action> {
        let path = if targets.long {
            path.key("nodes")
        } else {
            path.clone()
        };
        let mut all = Vec::new();
        for (i, selector) in targets.nodes.0.iter().enumerate() {
            let path = path.index(i);
            let nodes = self.select_one(selector, &path);
            let wrong: Vec<&NodeName> = nodes
                .iter()
                .filter(|node| !all.contains(*node) && !allowed(verb, self.world.state(node)))
                .collect();
            // A selector may cover nodes that are in the right state and others: only certain nonsense is a problem.
            if let Some(first) = wrong.first().filter(|_| wrong.len() == nodes.len()) {
                let state = self.world.state(first);
                self.report(&path, nonsense(verb, first, state));
            }
            let wrong: Vec<NodeName> = wrong.into_iter().cloned().collect();
            all.extend(nodes.into_iter().filter(|node| !wrong.contains(node)));
        }
        let nodes = self.in_order(&all);
        for node in &nodes {
            self.world.set(node, after(verb));
        }
        (!nodes.is_empty()).then_some(Action::Nodes { verb, nodes })
    }

    fn join(&mut self, words: &JoinWords, path: &Path) -> Option<Action> {
        let group = words.group.as_str();
        let wanted = usize::try_from(words.count).unwrap_or(usize::MAX);
        let of_group = |node: &&PlannedNode| node.group == group;
        if !self.nodes.iter().any(|node| node.group == group) {
            if !self.damage.nodes {
                let groups: Vec<&str> = self.nodes.iter().map(|n| n.group.as_str()).collect();
                let fault = Fault::new(format!("there is no group `{group}`"))
                    .label("no such group")
                    .maybe_help(did_you_mean(group, groups));
                self.report(&path.key("group"), fault);
            }
            return None;
        }
        let absent = |node: &&PlannedNode| self.world.absent.contains(&node.name);
        let nodes: Vec<NodeName> = self
            .nodes
            .iter()
            .filter(of_group)
            .filter(absent)
            .take(wanted)
            .map(|node| node.name.clone())
            .collect();
        if nodes.len() < wanted {
            // In a file the joiners are planned from its own steps; a running testnet has what its plan left.
            if self.world.ran_before {
                let fault = Fault::new(format!(
                    "{wanted} nodes are to join `{group}`, {} are left in the plan",
                    nodes.len()
                ));
                self.report(
                    path,
                    fault.help("only nodes that the topology planned can join"),
                );
            }
            return None;
        }
        for node in &nodes {
            self.world.set(node, State::Up);
        }
        Some(Action::Join { nodes })
    }
}

const fn allowed(verb: NodeVerb, state: State) -> bool {
    match (verb, state) {
        (_, State::Unsure) => true,
        (NodeVerb::Start, state) => matches!(state, State::Down),
        (NodeVerb::Resume, state) => matches!(state, State::Paused),
        (NodeVerb::Kill, state) => matches!(state, State::Up | State::Paused),
        (NodeVerb::Stop | NodeVerb::Restart | NodeVerb::Pause, state) => matches!(state, State::Up),
    }
}

const fn after(verb: NodeVerb) -> State {
    match verb {
        NodeVerb::Kill | NodeVerb::Stop => State::Down,
        NodeVerb::Start | NodeVerb::Restart | NodeVerb::Resume => State::Up,
        NodeVerb::Pause => State::Paused,
    }
}

fn nonsense(verb: NodeVerb, node: &NodeName, state: State) -> Fault {
    let word = match verb {
        NodeVerb::Kill => "killed",
        NodeVerb::Stop => "stopped",
        NodeVerb::Start => "started",
        NodeVerb::Restart => "restarted",
        NodeVerb::Pause => "paused",
        NodeVerb::Resume => "resumed",
    };
    let help = match (verb, state) {
        (NodeVerb::Start, State::Up) => "kill or stop it first",
        (NodeVerb::Start, State::Paused) | (_, State::Paused) => "resume it first",
        (NodeVerb::Resume, _) => "pause it first",
        (_, State::Absent) => "let it join first",
        _ => "start it first",
    };
    Fault::new(format!("`{node}` cannot be {word}: it {}", state.phrase()))
        .label(state.phrase())
        .help(help)
}
