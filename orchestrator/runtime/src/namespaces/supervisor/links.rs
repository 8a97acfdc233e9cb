//! Messages to the kernel's routing tables: the links between the routing namespace and the nodes' (`linux/rtnetlink.h`,
//! `linux/if_link.h`).
//!
//! Device indices and MAC addresses are chosen here, so nothing has to be read back: all messages of a batch are sent at once
//! and only the last asks for an answer. Functions of this file only write bytes.

use std::{net::Ipv4Addr, os::fd::RawFd};

use netsplit_faults::netlink::wire::{ACK, Attributes, CREATE, EXCLUSIVE, Writer};

/// The first index of a router's device; below are `lo` and whatever a kernel puts into every namespace.
const FIRST_INDEX: u32 = 1000;
/// Index of a node's device in its own namespace; 1 is `lo`.
const NODE_DEVICE: u32 = 2;
const LOOPBACK: u32 = 1;
/// What every node sends to: it stands for the router, whose real addresses no node has to know.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// `NLMSG_NOOP`
const NOOP: u16 = 1;
const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const NEWADDR: u16 = 20;
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const NEWNEIGH: u16 = 28;

/// `AF_INET`
const INET: u8 = 2;
/// `IFF_UP`
const UP: u32 = 1;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PREFSRC: u16 = 7;
/// `RTNH_F_ONLINK`
const ONLINK: u32 = 4;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_PERMANENT: u16 = 0x80;

/// One node's link to the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The node's address.
    pub(super) address: Ipv4Addr,
    /// Index of the router's device for it.
    pub(super) index: u32,
}

impl Link {
    /// The link of a node that has the `host`th address of the run's range.
    pub(super) const fn new(address: Ipv4Addr, host: u32) -> Self {
        Self {
            address,
            index: FIRST_INDEX + host,
        }
    }

    /// MAC of the node's end: locally administered, the rest is its address.
    pub(super) const fn node_mac(&self) -> [u8; 6] {
        let [a, b, c, d] = self.address.octets();
        [0x02, 0x4e, a, b, c, d]
    }

    /// MAC of the router's end.
    const fn router_mac(&self) -> [u8; 6] {
        let [a, b, c, d] = self.address.octets();
        [0x02, 0x52, a, b, c, d]
    }
}

/// A batch under way: messages, of which the last one asks for the kernel's answer.
pub(super) struct Batch {
    writer: Writer,
}

impl Batch {
    /// Goes on after the message with this sequence number.
    pub(super) const fn after(sequence: u32) -> Self {
        Self {
            writer: Writer::new(sequence),
        }
    }

    /// What `Netlink::commit` takes. The last message does nothing but ask for the answer.
    pub(super) fn finish(mut self) -> (Vec<u8>, u32) {
        self.writer.message(NOOP, ACK, &[], |_| {});
        self.writer.finish()
    }

    /// Makes both ends of a link at once: the router's, up, in the namespace of the socket; the node's as `eth0` in the
    /// namespace open as `netns`. The latter is set up from inside: setting it up here fails (ENOTCONN), at 16 ms each.
    pub(super) fn create(&mut self, link: &Link, netns: RawFd) {
        let header = ifinfo(link.index, UP, UP);
        self.writer
            .message(NEWLINK, CREATE | EXCLUSIVE, &header, |own| {
                own.text(IFLA_IFNAME, &format!("veth{}", link.index));
                own.bytes(IFLA_ADDRESS, &link.router_mac());
                one_queue(own);
                own.nested(IFLA_LINKINFO, |info| {
                    info.text(1, "veth");
                    info.nested(2, |data| {
                        data.nested_after(1, &ifinfo(NODE_DEVICE, 0, 0), |peer| {
                            peer.text(IFLA_IFNAME, "eth0");
                            peer.bytes(IFLA_ADDRESS, &link.node_mac());
                            peer.bytes(IFLA_NET_NS_FD, &netns.to_ne_bytes());
                            one_queue(peer);
                        });
                    });
                });
            });
    }

    /// Removes a link.
    pub(super) fn remove(&mut self, link: &Link) {
        let header = ifinfo(link.index, 0, 0);
        self.writer.message(DELLINK, 0, &header, |_| {});
    }

    /// A node's own side, for a socket in its namespace: devices up, its address, and the way to everybody else, without ARP.
    pub(super) fn node_side(&mut self, link: &Link) {
        self.up(LOOPBACK);
        self.up(NODE_DEVICE);
        self.address(NODE_DEVICE, link.address);
        self.neighbour(NODE_DEVICE, GATEWAY, link.router_mac());
        let default = Route {
            flags: ONLINK,
            ..Route::new(libc::RTN_UNICAST, 0)
        };
        self.route(NEWROUTE, &default, |route| {
            route.bytes(RTA_GATEWAY, &GATEWAY.octets());
            route.host_number(RTA_OIF, NODE_DEVICE);
        });
    }

