#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::{
    enforcer::fake::{FakeKernel, Packet},
    nft::{build::Scope, ruleset::Family},
};

const PROBE_PORT: u16 = 18460;

fn node(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 0, number)
}

fn side(numbers: &[u8]) -> Vec<IpAddr> {
    numbers.iter().map(|number| node(*number).into()).collect()
}

fn cut(id: &str, drops: &[(&[u8], &[u8])]) -> Cut {
    let drops = drops.iter().map(|(from, to)| Drop {
        from: side(from),
        to: side(to),
    });
    Cut {
        id: id.to_owned(),
        drops: drops.collect(),
    }
}

fn table(version: u64, cuts: &[Cut]) -> LinkTable {
    LinkTable {
        version,
        cuts: cuts.to_vec(),
    }
}

fn packet(from: u8, to: u8, port: u16) -> Packet {
    Packet {
        ethertype: 0x0800,
        group: false,
        from: node(from),
        to: node(to),
        transport: 6,
        source_port: 40_000,
        destination_port: port,
        output: port_of(to),
    }
}

fn port_of(node: u8) -> u32 {
    100 + u32::from(node)
}

/// A broadcast as it is about to leave by the port of `to`.
fn broadcast(from: u8, to: u8) -> Packet {
    let everyone = Ipv4Addr::BROADCAST;
    Packet {
        group: true,
        to: everyone,
        transport: 17,
        ..packet(from, to, 5)
    }
}

fn links() -> (Links<FakeKernel>, FakeKernel) {
    let scope = Scope {
        family: Family::Bridge,
        table: "t".to_owned(),
        probe_port: PROBE_PORT,
    };
    let kernel = FakeKernel::new(scope);
    kernel.set_ports(
        (1..=20)
            .map(|number| (node(number), port_of(number)))
            .collect(),
    );
    let mut links = Links::new(kernel.clone(), (node(0).into(), 24));
    links.set_members((1..=20).map(node).collect());
    (links, kernel)
}

#[test]
fn drops_are_counted_by_class_and_by_the_newest_cut() {
    let (mut links, kernel) = links();
    let first = cut("first", &[(&[1, 2], &[3, 4]), (&[3, 4], &[1, 2])]);
    links.apply(table(1, std::slice::from_ref(&first))).unwrap();
    assert!(!kernel.pass(&packet(1, 3, 18444)));
    assert!(!kernel.pass(&packet(1, 4, PROBE_PORT)));
    let answer = Packet {
        source_port: PROBE_PORT,
        ..packet(3, 1, 40_000)
    };
    assert!(!kernel.pass(&answer));
    assert!(!kernel.pass(&broadcast(2, 3)));
    assert!(kernel.pass(&broadcast(2, 1)) && kernel.pass(&packet(1, 2, 18444)));
    let second = cut("second", &[(&[1], &[3])]);
    let applied = links.apply(table(2, &[first, second])).unwrap();
    assert_eq!((applied.pairs_intended, applied.pairs_installed), (8, 8));
    assert_eq!(applied.differences, Vec::<String>::new());
    assert!(!kernel.pass(&packet(1, 3, 18444)));
    let counters = links.counters().unwrap();
    assert_eq!(
        counters
            .cuts
            .iter()
            .map(|cut| cut.drops.clone())
            .collect::<Vec<_>>(),
        [
            vec![
                DropCounters {
                    protocol: 1,
                    probes: 1,
                    group: 1
                },
                DropCounters {
                    protocol: 0,
                    probes: 1,
                    group: 0
                },
            ],
            vec![DropCounters {
                protocol: 1,
                probes: 0,
                group: 0
            }],
        ]
    );
}

#[test]
fn totals_of_a_cut_end_with_it() {
    let (mut links, kernel) = links();
    let stays = cut("stays", &[(&[1], &[2])]);
    let changes = cut("changes", &[(&[3], &[4])]);
    links.apply(table(1, &[changes, stays.clone()])).unwrap();
    for _ in 0..5 {
        assert!(!kernel.pass(&packet(1, 2, 1)) && !kernel.pass(&packet(3, 4, 1)));
    }
    let changed = cut("changes", &[(&[3], &[5])]);
    links.apply(table(2, &[stays.clone(), changed])).unwrap();
    let count = |links: &mut Links<FakeKernel>| {
        let counters = links.counters().unwrap();
        counters
            .cuts
            .iter()
            .map(|cut| cut.drops[0].protocol)
            .collect::<Vec<_>>()
    };
    assert_eq!(count(&mut links), [5, 0]);
    links.apply(table(3, &[])).unwrap();
    assert!(kernel.table().is_none());
    links.apply(table(4, &[stays])).unwrap();
    assert_eq!(count(&mut links), [0]);
}

#[test]
fn senseless_tables_change_nothing() {
    let (mut links, kernel) = links();
    links
        .apply(table(5, &[cut("ok", &[(&[1], &[2])])]))
        .unwrap();
    let mut outside = cut("x", &[(&[1], &[2])]);
    outside.drops[0].to = vec![IpAddr::from([8, 8, 8, 8])];
    let mut six = cut("x", &[(&[1], &[2])]);
    six.drops[0].to = vec!["fd00::1".parse().unwrap()];
    let senseless = [
        table(4, &[]),
        table(6, &[cut("x", &[])]),
        table(6, &[cut("", &[(&[1], &[2])])]),
        table(6, &[cut("x", &[(&[1], &[2])]), cut("x", &[(&[3], &[4])])]),
        table(6, &[cut("x", &[(&[1, 2], &[2, 3])])]),
        table(6, &[cut("x", &[(&[], &[2])])]),
        table(6, &[outside]),
        table(6, &[six]),
    ];
    for senseless in senseless {
        let error = links.apply(senseless.clone()).unwrap_err();
        assert!(
            matches!(error, LinkError::Invalid(_)),
            "{senseless:?}: {error}"
        );
    }
    assert_eq!((links.version(), kernel.commits()), (5, 1));
    assert!(!kernel.pass(&packet(1, 2, 1)));
}

