#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::IpAddr;

use super::*;
use crate::{
    enforcer::fake::{FakeKernel, Packet},
    link::{Cut, Drop as Dropped, DropCounters, LinkTable},
    links::Links,
    nft::ruleset::FORWARD,
};

fn node(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 0, number)
}

fn cut(id: &str, drops: &[(&[u8], &[u8])]) -> Cut {
    let side = |numbers: &[u8]| numbers.iter().map(|n| node(*n).into()).collect();
    let drops = drops.iter().map(|(from, to)| Dropped {
        from: side(from),
        to: side(to),
    });
    Cut {
        id: id.to_owned(),
        drops: drops.collect(),
    }
}

fn table(version: u64, cuts: &[Cut]) -> LinkTable {
    let cuts = cuts.to_vec();
    LinkTable { version, cuts }
}

/// Four nodes, each behind the device of its own number.
fn bench() -> (Links<Routed<FakeKernel>>, FakeKernel, Segment) {
    let scope = Scope {
        family: Family::Inet,
        table: "t".to_owned(),
        probe_port: 9,
    };
    let (kernel, segment) = (FakeKernel::new(scope), Segment::default());
    for number in 1..=4 {
        segment.attach(node(number), number.into());
    }
    let routed = Routed::new(kernel.clone(), segment.clone());
    let links = Links::new(routed, (IpAddr::from(node(0)), 24));
    (links, kernel, segment)
}

/// Who hears a broadcast of a node.
fn heard(segment: &Segment, from: u32) -> Vec<u32> {
    let mut devices = Vec::new();
    segment.lock().receivers(from, &mut devices);
    devices
}

fn passes(kernel: &FakeKernel, from: u8, to: u8) -> bool {
    kernel.pass(&Packet {
        ethertype: 0x0800,
        group: false,
        from: node(from),
        to: node(to),
        transport: 6,
        source_port: 1,
        destination_port: 2,
        output: to.into(),
    })
}

fn groups(links: &mut Links<Routed<FakeKernel>>) -> Vec<Vec<u64>> {
    let counters = links.counters().unwrap();
    let of = |drops: &[DropCounters]| drops.iter().map(|count| count.group).collect();
    counters.cuts.iter().map(|cut| of(&cut.drops)).collect()
}

#[test]
fn what_is_dropped_between_two_nodes_is_not_relayed_between_them() {
    let (mut links, kernel, segment) = bench();
    let halves = cut("halves", &[(&[1, 2], &[3, 4]), (&[3, 4], &[1, 2])]);
    let applied = links
        .apply(table(1, std::slice::from_ref(&halves)))
        .unwrap();
    assert_eq!(applied.differences, [] as [String; 0]);
    assert_eq!((heard(&segment, 1), heard(&segment, 3)), (vec![2], vec![4]));
    assert!(!passes(&kernel, 1, 3) && passes(&kernel, 1, 2));
    assert_eq!(groups(&mut links), [[2, 2]]);
    // The newer cut counts what both forbid; the older keeps what it counted.
    let newer = cut("newer", &[(&[1], &[3])]);
    links.apply(table(2, &[halves, newer.clone()])).unwrap();
    assert_eq!(heard(&segment, 1), [2]);
    assert_eq!(groups(&mut links), [vec![3, 2], vec![1]]);
    links.apply(table(3, &[newer])).unwrap();
    assert_eq!(
        (heard(&segment, 1), heard(&segment, 3)),
        (vec![2, 4], vec![1, 2, 4])
    );
    links.apply(table(4, &[])).unwrap();
    assert_eq!(heard(&segment, 1), [2, 3, 4]);
}

#[test]
fn a_refused_change_changes_neither() {
    let (mut links, kernel, segment) = bench();
    links.apply(table(1, &[cut("a", &[(&[1], &[2])])])).unwrap();
    kernel.set_refusing(true);
    links
        .apply(table(2, &[cut("b", &[(&[1], &[3])])]))
        .unwrap_err();
    assert_eq!(heard(&segment, 1), [3, 4]);
    kernel.set_refusing(false);
    links.clear().unwrap();
    assert_eq!(heard(&segment, 1), [2, 3, 4]);
}

#[test]
fn what_is_kept_back_ends_with_its_holder() {
    let (mut links, _, segment) = bench();
    links.apply(table(1, &[cut("a", &[(&[1], &[2])])])).unwrap();
    assert_eq!(heard(&segment, 1), [3, 4]);
    drop(links);
    assert_eq!(heard(&segment, 1), [2, 3, 4]);
}

#[test]
fn a_relay_that_does_other_than_the_table_is_a_difference() {
    let (mut links, kernel, segment) = bench();
    links.apply(table(1, &[cut("a", &[(&[1], &[2])])])).unwrap();
    let mut routed = Routed::new(kernel.clone(), segment.clone());
    assert_eq!(
        routed.read_back().unwrap().unwrap().foreign,
        [] as [String; 0]
    );
    segment.lock().policy = Policy::default();
    assert_eq!(routed.read_back().unwrap().unwrap().foreign.len(), 1);
    // The other way round: the relay keeps back what no table drops.
    segment.lock().policy = Policy::of(&kernel.table().unwrap());
    kernel.lose_table();
    assert_eq!(routed.read_back().unwrap().unwrap().foreign.len(), 1);
}

#[test]
fn a_table_that_vanished_is_noticed_although_the_relay_still_counts() {
    let (mut links, kernel, _segment) = bench();
    links.apply(table(1, &[cut("a", &[(&[1], &[2])])])).unwrap();
    kernel.lose_table();
    links.counters().unwrap_err();
}

#[test]
fn a_table_where_nothing_passes_keeps_nothing_back() {
    let (mut links, kernel, _segment) = bench();
    links.apply(table(1, &[cut("a", &[(&[1], &[2])])])).unwrap();
    let ruleset = kernel.table().unwrap();
    assert_eq!(Policy::of(&ruleset).counters().count(), 1);
    let elsewhere = Ruleset {
        hook: FORWARD + 1,
        ..ruleset
    };
    assert_eq!(Policy::of(&elsewhere).counters().count(), 0);
}
