//! From selectors to nodes.

use std::collections::BTreeSet;

use crate::{
    plan::{NodeName, Plan, PlannedNode},
    problem::{Fault, did_you_mean},
    topology::{
        Damage,
        scalars::{Scalar, Selector},
    },
};

/// The nodes of a plan that any of the words chooses, those yet to join included, in the plan's order.
///
/// # Errors
/// What is wrong with a word, and what helps.
pub fn select(plan: &Plan, words: &[String]) -> Result<Vec<NodeName>, (String, Option<String>)> {
    let (absent, damage) = (BTreeSet::new(), Damage::default());
    let choice = Choice {
        nodes: &plan.nodes,
        absent: &absent,
        damage: &damage,
    };
    let mut chosen = BTreeSet::new();
    for word in words {
        let selector = Selector::parse(word);
        let nodes = selector.and_then(|selector| choice.resolve(&selector));
        chosen.extend(nodes.map_err(|fault| (fault.message, fault.help))?);
    }
    let names = plan.nodes.iter().map(|node| &node.name);
    Ok(names
        .filter(|name| chosen.contains(*name))
        .cloned()
        .collect())
}

/// The nodes that selectors choose from.
pub(super) struct Choice<'a> {
    /// All planned nodes.
    pub(super) nodes: &'a [PlannedNode],
    /// Those that are to join and have not.
    pub(super) absent: &'a BTreeSet<NodeName>,
    /// What is wrong with the nodes, so that a selector may choose nobody for no fault of its own.
    pub(super) damage: &'a Damage,
}

impl Choice<'_> {
    /// The nodes that a selector chooses, in the plan's order; `Ok` of none only where the nodes are damaged.
    pub(super) fn resolve(&self, selector: &Selector) -> Result<Vec<NodeName>, Fault> {
        let word = selector.0.as_str();
        if word == "rest" {
            return Err(Fault::new("`rest` means nothing here")
                .label("not here")
                .help("`rest` stands in the groups of a partition only"));
        }
        let chosen: Vec<&PlannedNode> = self
            .nodes
            .iter()
            .filter(|node| matches(word, node))
            .collect();
        let present: Vec<NodeName> = chosen
            .iter()
            .filter(|node| !self.absent.contains(&node.name))
            .map(|node| node.name.clone())
            .collect();
        if !present.is_empty() || (chosen.is_empty() && self.excused(word)) {
            return Ok(present);
        }
        if !chosen.is_empty() {
            return Err(Fault::new(format!("nobody of `{word}` has joined yet"))
                .label("not there yet")
                .help("put the step that joins them before this one"));
        }
        let known = self.words();
        let groups: Vec<&str> = known.iter().map(String::as_str).collect();
        Err(Fault::new(format!("`{word}` selects no node"))
            .label("nobody")
            .help(format!("there are {}", groups.join(", ")))
            .maybe_help(did_you_mean(
                word,
                self.all_words().iter().map(String::as_str),
            )))
    }

    /// Whether the nodes that a word may have meant were lost with something that is wrong elsewhere.
    fn excused(&self, word: &str) -> bool {
        let Some(groups) = &self.damage.groups else {
            return self.damage.nodes;
        };
        let is_group = |group: &String| {
            word.strip_prefix(group.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        groups.iter().any(is_group) || (!groups.is_empty() && word.contains(':'))
    }

    /// Groups, roles and zones.
    fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        let mut add = |word: String| {
            if !words.contains(&word) {
                words.push(word);
            }
        };
        for node in self.nodes {
            add(node.group.clone());
        }
        for node in self.nodes {
            node.roles
                .iter()
                .for_each(|role| add(format!("role:{role}")));
            node.zone
                .iter()
                .for_each(|zone| add(format!("zone:{zone}")));
        }
        words
    }

    fn all_words(&self) -> Vec<String> {
        let mut words = self.words();
        words.extend(self.nodes.iter().map(|node| node.name.0.clone()));
        words.push("all".to_owned());
        words
    }
}

fn matches(word: &str, node: &PlannedNode) -> bool {
    match word.split_once(':') {
        Some(("role", role)) => node.roles.iter().any(|own| own.as_str() == role),
        Some(("zone", zone)) => node.zone.as_deref() == Some(zone),
        _ => word == "all" || node.name.0 == word || node.group == word,
    }
}
