//! Removing a run: by label alone, nodes and agent first, network and reaper last, and nothing stops it.

use std::{collections::BTreeSet, sync::atomic::AtomicBool};

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::{
    engine::{ContainerInfo, Engine, EngineError, NetworkInfo, gone_is_fine},
    flight,
    labels::{Part, of_run},
};
use crate::{Progress, ProgressSink, RunId, RuntimeError, Teardown};

/// Passes over what is left: what was being created while the first one ran is found by the next.
const PASSES: usize = 5;

/// Containers that leave their network at a time.
///
/// Engines before 28 count a network's endpoints in a record that several threads update at once: with three or more
/// departures at a time a decrement can be lost, and a network that counts an endpoint it has not can no longer be removed
/// until the engine restarts (seen with 20.10: one network in about eighty). Two at a time do not lose any and are hidden
/// behind the removals.
const DEPARTURES: usize = 2;

/// Who removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// Anybody else: the reaper goes too.
    Client,
    /// The reaper, which the engine removes once it has exited.
    Reaper,
}

/// Removes everything of a run. Doing it again is harmless.
///
/// # Errors
/// Only when the engine could not even be asked what there is.
pub(crate) async fn remove_run(
    engine: &dyn Engine,
    run: &RunId,
    by: By,
    progress: &ProgressSink,
) -> Result<Teardown, RuntimeError> {
    let label = of_run(run);
    let mut removed = 0;
    let mut seen = BTreeSet::new();
    let mut left = Vec::new();
    for pass in 1..=PASSES {
        let listed = async {
            let containers = engine.containers(&label).await?;
            Ok((containers, engine.networks(Some(&label)).await?))
        };
        let (containers, networks) = match listed.await {
            Ok(found) => found,
            Err(error) if pass == PASSES => {
                let error: EngineError = error;
                return Err(error.during(format_args!("failed to find what run `{run}` left")));
            }
            Err(_) => continue,
        };
        let (reapers, others): (Vec<_>, Vec<_>) = containers
            .into_iter()
            .partition(|container| Part::of(&container.labels) == Some(Part::Reaper));
        let reapers = if by == By::Reaper {
            Vec::new()
        } else {
            reapers
        };
        if others.is_empty() && networks.is_empty() && reapers.is_empty() {
            return Ok(Teardown {
                removed,
                left: Vec::new(),
            });
        }
        let fresh = others
            .iter()
            .filter(|container| seen.insert(container.id.clone()))
            .count();
        if fresh > 0 {
            // Progress is a courtesy: nobody has to listen.
            let _ = progress.send(Progress::Phase {
                name: "remove",
                total: fresh,
            });
        }
        left = remove_containers(engine, others, &networks, progress, &mut removed).await;
        let mut reaped = 0;
        let reapers = remove_containers(engine, reapers, &[], progress, &mut reaped);
        let (networks, reapers) = tokio::join!(remove_networks(engine, networks), reapers);
        removed += networks.iter().filter(|result| result.is_ok()).count();
        left.extend(networks.into_iter().filter_map(Result::err));
        left.extend(reapers);
    }
    Ok(Teardown { removed, left })
}

/// Removes containers, agents after nodes, and takes the nodes out of `networks` before; returns what could not be.
async fn remove_containers(
    engine: &dyn Engine,
    mut containers: Vec<ContainerInfo>,
    networks: &[NetworkInfo],
    progress: &ProgressSink,
    removed: &mut usize,
) -> Vec<String> {
    containers.sort_by_key(|container| Part::of(&container.labels) != Some(Part::Node));
    let mut left = Vec::new();
    let departures = Semaphore::new(DEPARTURES);
    let departures = &departures;
    let work = |container: ContainerInfo| -> BoxFuture<'_, _> {
        Box::pin(async move {
            if Part::of(&container.labels) == Some(Part::Node) {
                depart(engine, &container, networks, departures).await;
            }
            let result = gone_is_fine(engine.remove_container(&container.id).await);
            (container, result)
        })
    };
    flight::for_all(
        containers,
        &AtomicBool::new(false),
        work,
        |(container, result)| match result {
            Ok(()) => {
                *removed += 1;
                let item = container.name;
                let _ = progress.send(Progress::Step {
                    name: "remove",
                    item,
                });
            }
            Err(error) => left.push(describe("container", &container.name, &error)),
        },
    )
    .await;
    left
}

/// Takes a node out of the run's networks. A failure does not matter: the removal that follows does it too.
async fn depart(
    engine: &dyn Engine,
    container: &ContainerInfo,
    networks: &[NetworkInfo],
    departures: &Semaphore,
) {
    let _permit = departures.acquire().await;
    for network in networks {
        if let Err(error) = gone_is_fine(engine.disconnect(&network.id, &container.id).await) {
            tracing::debug!(container = container.name, %error, "not disconnected");
        }
    }
}

async fn remove_networks(
    engine: &dyn Engine,
    networks: Vec<NetworkInfo>,
) -> Vec<Result<(), String>> {
    let mut results = Vec::new();
    for network in networks {
        let result = gone_is_fine(engine.remove_network(&network.id).await);
        results.push(result.map_err(|error| describe("network", &network.name, &error)));
    }
    results
}

fn describe(kind: &str, name: &str, error: &EngineError) -> String {
    let text = format!("{kind} `{name}`: {error}");
    if text.contains("has active endpoints") {
        // All containers are gone by now: the engine counts what is not there.
        return format!("{text} (if it stays: restart the engine, then `netsplit gc`)");
    }
    text
}
