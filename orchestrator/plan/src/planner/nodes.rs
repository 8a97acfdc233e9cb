//! From groups to nodes: names, roles, zones, shares, seeds, order and addresses.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use netsplit_api::config::{Discovery, PeerLimits, Role, Timers};

use super::{keys, random::Stream};
use crate::{
    plan::{NodeName, PlannedNode},
    problem::{Collector, Fault},
    topology::{
        scalars::{LONGEST_NAME, Scalar as _, Word},
        tree::{Path, Tree},
        words::{Group, OneOrMany, Topology},
    },
};

/// Host number of the first node: 0 is the network, 1 the gateway.
const FIRST_HOST: u32 = 2;

/// Plans all nodes; what is wrong with groups is reported, and the nodes come out as well as they can be told.
pub(super) fn plan(
    topology: &Topology,
    joining: &BTreeMap<String, u32>,
    tree: &Tree,
    problems: &mut Collector,
) -> Vec<PlannedNode> {
    let mut check = Check {
        tree,
        problems,
        names: IndexMap::new(),
    };
    let mut nodes = Vec::new();
    for (name, group) in &topology.nodes {
        let joiners = joining.get(name).copied().unwrap_or(0);
        let path = Path::default().key("nodes").key(name.as_str());
        let roles = check.group(name, group, joiners, &path);
        let names = check.names_of(name, group, joiners, &path);
        for (index, (node, joins)) in names.into_iter().enumerate() {
            nodes.push(planned(topology, name, group, &roles, index, node, joins));
        }
    }
    check.discovery(topology, &nodes);
    arrange(&mut nodes);
    nodes
}

/// Puts nodes into the order in which they start, normalises shares and gives out addresses.
fn arrange(nodes: &mut [PlannedNode]) {
    let class = |node: &PlannedNode| {
        if node.roles.contains(&Role::DnsSeed) {
            0
        } else if node.roles.iter().all(|role| *role == Role::Wallet) {
            2
        } else {
            1
        }
    };
    nodes.sort_by_key(|node| (node.joins, class(node)));
    let total: f64 = nodes.iter().filter_map(|node| node.share).sum();
    let hosts = FIRST_HOST..;
    for (node, host) in nodes.iter_mut().zip(hosts) {
        node.host = host;
        node.share = node.share.map(|share| share / total);
    }
}

fn planned(
    topology: &Topology,
    name: &str,
    group: &Group,
    roles: &BTreeSet<Role>,
    index: usize,
    node: String,
    joins: bool,
) -> PlannedNode {
    let defaults = &topology.defaults;
    let usual = PeerLimits::default();
    let share = roles.contains(&Role::Miner).then(|| {
        group
            .hashrate
            .as_ref()
            .and_then(|rates| rates.cycle(index))
            .copied()
            .unwrap_or(1.0)
    });
    PlannedNode {
        group: name.to_owned(),
        host: 0,
        roles: roles.clone(),
        zone: group
            .zone
            .as_ref()
            .and_then(|zones| zones.cycle(index))
            .map(|zone| zone.0.clone()),
        behaviour: group.behaviour,
        seed: hex::encode(Stream::new(topology.seed, &format!("node/{node}")).bytes()),
        discovery: group
            .discovery
            .clone()
            .or_else(|| defaults.discovery.clone())
            .unwrap_or_else(|| vec![Discovery::Dns, Discovery::Addr]),
        relay: group.relay.or(defaults.relay).unwrap_or_default(),
        sync: group.sync.or(defaults.sync).unwrap_or_default(),
        peers: PeerLimits {
            min: group.min_peers.or(defaults.min_peers).unwrap_or(usual.min),
            outbound: group
                .outbound
                .or(defaults.outbound)
                .unwrap_or(usual.outbound),
            max: group.max_peers.or(defaults.max_peers).unwrap_or(usual.max),
        },
        timers: Timers::default(),
        durability: group.durability.or(defaults.durability).unwrap_or_default(),
        share,
        joins,
        name: NodeName(node),
    }
}

