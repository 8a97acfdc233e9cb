//! Asks a DNS seed for nodes: one question over UDP, by our own hand.
//!
//! The system's resolver is no use here: it blocks, and knows neither our servers nor our ports.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use tokio::{net::UdpSocket, time};

/// Time for an answer.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Longest answer read; also offered to the server.
const MAX_ANSWER: u16 = 1232;
/// What is asked for. Our seeds answer to any name.
const NAME: &str = "seed.netsplit.test.";

/// Asks `server` for `A` records, from the address `source`.
///
/// # Errors
/// Why there are none, in words.
pub(crate) async fn resolve(source: IpAddr, server: SocketAddr) -> Result<Vec<IpAddr>, String> {
    match time::timeout(TIMEOUT, ask(source, server)).await {
        Ok(Ok(answer)) => addresses(&answer),
        Ok(Err(error)) => Err(crate::net::describe(&error)),
        Err(_) => Err("timed out".to_owned()),
    }
}

async fn ask(source: IpAddr, server: SocketAddr) -> io::Result<Message> {
    let question = question()?;
    let source = if source.is_ipv4() == server.is_ipv4() {
        source
    } else if server.is_ipv4() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((source, 0)).await?;
    // A connected socket takes packets of this server only, and hears when there is none.
    socket.connect(server).await?;
    socket
        .send(&question.to_vec().map_err(io::Error::other)?)
        .await?;
    let mut packet = vec![0; usize::from(MAX_ANSWER)];
    loop {
        let length = socket.recv(&mut packet).await?;
        let answer = Message::from_vec(packet.get(..length).unwrap_or_default());
        if let Ok(answer) = answer
            && is_answer(&question, &answer)
        {
            return Ok(answer);
        }
    }
}

/// The id is not guessed by others, so it is not drawn from the node's seed.
fn question() -> io::Result<Message> {
    let random = getrandom::u32().map_err(io::Error::other)?;
    let [high, low, ..] = random.to_be_bytes();
    let id = u16::from_be_bytes([high, low]);
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    let name = Name::from_ascii(NAME).map_err(io::Error::other)?;
    message.add_query(Query::query(name, RecordType::A));
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_ANSWER);
    message.set_edns(edns);
    Ok(message)
}

fn is_answer(question: &Message, answer: &Message) -> bool {
    answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == question.metadata.id
        && answer.queries == question.queries
}

fn addresses(answer: &Message) -> Result<Vec<IpAddr>, String> {
    if answer.metadata.response_code != ResponseCode::NoError {
        return Err(format!(
            "the server said: {}",
            answer.metadata.response_code
        ));
    }
    if answer.metadata.truncation && answer.answers.is_empty() {
        return Err("the answer does not fit into a packet".to_owned());
    }
    let address = |data: &RData| match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        _ => None,
    };
    Ok(answer
        .answers
        .iter()
        .filter_map(|record| address(&record.data))
        .collect())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::net::Ipv4Addr;

    use hickory_proto::rr::{Record, rdata::A};

    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// Answers one question with what `make` makes of it.
    async fn server(make: fn(Message) -> Vec<Message>) -> SocketAddr {
        let socket = UdpSocket::bind((LOCAL, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut packet = [0; 1500];
            let (length, remote) = socket.recv_from(&mut packet).await.unwrap();
            socket.send_to(b"noise", remote).await.unwrap();
            for answer in make(Message::from_vec(&packet[..length]).unwrap()) {
                socket
                    .send_to(&answer.to_vec().unwrap(), remote)
                    .await
                    .unwrap();
            }
        });
        address
    }

    fn answer(mut message: Message, last: u8) -> Message {
        message.metadata.message_type = MessageType::Response;
        let address = RData::A(A(Ipv4Addr::new(10, 0, 0, last)));
        message.add_answer(Record::from_rdata(
            message.queries[0].name.clone(),
            1,
            address,
        ));
        message
    }

    #[tokio::test]
    async fn forged_answers_are_passed_over() {
        let server = server(|question| {
            let mut other_id = answer(question.clone(), 1);
            other_id.metadata.id = other_id.metadata.id.wrapping_add(1);
            let mut other_name = answer(question.clone(), 2);
            other_name.queries[0].name = Name::from_ascii("other.test.").unwrap();
            let mut no_answer = answer(question.clone(), 3);
            no_answer.metadata.message_type = MessageType::Query;
            vec![other_id, other_name, no_answer, answer(question, 4)]
        });
        let expected = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 4));
        assert_eq!(resolve(LOCAL, server.await).await, Ok(vec![expected]));
    }

    #[tokio::test]
    async fn failures_have_reasons() {
        let refusing = server(|mut question| {
            question.metadata.message_type = MessageType::Response;
            question.metadata.response_code = ResponseCode::ServFail;
            vec![question]
        });
        assert!(
            resolve(LOCAL, refusing.await)
                .await
                .unwrap_err()
                .contains("Server Failure")
        );
        let silent = server(|_| Vec::new());
        let silent = resolve(LOCAL, silent.await).await.unwrap_err();
        assert!(silent == "timed out" || silent == "refused", "{silent}");
        let nobody = UdpSocket::bind((LOCAL, 0))
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        assert_eq!(resolve(LOCAL, nobody).await, Err("refused".to_owned()));
    }
}
