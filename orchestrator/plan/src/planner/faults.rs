//! `partition`, `heal` and `churn`.

use std::collections::BTreeMap;

use super::{
    churn::{Leaves, Rhythm, schedule},
    random::Stream,
    stage::Stage,
    world::{InForce, State},
};
use crate::{
    plan::{Action, Churn, NodeName, Partition},
    problem::{Fault, did_you_mean},
    topology::{
        scalars::Selector,
        steps::{ChurnWords, PartitionWords, Shape},
        tree::Path,
        words::OneOrMany,
    },
};

/// Groups of a cut, each with its place in the text.
type Groups = Vec<(Vec<NodeName>, Path)>;

impl Stage<'_> {
    pub(super) fn partition(&mut self, words: &PartitionWords, path: &Path) -> Option<Action> {
        let id = self.id_or_next(words.id.as_ref().map(|id| id.0.as_str()), "partition");
        self.claim(&id, path);
        let groups = match (&words.groups, words.shape) {
            (Some(groups), None) => {
                if words.of.is_some() {
                    let fault = Fault::new("`of` belongs to a `shape`").label("without a shape");
                    self.report_key(&path.key("of"), fault);
                }
                Some(self.groups(groups, &path.key("groups")))
            }
            (None, Some(shape)) => self.shape(shape, words.of.as_ref(), path),
            (Some(_), Some(_)) => {
                let fault =
                    Fault::new("`groups` and `shape` exclude each other").label("one too many");
                self.report_key(&path.key("shape"), fault.help("keep one of them"));
                None
            }
            (None, None) => {
                if !self.damage.steps {
                    let fault = Fault::new("neither `groups` nor `shape` says what is cut");
                    self.report(
                        path,
                        fault.help("e.g. `groups: [[zone:eu], rest]`, or `shape: halves`"),
                    );
                }
                None
            }
        };
        let groups = groups
            .map(|groups| self.sound(groups, words, path))
            .unwrap_or_default();
        let fault = InForce {
            timed: words.for_.is_some(),
            made_before: false,
            churned: None,
        };
        self.world.faults.insert(id.clone(), fault);
        self.world.cuts.insert(id.clone(), groups.clone());
        let for_ms = words.for_.map(|time| time.0);
        let cut = Partition {
            id,
            groups,
            one_way: words.one_way,
            for_ms,
        };
        Some(Action::Partition(cut))
    }

    fn claim(&mut self, id: &str, path: &Path) {
        let fault = if ["all", "rest", "last"].contains(&id) {
            Fault::new(format!("`{id}` is a reserved word")).label("reserved")
        } else if self.world.faults.contains_key(id) {
            Fault::new(format!("a fault `{id}` is in force already"))
                .label("in force")
                .help("choose another id, or heal the other one first")
        } else {
            return;
        };
        self.report(&path.key("id"), fault);
    }

    fn groups(&mut self, words: &[OneOrMany<Selector>], path: &Path) -> Groups {
        let mut groups: Groups = Vec::new();
        let mut rest = None;
        for (i, selectors) in words.iter().enumerate() {
            let path = path.index(i);
            let is_rest = |selector: &Selector| selector.0 == "rest";
            if selectors.0.iter().any(is_rest) {
                if rest.is_some() || selectors.0.len() > 1 {
                    let fault = Fault::new("`rest` is one whole group, once").label("not here");
                    self.report(&path, fault.help("write `groups: [[a, b], rest]`"));
                }
                rest = rest.or(Some(i));
                groups.push((Vec::new(), path));
            } else {
                let nodes = self.select(selectors, &path);
                groups.push((nodes, path));
            }
        }
        if let Some(place) = rest {
            let nodes = self.others(&groups);
            if let Some(group) = groups.get_mut(place) {
                group.0 = nodes;
            }
        }
        groups
    }

    /// All planned nodes, joiners included, that are in no group.
    fn others(&self, groups: &Groups) -> Vec<NodeName> {
        let named = |name: &NodeName| groups.iter().any(|(group, _)| group.contains(name));
        let names = self.nodes.iter().map(|node| &node.name);
        names.filter(|name| !named(name)).cloned().collect()
    }

    fn shape(
        &mut self,
        shape: Shape,
        of: Option<&OneOrMany<Selector>>,
        path: &Path,
    ) -> Option<Groups> {
        let shape_path = path.key("shape");
        let everybody = OneOrMany(vec![Selector("all".to_owned())]);
        match (shape, of) {
            (Shape::Halves, of) => {
                let nodes = self.select(of.unwrap_or(&everybody), &path.key("of"));
                let (first, second) = nodes.split_at(nodes.len().div_ceil(2));
                Some(vec![
                    (first.to_vec(), shape_path.clone()),
                    (second.to_vec(), shape_path),
                ])
            }
            (Shape::Isolate, Some(of)) => {
                let nodes = self.select(of, &path.key("of"));
                let alone = nodes
                    .into_iter()
                    .map(|node| (vec![node], shape_path.clone()));
                let mut groups: Groups = alone.collect();
                let rest = self.others(&groups);
                if !rest.is_empty() {
                    groups.push((rest, shape_path));
                }
                Some(groups)
            }
            (Shape::Isolate, None) => {
                let fault = Fault::new("`isolate` does not say whom").label("of whom?");
                self.report(&shape_path, fault.help("add `of: [full-1]`"));
                None
            }
        }
    }

    /// Reports groups that cannot be cut, and returns them all.
    fn sound(&mut self, groups: Groups, words: &PartitionWords, path: &Path) -> Vec<Vec<NodeName>> {
        let place = if words.groups.is_some() {
            path.key("groups")
        } else {
            path.key("shape")
        };
        if groups.len() < 2 && !self.damage.nodes {
            let fault = Fault::new("one group cannot be cut from itself").label("one group");
            self.report(&place, fault.help("name a second group, or `rest`"));
        }
        if words.one_way && groups.len() != 2 {
            let fault = Fault::new(format!(
                "`one_way` takes exactly two groups, here are {}",
                groups.len()
            ))
            .label("from which to which?")
            .help("packets from the first group to the second are dropped");
            self.report_key(&path.key("one_way"), fault);
        }
        self.overlaps(&groups);
        for (i, (group, path)) in groups.iter().enumerate() {
            let unnamed = words
                .groups
                .as_ref()
                .and_then(|w| w.get(i))
                .is_none_or(|selectors| selectors.0.iter().all(|selector| selector.0 == "rest"));
            // An empty group of selectors was reported where they were resolved.
            if group.is_empty() && unnamed && !self.damage.nodes {
                let fault =
                    Fault::new("a group of this cut is empty").label("nobody is left for it");
                self.report(path, fault.help("a cut needs a node on each side"));
            }
        }
        groups.into_iter().map(|(group, _)| group).collect()
    }

    fn overlaps(&mut self, groups: &Groups) {
        let mut seen: BTreeMap<&NodeName, usize> = BTreeMap::new();
        let mut reported = Vec::new();
        for (i, (group, path)) in groups.iter().enumerate() {
            for node in group {
                let first = *seen.entry(node).or_insert(i);
                if first != i && !reported.contains(&(first, i)) {
                    reported.push((first, i));
                    let fault = Fault::new(format!("`{node}` is in two groups of one cut"))
                        .label(format!("overlaps with group {}", first + 1))
                        .help("a node is on one side only");
                    self.report(path, fault);
                }
            }
        }
    }

    pub(super) fn heal(&mut self, id: &str, path: &Path) -> Option<Action> {
        let cut = |fault: &InForce| fault.churned.is_none();
        if id == "all" {
            let cuts: Vec<String> = self
                .world
                .faults
                .iter()
                .filter(|(_, fault)| cut(fault))
                .map(|(id, _)| id.clone())
                .collect();
            if cuts.is_empty() && !self.damage.steps && !self.world.ran_before {
                let fault =
                    Fault::new("nothing is cut that could be healed").label("nothing is cut");
                self.report(path, fault);
            }
            cuts.iter().for_each(|id| self.world.end(id));
            return Some(Action::Heal { id: None });
        }
        match self.world.faults.get(id) {
            Some(fault) if cut(fault) => self.world.end(id),
            Some(_) => {
                let fault = Fault::new(format!("`{id}` is a churn, which ends itself"))
                    .label("not a cut")
                    .help(format!("write `wait: {{ over: {id} }}`"));
                self.report(path, fault);
            }
            None if self.damage.words.contains(id) => {}
            None => {
                let fault = self.unknown_fault(id, "healed");
                self.report(path, fault);
            }
        }
        Some(Action::Heal {
            id: Some(id.to_owned()),
        })
    }

    fn unknown_fault(&self, id: &str, done: &str) -> Fault {
        if self.world.over.contains(id) {
            return Fault::new(format!("`{id}` is over already"))
                .label("over")
                .help(format!(
                    "it was healed before this step and cannot be {done} again"
                ));
        }
        let known: Vec<&str> = self.world.faults.keys().map(String::as_str).collect();
        let help = match known.as_slice() {
            [] => "no fault is in force here".to_owned(),
            known => format!("in force here: {}", known.join(", ")),
        };
        Fault::new(format!("no fault `{id}` was ever made"))
            .label("never made")
            .help(help)
            .maybe_help(did_you_mean(id, known))
    }

    /// `wait: {over: id}`.
    pub(super) fn over(&mut self, id: &str, path: &Path) -> Option<Action> {
        match self.world.faults.get(id) {
            Some(fault) if fault.made_before => {
                let fault = Fault::new(format!("the end of `{id}` is known to the command that made it"))
                    .label("not made by these steps")
                    .help("`partition --for` and `churn` return when their fault is over; `heal` ends a cut at once");
                self.report(path, fault);
            }
            Some(fault) if fault.timed => self.world.end(id),
            Some(_) => {
                let fault = Fault::new(format!("`{id}` never ends by itself"))
                    .label("has no `for`")
                    .help(format!("give it a `for`, or write `heal: {id}`"));
                self.report(path, fault);
            }
            None if self.damage.words.contains(id) => {}
            // In a file that is a mistake; of a testnet that has run for a while it is just what is asked.
            None if self.world.ran_before && self.world.over.contains(id) => {}
            None => {
                let fault = self.unknown_fault(id, "waited for");
                self.report(path, fault);
            }
        }
        self.world.waited = true;
        Some(Action::Over { id: id.to_owned() })
    }

    pub(super) fn churn(&mut self, words: &ChurnWords, path: &Path) -> Option<Action> {
        let id = self.id_or_next(words.id.as_ref().map(|id| id.0.as_str()), "churn");
        self.claim(&id, path);
        let nodes = self.select(&words.nodes, &path.key("nodes"));
        let up: Vec<NodeName> = nodes
            .into_iter()
            .filter(|node| matches!(self.world.state(node), State::Up))
            .collect();
        if words.down >= words.for_ {
            let fault = Fault::new("nobody would be back before the churn is over")
                .label("not shorter than `for`")
                .help("make `down` shorter or `for` longer");
            self.report(&path.key("down"), fault);
            return None;
        }
        if up.is_empty() {
            if !self.damage.nodes {
                let fault = Fault::new("nobody runs who could leave").label("nobody");
                self.report(&path.key("nodes"), fault);
            }
            return None;
        }
        let rhythm = Rhythm {
            leaves: self.leaves(words, path)?,
            down: words.down.0,
            length: words.for_.0,
        };
        let events = schedule(
            &up,
            &rhythm,
            &mut Stream::new(self.seed, &format!("churn/{id}")),
        );
        self.world.faults.insert(
            id.clone(),
            InForce {
                timed: true,
                made_before: false,
                churned: Some(up),
            },
        );
        Some(Action::Churn(Churn {
            id,
            events,
            for_ms: words.for_.0,
        }))
    }

    /// How many leave, and when: by `fraction` and `every`, or by `rate`.
    fn leaves(&mut self, words: &ChurnWords, path: &Path) -> Option<Leaves> {
        match (words.fraction, words.rate) {
            (Some(fraction), None) => Some(Leaves::Rounds {
                fraction: fraction.0,
                every: words.every.unwrap_or(words.for_).0,
            }),
            (None, Some(rate)) => {
                if words.every.is_some() {
                    let fault = Fault::new("`every` belongs to `fraction`")
                        .label("without a fraction")
                        .help("at a `rate` nodes leave one by one all the time");
                    self.report_key(&path.key("every"), fault);
                }
                Some(Leaves::Steadily(rate.0 / 1_000.0))
            }
            (Some(_), Some(_)) => {
                let fault =
                    Fault::new("`fraction` and `rate` exclude each other").label("one too many");
                self.report_key(&path.key("rate"), fault.help("keep one of them"));
                None
            }
            (None, None) => {
                if !self.damage.steps {
                    let fault = Fault::new("neither `fraction` nor `rate` says how many leave");
                    let help = "e.g. `fraction: 1/3, every: 5s`, or `rate: 1%/s`";
                    self.report(path, fault.help(help));
                }
                None
            }
        }
    }
}
