//! What a cut into halves costs: the commit alone, and all of it with reading back and counting pairs.
//!
//! `unshare --user --map-root-user --net link_scale NODES` prints one line of JSON, best and worst of some tables. Nothing runs
//! in the network it cuts.

use std::{
    error::Error,
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use netsplit_faults::{
    link::{Cut, Drop as Dropped, LinkTable},
    links::Links,
    routed::{Routed, Segment},
};
use serde_json::json;

const TABLES: u64 = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let nodes: u32 = std::env::args()
        .nth(1)
        .ok_or("usage: link_scale NODES")?
        .parse()?;
    let routed = Routed::open("scale", 1, Segment::default())?;
    let mut links = Links::new(routed, (IpAddr::from([10, 248, 0, 0]), 16));
    let addresses: Vec<IpAddr> = (2..nodes + 2)
        .map(|node| Ipv4Addr::from(0x0af8_0000 + node).into())
        .collect();
    let (a, b) = addresses.split_at(addresses.len() / 2);
    let drops = [(a, b), (b, a)].map(|(from, to)| Dropped {
        from: from.to_vec(),
        to: to.to_vec(),
    });
    let (mut commits, mut applies, mut heals) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..TABLES {
        let cut = Cut {
            id: "halves".to_owned(),
            drops: drops.to_vec(),
        };
        let begin = Instant::now();
        let applied = links.apply(LinkTable {
            version: 2 * round + 1,
            cuts: vec![cut],
        })?;
        applies.push(begin.elapsed());
        commits.push(Duration::from_nanos(
            applied.committed_to_ns - applied.committed_from_ns,
        ));
        if applied.pairs_installed != applied.pairs_intended || !applied.differences.is_empty() {
            return Err(format!("not as asked: {applied:?}").into());
        }
        let begin = Instant::now();
        links.apply(LinkTable {
            version: 2 * round + 2,
            cuts: Vec::new(),
        })?;
        heals.push(begin.elapsed());
    }
    let milliseconds = |times: &[Duration]| {
        let of = |time: Option<&Duration>| time.map(|time| time.as_secs_f64() * 1000.0);
        [of(times.iter().min()), of(times.iter().max())]
    };
    let report = json!({
        "nodes": nodes,
        "commit_ms": milliseconds(&commits),
        "cut_ms": milliseconds(&applies),
        "heal_ms": milliseconds(&heals),
    });
    writeln!(io::stdout(), "{report}")?;
    Ok(())
}
