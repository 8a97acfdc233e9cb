//! Whether a testnet could live here: by making one without nodes, cutting a link of it, and removing it.

use std::{fs, net::IpAddr, sync::Arc};

use netsplit_api::config::ChainNetwork;
use netsplit_faults::link::{Cut, Drop, LinkTable};
use netsplit_plan::plan::{Plan, PlannedChain};
use tokio::sync::mpsc;

use super::{
    engine::Engine,
    launch::{self, Settings},
    testnet::DockerTestnet,
};
use crate::{Diagnosis, Launch, Ownership, RunId, RuntimeError, Testnet};

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
pub(super) async fn examine(engine: Arc<dyn Engine>, settings: Settings) -> Vec<Diagnosis> {
    let mut found = vec![reach(&*engine).await];
    match dry_run(engine, settings).await {
        Ok(testnet) => {
            found.push(works(
                "start",
                "image imported, reaper watching, network created, agent configured",
            ));
            found.push(cut(&testnet).await);
            found.push(remove(testnet).await);
        }
        Err(error) => found.push(fails("start", &error)),
    }
    found.extend(LIMITS.map(limit));
    found
}

fn works(what: &str, detail: impl Into<String>) -> Diagnosis {
    Diagnosis {
        what: what.to_owned(),
        ok: true,
        detail: detail.into(),
        hint: None,
    }
}

/// The whole chain of causes in one line.
fn fails(what: &str, error: &RuntimeError) -> Diagnosis {
    let mut detail = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        detail = format!("{detail}: {error}");
        cause = error.source();
    }
    let left = error.left.iter().map(|left| format!("left behind: {left}"));
    let hints: Vec<_> = error.hints.iter().cloned().chain(left).collect();
    let hint = (!hints.is_empty()).then(|| hints.join("; "));
    Diagnosis {
        what: what.to_owned(),
        ok: false,
        detail,
        hint,
    }
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

async fn dry_run(
    engine: Arc<dyn Engine>,
    settings: Settings,
) -> Result<DockerTestnet, RuntimeError> {
    let mut random = [0; 4];
    getrandom::fill(&mut random)
        .map_err(|error| RuntimeError::with_source("failed to get random bytes", error))?;
    let run = RunId(format!("doctor-{}", hex::encode(random)));
    let directory = std::env::temp_dir().join(format!("netsplit-{run}"));
    let launch = Launch {
        plan: empty_plan(),
        run,
        name: "doctor".into(),
        ownership: Ownership::Owned,
        directory: directory.clone(),
        node_binary: None,
    };
    let (progress, _) = mpsc::unbounded_channel();
    let testnet = Box::pin(launch::launch(
        engine,
        settings,
        launch,
        progress,
        Arc::default(),
    ))
    .await;
    // Only the journal is in it, and the run's labels say the same.
    if let Err(error) = fs::remove_dir_all(&directory) {
        tracing::debug!(%error, "the dry run's directory stays");
    }
    testnet
}

fn empty_plan() -> Plan {
    Plan {
        name: "doctor".into(),
        description: String::new(),
        seed: 0,
        chain: PlannedChain {
            network: ChainNetwork::Regtest,
            block_interval_ms: 1000,
            premine: 0,
            payees: Vec::new(),
        },
        nodes: Vec::new(),
        steps: Vec::new(),
        timeout_ms: None,
    }
}

/// Cuts two addresses of the network that nobody has, reads the table back, and heals.
async fn cut(testnet: &DockerTestnet) -> Diagnosis {
    let (from, to) = testnet.two_addresses().await;
    let drops = vec![Drop {
        from: vec![from],
        to: vec![to],
    }];
    let table = LinkTable {
        version: 1,
        cuts: vec![Cut {
            id: "doctor".into(),
            drops,
        }],
    };
    let healed = LinkTable {
        version: 2,
        cuts: Vec::new(),
    };
    let tried = async {
        let applied = testnet.apply(table).await?;
        let counters = testnet.counters().await?;
        testnet.apply(healed).await?;
        Ok((applied, counters))
    };
    match tried.await {
        Ok((applied, counters)) if applied.differences.is_empty() && counters.cuts.len() == 1 => {
            works(
                "cut",
                "the kernel takes a cut, shows it when read back, and counts",
            )
        }
        Ok((applied, _)) => Diagnosis {
            what: "cut".into(),
            ok: false,
            detail: format!(
                "the kernel shows another table: {}",
                applied.differences.join("; ")
            ),
            hint: None,
        },
        Err(error) => fails("cut", &error),
    }
}

async fn remove(testnet: DockerTestnet) -> Diagnosis {
    let (progress, _) = mpsc::unbounded_channel();
    let teardown = Box::new(testnet).teardown(progress).await;
    if teardown.left.is_empty() {
        return works(
            "remove",
            format!("{} things removed, nothing left", teardown.removed),
        );
    }
    Diagnosis {
        what: "remove".into(),
        ok: false,
        detail: teardown.left.join("; "),
        hint: Some("`netsplit gc` tries again".into()),
    }
}

/// A limit that is low is worth a word, but stops nobody with few nodes.
fn limit((path, enough, why): (&str, u64, &str)) -> Diagnosis {
    let name = path.replace('/', ".");
    let read = fs::read_to_string(format!("/proc/sys/{path}"));
    let Some(value) = read.ok().and_then(|text| text.trim().parse::<u64>().ok()) else {
        return works(&name, "not to be read here");
    };
    let hint = (value < enough)
        .then(|| format!("for hundreds of nodes: `sudo sysctl -w {name}={enough}` ({why})"));
    Diagnosis {
        what: name,
        ok: true,
        detail: value.to_string(),
        hint,
    }
}

impl DockerTestnet {
    /// Two addresses of the run's network.
    async fn two_addresses(&self) -> (IpAddr, IpAddr) {
        let subnet = self.subnet().await;
        (subnet.host(2), subnet.host(3))
    }
}
