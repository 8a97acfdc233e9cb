//! Whether a testnet could live here: by making one without nodes, cutting a link of it, and removing it.

use super::{Namespaces, supervisor::room};
use crate::{Diagnosis, doctor};

/// Nodes of a large testnet.
const MANY: usize = 1000;

/// Kernel limits that large testnets meet: path below /proc/sys, what suffices for some hundred nodes, and why.
const LIMITS: [(&str, u64, &str); 2] = [
    (
        "net/core/netdev_max_backlog",
        4096,
        "packets that wait per processor: a broadcast needs one per node",
    ),
    (
        "fs/inotify/max_user_instances",
        128,
        "watchers: every log that is followed takes one",
    ),
];

/// Tries everything a run needs.
pub(super) async fn examine(runtime: &Namespaces) -> Vec<Diagnosis> {
    let started = "user, network and process namespaces made, supervisor running, agent configured";
    let mut found = doctor::dry_run(runtime, started).await;
    found.push(room());
    found.extend(LIMITS.map(doctor::limit));
    found
}

/// Whether limits leave room for a large testnet; if not, small ones run all the same.
fn room() -> Diagnosis {
    match room::too_tight(&room::bounds(), MANY) {
        None => doctor::works("room", format!("for {MANY} nodes")),
        Some((reason, remedy)) => Diagnosis {
            what: "room".into(),
            ok: true,
            detail: reason,
            hint: Some(remedy),
        },
    }
}
