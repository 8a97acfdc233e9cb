//! What shows that a cut is real, and that it is over (design §5, "Evidence per cut"). Knows no runtime: it asks the
//! testnet, and the nodes themselves.
//!
//! - [`sample`]: which pairs are probed, which stand as controls. [`probe`]: one round of probes. [`links`]: rounds until
//!   every pair is decided. [`sockets`]: established connections across a cut.

pub(crate) mod links;
pub(crate) mod probe;
pub(crate) mod sample;
pub(crate) mod sockets;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use netsplit_faults::link::{Applied, CutCounters, LinkTable};
use netsplit_plan::{
    observe::{Query, Reached},
    plan::NodeName,
};
use netsplit_runtime::{RuntimeError, Testnet, Timestamp};
use serde::Serialize;
use serde_json::Value;

use self::{links::Probes, sockets::Established};
use super::{
    cuts::{Cuts, Pair, count_dropped},
    roster::{Presence, Roster},
    state::{ActiveFault, RunnerState},
};

/// A change of the link table and what was seen of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Evidence {
    /// `cut` or `heal`.
    pub(crate) change: &'static str,
    /// Ordered pairs of nodes that the fault cuts.
    pub(crate) pairs_intended: u64,
    /// Of these, how many other faults still cut; for a heal only.
    pub(crate) pairs_still_cut: u64,
    /// The faults that do.
    pub(crate) still_cut_by: Vec<String>,
    /// The table, as asked for and as read back.
    pub(crate) table: TableEvidence,
    /// The probes.
    pub(crate) probes: Probes,
    /// Set when not all pairs were probed.
    pub(crate) sample: Option<Sample>,
    /// Nodes that were left out because their process does not run.
    pub(crate) excluded: Vec<NodeName>,
    /// Connections across the cut; for a cut only.
    pub(crate) established: Option<Established>,
    /// Packets the cut dropped: after the probes, or, for a heal, until just before it.
    pub(crate) dropped: Vec<Dropped>,
    /// From the first question to the last answer, in milliseconds.
    pub(crate) elapsed_ms: u64,
    /// What is worth knowing and proves nothing.
    pub(crate) notes: Vec<String>,
    /// Why this proves nothing; empty when it does.
    pub(crate) problems: Vec<String>,
}

/// The link table, as asked for and as read back.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TableEvidence {
    /// What the enforcer did and saw.
    #[serde(flatten)]
    pub(crate) applied: Applied,
    /// The same from the runner's own count: ordered pairs of addresses cut by any fault.
    pub(crate) pairs_expected: u64,
    /// Length of the commit, in microseconds.
    pub(crate) commit_us: u64,
}

/// Which part of the pairs was probed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Sample {
    /// Nodes probed.
    pub(crate) nodes: usize,
    /// Nodes that run.
    pub(crate) of: usize,
    /// Seed of the choice.
    pub(crate) seed: u64,
}

/// Packets one cut dropped, over all its directions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Dropped {
    /// The cut.
    pub(crate) id: String,
    /// Packets of the protocol.
    pub(crate) protocol: u64,
    /// Packets of probes.
    pub(crate) probes: u64,
    /// Broadcast and multicast packets.
    pub(crate) group: u64,
    /// Packets of the protocol by direction, in the cut's order.
    pub(crate) protocol_by_direction: Vec<u64>,
}

impl From<&CutCounters> for Dropped {
    fn from(counters: &CutCounters) -> Self {
        Self {
            id: counters.id.clone(),
            protocol: counters.drops.iter().map(|drop| drop.protocol).sum(),
            probes: counters.drops.iter().map(|drop| drop.probes).sum(),
            group: counters.drops.iter().map(|drop| drop.group).sum(),
            protocol_by_direction: counters.drops.iter().map(|drop| drop.protocol).collect(),
        }
    }
}

/// Where a change of links happens.
#[derive(Clone)]
pub(crate) struct Scene<'a> {
    /// The testnet.
    pub(crate) net: &'a dyn Testnet,
    /// Whose processes run.
    pub(crate) roster: Arc<Roster>,
    /// Seed of the samples.
    pub(crate) seed: u64,
}

