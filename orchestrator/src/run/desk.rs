//! Faults, one change at a time: two changes verified at once could not be told apart.

use std::collections::VecDeque;

use netsplit_plan::{observe::Query, plan::NodeName};
use netsplit_runtime::{RuntimeError, Timestamp};
use serde_json::Value;

use super::{
    evidence::{Dropped, Evidence},
    state::ActiveFault,
};

/// Names one request.
pub(crate) type Ticket = u64;

/// What is asked of the desk.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// Put a fault in force.
    Cut {
        /// Which.
        fault: ActiveFault,
        /// When it ends by itself, in milliseconds.
        for_ms: Option<u64>,
    },
    /// End faults.
    Heal {
        /// Which; those that are not in force any more are passed over.
        ids: Vec<String>,
    },
    /// Probe pairs for an assertion: not while links change.
    Reach {
        /// Which.
        query: Query,
    },
}

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Settled {
    /// Which request.
    pub(crate) ticket: Ticket,
    /// The same, as it was asked.
    pub(crate) request: Request,
    /// Faults that it ended.
    pub(crate) ended: Vec<ActiveFault>,
    /// What was seen.
    pub(crate) found: Found,
}

/// What was seen of a change.
#[derive(Debug)]
pub(crate) enum Found {
    /// There was nothing to do.
    Nothing,
    /// The evidence, real or not, and when it was complete.
    Evidence(Box<Evidence>, Timestamp),
    /// The enforcer failed.
    Failed(RuntimeError),
    /// The answer to [`Request::Reach`].
    Reached(Result<Value, String>),
}

impl Settled {
    /// Why the change could not be shown to be real; empty when it could.
    pub(crate) fn problems(&self) -> &[String] {
        match &self.found {
            Found::Evidence(evidence, _) => &evidence.problems,
            Found::Nothing | Found::Failed(_) | Found::Reached(_) => &[],
        }
    }
}

/// A connection that ended while a change was under way.
#[derive(Clone, Debug)]
pub(crate) struct Disconnect {
    pub(crate) node: NodeName,
    pub(crate) peer: u64,
    pub(crate) reason: String,
}

/// Requests that wait, and the one under way.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    next: Ticket,
    queue: VecDeque<(Ticket, Request)>,
    /// The one under way, with the faults it ends.
    busy: Option<(Ticket, Request, Vec<ActiveFault>)>,
    disconnects: Vec<Disconnect>,
    /// What each cut that is over dropped.
    pub(crate) dropped: Vec<Dropped>,
}

impl Desk {
    /// Puts a request at the end of the queue.
    pub(crate) fn ask(&mut self, request: Request) -> Ticket {
        self.next += 1;
        self.queue.push_back((self.next, request));
        self.next
    }

    /// The next request, if none is under way.
    pub(crate) fn next(&mut self) -> Option<(Ticket, Request)> {
        if self.busy.is_some() {
            None
        } else {
            self.queue.pop_front()
        }
    }

    /// A request is under way from now on.
    pub(crate) fn begin(&mut self, ticket: Ticket, request: Request, ended: Vec<ActiveFault>) {
        self.disconnects.clear();
        self.busy = Some((ticket, request, ended));
    }

    /// The request under way is over.
    pub(crate) fn finish(&mut self, found: Found) -> Option<Settled> {
        let (ticket, request, ended) = self.busy.take()?;
        Some(Settled {
            ticket,
            request,
            ended,
            found,
        })
    }

    /// Whether a change of links is under way.
    pub(crate) fn is_changing(&self) -> bool {
        matches!(
            &self.busy,
            Some((_, Request::Cut { .. } | Request::Heal { .. }, _))
        )
    }

    /// Whether nothing waits and nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.busy.is_none() && self.queue.is_empty()
    }

    /// Whether the fault is still being put in force or ended.
    pub(crate) fn concerns(&self, id: &str) -> bool {
        let names = |request: &Request| match request {
            Request::Cut { fault, .. } => fault.id == id,
            Request::Heal { ids } => ids.iter().any(|other| other == id),
            Request::Reach { .. } => false,
        };
        self.queue.iter().any(|(_, request)| names(request))
            || self
                .busy
                .as_ref()
                .is_some_and(|(_, request, _)| names(request))
    }

    /// A connection ended.
    pub(crate) fn disconnected(&mut self, node: &NodeName, peer: u64, reason: &str) {
        if self.is_changing() {
            let reason = reason.to_owned();
            self.disconnects.push(Disconnect {
                node: node.clone(),
                peer,
                reason,
            });
        }
    }

    /// Adds to the evidence what nodes said of connections that ended across the cut: a reset is not silence.
    pub(crate) fn complete(&self, evidence: &mut Evidence) {
        let Some(established) = &mut evidence.established else {
            return;
        };
        for closed in &established.closed {
            let said = self
                .disconnects
                .iter()
                .find(|said| said.node == closed.node && said.peer == closed.peer);
            let Some(said) = said else { continue };
            let line = format!("{} with {}: {}", closed.node, closed.remote, said.reason);
            if said.reason.to_lowercase().contains("reset") {
                evidence
                    .problems
                    .push(format!("an established connection was reset: {line}"));
                established.reset.push(line);
            } else {
                evidence
                    .notes
                    .push(format!("a connection across the cut ended: {line}"));
            }
        }
    }
}
