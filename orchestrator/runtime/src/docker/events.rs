//! The engine's word on whose process ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt;
use netsplit_plan::plan::NodeName;
use tokio::sync::mpsc;

use super::{
    engine::{ContainerState, Engine, EngineEvent},
    labels::{NODE, Part, of_run},
    node,
};
use crate::{
    NetEvent, RunId,
    feed::{Feed, LAST_LINES},
};

/// Pause before the engine is asked again for its events.
const AGAIN: Duration = Duration::from_millis(500);

/// Tells of containers' ends from now on, and of those since `since` (seconds since the epoch), which the run's maker
/// gives: the reaper is there for it, and its end is told to nobody else.
pub(super) fn watch(feed: &Feed, engine: Arc<dyn Engine>, run: RunId, since: Option<u64>) {
    feed.tell(|events| {
        let watcher = Watcher {
            engine,
            run,
            makes: since.is_some(),
            events,
        };
        watcher.watch(since)
    });
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
}