/// Puts one more fault in force: `state` has it as its last.
///
/// # Errors
/// When the enforcer fails; then nothing is known.
pub(crate) async fn cut(
    scene: Scene<'_>,
    state: RunnerState,
    version: u64,
) -> Result<(Evidence, Timestamp), RuntimeError> {
    let fault = state.faults.last().expect("the caller put it there");
    let began = scene.net.now();
    let cut = state.cuts();
    let own = Cuts::of([fault]);
    let field = Field::new(&scene, std::slice::from_ref(fault));
    let before = sockets::snapshot(scene.net, &field.probed).await;
    let table = apply(&scene, state.table(version, &scene.net.info().addresses)).await?;
    let in_force = scene.net.now();
    let mut pairs = own.among(&field.probed);
    pairs.extend(sample::controls(&field.probed, &field.runs, &cut));
    let probes = links::verify(scene.net, &scene.roster, pairs, &cut).await;
    let after = sockets::snapshot(scene.net, &field.probed).await;
    let steady = scene.roster.unchanged(&field.epochs);
    let addresses = &scene.net.info().addresses;
    let established = sockets::compare(&before, &after, addresses, &own, in_force, &steady);
    let counters = scene.net.counters().await?;
    let dropped = counters
        .cuts
        .iter()
        .filter(|cut| cut.id == fault.id)
        .map(Dropped::from);
    let mut evidence = Evidence {
        change: "cut",
        pairs_intended: own.count(),
        pairs_still_cut: 0,
        still_cut_by: Vec::new(),
        table,
        probes,
        sample: field.sample(scene.seed),
        excluded: field.excluded.clone(),
        established: Some(established),
        dropped: dropped.collect(),
        elapsed_ms: millis(scene.net.now() - began),
        notes: Vec::new(),
        problems: Vec::new(),
    };
    let shadowed = is_shadowed(fault, &state.faults);
    judge_cut(&mut evidence, shadowed, &before, &after);
    Ok((evidence, scene.net.now()))
}

/// Ends some faults: `state` no longer has them.
///
/// # Errors
/// When the enforcer fails; then nothing is known.
pub(crate) async fn heal(
    scene: Scene<'_>,
    state: RunnerState,
    ended: Vec<ActiveFault>,
    version: u64,
) -> Result<(Evidence, Timestamp), RuntimeError> {
    let began = scene.net.now();
    let counters = scene.net.counters().await?;
    let dropped: Vec<Dropped> = counters
        .cuts
        .iter()
        .filter(|cut| ended.iter().any(|fault| fault.id == cut.id))
        .map(Dropped::from)
        .collect();
    let field = Field::new(&scene, &ended);
    let cut = state.cuts();
    let own = Cuts::of(&ended);
    let table = apply(&scene, state.table(version, &scene.net.info().addresses)).await?;
    let probes = links::verify(scene.net, &scene.roster, own.among(&field.probed), &cut).await;
    let mut evidence = Evidence {
        change: "heal",
        pairs_intended: own.count(),
        pairs_still_cut: own.count_both(&cut),
        still_cut_by: state
            .faults
            .iter()
            .filter(|fault| Cuts::of([*fault]).count_both(&own) > 0)
            .map(|fault| fault.id.clone())
            .collect(),
        table,
        probes,
        sample: field.sample(scene.seed),
        excluded: field.excluded.clone(),
        established: None,
        dropped,
        elapsed_ms: millis(scene.net.now() - began),
        notes: Vec::new(),
        problems: Vec::new(),
    };
    judge_heal(&mut evidence, &ended, &state.faults);
    Ok((evidence, scene.net.now()))
}

/// The nodes a fault names, as far as they run and are probed.
struct Field {
    epochs: BTreeMap<NodeName, u64>,
    runs: BTreeSet<NodeName>,
    probed: BTreeSet<NodeName>,
    named_and_running: usize,
    excluded: Vec<NodeName>,
}

