//! Runs that end otherwise than by a teardown.

use std::{
    io::Read,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use netsplit_runtime::{Launch, Ownership, RunId};
use tokio::time::timeout;

use crate::bench::{Bench, Kind, removed, run_id, teardown};

pub(crate) async fn failed(bench: Bench) {
    let program = bench.home().join("program");
    std::fs::write(&program, "no program\n").unwrap();
    for node_binary in [program, bench.home().join("nothing")] {
        let run = run_id("failed");
        let launch = Launch {
            node_binary: Some(node_binary.clone()),
            ..bench.request(&run, &["a", "b"], Ownership::Detachable)
        };
        let Err(error) = bench.try_launch(launch).await else {
            panic!("`{}` is no program", node_binary.display());
        };
        assert_eq!(error.left, [""; 0], "{error:?}");
        bench.gone(&run).await;
    }
}

pub(crate) async fn given_up(bench: Bench) {
    for after in [0, 3, 10, 30, 100, 300, 900] {
        // Calls that an engine has it goes on with: who gives up removes, as an interrupted command does. A supervisor ends
        // by itself.
        for removes in [true, bench.kind == Kind::Docker] {
            let run = run_id("given-up");
            let launch = bench.request(&run, &["a", "b", "c"], Ownership::Owned);
            let launched = bench.try_launch(launch);
            if let Ok(launched) = timeout(Duration::from_millis(after), launched).await {
                let count = 3 + bench.kind.others();
                assert_eq!(teardown(launched.unwrap()).await, removed(count));
            } else if removes {
                assert_eq!(bench.remove(&run).await.left, [""; 0]);
            }
            bench.gone(&run).await;
        }
    }
}

/// Another process makes a run and is killed: after so many milliseconds, or once it is up.
pub(crate) async fn killed(bench: Bench) {
    for after in [Some(20), Some(100), Some(250), Some(400), Some(600), None] {
        let run = run_id("killed");
        let mut maker = Command::new(std::env::current_exe().unwrap())
            .args(["maker", bench.kind.name()])
            .arg(bench.home())
            .arg(&run.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        match after {
            Some(after) => tokio::time::sleep(Duration::from_millis(after)).await,
            None => {
                let up = &mut [0; 3];
                maker.stdout.as_mut().unwrap().read_exact(up).unwrap();
            }
        }
        maker.kill().unwrap();
        maker.wait().unwrap();
        bench.gone(&run).await;
    }
}

/// The subcommand `maker`.
pub(crate) async fn make(kind: &str, home: &str, run: &str) {
    let bench = Bench::at(Kind::named(kind), Path::new(home)).await;
    let run = RunId(run.into());
    let _testnet = bench
        .launch(&run, &["a", "b", "c"], Ownership::Detachable)
        .await;
    println!("up");
    std::future::pending::<()>().await;
}
