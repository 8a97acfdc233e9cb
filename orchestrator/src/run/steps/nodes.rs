//! `kill`, `stop`, `start`, `restart`, `pause`, `resume` and `join`.
//!
//! `kill` and `stop` are over when the process is gone, `start`, `restart` and `join` when the node is ready (again): it
//! said that it answers, and has a peer if one can be reached.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use netsplit_api::config::Role;
use netsplit_plan::plan::{NodeName, NodeVerb};
use netsplit_runtime::NodeState;

use super::{Ended, Progress, Step, word};
use crate::run::{
    census, ready,
    roster::Presence,
    stage::{Notice, Outcome, Stage, StepKey},
};

/// An engine that has reported a process gone to the caller tells its event stream within this; after that its word for the
/// state is enough.
const EXIT_GRACE: Duration = Duration::from_secs(2);
/// A node that is not ready this long after its start will not be.
pub(crate) const READY_TIMEOUT: Duration = Duration::from_secs(60);

const GRACE: u32 = 1;
const LATE: u32 = 2;

/// What is done to nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// One of the verbs.
    Verb(NodeVerb),
    /// Starting a node for the first time.
    Join,
}

impl From<NodeVerb> for Doing {
    fn from(verb: NodeVerb) -> Self {
        Self::Verb(verb)
    }
}

impl Doing {
    const fn word(self) -> &'static str {
        match self {
            Self::Verb(verb) => word(verb),
            Self::Join => "join",
        }
    }

    /// What has become of a node it was done to.
    const fn done(self) -> &'static str {
        match self {
            Self::Verb(NodeVerb::Kill) => "killed",
            Self::Verb(NodeVerb::Stop) => "stopped",
            Self::Verb(NodeVerb::Start) => "started and ready",
            Self::Verb(NodeVerb::Restart) => "restarted and ready",
            Self::Verb(NodeVerb::Pause) => "paused",
            Self::Verb(NodeVerb::Resume) => "resumed",
            Self::Join => "joined and ready",
        }
    }

    /// Whether it makes sense for a node that is there.
    fn fits(self, presence: &Presence) -> bool {
        let up = matches!(presence, Presence::Running | Presence::Starting);
        let gone = matches!(presence, Presence::Gone { .. });
        match self {
            Self::Verb(NodeVerb::Kill | NodeVerb::Stop | NodeVerb::Restart) => {
                up || *presence == Presence::Paused
            }
            Self::Verb(NodeVerb::Start) => gone,
            Self::Verb(NodeVerb::Pause) => up,
            Self::Verb(NodeVerb::Resume) => *presence == Presence::Paused,
            Self::Join => *presence == Presence::Planned,
        }
    }

    /// Where the process then is.
    const fn leads_to(self) -> NodeState {
        match self {
            Self::Verb(NodeVerb::Kill | NodeVerb::Stop) => NodeState::Exited,
            Self::Verb(NodeVerb::Pause) => NodeState::Paused,
            Self::Verb(NodeVerb::Start | NodeVerb::Restart | NodeVerb::Resume) | Self::Join => {
                NodeState::Running
            }
        }
    }

    /// Whether the node begins anew.
    const fn starts(self) -> bool {
        matches!(
            self,
            Self::Verb(NodeVerb::Start | NodeVerb::Restart) | Self::Join
        )
    }
}

/// Begins doing something to a node: notes what will become of it and asks the runtime. `by` is the churn, if one does it.
pub(crate) fn begin(
    stage: &mut Stage<'_>,
    key: StepKey,
    doing: Doing,
    node: &NodeName,
    by: Option<&str>,
) -> Rising {
    let rising = Rising {
        before: stage.census.incarnation(node),
        fresh: doing == Doing::Join,
    };
    if matches!(
        doing,
        Doing::Verb(NodeVerb::Kill | NodeVerb::Stop | NodeVerb::Restart)
    ) {
        stage.roster.expect_exit(node);
        stage.place(
            node,
            Presence::Gone {
                by: by.map(str::to_owned),
            },
        );
    }
    match doing {
        Doing::Verb(NodeVerb::Pause) => stage.place(node, Presence::Paused),
        _ if doing.starts() => stage.place(node, Presence::Starting),
        _ => {}
    }
    let verb = match doing {
        Doing::Verb(verb) => Some(verb),
        Doing::Join => None,
    };
    stage.change(key, node, verb);
    rising
}

/// A node that was started and is not ready yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rising {
    /// The incarnation before.
    before: u64,
    /// Whether it has no address book of its own yet.
    fresh: bool,
}

