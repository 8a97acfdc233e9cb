//! Which packets pass in the fake network: the link table in force, plus whatever a test breaks on purpose.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use netsplit_faults::link::{Applied, Counters, CutCounters, DropCounters, LinkTable};

use crate::Timestamp;

/// An ordered pair of addresses.
type Pair = (IpAddr, IpAddr);

/// Who drops from whom, for looking up.
#[derive(Debug, Default)]
struct Table {
    drops: Vec<Directed>,
}

/// One drop of one cut.
#[derive(Debug)]
struct Directed {
    cut: String,
    /// Its place in the cut.
    place: usize,
    from: BTreeSet<IpAddr>,
    to: BTreeSet<IpAddr>,
}

impl Table {
    fn of(table: &LinkTable) -> Self {
        let drops = table.cuts.iter().flat_map(|cut| {
            cut.drops.iter().enumerate().map(|(place, drop)| Directed {
                cut: cut.id.clone(),
                place,
                from: drop.from.iter().copied().collect(),
                to: drop.to.iter().copied().collect(),
            })
        });
        Self {
            drops: drops.collect(),
        }
    }

    /// The first drop that a packet of this ordered pair meets.
    fn first(&self, (from, to): Pair) -> Option<&Directed> {
        self.drops
            .iter()
            .find(|drop| drop.from.contains(&from) && drop.to.contains(&to))
    }
}

/// The links' state.
#[derive(Debug, Default)]
pub(super) struct Links {
    table: LinkTable,
    in_force: Table,
    /// Since when the table is in force.
    since: Timestamp,
    /// Packets of probes dropped, by cut and place of the drop in it.
    probes: BTreeMap<(String, usize), u64>,
    /// The tables before, and how long each was in force.
    past: Vec<(Table, Duration)>,
    /// Pairs that pass whatever the table says.
    pub(super) leaks: BTreeSet<Pair>,
    /// Pairs that never pass.
    pub(super) broken: BTreeSet<Pair>,
    /// What every read-back is said to differ by.
    pub(super) differences: Vec<String>,
    /// Protocol packets dropped per second and directed drop; `None` means 5.
    pub(super) protocol_rate: Option<u64>,
}

impl Links {
    /// Takes a table and answers as an enforcer does.
    pub(super) fn apply(&mut self, table: LinkTable, now: Timestamp) -> Applied {
        let before = std::mem::replace(&mut self.in_force, Table::of(&table));
        self.past.push((before, now - self.since));
        let kept = |id: &str| table.cuts.iter().any(|cut| cut.id == id);
        self.probes.retain(|(id, _), _| kept(id));
        self.table = table;
        self.since = now;
        let intended: BTreeSet<Pair> = self
            .table
            .cuts
            .iter()
            .flat_map(|cut| &cut.drops)
            .flat_map(|drop| pairs(&drop.from, &drop.to))
            .collect();
        let pairs_intended = intended.len() as u64;
        Applied {
            version: self.table.version,
            committed_from_ns: now.0,
            committed_to_ns: now.0,
            pairs_intended,
            pairs_installed: pairs_intended - self.differences.len().min(intended.len()) as u64,
            differences: self.differences.clone(),
        }
    }

    /// Whether packets of this ordered pair arrive.
    pub(super) fn passes(&self, pair: Pair) -> bool {
        self.passes_under(&self.in_force, pair)
    }

    fn passes_under(&self, table: &Table, pair: Pair) -> bool {
        self.leaks.contains(&pair) || !(self.broken.contains(&pair) || table.first(pair).is_some())
    }

    /// Sends probe packets; returns whether they arrive, and counts them where they do not.
    pub(super) fn probe(&mut self, pair: Pair, packets: u64) -> bool {
        if self.passes(pair) {
            return true;
        }
        // A packet meets the first rule that drops it and no other.
        if let Some(drop) = self.in_force.first(pair) {
            let key = (drop.cut.clone(), drop.place);
            *self.probes.entry(key).or_default() += packets;
        }
        false
    }

    /// For how long this ordered pair has been open so far.
    pub(super) fn open_for(&self, pair: Pair, now: Timestamp) -> Duration {
        let before = self.past.iter().map(|(table, length)| (table, *length));
        before
            .chain([(&self.in_force, now - self.since)])
            .filter(|(table, _)| self.passes_under(table, pair))
            .map(|(_, length)| length)
            .sum()
    }

    /// What an enforcer would have counted by now.
    pub(super) fn counters(&self, now: Timestamp) -> Counters {
        let rate = self.protocol_rate.unwrap_or(5);
        let elapsed = u64::try_from((now - self.since).as_millis()).unwrap_or(u64::MAX);
        let protocol = elapsed.saturating_mul(rate) / 1000;
        let cuts = self.table.cuts.iter().map(|cut| CutCounters {
            id: cut.id.clone(),
            drops: (0..cut.drops.len())
                .map(|place| DropCounters {
                    protocol,
                    probes: self
                        .probes
                        .get(&(cut.id.clone(), place))
                        .copied()
                        .unwrap_or(0),
                    group: 0,
                })
                .collect(),
        });
        Counters {
            cuts: cuts.collect(),
        }
    }
}

fn pairs(from: &[IpAddr], to: &[IpAddr]) -> impl Iterator<Item = Pair> {
    from.iter()
        .flat_map(move |a| to.iter().map(move |b| (*a, *b)))
        .filter(|(a, b)| a != b)
}
