//! Probes pairs until it is clear whether each is as it should be.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use netsplit_plan::plan::NodeName;
use netsplit_runtime::Testnet;
use serde::Serialize;

use super::probe::{self, Heard};
use crate::run::{
    cuts::{Cuts, Pair},
    roster::Roster,
};

/// How long pairs that should be open are probed again before they count as closed. A loaded machine must not give a
/// false alarm; what arrives over a cut pair is proof at once.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between two rounds of probes.
const PAUSE: Duration = Duration::from_millis(50);
/// Lines of one kind that are kept in the evidence.
const LINES: usize = 20;

/// How a pair should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Nothing arrives, and the sender is not told why.
    Silent,
    /// Datagrams arrive; no TCP connection comes about, because the way back is cut.
    Datagrams,
    /// Datagrams arrive and TCP connects.
    Open,
}

impl Expected {
    /// How a pair should be while these pairs are cut.
    pub(crate) fn of((from, to): &Pair, cut: &Cuts) -> Self {
        if cut.is_cut(from, to) {
            Self::Silent
        } else if cut.is_cut(to, from) {
            Self::Datagrams
        } else {
            Self::Open
        }
    }
}

/// What the probes showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Probes {
    /// Ordered pairs that had to be silent.
    pub(crate) cut_pairs: usize,
    /// Of these, how many were.
    pub(crate) silent: usize,
    /// Ordered pairs that had to be open.
    pub(crate) open_pairs: usize,
    /// Of these, how many were.
    pub(crate) reached: usize,
    /// Pairs left out because a node's process changed meanwhile.
    pub(crate) left_out: usize,
    /// Rounds it took.
    pub(crate) rounds: u32,
    /// What arrived over a cut pair.
    pub(crate) leaks: Vec<String>,
    /// What told a sender of a cut.
    pub(crate) noise: Vec<String>,
    /// Open pairs over which nothing came in time.
    pub(crate) missing: Vec<String>,
    /// Pairs that could not be probed, with the reason.
    pub(crate) unprobed: Vec<String>,
}

impl Probes {
    /// Why this proves nothing, line by line; empty when it proves what it should.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut note = |what: &str, lines: &[String]| {
            if let Some(first) = lines.first() {
                problems.push(format!("{what} ({} in all): {first}", lines.len()));
            }
        };
        note("probes arrived over a cut pair", &self.leaks);
        note("a sender was told of the cut", &self.noise);
        note("probes of an open pair did not arrive", &self.missing);
        note("a pair could not be probed", &self.unprobed);
        problems
    }

    fn shorten(&mut self) {
        for lines in [
            &mut self.leaks,
            &mut self.noise,
            &mut self.missing,
            &mut self.unprobed,
        ] {
            lines.truncate(LINES);
        }
    }
}

static ROUNDS: AtomicU64 = AtomicU64::new(0);

/// An id for a round of probes that no other round of this testnet has.
pub(crate) fn round_id(net: &dyn Testnet) -> String {
    let count = ROUNDS.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}", net.now().0.rotate_left(8) ^ count)
}

/// Probes pairs, each expected to be as `cut` makes it, until every one is decided or the deadline has passed.
pub(crate) async fn verify(
    net: &dyn Testnet,
    roster: &Roster,
    pairs: BTreeSet<Pair>,
    cut: &Cuts,
) -> Probes {
    let deadline = net.now() + DEADLINE;
    let ran = roster.running();
    let mut trial = Trial::new(pairs, cut);
    loop {
        trial.probes.rounds += 1;
        let id = round_id(net);
        let probed = probe::round(net, &id, &trial.open).await;
        trial.judge(&probed, &roster.unchanged(&ran));
        if trial.open.is_empty() || !trial.probes.leaks.is_empty() || net.now() >= deadline {
            return trial.finish();
        }
        net.sleep_until(net.now() + PAUSE).await;
    }
}

/// Pairs that are not decided yet, and what is known of the others.
struct Trial<'a> {
    cut: &'a Cuts,
    open: BTreeSet<Pair>,
    reasons: BTreeMap<Pair, String>,
    probes: Probes,
}

impl<'a> Trial<'a> {
    fn new(pairs: BTreeSet<Pair>, cut: &'a Cuts) -> Self {
        let cut_pairs = pairs
            .iter()
            .filter(|(from, to)| cut.is_cut(from, to))
            .count();
        let open_pairs = pairs.len() - cut_pairs;
        let probes = Probes {
            cut_pairs,
            open_pairs,
            ..Probes::default()
        };
        Self {
            cut,
            open: pairs,
            reasons: BTreeMap::new(),
            probes,
        }
    }

    /// Decides what this round can decide.
    fn judge(&mut self, probed: &probe::Probed, steady: &BTreeSet<NodeName>) {
        for pair in std::mem::take(&mut self.open) {
            let heard = probed.pairs.get(&pair);
            let expected = Expected::of(&pair, self.cut);
            if let Some(leak) = heard.and_then(|heard| leak(&pair, heard, expected)) {
                self.probes.leaks.push(leak);
            } else if !steady.contains(&pair.0) || !steady.contains(&pair.1) {
                self.probes.left_out += 1;
            } else {
                self.decide(pair, heard, expected, probed);
            }
        }
    }

    fn decide(
        &mut self,
        pair: Pair,
        heard: Option<&Heard>,
        expected: Expected,
        probed: &probe::Probed,
    ) {
        let Some(heard) = heard.filter(|heard| heard.was_sent()) else {
            let mute = probed
                .mute
                .get(&pair.0)
                .or_else(|| probed.mute.get(&pair.1));
            let reason = mute.map_or("nothing was sent", String::as_str);
            self.reasons.insert(pair.clone(), reason.to_owned());
            self.open.insert(pair);
            return;
        };
        let done = match expected {
            Expected::Silent => {
                match heard.noise() {
                    Some(noise) => self.probes.noise.push(format!("{}: {noise}", arrow(&pair))),
                    None => self.probes.silent += 1,
                }
                return;
            }
            Expected::Datagrams => heard.datagrams > 0,
            Expected::Open => heard.datagrams > 0 && heard.connected(),
        };
        if done {
            self.probes.reached += 1;
        } else {
            self.reasons.remove(&pair);
            self.open.insert(pair);
        }
    }

    /// What is undecided at the end counts against the proof.
    fn finish(mut self) -> Probes {
        for pair in &self.open {
            match self.reasons.get(pair) {
                Some(reason) => self
                    .probes
                    .unprobed
                    .push(format!("{}: {reason}", arrow(pair))),
                None => self.probes.missing.push(arrow(pair)),
            }
        }
        self.probes.shorten();
        self.probes
    }
}

/// What got through that must not.
fn leak(pair: &Pair, heard: &Heard, expected: Expected) -> Option<String> {
    let leaked = match expected {
        Expected::Silent => heard.arrived(),
        Expected::Datagrams => heard.connected(),
        Expected::Open => false,
    };
    leaked.then(|| {
        let tcp = if heard.connected() {
            "connected"
        } else {
            "did not"
        };
        format!("{}: {} datagrams, TCP {tcp}", arrow(pair), heard.datagrams)
    })
}

fn arrow((from, to): &Pair) -> String {
    format!("{from} -> {to}")
}