#[test]
fn a_refusing_kernel_leaves_the_old_table() {
    let (mut links, kernel) = links();
    links.apply(table(1, &[cut("a", &[(&[1], &[2])])])).unwrap();
    kernel.set_refusing(true);
    let error = links
        .apply(table(2, &[cut("b", &[(&[3], &[4])])]))
        .unwrap_err();
    assert!(matches!(
        error,
        LinkError::Kernel(EnforceError::Refused { .. })
    ));
    assert_eq!(links.version(), 1);
    assert_eq!(links.counters().unwrap().cuts[0].id, "a");
}

#[test]
fn a_table_that_vanished_is_noticed() {
    let (mut links, kernel) = links();
    links.apply(table(1, &[cut("a", &[(&[1], &[2])])])).unwrap();
    kernel.lose_table();
    assert!(links.counters().is_err());
    let applied = links.apply(table(2, &[cut("a", &[(&[1], &[2])])])).unwrap();
    assert_eq!(applied.differences.len(), 1, "{:?}", applied.differences);
}

#[test]
fn a_new_port_gets_no_broadcast_until_it_is_known() {
    let (mut links, kernel) = links();
    links
        .apply(table(1, &[cut("a", &[(&[1, 2], &[3, 4])])]))
        .unwrap();
    assert!(kernel.pass(&packet(1, 2, 1)));
    let restarted = Packet {
        output: 999,
        ..broadcast(1, 2)
    };
    assert!(!kernel.pass(&restarted), "an unknown port fails closed");
    assert!(!kernel.pass(&Packet {
        output: 998,
        ..broadcast(1, 3)
    }));
    assert!(!links.refresh().unwrap(), "nothing is new");
    let mut ports: Ports = (1..=20)
        .map(|number| (node(number), port_of(number)))
        .collect();
    ports.insert(node(2), 999);
    ports.insert(node(3), 998);
    kernel.set_ports(ports);
    assert!(links.refresh().unwrap());
    assert!(kernel.pass(&restarted));
    assert!(!kernel.pass(&Packet {
        output: 998,
        ..broadcast(1, 3)
    }));
    assert_eq!(links.counters().unwrap().cuts[0].drops[0].group, 3);
}

#[test]
fn networks_contain_what_they_should() {
    let within = |address: &str, network: &str, prefix| {
        within(address.parse().unwrap(), (network.parse().unwrap(), prefix))
    };
    assert!(within("10.1.2.3", "10.1.0.0", 16) && !within("10.2.2.3", "10.1.0.0", 16));
    assert!(within("1.2.3.4", "0.0.0.0", 0) && !within("1.2.3.4", "1.2.3.5", 32));
    assert!(!within("1.2.3.4", "1.2.3.0", 33) && !within("fd00::1", "10.0.0.0", 8));
    assert!(within("fd00::1:2", "fd00::", 64) && !within("fd01::1", "fd00::", 64));
}

/// Any directed drop between disjoint, non-empty sides of the nodes 1 to 12.
fn any_drop() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    prop::collection::vec(0_u8..3, 12).prop_filter_map("both sides", |sides| {
        let side = |wanted| {
            (1_u8..)
                .zip(&sides)
                .filter(|(_, side)| **side == wanted)
                .map(|(node, _)| node)
                .collect()
        };
        let (from, to): (Vec<u8>, Vec<u8>) = (side(1), side(2));
        (!from.is_empty() && !to.is_empty()).then_some((from, to))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However cuts overlap: a packet passes if and only if no cut names its pair; other ethertypes always pass.
    #[test]
    fn cuts_cut_what_they_say(cuts in prop::collection::vec(prop::collection::vec(any_drop(), 1..4), 0..4)) {
        let (mut links, kernel) = links();
        let named = cuts.iter().enumerate().map(|(number, drops)| {
            let drops: Vec<_> = drops.iter().map(|(from, to)| (&from[..], &to[..])).collect();
            cut(&number.to_string(), &drops)
        }).collect::<Vec<_>>();
        let applied = links.apply(table(1, &named)).unwrap();
        let is_cut = |from, to| cuts.iter().flatten().any(|(f, t)| f.contains(&from) && t.contains(&to));
        let (mut pairs, mut dropped) = (0, 0);
        for from in 1..=13 {
            for to in (1..=13).filter(|to| *to != from) {
                pairs += u64::from(is_cut(from, to));
                for port in [PROBE_PORT, 18444] {
                    dropped += u64::from(is_cut(from, to));
                    prop_assert_eq!(kernel.pass(&packet(from, to, port)), !is_cut(from, to));
                }
                dropped += u64::from(is_cut(from, to));
                prop_assert_eq!(kernel.pass(&broadcast(from, to)), !is_cut(from, to));
                let arp = Packet { ethertype: 0x0806, group: true, ..packet(from, to, 1) };
                prop_assert!(kernel.pass(&arp));
            }
        }
        prop_assert_eq!((applied.pairs_intended, applied.pairs_installed), (pairs, pairs));
        prop_assert_eq!(applied.differences, Vec::<String>::new());
        let counters = links.counters().unwrap();
        let counted: u64 = counters.cuts.iter().flat_map(|cut| &cut.drops)
            .map(|count| count.protocol + count.probes + count.group).sum();
        prop_assert_eq!(counted, dropped);
    }
}
