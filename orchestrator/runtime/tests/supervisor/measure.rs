//! What many nodes cost.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::client::Run;

pub(crate) fn measure(count: u32) {
    let begin = Instant::now();
    let mut lap = begin;
    let mut tell = |what: &str| {
        println!("{what:>12}  {:>8.1} ms", ms(lap.elapsed()));
        lap = Instant::now();
    };
    let mut run = Run::begin();
    tell("begin");
    let request = run.launching(0..count);
    run.session.send(&request);
    loop {
        let told = run.session.told("progress");
        if told["done"] == told["total"] {
            tell(told["phase"].as_str().unwrap());
            if told["phase"] == "start" {
                break;
            }
        }
    }
    run.session.status();
    tell("status");
    let memory = fs::read_to_string(format!("/proc/{}/status", run.supervisor())).unwrap();
    for line in memory
        .lines()
        .filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"))
    {
        println!("{:>12}  {line}", "supervisor");
    }
    let files = fs::read_dir(format!("/proc/{}/fd", run.supervisor()))
        .unwrap()
        .count();
    println!("{:>12}  {files} open files", "supervisor");
    tell("look");
    run.session.done(&json!({ "type": "shutdown" }));
    run.session.ended();
    tell("shutdown");
    run.wait();
    tell("guard");
    println!("{:>12}  {:>8.1} ms", "all", ms(begin.elapsed()));
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
