//! `version` and `verack`: how a connection becomes a peer.
//!
//! The side that dialled speaks first. What comes before a peer's `version` and, but for `verack`, before its
//! `verack` is ignored, and so is a second `version`, as in Bitcoin Core (`net_processing.cpp`).

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bitcoin::p2p::{
    Address, ServiceFlags, message::NetworkMessage, message_network::VersionMessage,
};
use rand_chacha::ChaCha12Rng;
use rand_core::Rng as _;

use crate::{
    io::ConnId,
    outbox::{Farewell, Outbox},
    peers::roster::Link,
    time::{Instant, Now},
};

/// Protocol version we speak (Bitcoin Core's `PROTOCOL_VERSION`).
pub const PROTOCOL_VERSION: u32 = 70016;
/// Oldest version we speak with (Bitcoin Core's `MIN_PEER_PROTO_VERSION`).
const MIN_VERSION: u32 = 31800;
/// Our user agent (BIP14).
pub const USER_AGENT: &str = "/netsplit:0.1.0/";
/// Longest user agent taken, in bytes (Bitcoin Core's `MAX_SUBVERSION_LENGTH`).
const MAX_USER_AGENT: usize = 256;

/// What we say of ourselves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Introduction {
    /// Where we listen; `None` for one who only visits.
    pub listens_at: Option<SocketAddr>,
    /// What we offer.
    pub services: ServiceFlags,
    /// Whether we want transactions.
    pub relay: bool,
}

#[derive(Debug)]
enum State {
    /// Its `version` has not come.
    AwaitingVersion,
    /// Its `version` has come, its `verack` has not.
    AwaitingVerack(Box<VersionMessage>),
}

#[derive(Debug)]
struct Candidate {
    remote: SocketAddr,
    link: Link,
    introduction: Introduction,
    /// The number in our `version`, by which we know ourselves.
    nonce: u64,
    deadline: Instant,
    state: State,
}

/// Connections that are not peers yet.
#[derive(Debug)]
pub(crate) struct Handshake {
    timeout: Duration,
    rng: ChaCha12Rng,
    candidates: BTreeMap<ConnId, Candidate>,
}

impl Handshake {
    pub(crate) const fn new(timeout: Duration, rng: ChaCha12Rng) -> Self {
        Self {
            timeout,
            rng,
            candidates: BTreeMap::new(),
        }
    }

    /// A connection exists. The side that dialled introduces itself.
    pub(crate) fn connected(
        &mut self,
        conn: ConnId,
        (remote, link): (SocketAddr, Link),
        introduction: Introduction,
        (now, height): (Now, u32),
        out: &mut Outbox,
    ) {
        let nonce = self.rng.next_u64();
        let deadline = now.mono + self.timeout;
        let state = State::AwaitingVersion;
        let candidate = Candidate {
            remote,
            link,
            introduction,
            nonce,
            deadline,
            state,
        };
        if link.is_outbound() {
            out.send(
                conn,
                NetworkMessage::Version(version(&candidate, now, height)),
            );
        }
        self.candidates.insert(conn, candidate);
    }

    pub(crate) fn disconnected(&mut self, conn: ConnId) {
        self.candidates.remove(&conn);
    }

    /// The peer introduces itself; `Some` if we are to judge it now. A repeated introduction is ignored.
    pub(crate) fn received_version(
        &mut self,
        conn: ConnId,
        theirs: VersionMessage,
        out: &mut Outbox,
    ) -> Option<VersionMessage> {
        let ourselves = self.candidates.values().any(|other| {
            other.link.is_outbound() && other.nonce == theirs.nonce && theirs.nonce != 0
        });
        let candidate = self.candidates.get_mut(&conn)?;
        if !matches!(candidate.state, State::AwaitingVersion) {
            return None;
        }
        if let Err(reason) = compatible(candidate.link, &theirs) {
            out.misbehaved(conn, reason);
            return None;
        }
        if ourselves && !candidate.link.is_outbound() {
            out.hang_up(conn, Farewell::Surplus("connected to ourselves".to_owned()));
            return None;
        }
        candidate.state = State::AwaitingVerack(Box::new(theirs.clone()));
        Some(theirs)
    }

