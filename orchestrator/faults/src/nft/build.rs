//! From the desired state of all links to the table that brings it about.
//!
//! Addresses are matched by group sets, so a cut of 500 against 500 nodes is two sets and four rules. Cuts that came last
//! are tried first: a packet counts for one cut only, and the newest is the one somebody waits to see biting. Only IPv4 is
//! matched; ARP and everything else passes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use super::ruleset::{
    Base, Class, Expression, FORWARD, Family, Meta, Rule, Ruleset, Set, SetKind, Tag,
};

/// Bridge port, by device number, that each node is known to be behind.
pub type Ports = BTreeMap<Ipv4Addr, u32>;

/// One cut over IPv4 addresses: sets of senders and receivers.
pub type Directions = Vec<(BTreeSet<Ipv4Addr>, BTreeSet<Ipv4Addr>)>;

/// What a table needs to know besides what is cut.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Family of the table.
    pub family: Family,
    /// Name of the table.
    pub table: String,
    /// Port of the probes.
    pub probe_port: u16,
}

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const NFPROTO_IPV4: u8 = 2;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The table that drops exactly what the cuts say.
///
/// Broadcast and multicast of a cut's senders only leave by ports that are known to belong to nodes they are not cut from. A
/// port that is not known, for instance because its node just restarted, gets none: it fails closed.
#[must_use]
pub fn build(cuts: &[Directions], ports: &Ports, scope: &Scope) -> Ruleset {
    let mut builder = Builder {
        scope,
        sets: Vec::new(),
        names: BTreeMap::new(),
        rules: Vec::new(),
    };
    for (cut, directions) in cuts.iter().enumerate().rev() {
        for (drop, (from, to)) in directions.iter().enumerate() {
            builder.direction((number(cut), number(drop)), from, to, ports);
        }
    }
    let Builder { sets, rules, .. } = builder;
    Ruleset {
        family: scope.family,
        table: scope.table.clone(),
        hook: FORWARD,
        sets,
        rules,
    }
}

fn number(place: usize) -> u32 {
    u32::try_from(place).expect("a link table of at most 64 MiB has fewer than 2^32 entries")
}

struct Builder<'a> {
    scope: &'a Scope,
    sets: Vec<Set>,
    names: BTreeMap<(u32, BTreeSet<Vec<u8>>), String>,
    rules: Vec<Rule>,
}

impl Builder<'_> {
    fn direction(
        &mut self,
        (cut, drop): (u32, u32),
        from: &BTreeSet<Ipv4Addr>,
        to: &BTreeSet<Ipv4Addr>,
        ports: &Ports,
    ) {
        let senders = self.addresses(from);
        let receivers = self.addresses(to);
        let pair = [
            self.source(&senders),
            load_lookup(network(16, 4), &receivers, false),
        ]
        .concat();
        let transports = self.set(SetKind::Protocols, [vec![TCP], vec![UDP]].into());
        // Destination port, then source port: answers to probes are probes too.
        for offset in [2, 0] {
            let probe = [
                load_lookup(Expression::Meta(Meta::Transport), &transports, false),
                vec![
                    Expression::Payload {
                        base: Base::Transport,
                        offset,
                        length: 2,
                    },
                    Expression::Equals(self.scope.probe_port.to_be_bytes().to_vec()),
                ],
            ];
            self.rule(
                Tag {
                    cut,
                    drop,
                    class: Class::Probe,
                },
                [&pair, &probe.concat()[..]].concat(),
            );
        }
        if self.scope.family == Family::Bridge {
            let group = self.group(&senders, to, ports);
            self.rule(
                Tag {
                    cut,
                    drop,
                    class: Class::Group,
                },
                group,
            );
        }
        self.rule(
            Tag {
                cut,
                drop,
                class: Class::Protocol,
            },
            pair,
        );
    }

    /// IPv4 packets of these senders.
    fn source(&self, senders: &str) -> Vec<Expression> {
        let mut guard = match self.scope.family {
            Family::Bridge => vec![
                Expression::Meta(Meta::Protocol),
                Expression::Equals(ETHERTYPE_IPV4.to_vec()),
            ],
            Family::Inet => vec![
                Expression::Meta(Meta::AddressFamily),
                Expression::Equals(vec![NFPROTO_IPV4]),
            ],
        };
        guard.extend(load_lookup(network(12, 4), senders, false));
        guard
    }

    /// Group-addressed packets of these senders towards any port not known to be on their side.
    fn group(&mut self, senders: &str, to: &BTreeSet<Ipv4Addr>, ports: &Ports) -> Vec<Expression> {
        let allowed = ports.iter().filter(|(address, _)| !to.contains(address));
        let allowed = allowed
            .map(|(_, port)| port.to_ne_bytes().to_vec())
            .collect();
        let allowed = self.set(SetKind::Devices, allowed);
        let mut rule = self.source(senders);
        // The group bit of IEEE 802 addresses is the lowest of the first byte.
        rule.extend([
            Expression::Payload {
                base: Base::Link,
                offset: 0,
                length: 1,
            },
            Expression::Mask(vec![1]),
            Expression::Equals(vec![1]),
        ]);
        rule.extend(load_lookup(
            Expression::Meta(Meta::OutputDevice),
            &allowed,
            true,
        ));
        rule
    }

    fn rule(&mut self, tag: Tag, mut expressions: Vec<Expression>) {
        expressions.extend([Expression::Counter, Expression::Drop]);
        self.rules.push(Rule { tag, expressions });
    }

    fn addresses(&mut self, addresses: &BTreeSet<Ipv4Addr>) -> String {
        self.set(
            SetKind::Addresses,
            addresses.iter().map(|a| a.octets().to_vec()).collect(),
        )
    }

    /// Equal sets are one set.
    fn set(&mut self, kind: SetKind, elements: BTreeSet<Vec<u8>>) -> String {
        let next = format!("s{}", self.sets.len());
        match self.names.entry((kind.key_type(), elements)) {
            std::collections::btree_map::Entry::Occupied(known) => known.get().clone(),
            std::collections::btree_map::Entry::Vacant(free) => {
                let elements = free.key().1.clone();
                self.sets.push(Set {
                    name: next.clone(),
                    kind,
                    elements,
                });
                free.insert(next).clone()
            }
        }
    }
}

const fn network(offset: u32, length: u32) -> Expression {
    Expression::Payload {
        base: Base::Network,
        offset,
        length,
    }
}

fn load_lookup(load: Expression, set: &str, inverted: bool) -> Vec<Expression> {
    vec![
        load,
        Expression::Lookup {
            set: set.to_owned(),
            inverted,
        },
    ]
}