    /// The router's own side, without any node: its address on `lo`, and silence wherever no node is.
    pub(super) fn router_side(&mut self, own: Ipv4Addr, (network, prefix): (Ipv4Addr, u8)) {
        self.up(LOOPBACK);
        self.address(LOOPBACK, own);
        let nobody = Route::new(libc::RTN_BLACKHOLE, prefix);
        self.route(NEWROUTE, &nobody, |route| {
            route.bytes(RTA_DST, &network.octets());
        });
    }

    /// Tells the router a node's MAC. Permanent entries do not count towards the neighbour table's bounds.
    pub(super) fn known(&mut self, link: &Link) {
        self.neighbour(link.index, link.address, link.node_mac());
    }

    /// Leads packets to a node; what the router itself sends comes from `own`.
    pub(super) fn reach(&mut self, link: &Link, own: Ipv4Addr) {
        let route = Route {
            scope: libc::RT_SCOPE_LINK,
            ..Route::new(libc::RTN_UNICAST, 32)
        };
        self.route(NEWROUTE, &route, |route| {
            route.bytes(RTA_DST, &link.address.octets());
            route.host_number(RTA_OIF, link.index);
            route.bytes(RTA_PREFSRC, &own.octets());
        });
    }

    /// Leads no more packets to a node: they vanish.
    pub(super) fn silence(&mut self, link: &Link) {
        let route = Route {
            scope: libc::RT_SCOPE_LINK,
            ..Route::new(libc::RTN_UNICAST, 32)
        };
        self.route(DELROUTE, &route, |route| {
            route.bytes(RTA_DST, &link.address.octets());
            route.host_number(RTA_OIF, link.index);
        });
    }

    fn up(&mut self, index: u32) {
        self.writer
            .message(NEWLINK, 0, &ifinfo(index, UP, UP), |_| {});
    }

    fn address(&mut self, index: u32, address: Ipv4Addr) {
        let [a, b, c, d] = index.to_ne_bytes();
        let header = [INET, 32, 0, 0, a, b, c, d];
        self.writer.message(NEWADDR, CREATE, &header, |of| {
            of.bytes(IFA_LOCAL, &address.octets());
            of.bytes(IFA_ADDRESS, &address.octets());
        });
    }

    fn neighbour(&mut self, index: u32, address: Ipv4Addr, mac: [u8; 6]) {
        let mut header = vec![INET, 0, 0, 0];
        header.extend(index.to_ne_bytes());
        header.extend(NUD_PERMANENT.to_ne_bytes());
        header.extend([0, 0]);
        self.writer.message(NEWNEIGH, CREATE, &header, |of| {
            of.bytes(NDA_DST, &address.octets());
            of.bytes(NDA_LLADDR, &mac);
        });
    }

    fn route(&mut self, message: u16, route: &Route, fill: impl FnOnce(&mut Attributes<'_>)) {
        let mut header = vec![INET, route.prefix, 0, 0];
        header.extend([
            libc::RT_TABLE_MAIN,
            libc::RTPROT_STATIC,
            route.scope,
            route.kind,
        ]);
        header.extend(route.flags.to_ne_bytes());
        let flags = if message == NEWROUTE { CREATE } else { 0 };
        self.writer.message(message, flags, &header, fill);
    }
}

/// The parts of a route that differ.
struct Route {
    kind: u8,
    prefix: u8,
    scope: u8,
    flags: u32,
}

impl Route {
    const fn new(kind: u8, prefix: u8) -> Self {
        Self {
            kind,
            prefix,
            scope: libc::RT_SCOPE_UNIVERSE,
            flags: 0,
        }
    }
}

/// One queue each way; the kernel would make one for every processor there might be, at each end of each link.
fn one_queue(device: &mut Attributes<'_>) {
    device.host_number(IFLA_NUM_TX_QUEUES, 1);
    device.host_number(IFLA_NUM_RX_QUEUES, 1);
}

/// `struct ifinfomsg`
fn ifinfo(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&change.to_ne_bytes());
    header
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use netsplit_faults::netlink::wire::{
        HEADER, Message, REQUEST, attribute, host_number, messages, text,
    };

    use super::*;

    const LINK: Link = Link::new(Ipv4Addr::new(10, 248, 1, 7), 263);
    const OWN: Ipv4Addr = Ipv4Addr::new(10, 248, 0, 1);

    /// Every message of a batch but the last, as (type, family's header, attributes).
    fn decoded(header: usize, fill: impl FnOnce(&mut Batch)) -> Vec<(u16, u16, Vec<u8>, Vec<u8>)> {
        let mut batch = Batch::after(9);
        fill(&mut batch);
        let (bytes, last) = batch.finish();
        let all: Vec<Message<'_>> = messages(&bytes).collect();
        let (end, rest) = all.split_last().unwrap();
        assert_eq!(
            (end.kind, end.flags, end.sequence),
            (NOOP, REQUEST | ACK, last)
        );
        assert_eq!(usize::try_from(last).unwrap(), 9 + all.len());
        assert!(bytes.len() >= HEADER * all.len());
        rest.iter()
            .map(|message| {
                assert_eq!(message.flags & ACK, 0);
                let (head, attributes) = message.payload.split_at(header);
                (
                    message.kind,
                    message.flags,
                    head.to_vec(),
                    attributes.to_vec(),
                )
            })
            .collect()
    }

