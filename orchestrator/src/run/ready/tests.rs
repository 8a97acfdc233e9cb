#![expect(clippy::unwrap_used, reason = "tests")]

use netsplit_api::event::{Event, EventRecord};
use proptest::prelude::*;

use super::*;
use crate::run::tests::{name, plan, planned};

/// A testnet whose nodes have these roles, with this many blocks before it is ready.
fn testnet(roles: &[&[Role]], premine: u32) -> Plan {
    let mut plan = plan(&[]);
    plan.chain.premine = premine;
    plan.nodes = (0u32..)
        .zip(roles)
        .map(|(place, roles)| planned(&format!("n{place}"), place, roles))
        .collect();
    plan
}

fn everybody(plan: &Plan) -> BTreeSet<NodeName> {
    plan.nodes.iter().map(|node| node.name.clone()).collect()
}

/// What is missing when every node was looked at last.
fn missing(plan: &Plan, census: &Census) -> Option<String> {
    let mut readiness = Readiness::new(plan, &everybody(plan));
    for node in &plan.nodes {
        readiness.look(&node.name, census);
    }
    assert_eq!(
        readiness.is_complete(census),
        readiness.missing(census).is_none()
    );
    readiness.missing(census)
}

/// Folds events, each said by a node in its first life.
#[derive(Default)]
struct Teller {
    census: Census,
    seq: u64,
}

impl Teller {
    fn say(&mut self, node: &str, event: Event) {
        self.seq += 1;
        let record = EventRecord {
            seq: self.seq,
            time_ns: self.seq,
            event,
        };
        self.census.record(&name(node), 1, &record);
    }

    fn start(&mut self, node: &str, height: u32) {
        self.say(
            node,
            Event::NodeStarted {
                incarnation: 1,
                tip: format!("tip{height}"),
                height,
            },
        );
    }

    fn connect(&mut self, node: &str, peer: u64) {
        self.say(
            node,
            Event::PeerConnected {
                peer,
                address: format!("10.0.0.{peer}:18444"),
                inbound: false,
                version: 70016,
                user_agent: String::new(),
                height: 0,
            },
        );
    }

    fn missing(&self, plan: &Plan) -> Option<String> {
        missing(plan, &self.census)
    }
}

#[test]
fn the_status_names_what_is_waited_for_until_nothing_is() {
    use Role::{DnsSeed, Full, Miner, Wallet};
    let plan = testnet(&[&[DnsSeed], &[Full], &[Miner], &[Wallet]], 3);
    let mut said = Teller::default();
    let expect = |said: &Teller, status: &str| assert_eq!(said.missing(&plan).unwrap(), status);
    expect(&said, "n0 has not started, and 3 more nodes");
    for node in ["n0", "n1", "n2", "n3"] {
        said.start(node, 3);
    }
    expect(&said, "n0 has not reached any node yet, and 3 more nodes");
    said.say(
        "n0",
        Event::DnsNodeReached {
            address: "10.0.0.1:18444".into(),
        },
    );
    // A light wallet does not serve: a full node and a miner are all there is to reach.
    expect(&said, "n1 has 0 of 1 peers, and 2 more nodes");
    said.connect("n1", 2);
    said.connect("n2", 1);
    expect(&said, "n3 has 0 of 1 peers");
    said.connect("n3", 1);
    assert_eq!(said.missing(&plan), None);
}

#[test]
fn of_many_nodes_it_is_told_how_many_are_ready() {
    let roles: Vec<&[Role]> = vec![&[Role::Full]; 100];
    let plan = testnet(&roles, 0);
    let mut said = Teller::default();
    for place in 0..90 {
        let node = format!("n{place}");
        said.start(&node, 0);
        for peer in 0..if place == 17 { 3 } else { 8 } {
            said.connect(&node, peer);
        }
    }
    assert_eq!(
        said.missing(&plan).unwrap(),
        "89 of 100 nodes ready; n17 has 3 of 8 peers"
    );
}

#[test]
fn whoever_loses_its_peers_while_others_are_waited_for_is_waited_for_again() {
    let plan = testnet(&[&[Role::Full], &[Role::Full]], 0);
    let mut said = Teller::default();
    let mut readiness = Readiness::new(&plan, &everybody(&plan));
    said.start("n0", 0);
    said.connect("n0", 1);
    readiness.look(&name("n0"), &said.census);
    assert_eq!(
        readiness.missing(&said.census).unwrap(),
        "n1 has not started"
    );
    said.say(
        "n0",
        Event::PeerDisconnected {
            peer: 1,
            address: String::new(),
            reason: String::new(),
        },
    );
    readiness.look(&name("n0"), &said.census);
    assert!(!readiness.is_complete(&said.census));
    assert_eq!(
        readiness.missing(&said.census).unwrap(),
        "n0 has 0 of 1 peers, and 1 more nodes"
    );
}