/// Output scripts, in hex, that premined blocks pay in turn: of wallets first, then of miners, each in the plan's order.
pub(super) fn payees(nodes: &[PlannedNode]) -> Vec<String> {
    payee_nodes(nodes)
        .map(|node| keys::first_script(&seed(node)).to_hex_string())
        .collect()
}

/// Whom the premined blocks pay, in turn.
pub(super) fn payee_nodes(nodes: &[PlannedNode]) -> impl Iterator<Item = &PlannedNode> {
    let present = |node: &&PlannedNode| !node.joins;
    let wallet = |node: &&PlannedNode| node.roles.contains(&Role::Wallet);
    let miner = move |node: &&PlannedNode| node.roles.contains(&Role::Miner) && !wallet(node);
    let wallets = nodes.iter().filter(present).filter(wallet);
    wallets.chain(nodes.iter().filter(present).filter(miner))
}

fn seed(node: &PlannedNode) -> [u8; 32] {
    let bytes = hex::decode(&node.seed)
        .ok()
        .and_then(|bytes| bytes.try_into().ok());
    bytes.expect("the planner writes 32 bytes of hex")
}

/// What is checked about groups.
struct Check<'a> {
    tree: &'a Tree,
    problems: &'a mut Collector,
    /// Every name given so far and the group that gave it.
    names: IndexMap<String, String>,
}