    fn index(header: &[u8]) -> u32 {
        u32::from_ne_bytes(header[4..8].try_into().unwrap())
    }

    #[test]
    fn both_ends_of_a_link_are_made_at_once_and_only_the_routers_is_up() {
        let made = decoded(16, |batch| batch.create(&LINK, 77));
        let [(kind, flags, header, own)] = &made[..] else {
            panic!("one message, not {made:?}");
        };
        assert_eq!((*kind, *flags), (NEWLINK, REQUEST | CREATE | EXCLUSIVE));
        assert_eq!((index(header), header[8], header[12]), (1263, 1, 1));
        assert_eq!(text(own, IFLA_IFNAME), Some("veth1263"));
        assert_eq!(attribute(own, IFLA_ADDRESS), Some(&LINK.router_mac()[..]));
        let info = attribute(own, IFLA_LINKINFO).unwrap();
        assert_eq!(text(info, 1), Some("veth"));
        let peer = attribute(attribute(info, 2).unwrap(), 1).unwrap();
        let (header, peer) = peer.split_at(16);
        assert_eq!((index(header), header[8], header[12]), (2, 0, 0));
        assert_eq!(text(peer, IFLA_IFNAME), Some("eth0"));
        assert_eq!(attribute(peer, IFLA_ADDRESS), Some(&LINK.node_mac()[..]));
        assert_eq!(host_number(peer, IFLA_NET_NS_FD), Some(77));
    }

    #[test]
    fn a_node_finds_its_way_without_asking_anybody() {
        let mut sizes = [16, 16, 8, 12, 12].iter();
        let mut batch = Batch::after(0);
        batch.node_side(&LINK);
        let (bytes, _) = batch.finish();
        let parts: Vec<_> = messages(&bytes)
            .filter(|message| message.kind != NOOP)
            .map(|message| {
                let (head, attributes) = message.payload.split_at(*sizes.next().unwrap());
                (message.kind, head, attributes)
            })
            .collect();
        let kinds: Vec<_> = parts.iter().map(|(kind, ..)| *kind).collect();
        assert_eq!(kinds, [NEWLINK, NEWLINK, NEWADDR, NEWNEIGH, NEWROUTE]);
        assert_eq!(index(parts[0].1), LOOPBACK);
        assert_eq!(index(parts[1].1), NODE_DEVICE);
        assert_eq!((parts[2].1[1], index(parts[2].1)), (32, NODE_DEVICE));
        assert_eq!(attribute(parts[2].2, IFA_LOCAL), Some(&[10, 248, 1, 7][..]));
        assert_eq!(parts[3].1[8], 0x80);
        assert_eq!(
            attribute(parts[3].2, NDA_LLADDR),
            Some(&LINK.router_mac()[..])
        );
        let (head, route) = (parts[4].1, parts[4].2);
        assert_eq!((head[1], head[6], head[7], head[8]), (0, 0, 1, 4));
        assert_eq!(attribute(route, RTA_GATEWAY), Some(&GATEWAY.octets()[..]));
        assert_eq!(host_number(route, RTA_OIF), Some(NODE_DEVICE));
        assert_eq!(attribute(route, RTA_DST), None);
    }

    #[test]
    fn where_no_node_is_packets_vanish() {
        let mut batch = Batch::after(0);
        batch.router_side(OWN, (Ipv4Addr::new(10, 248, 0, 0), 16));
        let (bytes, _) = batch.finish();
        let route = messages(&bytes)
            .find(|message| message.kind == NEWROUTE)
            .unwrap();
        assert_eq!((route.payload[1], route.payload[7]), (16, 6));
        assert_eq!(
            attribute(&route.payload[12..], RTA_DST),
            Some(&[10, 248, 0, 0][..])
        );
    }

    #[test]
    fn a_route_is_taken_away_by_what_it_was_made_of() {
        let made = decoded(12, |batch| batch.reach(&LINK, OWN));
        let gone = decoded(12, |batch| batch.silence(&LINK));
        let (NEWROUTE, flags, made_head, made) = &made[0] else {
            panic!("{made:?}");
        };
        let (DELROUTE, _, gone_head, gone) = &gone[0] else {
            panic!("{gone:?}");
        };
        assert_eq!(flags & CREATE, CREATE);
        assert_eq!(made_head, gone_head);
        assert_eq!((made_head[1], made_head[6], made_head[7]), (32, 253, 1));
        for attributes in [made, gone] {
            assert_eq!(attribute(attributes, RTA_DST), Some(&[10, 248, 1, 7][..]));
            assert_eq!(host_number(attributes, RTA_OIF), Some(LINK.index));
        }
        assert_eq!(attribute(made, RTA_PREFSRC), Some(&OWN.octets()[..]));
    }

    #[test]
    fn a_link_is_removed_by_its_index() {
        let gone = decoded(16, |batch| batch.remove(&LINK));
        assert_eq!((gone[0].0, index(&gone[0].2)), (DELLINK, LINK.index));
    }
}
