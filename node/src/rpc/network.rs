//! Methods that Core's help lists under "Network".

use std::net::{IpAddr, SocketAddr};

use bitcoin::p2p::ServiceFlags;
use netsplit_api::rpc::{
    RpcError, code,
    network::{LocalAddress, NetworkInfo, NetworkKind, NodeAddress, PeerInfo},
};
use netsplit_core::{
    io::{AddNode, Command, Reply},
    peers::info::{AddressInfo, PeerInfo as CorePeer},
    time::WallTime,
};

use super::{Answer, Params, View, answer, blockchain::relay_fee, unexpected};

/// Version in Core's notation (0.1.0): the node's own, not Core's.
const VERSION: u32 = 100;

/// Core's names of service bits (`protocol.h`).
const SERVICES: [(ServiceFlags, &str); 6] = [
    (ServiceFlags::NETWORK, "NETWORK"),
    (ServiceFlags::BLOOM, "BLOOM"),
    (ServiceFlags::WITNESS, "WITNESS"),
    (ServiceFlags::COMPACT_FILTERS, "COMPACT_FILTERS"),
    (ServiceFlags::NETWORK_LIMITED, "NETWORK_LIMITED"),
    (ServiceFlags::P2P_V2, "P2P_V2"),
];

fn service_names(services: u64) -> Vec<String> {
    let services = ServiceFlags::from(services);
    let named = SERVICES.iter().filter(|(flag, _)| services.has(*flag));
    named.map(|(_, name)| (*name).to_owned()).collect()
}

const fn network_name(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ipv4" } else { "ipv6" }
}

pub(super) fn getnetworkinfo(view: &View<'_>, _: &Params) -> Answer {
    let (inbound, outbound) = count_peers(view);
    let services = view.node.services();
    let kind = |name: &str, reachable: bool| NetworkKind {
        name: name.to_owned(),
        limited: !reachable,
        reachable,
        proxy: String::new(),
        proxy_randomize_credentials: false,
    };
    let own = view.config.address;
    answer(&NetworkInfo {
        version: VERSION,
        subversion: netsplit_core::peers::USER_AGENT.to_owned(),
        protocolversion: netsplit_core::peers::PROTOCOL_VERSION,
        localservices: format!("{services:016x}"),
        localservicesnames: service_names(services),
        localrelay: true,
        timeoffset: 0,
        networkactive: true,
        connections: inbound + outbound,
        connections_in: inbound,
        connections_out: outbound,
        networks: vec![kind("ipv4", own.is_ipv4()), kind("ipv6", own.is_ipv6())],
        relayfee: relay_fee(),
        incrementalfee: relay_fee(),
        localaddresses: vec![LocalAddress {
            address: own.to_string(),
            port: view.config.p2p_port,
            score: 1,
        }],
        warnings: Vec::new(),
    })
}

/// Peers that dialled us, and peers we dialled.
pub(super) fn count_peers(view: &View<'_>) -> (u32, u32) {
    view.node.peers().fold((0, 0), |(inbound, outbound), peer| {
        if peer.inbound {
            (inbound + 1, outbound)
        } else {
            (inbound, outbound + 1)
        }
    })
}

pub(super) fn getconnectioncount(view: &View<'_>, _: &Params) -> Answer {
    answer(&view.node.peers().count())
}

pub(super) fn getpeerinfo(view: &View<'_>, _: &Params) -> Answer {
    answer(
        &view
            .node
            .peers()
            .map(|peer| peer_info(view, peer))
            .collect::<Vec<_>>(),
    )
}

fn peer_info(view: &View<'_>, peer: CorePeer) -> PeerInfo {
    let seconds = |time: Option<WallTime>| time.map_or(0, |time| u64::from(time.seconds()));
    let stream = view.network.stream(peer.conn);
    let connection_type = match (peer.inbound, peer.manual) {
        (true, _) => "inbound",
        (false, true) => "manual",
        (false, false) => "outbound-full-relay",
    };
    let synced = i64::from;
    PeerInfo {
        id: peer.id,
        addr: peer.address.to_string(),
        addrbind: stream
            .and_then(|s| s.local_addr().ok())
            .map(|address| address.to_string()),
        network: network_name(peer.address.ip()).to_owned(),
        services: format!("{:016x}", peer.services),
        servicesnames: service_names(peer.services),
        relaytxes: peer.relay,
        lastsend: seconds(peer.last_send),
        lastrecv: seconds(peer.last_received),
        last_transaction: seconds(peer.last_transaction),
        last_block: seconds(peer.last_block),
        bytessent: peer.bytes_sent,
        bytesrecv: peer.bytes_received,
        conntime: seconds(Some(peer.connected_wall)),
        timeoffset: peer.time_offset,
        pingtime: peer.ping.map(|ping| ping.as_secs_f64()),
        minping: peer.min_ping.map(|ping| ping.as_secs_f64()),
        version: peer.version,
        subver: peer.user_agent,
        inbound: peer.inbound,
        bip152_hb_to: false,
        bip152_hb_from: false,
        startingheight: peer.start_height,
        synced_headers: peer.synced_headers.map_or(-1, synced),
        synced_blocks: peer.synced_headers.map_or(-1, |height| {
            synced(height.min(view.node.chain().tip().height))
        }),
        inflight: vec![-1; peer.blocks_in_flight as usize],
        permissions: Vec::new(),
        minfeefilter: 0.0,
        bytessent_per_msg: std::collections::BTreeMap::new(),
        bytesrecv_per_msg: std::collections::BTreeMap::new(),
        connection_type: connection_type.to_owned(),
        transport_protocol_type: "v1".to_owned(),
        session_id: String::new(),
    }
}

