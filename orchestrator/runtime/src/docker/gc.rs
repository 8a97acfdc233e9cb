//! Which runs live, and removing what dead ones left.

use std::{collections::BTreeMap, path::Path};

use tokio::sync::mpsc;

use super::{
    document::Lease,
    engine::{ContainerInfo, ContainerState, Engine, NetworkInfo, gone_is_fine},
    image::old,
    labels::{self, Identity, Part},
    launch::now,
    network,
    teardown::{self, By},
    testnet,
};
use crate::{
    Ownership, RunId, RunSummary, RuntimeError, Teardown,
    journal::{self, Story, Thing},
    owner::Life,
};

/// Age below which a run whose owner cannot be judged from here may still be creating its reaper.
const GRACE_SECONDS: u64 = 60;

/// Whether and how a run lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunState {
    Starting,
    Owned,
    Detached,
    Dead,
}

impl RunState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Owned => "owned",
            Self::Detached => "detached",
            Self::Dead => "dead",
        }
    }
}

/// What can be seen of a run from the engine's lists.
#[derive(Clone, Debug)]
struct Sighting {
    identity: Identity,
    reaper_runs: bool,
    agent_runs: bool,
    nodes: usize,
}

/// What the state of a run depends on.
#[derive(Clone, Copy, Debug)]
struct Facts {
    ownership: Ownership,
    owner: Life,
    reaper_runs: bool,
    agent_runs: bool,
    /// What the agent says, where it was asked and answers.
    lease: Option<Lease>,
    age_seconds: u64,
}

impl Facts {
    fn judge(self) -> RunState {
        let holds = match self.ownership {
            Ownership::Owned => RunState::Owned,
            Ownership::Detachable => RunState::Starting,
        };
        if self.ownership == Ownership::Detachable
            && self.agent_runs
            && self.lease_matters()
            && self.lease != Some(Lease::Starting)
        {
            // An agent that runs but does not answer gets the benefit of the doubt: `down` can still remove it.
            return RunState::Detached;
        }
        match self.owner {
            Life::Alive => holds,
            Life::Dead => RunState::Dead,
            Life::Unknown if self.reaper_runs || self.age_seconds < GRACE_SECONDS => holds,
            Life::Unknown => RunState::Dead,
        }
    }

    /// Whether the agent's word decides: with a reaper and an owner that may live, the run is still being started.
    const fn lease_matters(self) -> bool {
        matches!(self.owner, Life::Dead) || !self.reaper_runs
    }
}

/// What the engine shows of all runs. Networks are listed first: one that is seen had its reaper before it, so that is
/// seen too.
async fn sightings(engine: &dyn Engine) -> Result<Vec<Sighting>, RuntimeError> {
    let failed = "failed to list the runs";
    let networks = engine
        .networks(Some(labels::RUN))
        .await
        .map_err(|error| error.during(failed))?;
    let containers = engine
        .containers(labels::RUN)
        .await
        .map_err(|error| error.during(failed))?;
    let mut runs = BTreeMap::new();
    for NetworkInfo { labels, .. } in &networks {
        see(&mut runs, labels);
    }
    for ContainerInfo { labels, state, .. } in &containers {
        let Some(sighting) = see(&mut runs, labels) else {
            continue;
        };
        let running = matches!(state, ContainerState::Running | ContainerState::Paused);
        match Part::of(labels) {
            Some(Part::Node) => sighting.nodes += 1,
            Some(Part::Agent) => sighting.agent_runs |= running,
            Some(Part::Reaper) => sighting.reaper_runs |= running,
            Some(Part::Network) | None => {}
        }
    }
    Ok(runs.into_values().collect())
}

fn see<'a>(
    runs: &'a mut BTreeMap<RunId, Sighting>,
    labels: &BTreeMap<String, String>,
) -> Option<&'a mut Sighting> {
    let identity = Identity::read(labels)?;
    Some(
        runs.entry(identity.run.clone())
            .or_insert_with(|| Sighting {
                identity,
                reaper_runs: false,
                agent_runs: false,
                nodes: 0,
            }),
    )
}

async fn judge(engine: &dyn Engine, sighting: &Sighting) -> RunState {
    let identity = &sighting.identity;
    let mut facts = Facts {
        ownership: identity.ownership,
        owner: identity.owner.life(),
        reaper_runs: sighting.reaper_runs,
        agent_runs: sighting.agent_runs,
        lease: None,
        age_seconds: (now().0 / 1_000_000_000).saturating_sub(identity.started),
    };
    if facts.ownership == Ownership::Detachable && facts.agent_runs && facts.lease_matters() {
        facts.lease = testnet::lease(engine, &identity.run).await;
    }
    facts.judge()
}

/// All runs the engine knows.
pub(super) async fn list(engine: &dyn Engine) -> Result<Vec<RunSummary>, RuntimeError> {
    let mut runs = Vec::new();
    for sighting in sightings(engine).await? {
        let state = judge(engine, &sighting).await;
        let Sighting {
            identity, nodes, ..
        } = sighting;
        runs.push(RunSummary {
            run: identity.run,
            name: identity.name,
            runtime: super::NAME.to_owned(),
            state: state.as_str().to_owned(),
            nodes,
            started: identity.started,
        });
    }
    Ok(runs)
}