impl Rising {
    /// What the node still lacks; `None` when it is ready.
    pub(crate) fn lacks(&self, stage: &Stage<'_>, node: &NodeName) -> Option<String> {
        let entry = stage
            .census
            .of(node)
            .filter(|entry| entry.started && entry.incarnation != self.before);
        let Some(entry) = entry else {
            return Some(format!("{node} has not started"));
        };
        (entry.peers.is_empty() && self.can_find_peers(stage, node))
            .then(|| format!("{node} has no peer"))
    }

    /// Whether some node that runs can be reached, and found: a newcomer knows nobody but the DNS seeds.
    fn can_find_peers(&self, stage: &Stage<'_>, node: &NodeName) -> bool {
        let Some(planned) = stage.planned(node) else {
            return false;
        };
        if ready::only_seeds(planned) {
            return false;
        }
        let open =
            |other: &NodeName| !stage.cuts.is_cut(node, other) && !stage.cuts.is_cut(other, node);
        let runs = |other: &NodeName| stage.roster.presence(other) == Presence::Running;
        let near = || {
            stage
                .plan()
                .nodes
                .iter()
                .filter(|other| other.name != *node && runs(&other.name) && open(&other.name))
        };
        near().any(ready::serves)
            && (!self.fresh || near().any(|other| other.roles.contains(&Role::DnsSeed)))
    }
}

/// The nodes that a step started and that are not ready yet.
#[derive(Debug, Default)]
pub(crate) struct Risers {
    nodes: BTreeMap<NodeName, Rising>,
    /// [`Stage::departures`] when all of them were looked at last.
    looked: u64,
}

impl Risers {
    pub(crate) fn insert(&mut self, node: NodeName, rising: Rising) {
        self.nodes.insert(node, rising);
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// What the first of them still lacks.
    pub(crate) fn lack(&self, stage: &Stage<'_>) -> Option<String> {
        self.nodes
            .iter()
            .find_map(|(node, rising)| rising.lacks(stage, node))
    }

    /// Those among them that are ready now, taken out. When one node spoke only that one is looked at, unless somebody
    /// left since: then others may no longer have to find a peer.
    pub(crate) fn up(&mut self, stage: &Stage<'_>, spoke: Option<&NodeName>) -> Vec<NodeName> {
        let ready = |(node, rising): (&NodeName, &Rising)| {
            let up = rising.lacks(stage, node).is_none();
            up.then(|| node.clone())
        };
        let up: Vec<NodeName> = match spoke {
            Some(node) if self.looked == stage.departures => self
                .nodes
                .get_key_value(node)
                .and_then(ready)
                .into_iter()
                .collect(),
            _ => self.nodes.iter().filter_map(ready).collect(),
        };
        self.looked = stage.departures;
        for node in &up {
            self.nodes.remove(node);
        }
        up
    }

    /// Forgets those that are no longer starting: somebody ended them again.
    pub(crate) fn forget_gone(&mut self, stage: &Stage<'_>) {
        self.nodes
            .retain(|node, _| stage.roster.presence(node) == Presence::Starting);
    }
}

/// Does one thing to several nodes at once.
pub(crate) struct Handling {
    key: StepKey,
    doing: Doing,
    nodes: Vec<NodeName>,
    /// Calls that have not returned.
    called: BTreeSet<NodeName>,
    /// Nodes whose end may not have been reported yet.
    owing: Vec<NodeName>,
    rising: Risers,
    confirmed: bool,
}

impl Handling {
    pub(crate) fn new(key: StepKey, doing: Doing, nodes: Vec<NodeName>) -> Self {
        Self {
            key,
            doing,
            owing: nodes.clone(),
            nodes,
            called: BTreeSet::new(),
            rising: Risers::default(),
            confirmed: false,
        }
    }

    fn returned(&mut self, stage: &mut Stage<'_>, node: &NodeName) -> Progress {
        self.called.remove(node);
        if self.doing == Doing::Verb(NodeVerb::Resume) {
            stage.place(node, Presence::Running);
        }
        if !self.called.is_empty() {
            return Progress::Going;
        }
        if self.doing.starts() {
            stage.wake(self.key, GRACE, EXIT_GRACE);
            stage.wake(self.key, LATE, READY_TIMEOUT);
        } else {
            stage.ask_states(self.key);
        }
        self.look(stage, None)
    }

    /// Compares the engine's word with what was asked.
    fn confirm(
        &mut self,
        stage: &mut Stage<'_>,
        states: &BTreeMap<NodeName, NodeState>,
    ) -> Progress {
        let wanted = self.doing.leads_to();
        let other = self
            .nodes
            .iter()
            .find(|node| states.get(*node) != Some(&wanted));
        if let Some(node) = other {
            let state = states
                .get(node)
                .map_or("unknown".to_owned(), |state| format!("{state:?}"));
            let message = format!(
                "`{node}` is {} after `{}`",
                state.to_lowercase(),
                self.doing.word()
            );
            return Progress::Ended(Ended::error(message).suspect());
        }
        self.confirmed = true;
        stage.wake(self.key, GRACE, EXIT_GRACE);
        self.look(stage, None)
    }

