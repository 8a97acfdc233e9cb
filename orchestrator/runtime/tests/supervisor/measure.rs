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
    let mut run = Run::begin();
    let supervisor = run.supervisor();
    let mut spent = 0;
    let mut tell = |what: &str| {
        let all = processor_ms(supervisor).unwrap_or(spent);
        let of_it = all - spent;
        println!(
            "{what:>12}  {:>8.1} ms, {of_it:>6} ms of a processor",
            ms(lap.elapsed())
        );
        spent = all;
        lap = Instant::now();
    };
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
    let memory = fs::read_to_string(format!("/proc/{supervisor}/status")).unwrap();
    for line in memory
        .lines()
        .filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"))
    {
        println!("{:>12}  {line}", "supervisor");
    }
    let files = fs::read_dir(format!("/proc/{supervisor}/fd"))
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

/// Time the supervisor itself has worked so far (fields 14 and 15 of proc(5)'s `stat`, ticks of 10 ms).
fn processor_ms(supervisor: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{supervisor}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some((ticks(14)? + ticks(15)?) * 10)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
