//! The routing namespace: the supervisor's own. Every packet between nodes is forwarded here, and nothing leads out of it.

use std::{
    collections::BTreeSet,
    fs::OpenOptions,
    io::{self, Write as _},
    net::Ipv4Addr,
    path::Path,
};

use netsplit_faults::{
    netlink::socket::{NETLINK_ROUTE, Netlink},
    routed::Segment,
};

use super::links::{Batch, Link};

/// Shows each thread the settings of its own network namespace.
const SYSCTLS: &str = "/proc/sys/net";

/// Settings of the routing namespace. It sends no advice to nodes and takes none, and packets may come from anywhere; new
/// namespaces begin with the machine's own settings, so all that matters is written. `default` is for devices to come.
const SETTINGS: [(&str, &str); 7] = [
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    // Last: writing it sets some of the others back.
    ("ipv4/ip_forward", "1"),
];

/// For devices to come, which is all but `lo`; the setting for all devices has the kernel try for its one lock again and
/// again while another namespace is being changed.
const NO_IPV6: (&str, &str) = ("ipv6/conf/default/disable_ipv6", "1");

/// The routing namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Router {
    netlink: Netlink,
    subnet: (Ipv4Addr, u8),
    own: Ipv4Addr,
    /// Nodes packets are led to.
    reached: BTreeSet<Ipv4Addr>,
    /// The same nodes, for packets to all of them.
    segment: Segment,
}

impl Router {
    /// Prepares the calling thread's network namespace, which must be new, to route between the addresses of `subnet`. Its
    /// own address is the first one after the range's. Whoever is led packets to also takes part in `segment`.
    ///
    /// # Errors
    /// When the namespace is not ours to change.
    pub(super) fn open(subnet: (Ipv4Addr, u8), segment: Segment) -> io::Result<Self> {
        without_ipv6()?;
        SETTINGS.iter().try_for_each(set)?;
        let own = Ipv4Addr::from(u32::from(subnet.0) + 1);
        let mut router = Self {
            netlink: Netlink::open(NETLINK_ROUTE)?,
            subnet,
            own,
            reached: BTreeSet::new(),
            segment,
        };
        router.commit(|batch| batch.router_side(own, subnet))?;
        Ok(router)
    }

    /// The link of the node that has or is to have this address.
    ///
    /// # Errors
    /// Why no node can have it, for people.
    pub(super) fn link(&self, address: Ipv4Addr) -> Result<Link, String> {
        let (network, prefix) = self.subnet;
        let host = u32::from(address).wrapping_sub(u32::from(network));
        let last = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
        match host {
            0 => Err(format!("{address} is the range's own")),
            1 => Err(format!("{address} is the router's own")),
            _ if host >= last => Err(format!("{address} is not in {network}/{prefix}")),
            _ => Ok(Link::new(address, host)),
        }
    }

    /// Leads packets to these nodes from now on.
    ///
    /// # Errors
    /// When the kernel refuses one of them.
    pub(super) fn reach(&mut self, links: &[Link]) -> io::Result<()> {
        let own = self.own;
        let new: Vec<&Link> = links
            .iter()
            .filter(|link| !self.reached.contains(&link.address))
            .collect();
        self.reached.extend(new.iter().map(|link| link.address));
        for link in &new {
            self.segment.attach(link.address, link.index);
        }
        self.commit(|batch| new.iter().for_each(|link| batch.reach(link, own)))
    }

    /// From now on what is sent to these nodes vanishes. Nodes that already are silent stay so.
    ///
    /// # Errors
    /// When the kernel refuses one of them.
    pub(super) fn silence(&mut self, links: &[Link]) -> io::Result<()> {
        let gone: Vec<&Link> = links
            .iter()
            .filter(|link| self.reached.remove(&link.address))
            .collect();
        for link in &gone {
            self.segment.detach(link.address);
        }
        self.commit(|batch| gone.iter().for_each(|link| batch.silence(link)))
    }

    fn commit(&mut self, fill: impl FnOnce(&mut Batch)) -> io::Result<()> {
        commit(&mut self.netlink, fill)
    }
}

/// Sends what `fill` writes.
///
/// # Errors
/// The first error the kernel reports; it tried every message.
pub(super) fn commit(netlink: &mut Netlink, fill: impl FnOnce(&mut Batch)) -> io::Result<()> {
    let mut batch = Batch::after(netlink.sequence());
    fill(&mut batch);
    netlink.commit(batch.finish())
}

/// Prepares the calling thread's network namespace, which must be new, to be a node's. Ports below 1024 are free for all:
/// nodes have no privileges, and a DNS server has its port.
///
/// # Errors
/// When the namespace is not ours to change.
pub(super) fn prepare_node() -> io::Result<()> {
    without_ipv6()?;
    set(&("ipv4/ip_unprivileged_port_start", "0"))
}

/// Before there are devices, so that none ever has an address of it.
fn without_ipv6() -> io::Result<()> {
    match set(&NO_IPV6) {
        // A kernel without IPv6 has no such setting.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes a setting of the calling thread's network namespace.
fn set((name, value): &(&str, &str)) -> io::Result<()> {
    // Not `fs::write`: asked to create, the kernel answers EACCES for what does not exist.
    let file = OpenOptions::new()
        .write(true)
        .open(Path::new(SYSCTLS).join(name));
    let written = file.and_then(|mut file| file.write_all(value.as_bytes()));
    written.map_err(|error| {
        let name = name.replace('/', ".");
        io::Error::new(error.kind(), format!("failed to set net.{name}: {error}"))
    })
}
