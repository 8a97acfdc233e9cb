//! What a DNS seed answers (RFC 1035, RFC 6891): bytes in, bytes out.
//!
//! It is an authority for every name: whoever asks for an `A` record gets nodes.

use std::net::Ipv4Addr;

use hickory_proto::{
    op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, RData, Record, RecordType, rdata::A},
    serialize::binary::{BinDecodable as _, BinDecoder},
};

/// Seconds an answer may be kept: nodes of a testnet come and go quickly.
const TTL: u32 = 1;
/// Most addresses in one answer; with a name of usual length they fit into [`MIN_UDP_PAYLOAD`].
pub(super) const MAX_ANSWERS: usize = 25;
/// Size every resolver takes over UDP (RFC 1035 §4.2.1).
const MIN_UDP_PAYLOAD: u16 = 512;
/// Size we offer and use at most over UDP (<https://www.dnsflagday.net/2020/>).
const MAX_UDP_PAYLOAD: u16 = 1232;

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// What is to be done about a packet.
#[derive(Debug)]
pub(super) enum Received {
    /// Nothing: it is no question, or not even a header.
    Drop,
    /// A question that gets no addresses; this is the answer.
    Reply(Vec<u8>),
    /// A question for addresses.
    Ask(Box<Question>),
}

/// A question for addresses, waiting for them.
#[derive(Debug)]
pub(super) struct Question {
    response: Message,
    query: Query,
    limit: usize,
}

/// Reads a packet.
pub(super) fn receive(packet: &[u8], transport: Transport) -> Received {
    let Ok(header) = Header::read(&mut BinDecoder::new(packet)) else {
        return Received::Drop;
    };
    if header.metadata.message_type != MessageType::Query {
        return Received::Drop;
    }
    let refuse = |code| {
        let mut response = Message::response(header.metadata.id, header.metadata.op_code);
        response.metadata.recursion_desired = header.metadata.recursion_desired;
        response.metadata.response_code = code;
        response.to_vec().map_or(Received::Drop, Received::Reply)
    };
    if header.metadata.op_code != OpCode::Query {
        return refuse(ResponseCode::NotImp);
    }
    let Ok(request) = Message::from_vec(packet) else {
        return refuse(ResponseCode::FormErr);
    };
    let [query] = request.queries.as_slice() else {
        return refuse(ResponseCode::FormErr);
    };
    answer(&request, query, transport)
}

fn answer(request: &Message, query: &Query, transport: Transport) -> Received {
    let mut response = Message::response(request.metadata.id, OpCode::Query);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.authoritative = true;
    response.add_query(query.clone());
    let limit = match transport {
        Transport::Udp => request
            .max_payload()
            .clamp(MIN_UDP_PAYLOAD, MAX_UDP_PAYLOAD),
        Transport::Tcp => u16::MAX,
    };
    if let Some(edns) = &request.edns {
        let mut ours = Edns::new();
        ours.set_max_payload(MAX_UDP_PAYLOAD);
        if edns.version() > 0 {
            response.set_edns(ours);
            response.metadata.response_code = ResponseCode::BADVERS;
            return response.to_vec().map_or(Received::Drop, Received::Reply);
        }
        response.set_edns(ours);
    }
    let question = Question {
        response,
        query: query.clone(),
        limit: usize::from(limit),
    };
    match (query.query_class, query.query_type) {
        (DNSClass::IN | DNSClass::ANY, RecordType::A | RecordType::ANY) => {
            Received::Ask(Box::new(question))
        }
        (DNSClass::IN | DNSClass::ANY, RecordType::AXFR | RecordType::IXFR) => {
            question.without_addresses(ResponseCode::NotImp)
        }
        (DNSClass::IN | DNSClass::ANY, _) => question.without_addresses(ResponseCode::NoError),
        _ => question.without_addresses(ResponseCode::Refused),
    }
}

impl Question {
    fn without_addresses(mut self, code: ResponseCode) -> Received {
        self.response.metadata.response_code = code;
        self.response
            .to_vec()
            .map_or(Received::Drop, Received::Reply)
    }

