//! `measure RUNTIME COUNT` (not a test): what the life of a testnet of so many of the simplified nodes costs.

use std::time::Instant;

use netsplit_runtime::Ownership;

use crate::bench::{Bench, event, plan, run_id, start, teardown};

pub(crate) async fn measure(bench: Bench, count: usize) {
    let names: Vec<String> = (0..count).map(|number| format!("n{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let run = run_id("measure");
    let mut clock = Instant::now();
    let mut lap = |what: &str| {
        println!("{what:>8} {:7.3} s", clock.elapsed().as_secs_f64());
        clock = Instant::now();
    };
    bench.runtime.check(&plan(&names)).await.unwrap();
    lap("check");
    let testnet = bench.launch(&run, &names, Ownership::Owned).await;
    lap("launch");
    for _ in 0..count {
        event(&*testnet, start).await;
    }
    lap("events");
    testnet.states().await.unwrap();
    lap("states");
    bench.find(&run).await.unwrap();
    lap("list");
    println!("{:?}", teardown(testnet).await);
    lap("teardown");
}
