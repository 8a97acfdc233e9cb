//! Which cuts are in force, and the directed drops they come to.
//!
//! A pair is cut while *any* fault cuts it; healing one fault removes only that one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::plan::{NodeName, Partition};

/// Packets from every node of `from` to every node of `to` are dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectedDrop {
    /// Senders; never empty.
    pub from: Vec<NodeName>,
    /// Receivers; never empty, disjoint from `from`.
    pub to: Vec<NodeName>,
}

impl Partition {
    /// The drops this cut comes to: every ordered pair of groups, or first to second only when `one_way`.
    #[must_use]
    pub fn drops(&self) -> Vec<DirectedDrop> {
        let mut drops = Vec::new();
        for (i, from) in self.groups.iter().enumerate() {
            for (j, to) in self.groups.iter().enumerate() {
                let wanted = i != j && (!self.one_way || (i == 0 && j == 1));
                if wanted && !from.is_empty() && !to.is_empty() {
                    drops.push(DirectedDrop {
                        from: from.clone(),
                        to: to.clone(),
                    });
                }
            }
        }
        drops
    }
}

/// The cuts in force, in the order they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActiveCuts(Vec<Partition>);

/// A cut with this id is in force already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cut `{0}` is in force already")]
pub struct CutInForce(pub String);

impl ActiveCuts {
    /// Adds a cut.
    ///
    /// # Errors
    /// When one with its id is in force.
    pub fn insert(&mut self, cut: Partition) -> Result<(), CutInForce> {
        if self.get(&cut.id).is_some() {
            return Err(CutInForce(cut.id));
        }
        self.0.push(cut);
        Ok(())
    }

    /// Removes a cut, and nothing else; `None` if it was not in force.
    pub fn remove(&mut self, id: &str) -> Option<Partition> {
        let place = self.0.iter().position(|cut| cut.id == id)?;
        Some(self.0.remove(place))
    }

    /// Removes all cuts and returns them.
    pub fn clear(&mut self) -> Vec<Partition> {
        std::mem::take(&mut self.0)
    }

    /// The cut with this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Partition> {
        self.0.iter().find(|cut| cut.id == id)
    }

    /// All cuts, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Partition> {
        self.0.iter()
    }

    /// Whether nothing is cut.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of cuts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The complete desired state: every cut's id and drops, oldest first.
    pub fn drops(&self) -> impl Iterator<Item = (&str, Vec<DirectedDrop>)> {
        self.0.iter().map(|cut| (cut.id.as_str(), cut.drops()))
    }

    /// Every ordered pair (sender, receiver) that any cut drops.
    #[must_use]
    pub fn pairs(&self) -> BTreeSet<(NodeName, NodeName)> {
        let mut pairs = BTreeSet::new();
        for drop in self.0.iter().flat_map(Partition::drops) {
            for from in &drop.from {
                pairs.extend(drop.to.iter().map(|to| (from.clone(), to.clone())));
            }
        }
        pairs
    }

    /// Whether packets from `from` to `to` are dropped by any cut.
    #[must_use]
    pub fn is_cut(&self, from: &NodeName, to: &NodeName) -> bool {
        self.0
            .iter()
            .flat_map(Partition::drops)
            .any(|drop| drop.from.contains(from) && drop.to.contains(to))
    }
}
