//! What a running testnet tells: the nodes' own events from the agent, and the engine's word on whose process ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use netsplit_api::event::EventRecord;
use netsplit_faults::protocol::Message;
use netsplit_plan::plan::NodeName;
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    engine::{ContainerState, Engine, EngineEvent},
    labels::{NODE, Part, of_run},
    node,
    stream::LastWords,
};
use crate::{NetEvent, RunId};

/// Events that wait to be read before the agent's stream is held up.
const WAITING: usize = 4096;
/// Lines of log told with a node's end.
const LAST_LINES: usize = 20;
/// Pause before the engine is asked again for its events.
const AGAIN: Duration = Duration::from_millis(500);

/// Everything a testnet tells, in one queue. Its tasks end with it.
pub(super) struct Feed {
    sender: mpsc::Sender<NetEvent>,
    receiver: tokio::sync::Mutex<mpsc::Receiver<NetEvent>>,
    tasks: Mutex<JoinSet<()>>,
    lost: AtomicBool,
}

impl Feed {
    pub(super) fn open() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self {
            sender,
            receiver: tokio::sync::Mutex::new(receiver),
            tasks: Mutex::default(),
            lost: AtomicBool::new(false),
        }
    }

    /// Tells of containers' ends from now on, and of those since `since` (seconds since the epoch), which the run's maker
    /// gives: the reaper is there for it, and its end is told to nobody else.
    pub(super) fn watch(&self, engine: Arc<dyn Engine>, run: RunId, since: Option<u64>) {
        let watcher = Watcher {
            engine,
            run,
            makes: since.is_some(),
            events: self.sender.clone(),
        };
        self.spawn(watcher.watch(since));
    }

    /// Tells what the agent pushes.
    pub(super) fn hear(&self, pushes: mpsc::Receiver<Message>, last_words: LastWords) {
        self.spawn(from_agent(pushes, last_words, self.sender.clone()));
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .spawn(task);
    }

    /// The next event. The agent's loss has several witnesses, but is told once.
    pub(super) async fn next(&self) -> Option<NetEvent> {
        let mut receiver = self.receiver.lock().await;
        loop {
            let event = receiver.recv().await?;
            let lost = matches!(event, NetEvent::AgentLost { .. });
            if !(lost && self.lost.swap(true, Ordering::Relaxed)) {
                return Some(event);
            }
        }
    }

    /// Ends all tasks: what happens from now on is our own doing.
    pub(super) fn close(&self) {
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
    }
}

