//! Whoever breaks the protocol loses the connection, and the node loses nothing.

use bitcoin::{
    BlockHash, Network, Transaction,
    absolute::LockTime,
    block::Header,
    constants::genesis_block,
    hashes::Hash as _,
    p2p::{
        Address, Magic, ServiceFlags,
        message::NetworkMessage,
        message_blockdata::{GetHeadersMessage, Inventory},
        message_network::VersionMessage,
    },
    transaction::Version,
};
use netsplit_core::{
    virtual_network::{HostId, StreamId},
    wire,
};

use crate::testnet::{SECOND, Testnet};

const UNSPECIFIED: ([u8; 4], u16) = ([0, 0, 0, 0], 0);

/// Three honest nodes, and somebody who is about to misbehave.
struct Scene {
    testnet: Testnet,
    stranger: HostId,
    stream: StreamId,
}

fn version() -> VersionMessage {
    let services = ServiceFlags::NETWORK | ServiceFlags::WITNESS;
    let nobody = Address::new(&UNSPECIFIED.into(), services);
    VersionMessage {
        version: 70016,
        services,
        timestamp: 1_700_000_000,
        receiver: nobody.clone(),
        sender: nobody,
        nonce: 4711,
        user_agent: "/stranger:1.0/".to_owned(),
        start_height: 0,
        relay: true,
    }
}

impl Scene {
    fn new() -> Self {
        let mut testnet = Testnet::new(99);
        testnet.populate(3, 0);
        testnet.connect().unwrap();
        testnet.mine(testnet.nodes[0], 5);
        testnet.converge(SECOND).unwrap();
        let stranger = testnet.network.add_stranger([11, 9, 9, 9].into());
        let victim = testnet.address(testnet.nodes[0]);
        let stream = testnet.network.stranger_dials(stranger, victim);
        testnet.network.run_for(SECOND / 10);
        Self {
            testnet,
            stranger,
            stream,
        }
    }

    /// ... after a proper handshake.
    fn greeted() -> Self {
        let mut scene = Self::new();
        scene.says(NetworkMessage::Version(version()));
        scene.says(NetworkMessage::Verack);
        assert_eq!(scene.testnet.network.peers(scene.testnet.nodes[0]), 3);
        scene.hears();
        scene
    }

    fn says(&mut self, message: NetworkMessage) {
        self.utters(wire::encode(Magic::REGTEST, message));
    }

    fn utters(&mut self, bytes: Vec<u8>) {
        self.testnet.network.stranger_sends(self.stream, bytes);
        self.testnet.network.run_for(SECOND / 10);
    }

    fn hears(&mut self) -> Vec<NetworkMessage> {
        let bytes = self
            .testnet
            .network
            .stranger_heard(self.stranger, self.stream);
        let mut decoder = wire::Decoder::new(Magic::REGTEST);
        decoder.push(&bytes);
        std::iter::from_fn(|| decoder.next_message().unwrap()).collect()
    }

    fn is_connected(&self) -> bool {
        self.testnet.network.is_open(self.stream)
    }

    /// The node is as it was, and goes on.
    fn proves_harmless(mut self) {
        let heights = |scene: &Self| {
            scene
                .testnet
                .nodes
                .iter()
                .map(|n| scene.testnet.network.tip(*n).height)
                .collect::<Vec<_>>()
        };
        assert_eq!(heights(&self), [5, 5, 5]);
        let peers = self.testnet.network.node(self.testnet.nodes[0]).peers();
        assert_eq!(
            peers
                .filter(|peer| peer.user_agent != "/stranger:1.0/")
                .count(),
            2
        );
        self.testnet.mine(self.testnet.nodes[1], 1);
        self.testnet.converge(SECOND).unwrap();
        assert_eq!(heights(&self), [6, 6, 6]);
    }

    fn proves_refused(self) {
        assert!(!self.is_connected(), "the connection is over");
        assert_eq!(self.testnet.network.peers(self.testnet.nodes[0]), 2);
        self.proves_harmless();
    }
}

fn frame(command: &str, length: u32, checksum: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut name = [0; 12];
    name[..command.len()].copy_from_slice(command.as_bytes());
    let mut bytes = Magic::REGTEST.to_bytes().to_vec();
    bytes.extend_from_slice(&name);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&checksum);
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn garbage_wrong_magic_bad_checksums_and_oversized_messages_end_the_connection() {
    let wrong_magic = wire::encode(Magic::BITCOIN, NetworkMessage::Ping(1));
    let bad_checksum = frame("ping", 8, [1, 2, 3, 4], &[0; 8]);
    let oversized = frame("block", 4_000_001, [0; 4], &[]);
    let short = wire::encode(
        Magic::REGTEST,
        NetworkMessage::Unknown {
            command: "x".try_into().unwrap(),
            payload: vec![0xff; 3],
        },
    );
    let malformed = [&short[..4], b"headers\0\0\0\0\0", &short[16..]].concat();
    let garbage = (0..1000_u32).map(|i| (i * 7 + 3) as u8).collect();
    for bytes in [wrong_magic, bad_checksum, oversized, malformed, garbage] {
        let mut before = Scene::new();
        before.utters(bytes.clone());
        before.proves_refused();
        let mut after = Scene::greeted();
        after.utters(bytes);
        after.proves_refused();
    }
}