impl Field {
    fn new(scene: &Scene<'_>, faults: &[ActiveFault]) -> Self {
        let epochs = scene.roster.running();
        let runs: BTreeSet<NodeName> = epochs.keys().cloned().collect();
        let groups: Vec<Vec<NodeName>> = faults
            .iter()
            .flat_map(|fault| fault.groups.iter().cloned())
            .collect();
        let label = faults.first().map_or("", |fault| fault.id.as_str());
        let probed = sample::nodes(&groups, &runs, scene.seed, label);
        let named: BTreeSet<&NodeName> = groups.iter().flatten().collect();
        let excluded = named
            .iter()
            .filter(|node| !runs.contains(**node))
            .filter(|node| scene.roster.presence(node) != Presence::Planned)
            .map(|node| (*node).clone())
            .collect();
        let named_and_running = named.iter().filter(|node| runs.contains(**node)).count();
        Self {
            epochs,
            runs,
            probed,
            named_and_running,
            excluded,
        }
    }

    fn sample(&self, seed: u64) -> Option<Sample> {
        (self.probed.len() < self.named_and_running).then_some(Sample {
            nodes: self.probed.len(),
            of: self.named_and_running,
            seed,
        })
    }
}

/// Applies the whole table and keeps what was read back beside what we count ourselves.
async fn apply(scene: &Scene<'_>, table: LinkTable) -> Result<TableEvidence, RuntimeError> {
    let pairs_expected = address_pairs(&table);
    let applied = scene.net.apply(table).await?;
    let commit_us = applied
        .committed_to_ns
        .saturating_sub(applied.committed_from_ns)
        / 1_000;
    Ok(TableEvidence {
        applied,
        pairs_expected,
        commit_us,
    })
}

/// Ordered pairs of addresses cut by any cut of the table.
fn address_pairs(table: &LinkTable) -> u64 {
    let drops = table.cuts.iter().flat_map(|cut| &cut.drops);
    count_dropped(drops.map(|drop| (drop.from.as_slice(), drop.to.as_slice())))
}

/// Whether every pair of the fault is cut by others as well, so that another one may count its packets.
fn is_shadowed(fault: &ActiveFault, all: &[ActiveFault]) -> bool {
    let others = all.iter().filter(|other| other.id != fault.id);
    Cuts::of([fault]).are_within(&Cuts::of(others))
}

fn judge_table(evidence: &mut Evidence) {
    let TableEvidence {
        applied,
        pairs_expected,
        ..
    } = &evidence.table;
    if let Some(first) = applied.differences.first() {
        evidence
            .problems
            .push(format!("the table read back differs: {first}"));
    }
    if applied.pairs_installed != *pairs_expected || applied.pairs_intended != *pairs_expected {
        evidence.problems.push(format!(
            "{pairs_expected} pairs should be cut, the enforcer was to cut {} and cuts {}",
            applied.pairs_intended, applied.pairs_installed
        ));
    }
}

fn judge_cut(
    evidence: &mut Evidence,
    shadowed: bool,
    before: &sockets::Snapshot,
    after: &sockets::Snapshot,
) {
    judge_table(evidence);
    evidence.problems.extend(evidence.probes.problems());
    if let Some(established) = &evidence.established {
        if let Some(leak) = established.leaking.first() {
            evidence
                .problems
                .push(format!("an established connection was not silent: {leak}"));
        }
        if let Some(reset) = established.reset.first() {
            evidence
                .problems
                .push(format!("an established connection was told: {reset}"));
        }
        if established.across == 0 {
            evidence
                .notes
                .push("no connection was established across the cut".to_owned());
        }
    }
    for (node, reason) in before.mute.iter().chain(&after.mute) {
        evidence
            .notes
            .push(format!("the sockets of `{node}` are not known: {reason}"));
    }
    let counted: u64 = evidence.dropped.iter().map(|dropped| dropped.probes).sum();
    if evidence.probes.silent > 0 && counted == 0 && !shadowed {
        evidence
            .problems
            .push("the kernel counted none of the probes as dropped".to_owned());
    }
    let Probes {
        cut_pairs,
        left_out,
        silent,
        ..
    } = evidence.probes;
    if cut_pairs == 0 {
        evidence
            .problems
            .push("no two nodes that run are cut from each other".to_owned());
    } else if silent == 0 && evidence.problems.is_empty() {
        evidence.problems.push(format!(
            "no cut pair was shown to be silent: {left_out} of them had a node whose process changed meanwhile"
        ));
    }
    if evidence.probes.open_pairs == 0 {
        evidence
            .notes
            .push("no pair is left open that could be a control".to_owned());
    }
}

