//! Whatever fails, and wherever, nothing is left.

use std::{path::Path, sync::Arc, time::Duration};

use netsplit_plan::plan::NodeName;
use tokio::sync::mpsc;

use super::{
    super::{
        engine::{ContainerState, Engine as _},
        gc,
        image::Programs,
        labels::{Identity, Part},
        launch::{self, Settings},
        network, node, reaper,
        teardown::{self, By},
        testnet::DockerTestnet,
    },
    fake_engine::{Failure, FakeEngine},
    plan,
};
use crate::{
    Launch, NodeState, Ownership, ProgressSink, RunId, RuntimeError, Teardown, Testnet,
    journal::{self, Thing},
    owner::Owner,
};

/// A file that passes for a static program and is read fast.
fn program(directory: &Path) -> std::path::PathBuf {
    let mut file = vec![0; 64];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[18] = 62;
    let path = directory.join("program");
    std::fs::write(&path, file).unwrap();
    path
}

fn ignore() -> ProgressSink {
    mpsc::unbounded_channel().0
}

struct Bench {
    engine: FakeEngine,
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            engine: FakeEngine::default(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn run_directory(&self, run: &str) -> std::path::PathBuf {
        self.directory.path().join(run)
    }

    async fn launch(
        &self,
        run: &str,
        nodes: u32,
        ownership: Ownership,
    ) -> Result<DockerTestnet, RuntimeError> {
        let settings = Settings {
            programs: Programs {
                own: program(self.directory.path()),
                node: None,
            },
            socket: "/var/run/docker.sock".into(),
            node_memory: None,
        };
        let launch = Launch {
            plan: plan(nodes),
            run: RunId(run.into()),
            name: run.into(),
            ownership,
            directory: self.run_directory(run),
            node_binary: None,
        };
        launch::launch(
            Arc::new(self.engine.clone()),
            settings,
            launch,
            ignore(),
            Arc::default(),
        )
        .await
    }

    async fn remove(&self, run: &str) -> Teardown {
        let run = RunId(run.into());
        teardown::remove_run(&self.engine, &run, By::Client, &ignore())
            .await
            .unwrap()
    }

    async fn collect(&self) -> Result<Vec<(RunId, Teardown)>, RuntimeError> {
        gc::collect(&self.engine, None, &Default::default()).await
    }

    fn fail_at(&self, call: usize, failure: Failure) {
        self.engine.state().fail_at = Some((call, failure));
    }
}

#[tokio::test]
async fn a_launch_that_fails_at_any_call_leaves_nothing() {
    for failure in [Failure::Before, Failure::After] {
        let mut call = 0;
        loop {
            let bench = Bench::new();
            bench.fail_at(call, failure);
            let Err(error) = bench.launch("r-00000001", 12, Ownership::Owned).await else {
                break;
            };
            assert_eq!(bench.engine.things(), [""; 0], "{failure:?} at call {call}");
            assert_eq!(error.left, [""; 0], "{failure:?} at call {call}");
            assert_eq!(bench.remove("r-00000001").await, Teardown::default());
            assert!(journal::read_all(bench.directory.path())[0].ended);
            call += 1;
        }
        // Image, reaper, network, agent, and two calls for each node.
        assert!(call > 30, "only {call} calls could fail");
    }
}

#[tokio::test]
async fn a_teardown_that_fails_at_any_call_leaves_nothing() {
    for failure in [Failure::Before, Failure::After] {
        for call in 0.. {
            let bench = Bench::new();
            let testnet = bench
                .launch("r-00000001", 9, Ownership::Owned)
                .await
                .unwrap();
            let begun = bench.engine.state().calls.len();
            bench.fail_at(begun + call, failure);
            let teardown = Box::new(testnet).teardown(ignore()).await;
            assert_eq!(bench.engine.things(), [""; 0], "{failure:?} at call {call}");
            assert_eq!(teardown.left, [""; 0], "{failure:?} at call {call}");
            assert_eq!(bench.remove("r-00000001").await, Teardown::default());
            if bench.engine.state().calls.len() < begun + call {
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_maker_killed_at_any_call_is_cleaned_up_after_by_its_reaper() {
    let mut call = 0;
    loop {
        let bench = Bench::new();
        bench.fail_at(call, Failure::Silence);
        let launch = bench.launch("r-00000001", 9, Ownership::Detachable);
        if tokio::time::timeout(Duration::from_secs(60), launch)
            .await
            .is_ok_and(|made| made.is_ok())
        {
            break;
        }
        let run = RunId("r-00000001".into());
        let things = bench.engine.things();
        let others = things.iter().any(|thing| *thing != node::reaper_name(&run));
        let reaper = things.contains(&node::reaper_name(&run));
        assert!(reaper || !others, "unguarded at call {call}: {things:?}");
        bench.engine.state().fail_at = None;
        let reaped = teardown::remove_run(&bench.engine, &run, By::Reaper, &ignore())
            .await
            .unwrap();
        assert_eq!(reaped.left, [""; 0]);
        let left = bench.engine.things();
        assert!(
            left.iter().all(|thing| *thing == node::reaper_name(&run)),
            "{left:?}"
        );
        call += 1;
    }
    assert!(call > 20, "only {call} calls could fall silent");
}

#[tokio::test]
async fn everything_is_written_down_before_it_exists() {
    let bench = Bench::new();
    let path = bench.run_directory("r-00000001").join(journal::FILE_NAME);
    bench.engine.state().on_create = Some(Box::new(move |name| {
        let story = journal::read(&path).unwrap().unwrap();
        let things = [Thing::Container(name.into()), Thing::Network(name.into())];
        assert!(
            things.iter().any(|thing| story.things.contains(thing)),
            "{name} is not written"
        );
    }));
    let testnet = bench
        .launch("r-00000001", 5, Ownership::Owned)
        .await
        .unwrap();
    assert!(!journal::read_all(bench.directory.path())[0].ended);
    Box::new(testnet).teardown(ignore()).await;
    assert!(journal::read_all(bench.directory.path())[0].ended);
}

#[tokio::test]
async fn the_reaper_is_there_before_anything_else_and_a_node_costs_two_calls() {
    let bench = Bench::new();
    let testnet = bench
        .launch("r-00000001", 30, Ownership::Owned)
        .await
        .unwrap();
    let calls = bench.engine.state().calls.clone();
    let place = |call: &str| {
        calls
            .iter()
            .position(|other| other.starts_with(call))
            .unwrap()
    };
    let reaper = place("start netsplit-r-00000001.reaper");
    for later in [
        "create-network",
        "create netsplit-r-00000001.agent",
        "create netsplit-r-00000001-n",
        "start netsplit-r-00000001-n",
    ] {
        assert!(reaper < place(later), "{later} came before the reaper");
    }
    let about_nodes = calls
        .iter()
        .filter(|call| call.contains("netsplit-r-00000001-n"))
        .count();
    assert_eq!(about_nodes, 60);
    let others = calls.len() - about_nodes;
    assert!(others <= 12, "{others} further calls: {calls:?}");
    Box::new(testnet).teardown(ignore()).await;
}

#[tokio::test]
async fn one_thing_that_stays_keeps_nothing_else() {
    let bench = Bench::new();
    let testnet = bench
        .launch("r-00000001", 9, Ownership::Owned)
        .await
        .unwrap();
    let stuck = "netsplit-r-00000001-n4".to_owned();
    bench.engine.state().stuck.insert(stuck.clone());
    let teardown = Box::new(testnet).teardown(ignore()).await;
    assert_eq!(bench.engine.things(), std::slice::from_ref(&stuck));
    assert_eq!(teardown.left.len(), 1, "{teardown:?}");
    assert!(teardown.left[0].contains(&stuck) && teardown.left[0].contains("busy"));
    assert!(!journal::read_all(bench.directory.path())[0].ended);
    bench.engine.state().stuck.clear();
    assert_eq!(bench.remove("r-00000001").await.left, [""; 0]);
    assert_eq!(bench.engine.things(), [""; 0]);
}

/// Engines before 28 can lose count of a network's endpoints when three leave it at once.
#[tokio::test]
async fn nodes_leave_their_network_two_at_a_time_before_they_are_removed() {
    let bench = Bench::new();
    let testnet = bench
        .launch("r-00000001", 30, Ownership::Owned)
        .await
        .unwrap();
    bench.engine.state().calls.clear();
    Box::new(testnet).teardown(ignore()).await;
    let (calls, (_, most)) = {
        let state = bench.engine.state();
        (state.calls.clone(), state.departing)
    };
    let place = |call: &str| calls.iter().position(|other| other == call);
    let network = network::name(&RunId("r-00000001".into()));
    for number in 1..=30 {
        let node = format!("netsplit-r-00000001-n{number}");
        let left = place(&format!("disconnect {network} {node}"));
        let removed = place(&format!("remove {node}"));
        assert!(left.is_some() && left < removed, "{calls:#?}");
    }
    assert_eq!(most, 2);
}

#[tokio::test]
async fn removing_a_run_leaves_one_whose_name_begins_alike() {
    let bench = Bench::new();
    let first = bench.launch("r-1", 2, Ownership::Owned).await.unwrap();
    let second = bench.launch("r-10", 2, Ownership::Owned).await.unwrap();
    let before = bench.engine.things().len();
    Box::new(first).teardown(ignore()).await;
    assert_eq!(bench.engine.things().len(), before / 2);
    assert!(
        bench
            .engine
            .things()
            .iter()
            .all(|thing| thing.contains("r-10"))
    );
    assert_eq!(bench.collect().await.unwrap(), []);
    assert_eq!(bench.engine.things().len(), before / 2);
    Box::new(second).teardown(ignore()).await;
    assert_eq!(bench.engine.things(), [""; 0]);
}

#[tokio::test]
async fn a_subnet_that_is_refused_is_not_asked_for_again() {
    let bench = Bench::new();
    bench.engine.state().overlaps = 3;
    let testnet = bench
        .launch("r-00000001", 1, Ownership::Owned)
        .await
        .unwrap();
    let calls = bench.engine.state().calls.clone();
    let mut asked: Vec<_> = calls
        .iter()
        .filter(|call| call.starts_with("create-network"))
        .collect();
    assert_eq!(asked.len(), 4);
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 4);
    let network = bench
        .engine
        .state()
        .networks
        .values()
        .next()
        .unwrap()
        .clone();
    assert_eq!(
        testnet.info().addresses[&NodeName("n1".into())],
        network.subnet.host(2)
    );
    Box::new(testnet).teardown(ignore()).await;
}

#[tokio::test]
async fn a_detached_run_lives_on_and_can_be_found_driven_and_removed() {
    let bench = Bench::new();
    let run = RunId("r-00000001".into());
    let testnet = bench
        .launch(&run.0, 3, Ownership::Detachable)
        .await
        .unwrap();
    let password = testnet.credentials();
    testnet
        .put_state(serde_json::json!({"cuts": 1}))
        .await
        .unwrap();
    assert_eq!(gc::list(&bench.engine).await.unwrap()[0].state, "starting");
    Box::new(testnet).detach().await.unwrap();
    assert!(!bench.engine.things().contains(&node::reaper_name(&run)));
    let listed = gc::list(&bench.engine).await.unwrap();
    assert_eq!((listed[0].state.as_str(), listed[0].nodes), ("detached", 3));
    assert_eq!(bench.collect().await.unwrap(), []);

    let engine = Arc::new(bench.engine.clone());
    let again = DockerTestnet::attach(engine, &run).await.unwrap();
    assert_eq!(again.credentials(), password);
    assert_eq!(
        again.get_state().await.unwrap(),
        serde_json::json!({"cuts": 1})
    );
    let node = NodeName("n2".into());
    again
        .node(&node, netsplit_plan::plan::NodeVerb::Kill)
        .await
        .unwrap();
    assert_eq!(again.states().await.unwrap()[&node], NodeState::Exited);
    Box::new(again).teardown(ignore()).await;
    assert_eq!(bench.engine.things(), [""; 0]);
}

#[tokio::test]
async fn an_owned_run_cannot_be_left_alone() {
    let bench = Bench::new();
    let testnet = bench
        .launch("r-00000001", 1, Ownership::Owned)
        .await
        .unwrap();
    Box::new(testnet).detach().await.unwrap_err();
}

#[tokio::test]
async fn what_a_dead_owner_left_is_collected_and_what_is_not_ours_stays() {
    let bench = Bench::new();
    let living = bench
        .launch("live-00000001", 2, Ownership::Owned)
        .await
        .unwrap();
    let before = bench.engine.things();
    // A run whose owner's pid has been used again since, with a node and a network and neither reaper nor agent.
    let own = Owner::current().unwrap();
    let identity = Identity {
        run: RunId("dead-00000001".into()),
        name: "dead".into(),
        owner: Owner {
            start: own.start + 1,
            ..own
        },
        ownership: Ownership::Detachable,
        started: 0,
    };
    let (mut spec, mut network) = {
        let state = bench.engine.state();
        let node = &state.containers["netsplit-live-00000001-n1"];
        (
            node.0.clone(),
            state.networks.values().next().unwrap().clone(),
        )
    };
    spec.name = "netsplit-dead-00000001-n1".into();
    spec.labels = identity.labels(Part::Node, Some(&NodeName("n1".into())));
    spec.network = super::super::engine::Attachment::None;
    bench.engine.create_container(&spec).await.unwrap();
    network.name = "netsplit-dead-00000001".into();
    network.labels = identity.labels(Part::Network, None);
    bench.engine.create_network(&network).await.unwrap();
    spec.name = "somebody-elses".into();
    spec.labels.clear();
    bench.engine.create_container(&spec).await.unwrap();

    let states = gc::list(&bench.engine).await.unwrap();
    let states: Vec<_> = states
        .iter()
        .map(|run| (&run.name[..], &run.state[..]))
        .collect();
    assert_eq!(states, [("dead", "dead"), ("live-00000001", "owned")]);
    let collected = bench.collect().await.unwrap();
    let expected = Teardown {
        removed: 2,
        left: Vec::new(),
    };
    assert_eq!(collected, [(identity.run, expected)]);
    let mut left = bench.engine.things();
    left.retain(|thing| thing != "somebody-elses");
    assert_eq!(left, before);
    Box::new(living).teardown(ignore()).await;
    let state = bench.engine.state().containers["somebody-elses"].1;
    assert_eq!(state, ContainerState::Created);
}

/// Old images go, but for the last used of each name and those that containers are made of.
#[tokio::test]
async fn images_nobody_needs_are_collected() {
    let bench = Bench::new();
    let hours_ago = |hours: u64| launch::now().0 / 1_000_000_000 - hours * 3600;
    let used = bench
        .launch("live-00000001", 1, Ownership::Owned)
        .await
        .unwrap();
    let current = {
        let mut state = bench.engine.state();
        let current = state.images.keys().next().unwrap().clone();
        state.images.insert(current.clone(), Some(hours_ago(9)));
        state.images.insert("netsplit:imported".into(), None);
        for (reference, hours) in [
            ("netsplit:last", 2),
            ("netsplit:old", 3),
            ("netsplit-node:fresh", 0),
            ("netsplit-node:older", 5),
        ] {
            state
                .images
                .insert(reference.into(), Some(hours_ago(hours)));
        }
        current
    };
    let left = |expected: &[&str]| {
        let state = bench.engine.state();
        let mut wanted: Vec<_> = expected.to_vec();
        wanted.sort_unstable();
        assert_eq!(state.images.keys().collect::<Vec<_>>(), wanted);
    };
    assert_eq!(bench.collect().await.unwrap(), []);
    left(&[
        &current,
        "netsplit:last",
        "netsplit:imported",
        "netsplit-node:fresh",
    ]);
    Box::new(used).teardown(ignore()).await;
    bench.collect().await.unwrap();
    // The one that was only imported counts as used when it was first looked at.
    left(&["netsplit:imported", "netsplit-node:fresh"]);
}

#[tokio::test]
async fn an_image_that_is_used_again_is_not_old() {
    let bench = Bench::new();
    let launch = || bench.launch("r-00000001", 1, Ownership::Owned);
    Box::new(launch().await.unwrap()).teardown(ignore()).await;
    for tagged in bench.engine.state().images.values_mut() {
        *tagged = Some(launch::now().0 / 1_000_000_000 - 7200);
    }
    let used = launch().await.unwrap();
    let tagged: Vec<_> = bench.engine.state().images.values().copied().collect();
    let fresh = Some(launch::now().0 / 1_000_000_000 - 60);
    assert!(tagged.iter().all(|tagged| *tagged > fresh), "{tagged:?}");
    Box::new(used).teardown(ignore()).await;
}

/// What the engine was still creating when its maker died turns up after the reaper's first look.
#[tokio::test(start_paused = true)]
async fn the_reaper_looks_again() {
    let bench = Bench::new();
    bench
        .launch("r-00000001", 2, Ownership::Detachable)
        .await
        .unwrap();
    let late = bench.engine.state().networks["netsplit-r-00000001"].clone();
    let run = RunId("r-00000001".into());
    let reaped = reaper::reap(&bench.engine, &run);
    let creating = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let things = bench.engine.things();
        assert_eq!(things, [node::reaper_name(&run)], "the first look is over");
        bench.engine.create_network(&late).await.unwrap();
    };
    let (reaped, ()) = tokio::join!(reaped, creating);
    reaped.unwrap();
    assert_eq!(bench.engine.things(), [node::reaper_name(&run)]);
}
