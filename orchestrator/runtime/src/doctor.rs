//! What every runtime's doctor does: make a testnet of which no node ever starts, cut a link of it, and remove it.

use std::{error::Error, fs};

use netsplit_api::config::{ChainNetwork, Role};
use netsplit_faults::link::{Cut, Drop, LinkTable};
use netsplit_plan::plan::{NodeName, Plan, PlannedChain, PlannedNode};
use tokio::sync::mpsc;

use crate::{Diagnosis, Launch, Ownership, RunId, Runtime, RuntimeError, Testnet, random};

/// The nodes, which would join later.
const NODES: [&str; 2] = ["a", "b"];

pub(crate) fn works(what: &str, detail: impl Into<String>) -> Diagnosis {
    Diagnosis {
        what: what.to_owned(),
        ok: true,
        detail: detail.into(),
        hint: None,
    }
}

/// The whole chain of causes in one line.
pub(crate) fn fails(what: &str, error: &RuntimeError) -> Diagnosis {
    let mut detail = error.to_string();
    let mut cause = Error::source(error);
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

/// A limit of the kernel's that large testnets meet: path below /proc/sys, what suffices for some hundred nodes, and why. One
/// that is low is worth a word, but stops nobody with few nodes.
pub(crate) fn limit((path, enough, why): (&str, u64, &str)) -> Diagnosis {
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

/// Starts a testnet without nodes, which its maker has to tear down.
///
/// # Errors
/// Whatever keeps testnets from starting here.
pub(crate) async fn start(runtime: &dyn Runtime) -> Result<Box<dyn Testnet>, RuntimeError> {
    let run = RunId(format!("doctor-{}", random::hex::<4>()?));
    let directory = std::env::temp_dir().join(format!("netsplit-{run}"));
    let launch = Launch {
        plan: plan(),
        run,
        name: "doctor".into(),
        ownership: Ownership::Owned,
        directory: directory.clone(),
        node_binary: None,
    };
    let launched = runtime.launch(launch, mpsc::unbounded_channel().0).await;
    if launched.is_err() {
        forget(&directory);
    }
    launched
}

/// Makes a testnet, cuts it and removes it; `started` says what a start has shown.
pub(crate) async fn dry_run(runtime: &dyn Runtime, started: &str) -> Vec<Diagnosis> {
    match start(runtime).await {
        Ok(testnet) => {
            let cut = cut(&*testnet).await;
            vec![works("start", started), cut, remove(testnet).await]
        }
        Err(error) => vec![fails("start", &error)],
    }
}

/// Cuts two addresses that nobody has, reads the table back, and heals.
async fn cut(testnet: &dyn Testnet) -> Diagnosis {
    let address = |name: &str| vec![testnet.info().addresses[&NodeName(name.into())]];
    let [from, to] = NODES.map(address);
    let table = LinkTable {
        version: 1,
        cuts: vec![Cut {
            id: "doctor".into(),
            drops: vec![Drop { from, to }],
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

/// Removes a testnet that [`start`] made, and its directory.
pub(crate) async fn remove(testnet: Box<dyn Testnet>) -> Diagnosis {
    let run = testnet.info().run.clone();
    let teardown = testnet.teardown(mpsc::unbounded_channel().0).await;
    forget(&std::env::temp_dir().join(format!("netsplit-{run}")));
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

fn forget(directory: &std::path::Path) {
    // Only what is kept for people is in it.
    if let Err(error) = fs::remove_dir_all(directory) {
        tracing::debug!(%error, "the dry run's directory stays");
    }
}

fn plan() -> Plan {
    let node = |(name, host): (&str, u32)| PlannedNode {
        name: NodeName(name.into()),
        group: "doctor".into(),
        host,
        roles: [Role::Full].into(),
        zone: None,
        behaviour: Default::default(),
        seed: String::new(),
        discovery: Vec::new(),
        relay: Default::default(),
        sync: Default::default(),
        peers: Default::default(),
        timers: Default::default(),
        durability: Default::default(),
        share: None,
        joins: true,
    };
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
        nodes: NODES.into_iter().zip(2..).map(node).collect(),
        steps: Vec::new(),
        timeout_ms: None,
    }
}
