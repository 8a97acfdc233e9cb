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

/// The links' state.
#[derive(Debug, Default)]
pub(super) struct Links {
    table: LinkTable,
    /// Since when the table is in force.
    since: Timestamp,
    /// Packets of probes dropped, by cut and place of the drop in it.
    probes: BTreeMap<(String, usize), u64>,
    /// How long each pair was open before the table in force.
    open: BTreeMap<Pair, Duration>,
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
    pub(super) fn apply(&mut self, table: LinkTable, now: Timestamp, all: &[IpAddr]) -> Applied {
        for pair in pairs(all, all) {
            let open = self.open_for(pair, now);
            self.open.insert(pair, open);
        }
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

    /// Whether the table drops packets of this ordered pair.
    fn cut(&self, pair: Pair) -> bool {
        self.drops(pair).next().is_some()
    }

    fn drops(&self, (from, to): Pair) -> impl Iterator<Item = (String, usize)> + '_ {
        self.table.cuts.iter().flat_map(move |cut| {
            let matching = move |drop: &netsplit_faults::link::Drop| {
                drop.from.contains(&from) && drop.to.contains(&to)
            };
            cut.drops
                .iter()
                .enumerate()
                .filter(move |(_, drop)| matching(drop))
                .map(move |(place, _)| (cut.id.clone(), place))
        })
    }

    /// Whether packets of this ordered pair arrive.
    pub(super) fn passes(&self, pair: Pair) -> bool {
        self.leaks.contains(&pair) || !(self.broken.contains(&pair) || self.cut(pair))
    }

    /// Sends probe packets; returns whether they arrive, and counts them where they do not.
    pub(super) fn probe(&mut self, pair: Pair, packets: u64) -> bool {
        if self.passes(pair) {
            return true;
        }
        // A packet meets the first rule that drops it and no other.
        let first = self.drops(pair).next();
        if let Some(key) = first {
            *self.probes.entry(key).or_default() += packets;
        }
        false
    }

    /// For how long this ordered pair has been open so far.
    pub(super) fn open_for(&self, pair: Pair, now: Timestamp) -> Duration {
        let before = self.open.get(&pair).copied().unwrap_or_default();
        if self.passes(pair) {
            before + (now - self.since)
        } else {
            before
        }
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