fn judge_heal(evidence: &mut Evidence, ended: &[ActiveFault], left: &[ActiveFault]) {
    judge_table(evidence);
    evidence.problems.extend(evidence.probes.problems());
    let all: Vec<ActiveFault> = ended.iter().chain(left).cloned().collect();
    for fault in ended {
        let dropped = evidence
            .dropped
            .iter()
            .find(|dropped| dropped.id == fault.id);
        if dropped.is_some_and(|dropped| dropped.protocol > 0) {
            continue;
        }
        let id = &fault.id;
        if is_shadowed(fault, &all) {
            evidence
                .notes
                .push(format!("`{id}` dropped nothing that other cuts did not"));
        } else {
            evidence.problems.push(format!(
                "`{id}` was vacuous: it dropped no packet of the protocol while it was in force"
            ));
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Answers a [`Query::Reach`] with an array of [`Reached`]: a receiver is reached when a datagram of the sender arrived,
/// or a TCP connection came about.
pub(crate) async fn reach(scene: &Scene<'_>, query: &Query) -> Result<Value, String> {
    let Query::Reach { from, to } = query else {
        return Err("this is no question about reach".to_owned());
    };
    let pairs: BTreeSet<Pair> = from
        .iter()
        .flat_map(|from| to.iter().map(move |to| (from.clone(), to.clone())))
        .filter(|(from, to)| from != to)
        .collect();
    // Who does not run is reached by nobody, and a frozen process would not answer the question.
    let (asked, off): (BTreeSet<Pair>, BTreeSet<Pair>) = pairs
        .into_iter()
        .partition(|(from, to)| scene.roster.alive_both(from, to));
    let probed = probe::round(scene.net, &links::round_id(scene.net), &asked).await;
    if let Some((node, reason)) = probed.mute.iter().next() {
        return Err(format!("`{node}` could not be asked: {reason}"));
    }
    let heard = probed
        .pairs
        .into_iter()
        .map(|(pair, heard)| (pair, heard.arrived()));
    let reached: Vec<Reached> = heard
        .chain(off.into_iter().map(|pair| (pair, false)))
        .map(|((from, to), reached)| Reached { from, to, reached })
        .collect();
    serde_json::to_value(reached).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cut of two pairs whose table is as it should be.
    fn cut(probes: Probes) -> Evidence {
        let applied = Applied {
            version: 1,
            committed_from_ns: 0,
            committed_to_ns: 0,
            pairs_intended: 2,
            pairs_installed: 2,
            differences: Vec::new(),
        };
        Evidence {
            change: "cut",
            pairs_intended: 2,
            pairs_still_cut: 0,
            still_cut_by: Vec::new(),
            table: TableEvidence {
                applied,
                pairs_expected: 2,
                commit_us: 0,
            },
            probes,
            sample: None,
            excluded: Vec::new(),
            established: None,
            dropped: vec![Dropped {
                probes: 12,
                ..Dropped::default()
            }],
            elapsed_ms: 0,
            notes: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn problems(silent: usize, left_out: usize) -> Vec<String> {
        let probes = Probes {
            cut_pairs: 2,
            silent,
            left_out,
            ..Probes::default()
        };
        let mut evidence = cut(probes);
        let nobody = sockets::Snapshot::default();
        judge_cut(&mut evidence, false, &nobody, &nobody);
        evidence.problems
    }

    /// Whoever restarts while it is probed proves nothing, and a proof needs somebody.
    #[test]
    fn a_cut_of_which_every_pair_was_left_out_is_not_shown() {
        assert_eq!(problems(2, 0), [""; 0]);
        assert_eq!(problems(1, 1), [""; 0]);
        let problems = problems(0, 2);
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].contains("no cut pair was shown"),
            "{problems:?}"
        );
    }
}