/// Passes on what the agent pushes until its stream ends, which is the agent's loss.
async fn from_agent(
    mut pushes: mpsc::Receiver<Message>,
    last_words: LastWords,
    events: mpsc::Sender<NetEvent>,
) {
    while let Some(message) = pushes.recv().await {
        for event in translate(message) {
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
    let mut reason = "its stream ended".to_owned();
    if let Some(last) = last_words.lines().last() {
        reason = format!("{reason}: {last}");
    }
    // The receiver may be gone: then nobody wants to know.
    let _ = events.send(NetEvent::AgentLost { reason }).await;
}

fn translate(message: Message) -> Vec<NetEvent> {
    match message {
        Message::Events {
            node,
            incarnation,
            records,
        } => {
            let node = NodeName(node);
            records
                .into_iter()
                .map(|record| said(&node, incarnation, record))
                .collect()
        }
        Message::EventsEnded { node, reason } => {
            vec![NetEvent::NodeSilent {
                node: NodeName(node),
                reason,
            }]
        }
        Message::Reply { .. } | Message::Tunnel { .. } => Vec::new(),
    }
}

/// A record that cannot be understood is told as a silence: its number is missing from then on.
fn said(node: &NodeName, incarnation: u64, record: Value) -> NetEvent {
    let node = node.clone();
    match serde_json::from_value::<EventRecord>(record) {
        Ok(record) => NetEvent::Node {
            node,
            incarnation,
            record,
        },
        Err(error) => {
            let reason = format!("it sent an event that is not understood: {error}");
            NetEvent::NodeSilent { node, reason }
        }
    }
}

/// Tells of nodes whose processes end, of the agent's end and, to the run's maker, of the reaper's.
struct Watcher {
    engine: Arc<dyn Engine>,
    run: RunId,
    /// Whether this process made the run.
    makes: bool,
    events: mpsc::Sender<NetEvent>,
}

/// What a watcher knows already.
#[derive(Debug, Default)]
struct Known {
    ended: BTreeSet<NodeName>,
    /// Time of the last event seen, so that none is told twice.
    seen_ns: i64,
}

/// What follows from an event or a look at the engine.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Ended { node: NodeName, code: Option<i64> },
    AgentEnded { code: Option<i64> },
    ReaperEnded { code: Option<i64> },
}

impl Known {
    fn learn(&mut self, event: &EngineEvent) -> Option<News> {
        if event.time_ns <= self.seen_ns {
            return None;
        }
        self.seen_ns = event.time_ns;
        let code = event
            .attributes
            .get("exitCode")
            .and_then(|code| code.parse().ok());
        let node = || event.attributes.get(NODE).cloned().map(NodeName);
        match (Part::of(&event.attributes)?, event.action.as_str()) {
            (Part::Node, "die") => {
                let node = node()?;
                self.ended.insert(node.clone());
                Some(News::Ended { node, code })
            }
            (Part::Node, "start") => {
                self.ended.remove(&node()?);
                None
            }
            (Part::Agent, "die") => Some(News::AgentEnded { code }),
            (Part::Reaper, "die") => Some(News::ReaperEnded { code }),
            _ => None,
        }
    }

    /// Compares with what runs: a death may have gone by unseen while there was no stream.
    fn compare(&mut self, states: &BTreeMap<NodeName, ContainerState>) -> Vec<News> {
        let exited: BTreeSet<_> = states
            .iter()
            .filter(|(_, state)| **state == ContainerState::Exited)
            .map(|(node, _)| node.clone())
            .collect();
        let news = exited.difference(&self.ended);
        let news = news
            .map(|node| News::Ended {
                node: node.clone(),
                code: None,
            })
            .collect();
        self.ended = exited;
        news
    }
}

impl Watcher {
    /// Runs until nobody listens. `since`: seconds since the epoch from which on events count.
    async fn watch(self, since: Option<u64>) {
        let mut known = Known::default();
        let mut since = since;
        loop {
            let mut stream = self.engine.events(&of_run(&self.run), since);
            while let Some(Ok(event)) = stream.next().await {
                if let Some(news) = known.learn(&event)
                    && self.tell(news).await.is_err()
                {
                    return;
                }
            }
            tokio::select! {
                () = self.events.closed() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
            // Seconds are the engine's unit; what is told twice is recognised by its exact time.
            since = u64::try_from(known.seen_ns / 1_000_000_000)
                .ok()
                .filter(|at| *at > 0)
                .or(since);
            let Ok(states) = node_states(&*self.engine, &self.run).await else {
                continue;
            };
            for news in known.compare(&states) {
                if self.tell(news).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn tell(&self, news: News) -> Result<(), mpsc::error::SendError<NetEvent>> {
        let ended = |code: Option<i64>| {
            let code = code.map_or("an unknown code".to_owned(), |code| format!("code {code}"));
            format!("its container ended with {code}")
        };
        let event = match news {
            News::Ended { node, code } => {
                let container = node::name(&self.run, &node);
                let last_lines = self
                    .engine
                    .logs(&container, LAST_LINES)
                    .await
                    .unwrap_or_default();
                NetEvent::NodeExited {
                    node,
                    code,
                    last_lines,
                }
            }
            News::AgentEnded { code } => NetEvent::AgentLost {
                reason: ended(code),
            },
            News::ReaperEnded { .. } if !self.makes => return Ok(()),
            News::ReaperEnded { code } => NetEvent::ReaperLost {
                reason: ended(code),
            },
        };
        self.events.send(event).await
    }
}

/// Where the process of every node that has a container is.
pub(super) async fn node_states(
    engine: &dyn Engine,
    run: &RunId,
) -> Result<BTreeMap<NodeName, ContainerState>, super::engine::EngineError> {
    let containers = engine.containers(&of_run(run)).await?;
    let nodes = containers
        .into_iter()
        .filter(|container| Part::of(&container.labels) == Some(Part::Node))
        .filter_map(|mut container| {
            Some((NodeName(container.labels.remove(NODE)?), container.state))
        });
    Ok(nodes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(action: &str, role: &str, time_ns: i64) -> EngineEvent {
        let attributes = [
            ("netsplit.role", role),
            ("netsplit.node", "a"),
            ("exitCode", "137"),
        ];
        EngineEvent {
            action: action.into(),
            attributes: attributes
                .map(|(key, value)| (key.into(), value.into()))
                .into(),
            time_ns,
        }
    }

    fn ended(code: Option<i64>) -> News {
        News::Ended {
            node: NodeName("a".into()),
            code,
        }
    }

    #[test]
    fn a_death_is_told_once_however_it_becomes_known() {
        let mut known = Known::default();
        let dead = [(NodeName("a".into()), ContainerState::Exited)].into();
        assert_eq!(
            known.learn(&event("die", "node", 5)),
            Some(ended(Some(137)))
        );
        assert_eq!(known.learn(&event("die", "node", 5)), None);
        assert_eq!(known.compare(&dead), []);
        assert_eq!(known.learn(&event("start", "node", 6)), None);
        assert_eq!(known.compare(&dead), [ended(None)]);
        assert_eq!(known.compare(&dead), []);
    }

    #[test]
    fn the_ends_of_agent_and_reaper_are_news() {
        let mut known = Known::default();
        let agent = News::AgentEnded { code: Some(137) };
        let reaper = News::ReaperEnded { code: Some(137) };
        assert_eq!(known.learn(&event("die", "agent", 1)), Some(agent));
        assert_eq!(known.learn(&event("die", "reaper", 2)), Some(reaper));
    }

    #[tokio::test]
    async fn the_reapers_end_is_told_to_the_runs_maker_only() {
        for makes in [true, false] {
            let (events, mut told) = mpsc::channel(1);
            let watcher = Watcher {
                engine: Arc::new(super::super::tests::fake_engine::FakeEngine::default()),
                run: RunId("r".into()),
                makes,
                events,
            };
            let news = News::ReaperEnded { code: Some(137) };
            watcher.tell(news).await.expect("the receiver is here");
            let lost = matches!(told.try_recv(), Ok(NetEvent::ReaperLost { .. }));
            assert_eq!(lost, makes);
        }
    }

    #[test]
    fn an_event_that_is_not_understood_is_a_silence() {
        let node = NodeName("a".into());
        let event = said(&node, 1, serde_json::json!({"seq": 1}));
        assert!(matches!(event, NetEvent::NodeSilent { .. }));
    }
}
