//! Whether a testnet could live here: by making one without nodes, cutting a link of it, and removing it.

use super::{Docker, engine::Engine};
use crate::{
    Diagnosis,
    doctor::{self, fails, works},
};

/// Kernel limits that large testnets meet: path below /proc/sys, what suffices for some hundred nodes, and why.
const LIMITS: [(&str, u64, &str); 4] = [
    (
        "net/ipv4/neigh/default/gc_thresh3",
        4096,
        "entries of the neighbour table: about twice nodes × peers",
    ),
    (
        "net/core/netdev_max_backlog",
        4096,
        "packets that wait per processor: a broadcast needs one per node",
    ),
    (
        "kernel/pid_max",
        32768,
        "processes: a container takes about a dozen",
    ),
    (
        "fs/inotify/max_user_instances",
        128,
        "watchers: the engine takes one per container log that is followed",
    ),
];

/// Tries everything a run needs.
pub(super) async fn examine(runtime: &Docker) -> Vec<Diagnosis> {
    let started = "image imported, reaper watching, network created, agent configured";
    let mut found = vec![reach(&*runtime.engine).await];
    found.extend(doctor::dry_run(runtime, started).await);
    found.extend(LIMITS.map(doctor::limit));
    found
}

async fn reach(engine: &dyn Engine) -> Diagnosis {
    match engine.version().await {
        Ok(version) => {
            let detail = format!(
                "Docker {}, API {}, {}",
                version.engine, version.api, version.arch
            );
            works("engine", detail)
        }
        Err(error) => fails(
            "engine",
            &error.during("failed to ask the engine for its version"),
        ),
    }
}