    /// Looks whether all is done, after one node spoke or something else happened.
    fn look(&mut self, stage: &mut Stage<'_>, spoke: Option<&NodeName>) -> Progress {
        if !self.called.is_empty() {
            return Progress::Going;
        }
        for node in self.rising.up(stage, spoke) {
            stage.place(&node, Presence::Running);
        }
        while self
            .owing
            .pop_if(|node| !stage.roster.owes_exit(node))
            .is_some()
        {}
        let owed = !self.owing.is_empty();
        if self.doing.starts() {
            return (self.rising.is_empty() && !owed)
                .then(|| self.done())
                .into();
        }
        (self.confirmed && !owed).then(|| self.done()).into()
    }

    fn done(&self) -> Ended {
        let what = self.doing.done();
        match self.nodes.as_slice() {
            [node] => Ended::passed(format!("`{node}` {what}")),
            nodes => Ended::passed(format!("{} nodes {what}", nodes.len())),
        }
    }

    /// A node that a churn took down is from now on down by this step; nothing has to be done to it.
    fn take_over(&self, stage: &mut Stage<'_>, node: &NodeName) -> bool {
        let ends = matches!(self.doing, Doing::Verb(NodeVerb::Kill | NodeVerb::Stop));
        let by_churn = matches!(stage.roster.presence(node), Presence::Gone { by: Some(_) });
        if ends && by_churn {
            stage.place(node, Presence::Gone { by: None });
        }
        ends && by_churn
    }
}

impl Step for Handling {
    fn begin(&mut self, stage: &mut Stage<'_>) -> Progress {
        let mut nodes = self.nodes.clone();
        nodes.retain(|node| !self.take_over(stage, node));
        for node in &nodes {
            let presence = stage.roster.presence(node);
            if !self.doing.fits(&presence) {
                let message = format!(
                    "cannot {} `{node}`: it {}",
                    self.doing.word(),
                    where_is(&presence)
                );
                return Progress::Ended(Ended::error(message));
            }
        }
        for node in nodes {
            let rising = begin(stage, self.key, self.doing, &node, None);
            self.called.insert(node.clone());
            if self.doing.starts() {
                self.rising.insert(node, rising);
            }
        }
        if self.called.is_empty() {
            return Progress::Ended(self.done());
        }
        Progress::Going
    }

    fn on(&mut self, stage: &mut Stage<'_>, notice: &Notice<'_>) -> Progress {
        match notice {
            Notice::Done(Outcome::Verb(_, Err(error)) | Outcome::States(Err(error))) => {
                Progress::Ended(Ended::failed(error))
            }
            Notice::Done(Outcome::Verb(node, Ok(()))) => self.returned(stage, node),
            Notice::Done(Outcome::States(Ok(states))) => self.confirm(stage, states),
            Notice::Due(GRACE) => {
                for node in &self.nodes {
                    stage.roster.forgive_exits(node);
                }
                self.look(stage, None)
            }
            Notice::Due(LATE) => {
                let status = self.status(stage).unwrap_or_default();
                let waited = READY_TIMEOUT.as_secs();
                Progress::Ended(Ended::error(format!(
                    "not ready after {waited} s: {status}"
                )))
            }
            Notice::Node(node, event) if census::matters(event) => self.look(stage, Some(node)),
            Notice::Exited | Notice::Settled(_) | Notice::Background => self.look(stage, None),
            Notice::Node(..) | Notice::Done(_) | Notice::Due(_) => Progress::Going,
        }
    }

    fn status(&self, stage: &Stage<'_>) -> Option<String> {
        if let Some(node) = self.called.iter().next() {
            return Some(format!(
                "{} of {} calls to go, {node} first",
                self.called.len(),
                self.nodes.len()
            ));
        }
        let lack = self.rising.lack(stage)?;
        let all = self.nodes.len();
        Some(if all > ready::FEW {
            let up = all - self.rising.len();
            format!("{up} of {all} nodes ready; {lack}")
        } else {
            lack
        })
    }
}

fn where_is(presence: &Presence) -> String {
    match presence {
        Presence::Planned => "has not joined yet".to_owned(),
        Presence::Running => "runs".to_owned(),
        Presence::Starting => "is starting".to_owned(),
        Presence::Gone { by: None } => "does not run".to_owned(),
        Presence::Gone { by: Some(churn) } => format!("was taken down by `{churn}`"),
        Presence::Paused => "is paused".to_owned(),
    }
}
