//! What the relay keeps back.

use std::{collections::BTreeSet, net::Ipv4Addr};

use crate::nft::{
    pairs,
    ruleset::{Class, FORWARD, Ruleset, Tag},
};

/// Which copies are kept back, and how many were so far. By default none.
#[derive(Debug, Default)]
pub(super) struct Policy {
    drops: Vec<Kept>,
}

/// One directed drop of one cut.
#[derive(Debug)]
struct Kept {
    tag: Tag,
    from: BTreeSet<Ipv4Addr>,
    to: BTreeSet<Ipv4Addr>,
    copies: u64,
}

impl Policy {
    /// What a table means for packets that it never sees: none is copied between two nodes if the table drops what the one
    /// sends to the other. A copy counts for the rule that is tried first.
    pub(super) fn of(ruleset: &Ruleset) -> Self {
        if ruleset.hook != FORWARD {
            return Self::default();
        }
        let kept = pairs::drops(ruleset).map(|(tag, from, to)| Kept {
            tag: Tag {
                class: Class::Group,
                ..tag
            },
            from: from.collect(),
            to: to.collect(),
            copies: 0,
        });
        Self {
            drops: kept.collect(),
        }
    }

    /// Whether both keep back the same copies and count them the same way.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.drops.len() == other.drops.len()
            && self
                .drops
                .iter()
                .zip(&other.drops)
                .all(|(a, b)| (a.tag, &a.from, &a.to) == (b.tag, &b.from, &b.to))
    }

    /// Copies kept back so far, by rule, in the order they are tried.
    pub(super) fn counters(&self) -> impl Iterator<Item = (Tag, u64)> {
        self.drops.iter().map(|kept| (kept.tag, kept.copies))
    }

    /// Picks those of `receivers` that get a copy of what `sender` sent, and counts the others.
    pub(super) fn admit<'a>(
        &mut self,
        sender: Ipv4Addr,
        receivers: impl Iterator<Item = (&'a Ipv4Addr, &'a u32)>,
        devices: &mut Vec<u32>,
    ) {
        let mut concerned: Vec<_> = self
            .drops
            .iter_mut()
            .filter(|kept| kept.from.contains(&sender))
            .collect();
        for (receiver, device) in receivers {
            match concerned.iter_mut().find(|kept| kept.to.contains(receiver)) {
                Some(kept) => kept.copies += 1,
                None => devices.push(*device),
            }
        }
    }
}