/// Removes what dead runs left: by label, and by the journals in `runs` what carries none. Then the images of programs
/// that are not used any more go too; they are no run's, and not told.
pub(super) async fn collect(
    engine: &dyn Engine,
    runs: Option<&Path>,
    images: &old::Rule,
) -> Result<Vec<(RunId, Teardown)>, RuntimeError> {
    let mut collected = Vec::new();
    let mut alive = Vec::new();
    let (progress, _) = mpsc::unbounded_channel();
    for sighting in sightings(engine).await? {
        let run = sighting.identity.run.clone();
        if judge(engine, &sighting).await == RunState::Dead {
            let teardown = teardown::remove_run(engine, &run, By::Client, &progress).await?;
            collected.push((run, teardown));
        } else {
            alive.push(run);
        }
    }
    let stories = runs.map(journal::read_all).unwrap_or_default();
    for story in stories.into_iter().filter(|story| is_over(story, &alive)) {
        let teardown = remove_unlabelled(engine, &story).await?;
        if teardown != Teardown::default() {
            collected.push((story.run, teardown));
        }
    }
    match old::remove(engine, images).await {
        Ok(removed) => tracing::debug!(removed, "removed old images"),
        Err(error) => tracing::warn!(%error, "failed to look for old images"),
    }
    Ok(collected)
}

/// Whether a journal's run is certainly dead and did not end well.
fn is_over(story: &Story, alive: &[RunId]) -> bool {
    !story.ended && !alive.contains(&story.run) && story.owner.life() == Life::Dead
}

/// Removes networks that bear a name of the journal but no label. Containers cannot come into being without their labels,
/// nor can networks by our hand; but an engine that fails half-way through creating one has been seen to keep the name.
async fn remove_unlabelled(engine: &dyn Engine, story: &Story) -> Result<Teardown, RuntimeError> {
    let failed = "failed to list the engine's networks";
    let name = network::name(&story.run);
    if !story.things.contains(&Thing::Network(name.clone())) {
        return Ok(Teardown::default());
    }
    let networks = engine
        .networks(None)
        .await
        .map_err(|error| error.during(failed))?;
    let mut teardown = Teardown::default();
    for network in networks.iter().filter(|network| network.name == name) {
        if network.labels.contains_key(labels::RUN) {
            continue;
        }
        match gone_is_fine(engine.remove_network(&network.id).await) {
            Ok(()) => teardown.removed += 1,
            Err(error) => teardown.left.push(format!("network `{name}`: {error}")),
        }
    }
    Ok(teardown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(ownership: Ownership, owner: Life, reaper_runs: bool, agent_runs: bool) -> Facts {
        Facts {
            ownership,
            owner,
            reaper_runs,
            agent_runs,
            lease: None,
            age_seconds: 3600,
        }
    }

    #[test]
    fn an_owned_run_lives_as_long_as_its_owner() {
        for agent in [false, true] {
            for reaper in [false, true] {
                let facts = |owner| facts(Ownership::Owned, owner, reaper, agent).judge();
                assert_eq!(facts(Life::Alive), RunState::Owned);
                assert_eq!(facts(Life::Dead), RunState::Dead);
            }
        }
    }

    #[test]
    fn an_owner_that_cannot_be_judged_lives_while_the_reaper_does() {
        for ownership in [Ownership::Owned, Ownership::Detachable] {
            let facts = |reaper| facts(ownership, Life::Unknown, reaper, false).judge();
            assert_ne!(facts(true), RunState::Dead);
            assert_eq!(facts(false), RunState::Dead);
        }
    }

    #[test]
    fn a_young_run_of_an_owner_that_cannot_be_judged_may_be_creating_its_reaper() {
        let young = Facts {
            age_seconds: 3,
            ..facts(Ownership::Owned, Life::Unknown, false, false)
        };
        assert_eq!(young.judge(), RunState::Owned);
    }

    #[test]
    fn a_detached_run_lives_by_its_agents_word() {
        for owner in [Life::Dead, Life::Unknown] {
            let run = facts(Ownership::Detachable, owner, false, true);
            let with = |lease| Facts { lease, ..run }.judge();
            assert_eq!(with(Some(Lease::Detached)), RunState::Detached);
            assert_eq!(with(None), RunState::Detached);
            assert_eq!(with(Some(Lease::Starting)), RunState::Dead);
            assert_eq!(
                Facts {
                    agent_runs: false,
                    ..run
                }
                .judge(),
                RunState::Dead
            );
        }
    }

    #[test]
    fn a_run_being_started_is_not_detached_whatever_its_agent_says() {
        let run = facts(Ownership::Detachable, Life::Alive, true, true);
        assert_eq!(run.judge(), RunState::Starting);
        assert_eq!(
            Facts {
                lease: Some(Lease::Detached),
                ..run
            }
            .judge(),
            RunState::Starting
        );
    }
}