#[test]
fn a_node_that_lags_behind_the_premine_is_waited_for() {
    let plan = testnet(&[&[Role::Full]], 5);
    let mut said = Teller::default();
    said.start("n0", 0);
    assert_eq!(said.missing(&plan).unwrap(), "n0 is at height 0 of 5");
    said.say(
        "n0",
        Event::TipChanged {
            hash: "x".into(),
            height: 5,
            previous: "y".into(),
        },
    );
    assert_eq!(said.missing(&plan), None);
}

#[test]
fn two_premined_chains_are_never_ready() {
    let plan = testnet(&[&[Role::Full], &[Role::Full]], 1);
    let mut said = Teller::default();
    for (node, tip) in [("n0", "a"), ("n1", "b")] {
        said.say(
            node,
            Event::NodeStarted {
                incarnation: 1,
                tip: tip.into(),
                height: 1,
            },
        );
        said.connect(node, 9);
    }
    assert_eq!(
        said.missing(&plan).unwrap(),
        "n0 and n1 built different chains: a and b"
    );
}

#[test]
fn what_a_dead_incarnation_says_late_does_not_count() {
    let plan = testnet(&[&[Role::Full]], 0);
    let mut census = Census::default();
    let started = |incarnation| EventRecord {
        seq: 1,
        time_ns: 0,
        event: Event::NodeStarted {
            incarnation,
            tip: "t".into(),
            height: 0,
        },
    };
    census.record(&name("n0"), 7, &started(7));
    census.gone(&name("n0"));
    assert!(missing(&plan, &census).is_some());
    census.record(&name("n0"), 8, &started(8));
    census.record(&name("n0"), 7, &started(7));
    assert_eq!(census.incarnation(&name("n0")), 8);
    assert_eq!(missing(&plan, &census), None);
}

/// What the design says in words, counted in the plainest way.
fn model(plan: &Plan, started: &[bool], peers: &[usize], reached: &[bool]) -> bool {
    let serving: Vec<bool> = plan.nodes.iter().map(serves).collect();
    plan.nodes.iter().enumerate().all(|(place, node)| {
        let others = serving
            .iter()
            .enumerate()
            .filter(|(other, yes)| *other != place && **yes);
        let others = others.count();
        let enough = if serves(node) {
            peers[place] >= others.min(usize::from(node.peers.min))
        } else if node.roles.contains(&Role::Wallet) {
            peers[place] >= others.min(1)
        } else {
            true
        };
        let answers = !node.roles.contains(&Role::DnsSeed) || reached[place] || others == 0;
        started[place] && enough && answers
    })
}

/// Role, whether it started, number of peers, whether it reached a node.
type Drawn = (usize, bool, usize, bool);

proptest! {
    #[test]
    fn ready_is_what_the_design_says(
        nodes in prop::collection::vec((0usize..5, any::<bool>(), 0usize..10, any::<bool>()), 1..12)
    ) {
        use Role::{DnsSeed, Full, Miner, Routing, Wallet};
        let kinds = [DnsSeed, Routing, Full, Wallet, Miner];
        let roles: Vec<[Role; 1]> = nodes.iter().map(|(kind, ..)| [kinds[*kind]]).collect();
        let slices: Vec<&[Role]> = roles.iter().map(<[Role; 1]>::as_slice).collect();
        let plan = testnet(&slices, 0);
        let mut said = Teller::default();
        for (place, (_, started, peers, reached)) in nodes.iter().enumerate() {
            let node = format!("n{place}");
            if *started {
                said.start(&node, 0);
            }
            for peer in 0..*peers as u64 {
                said.connect(&node, peer);
            }
            // A peer that came and went does not count.
            said.connect(&node, 99);
            said.say(&node, Event::PeerDisconnected {
                peer: 99, address: String::new(), reason: String::new(),
            });
            if *reached {
                said.say(&node, Event::DnsNodeReached { address: "a".into() });
            }
        }
        let column = |f: &dyn Fn(&Drawn) -> bool| -> Vec<bool> {
            nodes.iter().map(f).collect()
        };
        let peers: Vec<usize> = nodes.iter().map(|node| node.2).collect();
        let ready = model(&plan, &column(&|node| node.1), &peers, &column(&|node| node.3));
        prop_assert_eq!(said.missing(&plan).is_none(), ready);
    }
}