    /// We want this peer.
    pub(crate) fn welcome(&mut self, conn: ConnId, now: Now, height: u32, out: &mut Outbox) {
        let Some(candidate) = self.candidates.get(&conn) else {
            return;
        };
        if !candidate.link.is_outbound() {
            out.send(
                conn,
                NetworkMessage::Version(version(candidate, now, height)),
            );
        }
        out.send(conn, NetworkMessage::Verack);
    }

    /// The peer agrees; `Some` when it is a peer from now on.
    pub(crate) fn received_verack(&mut self, conn: ConnId) -> Option<VersionMessage> {
        let candidate = self.candidates.remove(&conn)?;
        match candidate.state {
            State::AwaitingVerack(version) => Some(*version),
            State::AwaitingVersion => {
                self.candidates.insert(conn, candidate);
                None
            }
        }
    }

    pub(crate) fn on_timer(&self, now: Instant, out: &mut Outbox) {
        for (conn, _) in self.candidates.iter().filter(|(_, c)| c.deadline <= now) {
            out.hang_up(*conn, Farewell::Silence("handshake timed out".to_owned()));
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.candidates
            .values()
            .map(|candidate| candidate.deadline)
            .min()
    }
}

/// Whether one can talk with whoever sent `theirs`.
fn compatible(link: Link, theirs: &VersionMessage) -> Result<(), String> {
    if theirs.version < MIN_VERSION {
        return Err(format!("protocol version {} is too old", theirs.version));
    }
    if theirs.user_agent.len() > MAX_USER_AGENT {
        return Err("user agent is too long".to_owned());
    }
    let visits = is_visit(link, theirs);
    if !visits && !link.is_manual() && !theirs.services.has(ServiceFlags::WITNESS) {
        return Err("does not offer witness data".to_owned());
    }
    Ok(())
}

/// Whether this is one who looks in: a crawler, an address fetch, a light client. It offers nothing and wants no flood.
pub(crate) fn is_visit(link: Link, theirs: &VersionMessage) -> bool {
    !link.is_outbound() && !theirs.relay && !theirs.services.has(ServiceFlags::NETWORK)
}

fn version(candidate: &Candidate, now: Now, height: u32) -> VersionMessage {
    let Introduction {
        listens_at,
        services,
        relay,
    } = candidate.introduction;
    let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
    VersionMessage {
        version: PROTOCOL_VERSION,
        services,
        timestamp: i64::from(now.wall.seconds()),
        receiver: Address::new(&candidate.remote, ServiceFlags::NONE),
        sender: Address::new(&listens_at.unwrap_or(unspecified), services),
        nonce: candidate.nonce,
        user_agent: USER_AGENT.to_owned(),
        start_height: i32::try_from(height).unwrap_or(i32::MAX),
        relay,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::{random, time::WallTime};

    const OUT: ConnId = ConnId(1);
    const IN: ConnId = ConnId(2);
    const NOW: Now = Now {
        mono: Instant(0),
        wall: WallTime(1_700_000_000_000_000_000),
    };

    fn node(seed: u8) -> Handshake {
        Handshake::new(
            Duration::from_secs(5),
            random::stream(&[seed; 32], "handshake"),
        )
    }

    fn remote() -> SocketAddr {
        ([11, 0, 0, 9], 18444).into()
    }

    fn begin(node: &mut Handshake, conn: ConnId, link: Link, out: &mut Outbox) {
        let services = ServiceFlags::NETWORK | ServiceFlags::WITNESS;
        let introduction = Introduction {
            listens_at: Some(remote()),
            services,
            relay: true,
        };
        node.connected(conn, (remote(), link), introduction, (NOW, 7), out);
    }

    fn introduction_in(said: &[NetworkMessage]) -> VersionMessage {
        match &said[0] {
            NetworkMessage::Version(version) => version.clone(),
            other => panic!("{other:?} is no introduction"),
        }
    }

    #[test]
    fn the_one_who_dials_speaks_first_and_both_agree() {
        let (mut alice, mut bob) = (node(1), node(2));
        let (mut from_alice, mut from_bob) = (Outbox::default(), Outbox::default());
        begin(&mut alice, OUT, Link::Outbound, &mut from_alice);
        begin(&mut bob, IN, Link::Inbound, &mut from_bob);
        assert!(
            from_bob.said_to(IN).is_empty(),
            "nothing before the other's introduction"
        );

        let alices = introduction_in(&from_alice.said_to(OUT));
        assert_eq!((alices.version, alices.start_height), (70016, 7));
        assert!(
            bob.received_version(IN, alices.clone(), &mut from_bob)
                .is_some()
        );
        bob.welcome(IN, NOW, 9, &mut from_bob);
        let answer = from_bob.said_to(IN);
        assert_eq!(answer[1], NetworkMessage::Verack);

        assert!(alice.received_verack(OUT).is_none(), "too early");
        let bobs = introduction_in(&answer);
        assert!(
            alice
                .received_version(OUT, bobs.clone(), &mut from_alice)
                .is_some()
        );
        assert!(
            alice.received_version(OUT, bobs, &mut from_alice).is_none(),
            "once is enough"
        );
        alice.welcome(OUT, NOW, 7, &mut from_alice);
        assert_eq!(from_alice.said_to(OUT), [NetworkMessage::Verack]);
        assert_eq!(alice.received_verack(OUT).unwrap().start_height, 9);
        assert_eq!(bob.received_verack(IN).unwrap().nonce, alices.nonce);
        assert!(from_alice.hung_up().is_empty() && from_bob.hung_up().is_empty());
    }

    #[test]
    fn one_who_dials_himself_notices() {
        let (mut narcissus, mut out) = (node(1), Outbox::default());
        begin(&mut narcissus, OUT, Link::Outbound, &mut out);
        begin(&mut narcissus, IN, Link::Inbound, &mut out);
        let own = introduction_in(&out.said_to(OUT));
        assert!(narcissus.received_version(IN, own, &mut out).is_none());
        assert!(matches!(out.hung_up()[..], [(IN, Farewell::Surplus(_))]));
    }

    #[test]
    fn who_does_not_finish_in_time_is_given_up() {
        let (mut alice, mut out) = (node(1), Outbox::default());
        begin(&mut alice, OUT, Link::Outbound, &mut out);
        assert_eq!(alice.next_deadline(), Some(Instant(5_000_000_000)));
        alice.on_timer(Instant(4_999_999_999), &mut out);
        assert!(out.hung_up().is_empty());
        alice.on_timer(Instant(5_000_000_000), &mut out);
        assert!(matches!(out.hung_up()[..], [(OUT, Farewell::Silence(_))]));
    }

    #[test]
    fn who_offers_no_witness_data_is_no_peer_unless_he_only_looks_in() {
        let (mut alice, mut out) = (node(1), Outbox::default());
        begin(&mut alice, OUT, Link::Outbound, &mut out);
        let mut theirs = introduction_in(&out.said_to(OUT));
        theirs.nonce = 1;
        theirs.services = ServiceFlags::NONE;
        for (relay, is_taken) in [(true, false), (false, true)] {
            begin(&mut alice, IN, Link::Inbound, &mut out);
            let theirs = VersionMessage {
                relay,
                ..theirs.clone()
            };
            assert_eq!(
                alice.received_version(IN, theirs, &mut out).is_some(),
                is_taken
            );
        }
    }
}