#[test]
fn one_who_says_nothing_is_given_up_and_unknown_words_are_ignored() {
    let mut mute = Scene::new();
    mute.testnet.network.run_for(6 * SECOND);
    mute.proves_refused();

    let mut odd = Scene::greeted();
    odd.says(NetworkMessage::Unknown {
        command: "hello".try_into().unwrap(),
        payload: vec![1; 99],
    });
    odd.says(NetworkMessage::WtxidRelay);
    odd.says(NetworkMessage::Pong(12));
    odd.says(NetworkMessage::Verack);
    odd.says(NetworkMessage::Version(version()));
    assert!(odd.is_connected());
    odd.proves_harmless();
}

#[test]
fn one_who_is_no_peer_yet_cannot_make_the_node_wait_for_a_long_message() {
    let long = frame("tx", 100_000, [0; 4], &[]);
    let mut before = Scene::new();
    before.utters(long.clone());
    before.proves_refused();
    let mut after = Scene::greeted();
    after.utters(long);
    assert!(after.is_connected());
}

#[test]
fn one_who_asks_for_much_more_than_he_says_is_refused() {
    let mut scene = Scene::greeted();
    scene.testnet.mine(scene.testnet.nodes[0], 600);
    scene.testnet.converge(5 * SECOND).unwrap();
    let ask = wire::encode(
        Magic::REGTEST,
        NetworkMessage::GetHeaders(GetHeadersMessage {
            version: 70016,
            locator_hashes: Vec::new(),
            stop_hash: BlockHash::all_zeros(),
        }),
    );
    scene.hears();
    // 50 kB that ask for 40 MB.
    scene.utters(ask.repeat(800));
    let heard: usize = scene
        .hears()
        .iter()
        .map(|message| wire::encode(Magic::REGTEST, message.clone()).len())
        .sum();
    assert!(heard < 10 << 20, "{heard} bytes");
    assert!(!scene.is_connected());
    scene.testnet.mine(scene.testnet.nodes[1], 1);
    scene.testnet.converge(SECOND).unwrap();
}

#[test]
fn the_incompatible_are_refused() {
    let old = VersionMessage {
        version: 31_799,
        ..version()
    };
    let without_witness = VersionMessage {
        services: ServiceFlags::NETWORK,
        ..version()
    };
    let talkative = VersionMessage {
        user_agent: "x".repeat(300),
        ..version()
    };
    for version in [old, without_witness, talkative] {
        let mut scene = Scene::new();
        scene.says(NetworkMessage::Version(version));
        scene.proves_refused();
    }
}

#[test]
fn words_before_the_handshake_have_no_effect() {
    let mut scene = Scene::new();
    scene.says(NetworkMessage::GetAddr);
    scene.says(NetworkMessage::Verack);
    scene.says(NetworkMessage::Headers(Vec::new()));
    assert_eq!(scene.hears(), []);
    scene.says(NetworkMessage::Version(version()));
    scene.says(NetworkMessage::Ping(5));
    assert!(!scene.hears().contains(&NetworkMessage::Pong(5)));
    scene.says(NetworkMessage::Verack);
    scene.says(NetworkMessage::Ping(6));
    assert!(scene.hears().contains(&NetworkMessage::Pong(6)));
    scene.proves_harmless();
}

#[test]
fn floods_of_addresses_are_bounded_and_mostly_ignored() {
    let mut scene = Scene::greeted();
    let address = |i: u32| {
        let ip = [60 + (i >> 16) as u8, (i >> 8) as u8, i as u8, 1];
        (
            1_700_000_000,
            Address::new(&(ip, 18444).into(), ServiceFlags::NETWORK),
        )
    };
    for message in 0..20 {
        scene.says(NetworkMessage::Addr(
            (message * 1000..(message + 1) * 1000)
                .map(address)
                .collect(),
        ));
    }
    let known = scene
        .testnet
        .network
        .node(scene.testnet.nodes[0])
        .addresses()
        .count();
    assert!(known <= 1_100, "{known} addresses");
    assert!(scene.is_connected());
    scene.says(NetworkMessage::Addr((0..1001).map(address).collect()));
    scene.proves_refused();
}

#[test]
fn headers_that_never_connect_end_the_connection_and_one_such_is_asked_about() {
    let mut scene = Scene::greeted();
    let stray = |number: u8| {
        let prev_blockhash = BlockHash::from_byte_array([7 + number; 32]);
        let mut header = Header {
            prev_blockhash,
            ..genesis_block(Network::Regtest).header
        };
        while header.validate_pow(header.target()).is_err() {
            header.nonce += 1;
        }
        header
    };
    scene.says(NetworkMessage::Headers(vec![stray(0)]));
    let asks = |message: &NetworkMessage| matches!(message, NetworkMessage::GetHeaders(_));
    assert!(
        scene.hears().iter().any(asks),
        "the node asks for what is between"
    );
    for number in 1..20 {
        scene.says(NetworkMessage::Headers(vec![stray(number)]));
    }
    scene.proves_refused();
}

