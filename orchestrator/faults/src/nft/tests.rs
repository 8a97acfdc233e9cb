#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeSet, net::Ipv4Addr};

use proptest::prelude::*;

use super::{
    build::{Directions, Ports, Scope, build},
    decode, encode,
    encode::Before,
    pairs::{differences, installed, intended},
    ruleset::{Expression, Family, Installed, Ruleset, Set, SetKind},
};
use crate::netlink::wire;

/// Reads a batch as if it were the kernel's dumps: both have the same layout.
fn read(bytes: &[u8], family: Family, table: &str) -> Installed {
    let mut got = Ruleset {
        family,
        table: table.to_owned(),
        hook: 0,
        sets: vec![],
        rules: vec![],
    };
    let (mut owned, mut foreign) = (false, Vec::new());
    for message in wire::messages(bytes) {
        let body = message.payload;
        match message.kind {
            encode::NEWTABLE => owned = decode::table(body).unwrap().owned,
            encode::NEWCHAIN => got.hook = decode::chain(body, table).unwrap().unwrap(),
            encode::NEWSET => {
                let (name, kind) = decode::set(body, table).unwrap();
                got.sets.push(Set {
                    name,
                    kind: kind.unwrap(),
                    elements: BTreeSet::new(),
                });
            }
            encode::NEWSETELEM => got
                .sets
                .last_mut()
                .unwrap()
                .elements
                .extend(decode::keys(body)),
            encode::NEWRULE => match decode::rule(body, table).unwrap() {
                Ok((rule, 0)) => got.rules.push(rule),
                other => foreign.push(format!("{other:?}")),
            },
            _ => {}
        }
    }
    Installed {
        ruleset: got,
        owned,
        foreign,
    }
}

fn scope(family: Family) -> Scope {
    Scope {
        family,
        table: "netsplit-x".to_owned(),
        probe_port: 18460,
    }
}

fn halves(count: u32) -> Directions {
    let side = |start: u32| {
        (start..start + count / 2)
            .map(Ipv4Addr::from)
            .collect::<BTreeSet<_>>()
    };
    let (a, b) = (side(0x0a00_0001), side(0x0a00_8000));
    vec![(a.clone(), b.clone()), (b, a)]
}

fn any_cuts() -> impl Strategy<Value = Vec<Directions>> {
    let side = |low: u8| {
        prop::collection::btree_set(
            (low..low + 40).prop_map(|n| Ipv4Addr::new(10, 0, 0, n)),
            1..20,
        )
    };
    prop::collection::vec(prop::collection::vec((side(0), side(100)), 1..4), 1..4)
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        cuts in any_cuts(),
        ports in prop::collection::btree_map((0_u8..150).prop_map(|n| Ipv4Addr::new(10, 0, 0, n)), any::<u32>(), 0..50),
        inet in any::<bool>(),
        owned in any::<bool>(),
    ) {
        let family = if inet { Family::Inet } else { Family::Bridge };
        let wanted = build(&cuts, &ports, &scope(family));
        let (bytes, _) = encode::batch(1, |writer| {
            encode::write_table(writer, &wanted, owned, Before::Present);
        });
        let got = read(&bytes, family, "netsplit-x");
        prop_assert_eq!(&got.ruleset, &wanted);
        prop_assert_eq!(got.owned, owned);
        prop_assert_eq!(differences(&wanted, Some(&got)), Vec::<String>::new());
        prop_assert_eq!(installed(&got.ruleset).count(), intended(&cuts).count());
    }
}

#[test]
fn a_thousand_nodes_are_a_few_sets_and_rules() {
    let cuts = [halves(1000)];
    let wanted = build(&cuts, &Ports::new(), &scope(Family::Bridge));
    assert_eq!(wanted.rules.len(), 8);
    // Two sides, the transport protocols, and the empty set of known ports.
    assert_eq!(wanted.sets.len(), 4);
    let (bytes, _) = encode::batch(1, |writer| {
        encode::write_table(writer, &wanted, true, Before::Absent);
    });
    assert_eq!(read(&bytes, Family::Bridge, "netsplit-x").ruleset, wanted);
    assert_eq!(installed(&wanted).count(), 500_000);
}

/// Anything changed in what is read back shows, as a difference and, where it matters, as a missing pair.
#[test]
fn every_deviation_is_a_difference() {
    let cuts = [halves(6)];
    let wanted = build(&cuts, &Ports::new(), &scope(Family::Bridge));
    let changed = |change: &dyn Fn(&mut Ruleset)| {
        let mut ruleset = wanted.clone();
        change(&mut ruleset);
        let got = Installed {
            ruleset,
            owned: true,
            foreign: Vec::new(),
        };
        (
            differences(&wanted, Some(&got)).len(),
            installed(&got.ruleset).count(),
        )
    };
    let addresses = |set: &&mut Set| set.kind == SetKind::Addresses;
    assert_eq!(changed(&|_| {}), (0, 18));
    let (found, pairs) = changed(&|r| {
        r.sets
            .iter_mut()
            .filter(addresses)
            .for_each(|set| set.elements.clear());
    });
    assert_eq!((found, pairs), (2, 0));
    let (found, pairs) = changed(&|r| {
        r.sets
            .iter_mut()
            .find(addresses)
            .unwrap()
            .elements
            .pop_first();
    });
    assert_eq!((found, pairs), (1, 12));
    let (found, pairs) = changed(&|r| drop(r.rules.pop()));
    assert_eq!((found, pairs), (1, 9));
    // A rule that no longer drops, or only some packets, cuts no pair.
    let (found, pairs) = changed(&|r| drop(r.rules.last_mut().unwrap().expressions.pop()));
    assert_eq!((found, pairs), (1, 9));
    let (found, pairs) = changed(&|r| {
        r.rules
            .last_mut()
            .unwrap()
            .expressions
            .insert(0, Expression::Equals(vec![1]));
    });
    assert_eq!((found, pairs), (1, 9));
    assert_eq!(changed(&|r| r.hook = 3).0, 1);
    assert_eq!(differences(&wanted, None), ["the table is gone"]);
}
