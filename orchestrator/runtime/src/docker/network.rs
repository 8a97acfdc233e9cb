//! The run's network: a free subnet, a bridge device of its own, no way out.

use std::{
    collections::BTreeSet,
    fmt, fs,
    net::{IpAddr, Ipv4Addr},
    num::ParseIntError,
    str::FromStr,
};

use netsplit_plan::plan::Plan;
use sha2::{Digest, Sha256};

use super::{
    engine::{Engine, ErrorKind, NetworkSpec},
    labels::{Identity, Part},
};
use crate::{RunId, RuntimeError};

/// Ranges a subnet is looked for in, in this order: the private ones (RFC 1918), then the one for benchmarks (RFC 2544),
/// for hosts whose routes cover all of the former.
const RANGES: [Subnet; 4] = [
    Subnet::new(Ipv4Addr::new(10, 0, 0, 0), 8),
    Subnet::new(Ipv4Addr::new(172, 16, 0, 0), 12),
    Subnet::new(Ipv4Addr::new(192, 168, 0, 0), 16),
    Subnet::new(Ipv4Addr::new(198, 18, 0, 0), 15),
];

/// A run's subnet is this long unless its nodes need more: 4094 addresses.
const PREFIX: u8 = 20;

/// Subnets tried before giving up: each refusal means that something unseen from here has that one.
const ATTEMPTS: usize = 16;

/// An IPv4 network in canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subnet {
    first: u32,
    prefix: u8,
}

impl Subnet {
    /// The network that contains `address`. `prefix` is at most 32.
    pub(crate) const fn new(address: Ipv4Addr, prefix: u8) -> Self {
        let subnet = Self {
            first: address.to_bits(),
            prefix,
        };
        Self {
            first: subnet.first & subnet.mask(),
            prefix,
        }
    }

    const fn mask(self) -> u32 {
        match u32::MAX.checked_shl(32 - self.prefix as u32) {
            Some(mask) => mask,
            None => 0,
        }
    }

    /// First address and prefix length.
    pub(crate) const fn parts(self) -> (IpAddr, u8) {
        (IpAddr::V4(Ipv4Addr::from_bits(self.first)), self.prefix)
    }

    /// The address with this number in it.
    pub(crate) const fn host(self, number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(self.first + number))
    }

    /// Whether they share an address.
    pub(crate) const fn overlaps(self, other: Self) -> bool {
        let mask = if self.prefix < other.prefix {
            self.mask()
        } else {
            other.mask()
        };
        self.first & mask == other.first & mask
    }

    /// Number of addresses.
    const fn size(self) -> u64 {
        1 << (32 - self.prefix)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.first), self.prefix)
    }
}

/// Not an IPv4 network.
#[derive(Debug, thiserror::Error)]
#[error("not an IPv4 network: `{0}`")]
pub(crate) struct NotASubnet(String);

impl FromStr for Subnet {
    type Err = NotASubnet;

    fn from_str(text: &str) -> Result<Self, NotASubnet> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
            Some(Self::new(address.parse().ok()?, prefix))
        };
        parse().ok_or_else(|| NotASubnet(text.to_owned()))
    }
}

/// The longest prefix, up to the usual one, whose networks have room for all nodes, the gateway and the broadcast address.
fn prefix_for(plan: &Plan) -> u8 {
    let highest = plan.nodes.iter().map(|node| node.host).max().unwrap_or(1);
    let needed = u64::from(highest) + 2;
    (8..=PREFIX)
        .rev()
        .find(|prefix| 1_u64 << (32 - prefix) >= needed)
        .unwrap_or(8)
}

/// A network of this length that overlaps nothing taken; the search begins at a place given by `random`.
fn choose(prefix: u8, taken: &[Subnet], random: u32) -> Option<Subnet> {
    RANGES
        .iter()
        .filter(|range| range.prefix <= prefix)
        .find_map(|range| {
            let count = u32::try_from(range.size() >> (32 - prefix)).ok()?;
            (0..count)
                .map(|step| (random % count + step) % count)
                .find_map(|place| {
                    let subnet = Subnet {
                        first: range.first + (place << (32 - prefix)),
                        prefix,
                    };
                    (!taken.iter().any(|other| other.overlaps(subnet))).then_some(subnet)
                })
        })
}

