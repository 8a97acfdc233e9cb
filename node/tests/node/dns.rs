//! The DNS seed's server, asked with raw packets.

use std::{net::SocketAddr, time::Duration};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RecordType},
};
use netsplit_api::{config::Role, event::Event};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use crate::harness::{DNS_PORT, TestNode, config};

const PATIENCE: Duration = Duration::from_secs(10);

fn question(kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(
        Name::from_ascii("any.name.test.").unwrap(),
        kind,
    ));
    message.to_vec().unwrap()
}

async fn ask_udp(from: &str, server: SocketAddr, packet: &[u8]) -> Message {
    let socket = UdpSocket::bind((from, 0)).await.unwrap();
    socket.send_to(packet, server).await.unwrap();
    let mut answer = [0; 1500];
    let received = timeout(PATIENCE, socket.recv_from(&mut answer))
        .await
        .unwrap();
    let (length, remote) = received.unwrap();
    assert_eq!(remote, server);
    Message::from_vec(&answer[..length]).unwrap()
}

async fn ask_tcp(stream: &mut TcpStream, packet: &[u8]) -> Message {
    stream
        .write_u16(u16::try_from(packet.len()).unwrap())
        .await
        .unwrap();
    stream.write_all(packet).await.unwrap();
    let length = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

#[tokio::test]
async fn the_seed_names_nodes_it_has_reached() {
    let directory = tempfile::tempdir().unwrap();
    let seed = TestNode::start(config("seed", "127.92.0.1", &[Role::DnsSeed], &directory)).await;
    let server = SocketAddr::new(seed.ip(), DNS_PORT);
    let node = TestNode::start(config("a", "127.92.0.2", &[Role::Full], &directory)).await;
    // Whoever asks is visited; one that is no node is not named.
    let empty = ask_udp("127.92.0.2", server, &question(RecordType::A)).await;
    assert_eq!(empty.metadata.response_code, ResponseCode::NoError);
    let reached = |event: &Event| matches!(event, Event::DnsNodeReached { address } if address.starts_with("127.92.0.2"));
    seed.client.wait_for(reached).await;
    let answer = ask_udp("127.92.0.9", server, &question(RecordType::A)).await;
    let addresses: Vec<String> = answer
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect();
    assert_eq!(addresses, ["127.92.0.2"]);
    assert!(answer.answers[0].ttl <= 10);
    let none = ask_udp("127.92.0.9", server, &question(RecordType::AAAA)).await;
    assert!(none.answers.is_empty() && none.metadata.response_code == ResponseCode::NoError);

    // The same over TCP, twice on one connection.
    let mut stream = TcpStream::connect(server).await.unwrap();
    for _ in 0..2 {
        let answer = ask_tcp(&mut stream, &question(RecordType::A)).await;
        assert_eq!((answer.metadata.id, answer.answers.len()), (4711, 1));
    }

    // A node that is gone is forgotten.
    node.stop().unwrap();
    seed.client
        .wait_for(|event| matches!(event, Event::DnsNodeForgotten { .. }))
        .await;
    let answer = ask_udp("127.92.0.9", server, &question(RecordType::A)).await;
    assert!(answer.answers.is_empty());
}

#[tokio::test]
async fn hostile_packets_do_not_keep_others_from_answers() {
    let directory = tempfile::tempdir().unwrap();
    let seed = TestNode::start(config("seed", "127.92.1.1", &[Role::DnsSeed], &directory)).await;
    let server = SocketAddr::new(seed.ip(), DNS_PORT);
    let socket = UdpSocket::bind("127.92.1.2:0").await.unwrap();
    let good = question(RecordType::A);
    for packet in [
        &[][..],
        &[0; 3],
        &[0xff; 600],
        &good[..good.len() - 3],
        &[0; 65_000],
    ] {
        socket.send_to(packet, server).await.unwrap();
    }
    let malformed = ask_udp("127.92.1.2", server, &good[..good.len() - 3]).await;
    assert_eq!(malformed.metadata.response_code, ResponseCode::FormErr);

    // Connections that say nothing, too little, or too much.
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(TcpStream::connect(server).await.unwrap());
    }
    let mut partial = TcpStream::connect(server).await.unwrap();
    partial.write_all(&[0, 40, 1, 2, 3]).await.unwrap();
    let mut huge = TcpStream::connect(server).await.unwrap();
    huge.write_all(&[0xff, 0xff, 0]).await.unwrap();
    let closed = timeout(PATIENCE, huge.read(&mut [0; 10])).await.unwrap();
    assert!(
        matches!(closed, Ok(0) | Err(_)),
        "a question that is too long ends the connection"
    );

    let mut stream = TcpStream::connect(server).await.unwrap();
    let answer = ask_tcp(&mut stream, &good).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    let closed = timeout(PATIENCE, silent[0].read(&mut [0; 10]))
        .await
        .unwrap();
    assert!(
        matches!(closed, Ok(0) | Err(_)),
        "a silent connection is closed"
    );
    assert_eq!(ask_udp("127.92.1.3", server, &good).await.metadata.id, 4711);
}
