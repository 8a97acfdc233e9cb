//! Which port of a bridge a node is behind: its address gives a MAC address (neighbour table), that gives a port
//! (forwarding table). Both are read by rtnetlink, which needs no privilege.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::Ipv4Addr,
};

use super::build::Ports;
use crate::netlink::{
    socket::{NETLINK_ROUTE, Netlink},
    wire,
};

const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_MASTER: u16 = 9;
const AF_INET: u8 = 2;
const AF_BRIDGE: u8 = 7;
/// Of the bridge's own table, not of the port's own address.
const NUD_PERMANENT: u16 = 0x80;
/// Length of `struct ndmsg`.
const HEADER: usize = 12;

/// One entry of either table.
struct Entry<'a> {
    device: u32,
    state: u16,
    attributes: &'a [u8],
}

/// The ports that are known now. A node nobody has spoken with lately may be missing.
pub(super) fn ports(bridge: u32, addresses: &BTreeSet<Ipv4Addr>) -> io::Result<Ports> {
    let mut netlink = Netlink::open(NETLINK_ROUTE)?;
    let mut macs: BTreeMap<Vec<u8>, Vec<Ipv4Addr>> = BTreeMap::new();
    entries(&mut netlink, AF_INET, |entry| {
        let address = wire::attribute(entry.attributes, NDA_DST);
        let address = address
            .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
            .map(Ipv4Addr::from);
        let mac = wire::attribute(entry.attributes, NDA_LLADDR);
        if let (Some(address), Some(mac)) = (address, mac)
            && entry.device == bridge
            && addresses.contains(&address)
        {
            macs.entry(mac.to_vec()).or_default().push(address);
        }
    })?;
    let mut ports = Ports::new();
    entries(&mut netlink, AF_BRIDGE, |entry| {
        let master = wire::host_number(entry.attributes, NDA_MASTER);
        let mac = wire::attribute(entry.attributes, NDA_LLADDR);
        if master == Some(bridge)
            && entry.state & NUD_PERMANENT == 0
            && let Some(addresses) = mac.and_then(|mac| macs.get(mac))
        {
            ports.extend(addresses.iter().map(|address| (*address, entry.device)));
        }
    })?;
    Ok(ports)
}

fn entries(netlink: &mut Netlink, family: u8, mut each: impl FnMut(Entry<'_>)) -> io::Result<()> {
    let mut header = [0; HEADER];
    header[0] = family;
    netlink.dump(
        RTM_GETNEIGH,
        &header,
        |_| {},
        |message| {
            let Some((header, attributes)) = message.payload.split_at_checked(HEADER) else {
                return;
            };
            if message.kind == RTM_NEWNEIGH && header[0] == family {
                let device = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
                let state = u16::from_ne_bytes([header[8], header[9]]);
                each(Entry {
                    device,
                    state,
                    attributes,
                });
            }
        },
    )
}