impl Check<'_> {
    fn report(&mut self, path: &Path, fault: Fault) {
        self.problems.report(path.span(self.tree), fault);
    }

    /// Checks a group and returns its roles.
    fn group(&mut self, name: &str, group: &Group, joiners: u32, path: &Path) -> BTreeSet<Role> {
        let roles = self.roles(group, path);
        self.count(name, group, joiners, path);
        let total = match group.count {
            Some(0) => joiners,
            count => count.unwrap_or(1),
        };
        self.list(group.zone.as_ref(), total, &path.key("zone"));
        self.list(group.hashrate.as_ref(), total, &path.key("hashrate"));
        self.hashrate(group, &roles, path);
        self.limits(group, path);
        roles
    }

    fn roles(&mut self, group: &Group, path: &Path) -> BTreeSet<Role> {
        let role = group.role;
        let roles: BTreeSet<Role> = group.roles.iter().flatten().copied().chain(role).collect();
        let given = |key: &str| self.tree_has(path, key);
        if role.is_some() && group.roles.is_some() {
            let fault = Fault::new("`role` and `roles` exclude each other").label("one too many");
            self.problems.report(
                path.key("role").key_span(self.tree),
                fault.help("write all roles into `roles: [full, wallet]`"),
            );
        } else if roles.is_empty() && !given("role") && !given("roles") {
            let fault = Fault::new("`role` is missing").label("in this group");
            self.problems.report(
                path.key_span(self.tree),
                fault.help("roles are dns-seed, routing, full, wallet, miner"),
            );
        }
        roles
    }

    fn tree_has(&self, path: &Path, key: &str) -> bool {
        path.key(key).key_span(self.tree) != path.span(self.tree)
    }

    fn count(&mut self, name: &str, group: &Group, joiners: u32, path: &Path) {
        if group.count.is_none() && joiners > 0 {
            let fault = Fault::new(format!(
                "group `{name}` has no `count`, so nobody can join it"
            ));
            self.report(
                path,
                fault.help("write `count: 1`: its node is then named with a number"),
            );
        }
        if group.count == Some(0) && joiners == 0 {
            let fault = Fault::new(format!("group `{name}` has no node")).label("none");
            let fault = fault.help(format!("add a step `join: {{ group: {name}, count: 1 }}`"));
            self.report(&path.key("count"), fault);
        }
    }

    fn list<T>(&mut self, list: Option<&OneOrMany<T>>, count: u32, path: &Path) {
        let Some(length) = list.map(|list| list.0.len()) else {
            return;
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > 0 && count % length != 0 {
            let fault = Fault::new(format!(
                "a list of {length} neither divides nor matches a count of {count}"
            ));
            self.report(
                path,
                fault.label(format!("{length} values for {count} nodes")),
            );
        }
    }

    fn hashrate(&mut self, group: &Group, roles: &BTreeSet<Role>, path: &Path) {
        let Some(rates) = &group.hashrate else { return };
        let path = path.key("hashrate");
        if !roles.is_empty() && !roles.contains(&Role::Miner) {
            let fault = Fault::new("`hashrate` is for miners").label("not a miner");
            self.report(
                &path,
                fault.help("add the role `miner`, or leave `hashrate` out"),
            );
        }
        for (i, rate) in rates.0.iter().enumerate() {
            if !(rate.is_finite() && *rate > 0.0) {
                let fault = Fault::new(format!("a hashrate of {rate} is not above 0"));
                self.report(&path.index(i), fault.label("must be above 0"));
            }
        }
    }

    fn limits(&mut self, group: &Group, path: &Path) {
        let (Some(min), Some(max)) = (group.min_peers, group.max_peers) else {
            return;
        };
        if min > max {
            let fault = Fault::new(format!("`min_peers` {min} is above `max_peers` {max}"));
            self.report(&path.key("min_peers"), fault.label("too many"));
        }
    }

    /// The names of a group's nodes, each with whether it joins later.
    fn names_of(
        &mut self,
        name: &str,
        group: &Group,
        joiners: u32,
        path: &Path,
    ) -> Vec<(String, bool)> {
        if !self.name_is_fine(name, path) {
            return Vec::new();
        }
        let names = match group.count {
            None => vec![(name.to_owned(), false)],
            Some(count) => (1..=count.saturating_add(joiners))
                .map(|number| (format!("{name}-{number}"), number > count))
                .collect(),
        };
        if let Some((long, _)) = names.last().filter(|(last, _)| last.len() > LONGEST_NAME) {
            let fault = Fault::new(format!("the name `{long}` is longer than {LONGEST_NAME}"));
            self.problems
                .report(path.key_span(self.tree), fault.label("too long"));
        }
        for (node, _) in &names {
            self.claim(node, name, path);
        }
        if group.count.is_some() {
            self.claim(name, name, path);
        }
        names
    }

    fn claim(&mut self, word: &str, group: &str, path: &Path) {
        let Some(other) = self.names.insert(word.to_owned(), group.to_owned()) else {
            return;
        };
        let fault = Fault::new(format!(
            "the name `{word}` is given twice, by `{other}` and `{group}`"
        ));
        let fault = fault.label("clashes").help("rename one of the groups");
        self.problems.report(path.key_span(self.tree), fault);
    }

    fn name_is_fine(&mut self, name: &str, path: &Path) -> bool {
        let fault = if ["all", "rest"].contains(&name) {
            Some(
                Fault::new(format!("`{name}` is a reserved word"))
                    .label("reserved")
                    .help("choose another name"),
            )
        } else {
            Word::parse(name).err()
        };
        let fine = fault.is_none();
        if let Some(fault) = fault {
            self.problems.report(path.key_span(self.tree), fault);
        }
        fine
    }

    /// Somebody must be there to be found.
    fn discovery(&mut self, topology: &Topology, nodes: &[PlannedNode]) {
        let seeded = nodes
            .iter()
            .any(|node| node.roles.contains(&Role::DnsSeed) || node.roles.is_empty());
        let others = |node: &&PlannedNode| {
            node.roles.iter().any(|role| *role != Role::DnsSeed)
                && !node.discovery.contains(&Discovery::Bootstrap)
        };
        let lost = nodes.iter().filter(others).count();
        let bootstrapped = nodes.len() > lost;
        if !seeded && !bootstrapped && nodes.len() > 1 && !topology.nodes.is_empty() {
            let fault = Fault::new("no node can find a peer: there is no DNS seed to ask")
                .label("no group has the role `dns-seed`")
                .help("add `seed: { role: dns-seed }`, or `bootstrap` to the nodes' `discovery`");
            self.problems
                .report(Path::default().key("nodes").key_span(self.tree), fault);
        }
    }
}