pub(super) fn getnodeaddresses(view: &View<'_>, params: &Params) -> Answer {
    let count = params.integer(0)?.unwrap_or(1);
    let Ok(count) = usize::try_from(count) else {
        return Err(RpcError::new(
            code::INVALID_PARAMETER,
            "Address count out of range",
        ));
    };
    let wanted = params.text(1)?;
    if let Some(name) = wanted
        && !["ipv4", "ipv6", "onion", "i2p", "cjdns"].contains(&name)
    {
        let text = format!("Network not recognized: {name}");
        return Err(RpcError::new(code::INVALID_PARAMETER, text));
    }
    let node = |info: AddressInfo| NodeAddress {
        time: u64::from(info.last_seen),
        services: info.services,
        address: info.address.ip().to_string(),
        port: info.address.port(),
        network: network_name(info.address.ip()).to_owned(),
    };
    let addresses = view.node.addresses().map(node);
    let addresses = addresses.filter(|node| wanted.is_none_or(|name| node.network == name));
    // Core: 0 means all.
    let limit = if count == 0 { usize::MAX } else { count };
    answer(&addresses.take(limit).collect::<Vec<_>>())
}

pub(super) fn addnode(view: &View<'_>, params: &Params) -> Result<Command, RpcError> {
    let address = node_address(view, params.required_text(0)?)?;
    let mode = match params.required_text(1)? {
        "add" => AddNode::Add,
        "remove" => AddNode::Remove,
        "onetry" => AddNode::OneTry,
        other => {
            let text = format!("command is `add`, `remove` or `onetry`, not `{other}`");
            return Err(RpcError::new(code::INVALID_PARAMETER, text));
        }
    };
    Ok(Command::AddNode { address, mode })
}

/// `ip:port` or `ip`, which means the protocol's usual port. Names are not looked up.
fn node_address(view: &View<'_>, text: &str) -> Result<SocketAddr, RpcError> {
    let invalid = || {
        let text = format!("`{text}` is not an IP address with or without a port");
        RpcError::new(code::CLIENT_INVALID_IP_OR_SUBNET, text)
    };
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    match text.parse() {
        Ok(address) => Ok(address),
        Err(_) => match bare.parse() {
            Ok(ip) => Ok(SocketAddr::new(ip, view.config.p2p_port)),
            Err(_) => Err(invalid()),
        },
    }
}

pub(super) fn disconnectnode(view: &View<'_>, params: &Params) -> Result<Command, RpcError> {
    let address = params.text(0)?.filter(|text| !text.is_empty());
    let peer = params.integer(1)?;
    match (address, peer) {
        (Some(text), None) => {
            let address = Some(node_address(view, text)?);
            Ok(Command::DisconnectNode {
                address,
                peer: None,
            })
        }
        (None, Some(peer)) => {
            let peer = u64::try_from(peer).map_err(|_| {
                RpcError::new(
                    code::CLIENT_NODE_NOT_CONNECTED,
                    "Node not found in connected nodes",
                )
            })?;
            Ok(Command::DisconnectNode {
                address: None,
                peer: Some(peer),
            })
        }
        _ => Err(RpcError::new(
            code::INVALID_PARAMS,
            "Only one of address and nodeid should be provided.",
        )),
    }
}

/// Nothing to say when it is done.
pub(super) fn done(reply: Reply) -> Answer {
    match reply {
        Reply::Done => answer(&()),
        other => Err(unexpected(&other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_cores_names() {
        assert_eq!(
            service_names(0x409),
            ["NETWORK", "WITNESS", "NETWORK_LIMITED"]
        );
        assert!(service_names(0).is_empty());
    }
}