    /// The answer with these addresses, or one that says it was too long. `None` if it cannot be encoded.
    pub(super) fn answer(mut self, addresses: &[Ipv4Addr]) -> Option<Vec<u8>> {
        for address in addresses.iter().take(MAX_ANSWERS) {
            let data = RData::A(A(*address));
            self.response
                .add_answer(Record::from_rdata(self.query.name.clone(), TTL, data));
        }
        let bytes = self.response.to_vec().ok()?;
        if bytes.len() <= self.limit {
            Some(bytes)
        } else {
            self.response.truncate().to_vec().ok()
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::str::FromStr as _;

    use hickory_proto::rr::Name;

    use super::*;

    fn question(name: &str, kind: RecordType) -> Message {
        let mut message = Message::new(77, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_str(name).unwrap(), kind));
        message
    }

    fn addresses(count: u8) -> Vec<Ipv4Addr> {
        (1..=count).map(|n| Ipv4Addr::new(10, 0, 0, n)).collect()
    }

    fn ask(message: &Message, transport: Transport, count: u8) -> (Message, usize) {
        let bytes = match receive(&message.to_vec().unwrap(), transport) {
            Received::Ask(question) => question.answer(&addresses(count)).unwrap(),
            Received::Reply(bytes) => bytes,
            Received::Drop => panic!("dropped"),
        };
        (Message::from_vec(&bytes).unwrap(), bytes.len())
    }

    #[test]
    fn any_name_gets_addresses() {
        for name in ["seed.test.", "x9.other.example.", "."] {
            let (answer, _) = ask(&question(name, RecordType::A), Transport::Udp, 3);
            assert_eq!((answer.metadata.id, answer.answers.len()), (77, 3));
            assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
            assert!(answer.metadata.authoritative && answer.metadata.recursion_desired);
            assert_eq!(
                answer.answers[2].data,
                RData::A(A(Ipv4Addr::new(10, 0, 0, 3)))
            );
            assert_eq!(answer.answers[0].name.to_string(), name);
        }
    }

    #[test]
    fn a_full_answer_fits_into_a_plain_udp_packet() {
        let (answer, size) = ask(
            &question("seed.netsplit.test.", RecordType::A),
            Transport::Udp,
            40,
        );
        assert_eq!(answer.answers.len(), MAX_ANSWERS);
        assert!(size <= 512, "{size}");
    }

    #[test]
    fn what_does_not_fit_is_cut_and_says_so() {
        let name = format!("{0}.{0}.{0}.", "a".repeat(60));
        let (answer, size) = ask(&question(&name, RecordType::A), Transport::Udp, 25);
        assert!(answer.metadata.truncation && answer.answers.is_empty() && size <= 512);
        assert_eq!(answer.queries.len(), 1);
        let (answer, _) = ask(&question(&name, RecordType::A), Transport::Tcp, 25);
        assert_eq!(answer.answers.len(), 25);
        let mut large = question(&name, RecordType::A);
        large
            .set_edns(Edns::new())
            .edns
            .as_mut()
            .unwrap()
            .set_max_payload(1232);
        let (answer, size) = ask(&large, Transport::Udp, 25);
        assert!(answer.answers.len() == 25 && size > 512 && answer.edns.is_some());
    }

    #[test]
    fn other_types_get_an_empty_answer() {
        for kind in [
            RecordType::AAAA,
            RecordType::TXT,
            RecordType::NS,
            RecordType::HTTPS,
        ] {
            let (answer, _) = ask(&question("seed.test.", kind), Transport::Udp, 3);
            assert_eq!(
                answer.metadata.response_code,
                ResponseCode::NoError,
                "{kind}"
            );
            assert!(answer.answers.is_empty());
        }
        let (answer, _) = ask(&question("seed.test.", RecordType::AXFR), Transport::Tcp, 3);
        assert_eq!(answer.metadata.response_code, ResponseCode::NotImp);
    }

    #[test]
    fn odd_requests_are_refused() {
        let refused = |change: &dyn Fn(&mut Message)| {
            let mut message = question("seed.test.", RecordType::A);
            change(&mut message);
            ask(&message, Transport::Udp, 3).0
        };
        // By number: 16 has two names, and the decoder takes the other one.
        let number = |code: ResponseCode| u16::from(code);
        let code = |message: Message| number(message.metadata.response_code);
        let chaos = refused(&|m| m.queries[0].query_class = DNSClass::CH);
        assert_eq!(code(chaos), number(ResponseCode::Refused));
        assert_eq!(
            code(refused(&|m| m.metadata.op_code = OpCode::Update)),
            number(ResponseCode::NotImp)
        );
        assert_eq!(
            code(refused(&|m| m.queries.clear())),
            number(ResponseCode::FormErr)
        );
        let two = refused(&|m| m.queries.push(m.queries[0].clone()));
        assert_eq!(code(two), number(ResponseCode::FormErr));
        let version = refused(&|m| {
            m.set_edns(Edns::new())
                .edns
                .as_mut()
                .unwrap()
                .set_version(1);
        });
        assert_eq!(code(version), number(ResponseCode::BADVERS));
    }

    #[test]
    fn hostile_packets_are_dropped_or_called_malformed() {
        let good = question("seed.test.", RecordType::A).to_vec().unwrap();
        for length in 0..12 {
            assert!(matches!(
                receive(&good[..length], Transport::Udp),
                Received::Drop
            ));
        }
        for length in 12..good.len() {
            let Received::Reply(reply) = receive(&good[..length], Transport::Udp) else {
                panic!("{length} bytes were not refused");
            };
            let reply = Message::from_vec(&reply).unwrap();
            assert_eq!(reply.metadata.response_code, ResponseCode::FormErr);
            assert_eq!(reply.metadata.id, 77);
        }
        // A name that points at itself.
        let mut looped = good[..12].to_vec();
        looped.extend([0xc0, 12, 0, 1, 0, 1]);
        assert!(matches!(
            receive(&looped, Transport::Udp),
            Received::Reply(_)
        ));
        // An answer must not be answered, or two servers talk forever.
        let mut answer = question("seed.test.", RecordType::A);
        answer.metadata.message_type = MessageType::Response;
        assert!(matches!(
            receive(&answer.to_vec().unwrap(), Transport::Udp),
            Received::Drop
        ));
    }
}