#[test]
fn invalid_headers_blocks_and_transactions_end_the_connection() {
    let mut scene = Scene::greeted();
    let tip = scene.testnet.tip_block(scene.testnet.nodes[0]);
    // A coinbase that pays too much, on top of the tip, with proof of work.
    let mut greedy = tip.clone();
    greedy.header.prev_blockhash = tip.block_hash();
    greedy.header.time += 1;
    greedy.txdata[0].output[0].value = bitcoin::Amount::from_sat(100_000_000_000);
    greedy.header.merkle_root = greedy.compute_merkle_root().unwrap();
    while greedy.header.validate_pow(greedy.header.target()).is_err() {
        greedy.header.nonce += 1;
    }
    scene.says(NetworkMessage::Block(greedy));
    scene.proves_refused();

    let mut scene = Scene::greeted();
    let mut worthless = tip.header;
    worthless.prev_blockhash = tip.block_hash();
    while worthless.validate_pow(worthless.target()).is_ok() {
        worthless.nonce += 1;
    }
    scene.says(NetworkMessage::Headers(vec![worthless]));
    scene.proves_refused();

    let mut scene = Scene::greeted();
    let empty = Transaction {
        version: Version::TWO,
        lock_time: LockTime::ZERO,
        input: Vec::new(),
        output: tip.txdata[0].output.clone(),
    };
    // Without inputs it is not even well-formed on the wire: as a coinbase it is.
    let loose = Transaction {
        input: tip.txdata[0].input.clone(),
        ..empty
    };
    scene.says(NetworkMessage::Tx(loose));
    scene.proves_refused();
}

#[test]
fn unsolicited_and_greedy_words_cost_nothing() {
    let mut scene = Scene::greeted();
    let hash = |i: u32| {
        let mut bytes = [9; 32];
        bytes[..4].copy_from_slice(&i.to_le_bytes());
        bytes
    };
    let blocks: Vec<Inventory> = (0..5000)
        .map(|i| Inventory::Block(BlockHash::from_byte_array(hash(i))))
        .collect();
    let transactions: Vec<Inventory> = (0..5000)
        .map(|i| Inventory::Transaction(bitcoin::Txid::from_byte_array(hash(i))))
        .collect();
    scene.says(NetworkMessage::Inv(blocks.clone()));
    scene.says(NetworkMessage::Inv(transactions.clone()));
    scene.says(NetworkMessage::NotFound(blocks.clone()));
    scene.says(NetworkMessage::GetData(blocks));
    let missing: usize = scene
        .hears()
        .iter()
        .map(|message| {
            if let NetworkMessage::NotFound(items) = message {
                items.len()
            } else {
                0
            }
        })
        .sum();
    assert_eq!(missing, 5000, "all of it is answered");
    let genesis = genesis_block(Network::Regtest);
    scene.says(NetworkMessage::Block(genesis));
    assert!(scene.is_connected());
    scene.says(NetworkMessage::GetHeaders(GetHeadersMessage {
        version: 70016,
        locator_hashes: (0..102)
            .map(|i| BlockHash::from_byte_array(hash(i)))
            .collect(),
        stop_hash: BlockHash::all_zeros(),
    }));
    scene.proves_refused();
}

#[test]
fn a_stranger_is_served_headers_and_blocks() {
    let mut scene = Scene::greeted();
    let tip = scene.testnet.tip_block(scene.testnet.nodes[0]);
    scene.says(NetworkMessage::GetHeaders(GetHeadersMessage {
        version: 70016,
        locator_hashes: Vec::new(),
        stop_hash: BlockHash::all_zeros(),
    }));
    let headers = scene.hears().into_iter().find_map(|message| match message {
        NetworkMessage::Headers(headers) => Some(headers),
        _ => None,
    });
    assert_eq!(headers.unwrap().last(), Some(&tip.header));
    scene.says(NetworkMessage::GetData(vec![Inventory::WitnessBlock(
        tip.block_hash(),
    )]));
    assert!(scene.hears().contains(&NetworkMessage::Block(tip.clone())));
    scene.says(NetworkMessage::GetData(vec![Inventory::Block(
        tip.block_hash(),
    )]));
    let stripped = scene.hears().into_iter().find_map(|message| match message {
        NetworkMessage::Block(block) => Some(block),
        _ => None,
    });
    let stripped = stripped.unwrap();
    assert_eq!(stripped.block_hash(), tip.block_hash());
    assert!(
        stripped.txdata[0].input[0].witness.is_empty(),
        "as BIP144 wants it"
    );
    scene.proves_harmless();
}