/// Networks this host has addresses in or routes to, the default route apart.
fn host_subnets() -> Vec<Subnet> {
    let mut subnets = fs::read_to_string("/proc/net/route")
        .map(|table| {
            table
                .lines()
                .skip(1)
                .filter_map(|line| route(line).ok().flatten())
                .collect()
        })
        .unwrap_or_default();
    local_addresses(&mut subnets);
    subnets
}

/// One line of proc(5)'s `net/route`: destination is field 2, mask field 8, both hex in the machine's byte order.
fn route(line: &str) -> Result<Option<Subnet>, ParseIntError> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let (Some(destination), Some(mask)) = (fields.get(1), fields.get(7)) else {
        return Ok(None);
    };
    let destination = u32::from_str_radix(destination, 16)?;
    let mask = u32::from_str_radix(mask, 16)?.count_ones();
    let prefix = u8::try_from(mask).unwrap_or(32);
    let address = Ipv4Addr::from(destination.to_ne_bytes());
    Ok((prefix > 0).then(|| Subnet::new(address, prefix)))
}

fn local_addresses(subnets: &mut Vec<Subnet>) {
    let Ok(addresses) = nix::ifaddrs::getifaddrs() else {
        return;
    };
    for interface in addresses {
        let ip = interface
            .address
            .as_ref()
            .and_then(|address| address.as_sockaddr_in());
        let mask = interface
            .netmask
            .as_ref()
            .and_then(|mask| mask.as_sockaddr_in());
        if let (Some(ip), Some(mask)) = (ip, mask) {
            let ones = mask.ip().to_bits().count_ones();
            subnets.push(Subnet::new(ip.ip(), u8::try_from(ones).unwrap_or(32)));
        }
    }
}

/// The network's name.
pub(crate) fn name(run: &RunId) -> String {
    format!("netsplit-{run}")
}

/// The bridge's device name, at most 15 characters: the run's random digits, where it has them, and four of its hash.
pub(crate) fn device(run: &RunId) -> String {
    let hash = hex::encode(Sha256::digest(run.0.as_bytes()));
    let suffix = run.0.rsplit('-').next().unwrap_or_default();
    let hex = suffix.len() == 8 && suffix.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digits = if hex { suffix } else { &hash[4..12] };
    format!("ns-{digits}{}", &hash[..4])
}

/// Creates the run's network in a free subnet.
pub(crate) async fn create(
    engine: &dyn Engine,
    identity: &Identity,
    plan: &Plan,
    subnet: Subnet,
) -> Result<Subnet, RuntimeError> {
    let mut spec = NetworkSpec {
        name: name(&identity.run),
        device: device(&identity.run),
        subnet,
        labels: identity.labels(Part::Network, None),
    };
    let mut refused = BTreeSet::new();
    loop {
        let error = match engine.create_network(&spec).await {
            Ok(()) => return Ok(spec.subnet),
            Err(error) => error,
        };
        refused.insert(spec.subnet);
        if error.kind != ErrorKind::Overlap || refused.len() == ATTEMPTS {
            return Err(error.during(format_args!("failed to create network `{}`", spec.name)));
        }
        let refused: Vec<_> = refused.iter().copied().collect();
        spec.subnet = free_subnet(engine, plan, &refused).await?;
    }
}

/// A subnet with room for the plan's nodes that is, as far as can be seen, free.
pub(crate) async fn free_subnet(
    engine: &dyn Engine,
    plan: &Plan,
    refused: &[Subnet],
) -> Result<Subnet, RuntimeError> {
    let networks = engine
        .networks(None)
        .await
        .map_err(|error| error.during("failed to list the engine's networks"))?;
    let mut taken: Vec<_> = networks
        .into_iter()
        .flat_map(|network| network.subnets)
        .collect();
    taken.extend(host_subnets());
    taken.extend(refused);
    let mut random = [0; 4];
    getrandom::fill(&mut random)
        .map_err(|error| RuntimeError::with_source("failed to get random bytes", error))?;
    let prefix = prefix_for(plan);
    choose(prefix, &taken, u32::from_be_bytes(random)).ok_or_else(|| {
        RuntimeError::new(format!("failed to find a free /{prefix} for the testnet"))
            .hint("remove networks that are not used any more (`docker network prune`)")
    })
}

#[cfg(test)]
mod tests;
