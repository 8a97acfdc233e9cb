//! Nodes that find each other, sync, mine and pay.

use std::net::SocketAddr;

use corepc_types::v29;
use netsplit_api::{
    config::{NodeConfig, Role},
    event::Event,
    probe::Sockets,
};
use serde_json::{Value, json};

use crate::harness::{DNS_PORT, TestNode, config, premine};

fn asks(mut config: NodeConfig, seed: &TestNode) -> NodeConfig {
    config.dns_seeds = vec![SocketAddr::new(seed.ip(), DNS_PORT)];
    config
}

fn connected(event: &Event) -> bool {
    matches!(event, Event::PeerConnected { .. })
}

#[tokio::test]
async fn nodes_meet_through_a_dns_seed_and_pay_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let seed = TestNode::start(config("seed", "127.90.0.1", &[Role::DnsSeed], &directory)).await;
    let node = |name, address, roles: &[Role]| {
        let mut config = asks(config(name, address, roles, &directory), &seed);
        config.chain.premine = premine(110, "payer");
        config
    };
    let payer = TestNode::start(node("payer", "127.90.0.2", &[Role::Full, Role::Wallet])).await;
    let payee = TestNode::start(node("payee", "127.90.0.3", &[Role::Wallet])).await;
    payer.client.wait_for(connected).await;
    payee.client.wait_for(connected).await;
    seed.client
        .wait_for(|event| matches!(event, Event::DnsNodeReached { .. }))
        .await;

    // A payment is relayed, mined by the other, and known to both wallets.
    let address = payee.client.call("getnewaddress", json!([])).await;
    let named = json!({"address": address, "amount": 1.5, "fee_rate": 3});
    let txid = payer.client.call("sendtoaddress", named).await;
    let arrived = |event: &Event| matches!(event, Event::TransactionAccepted { txid: accepted, .. } if *accepted == txid);
    payee.client.wait_for(arrived).await;
    let mempool = payee.client.call("getrawmempool", json!([true])).await;
    let entry: v29::GetRawMempoolVerbose = serde_json::from_value(mempool).unwrap();
    entry.into_model().unwrap();
    let pending = payee.client.call("getbalances", json!([])).await;
    assert_eq!(pending["mine"]["untrusted_pending"], json!(1.5));

    let blocks = payee
        .client
        .call("generatetoaddress", json!([1, address]))
        .await;
    payer.client.wait_for_tip(&blocks[0]).await;
    let balances = payee.client.call("getbalances", json!([])).await;
    assert_eq!(balances["mine"]["trusted"], json!(1.5));
    let parsed: v29::GetBalances = serde_json::from_value(balances).unwrap();
    parsed.into_model().unwrap();

    let transaction = payer
        .client
        .call("getrawtransaction", json!([txid, 1]))
        .await;
    assert_eq!(
        (&transaction["confirmations"], &transaction["blockhash"]),
        (&json!(1), &blocks[0])
    );
    let parsed: v29::GetRawTransactionVerbose = serde_json::from_value(transaction).unwrap();
    parsed.into_model().unwrap();
    assert_peers(&payer, &payee).await;
}

async fn assert_peers(payer: &TestNode, payee: &TestNode) {
    let peers = payer.client.call("getpeerinfo", json!([])).await;
    let parsed: v29::GetPeerInfo = serde_json::from_value(peers.clone()).unwrap();
    assert_eq!(parsed.0.len(), 1);
    let peer = &parsed.0[0];
    assert_eq!(
        (peer.version, peer.subversion.as_str()),
        (70016, "/netsplit:0.1.0/")
    );
    assert_eq!(
        peer.services_names,
        ["NETWORK", "WITNESS", "NETWORK_LIMITED"]
    );
    assert!(
        peer.address.starts_with(&payee.ip().to_string()),
        "{}",
        peer.address
    );
    let bound = peer.address_bind.as_deref().unwrap();
    assert!(bound.starts_with(&payer.ip().to_string()), "{bound}");
    assert!(peer.bytes_received > 0 && peer.last_received > 0 && peer.connection_time > 0);

    let sockets: Sockets =
        serde_json::from_value(payer.client.call("x_sockets", json!([])).await).unwrap();
    let socket = sockets
        .sockets
        .iter()
        .find(|socket| socket.remote == peer.address)
        .unwrap();
    assert_eq!(
        (socket.state.as_str(), socket.error.as_ref()),
        ("established", None)
    );
    assert!(socket.bytes_received > 0 && socket.bytes_acked > 0);

    let info = payer.client.call("getnetworkinfo", json!([])).await;
    let parsed: v29::GetNetworkInfo = serde_json::from_value(info).unwrap();
    assert_eq!(parsed.connections, 1);
    assert_eq!(parsed.connections_in + parsed.connections_out, 1);
    let addresses = payer.client.call("getnodeaddresses", json!([0])).await;
    serde_json::from_value::<v29::GetNodeAddresses>(addresses).unwrap();
}

#[tokio::test]
async fn a_late_node_catches_up_and_follows_a_reorganisation() {
    let directory = tempfile::tempdir().unwrap();
    let payee = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";
    let a = TestNode::start(config("a", "127.90.1.1", &[Role::Full], &directory)).await;
    let b = TestNode::start(config("b", "127.90.1.2", &[Role::Full], &directory)).await;
    a.client.call("generatetoaddress", json!([5, payee])).await;
    let longer = b.client.call("generatetoaddress", json!([7, payee])).await;
    a.client
        .call("addnode", json!([b.p2p().to_string(), "add"]))
        .await;
    a.client.wait_for_tip(&longer[6]).await;
    let reorganised = |event: &Event| {
        matches!(
            event,
            Event::ChainReorganised {
                disconnected: 5,
                fork_height: 0,
                ..
            }
        )
    };
    a.client.wait_for(reorganised).await;
    let tips = a.client.call("getchaintips", json!([])).await;
    let parsed: v29::GetChainTips = serde_json::from_value(tips.clone()).unwrap();
    parsed.into_model().unwrap();
    let statuses: Vec<&Value> = tips
        .as_array()
        .unwrap()
        .iter()
        .map(|tip| &tip["status"])
        .collect();
    assert_eq!(statuses, ["active", "valid-fork"]);
    assert_eq!(tips[1]["branchlen"], json!(5));

    // A stale block is still there, with Core's mark.
    let stale = a.client.call("getblock", json!([tips[1]["hash"]])).await;
    assert_eq!(
        (&stale["confirmations"], stale.get("nextblockhash")),
        (&json!(-1), None)
    );

    a.client
        .call("disconnectnode", json!([b.p2p().to_string()]))
        .await;
    a.client
        .wait_for(|event| matches!(event, Event::PeerDisconnected { .. }))
        .await;
}

#[tokio::test]
async fn what_is_no_peer_is_hung_up_on_and_nothing_else_happens() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let directory = tempfile::tempdir().unwrap();
    let node = TestNode::start(config("a", "127.90.2.1", &[Role::Full], &directory)).await;
    let mut stream = tokio::net::TcpStream::connect(node.p2p()).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut rest = Vec::new();
    // The end, or a reset because bytes were left unread.
    let _ = stream.read_to_end(&mut rest).await;
    node.client
        .wait_for(|event| matches!(event, Event::HandshakeRefused { .. }))
        .await;
    assert_eq!(
        node.client.call("getconnectioncount", json!([])).await,
        json!(0)
    );
    node.stop().unwrap();
}
