//! What happens on the network, and in which order: bytes, connection attempts and DNS questions on their way.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{
    HostId, StreamId, VirtualNetwork,
    host::Inhabitant,
    stream::{self, Segment, Side, Stream},
    trace,
};
use crate::{
    io::{ConnId, ENDED, Input, Output, QueryId},
    peers::chance::shuffle,
    time::Instant,
};

/// A DNS question without an answer fails after this.
const DNS_TIMEOUT: Duration = Duration::from_millis(500);
/// A connection attempt is repeated after this, and each later time after twice as long (RFC 6298).
const SYN_RETRY: Duration = Duration::from_secs(1);
/// Addresses in one DNS answer.
const DNS_ANSWER: usize = 25;

/// One thing that is going to happen.
#[derive(Debug)]
pub(super) enum Happening {
    Wake {
        host: HostId,
    },
    Syn {
        stream: StreamId,
        attempt: u32,
    },
    SynAck {
        stream: StreamId,
    },
    Refused {
        stream: StreamId,
    },
    Arrival {
        stream: StreamId,
        to: Side,
        segment: Segment,
    },
    Question {
        from: HostId,
        query: QueryId,
        server: SocketAddr,
        incarnation: u64,
    },
    Answer {
        to: HostId,
        query: QueryId,
        result: Result<Vec<IpAddr>, String>,
        incarnation: u64,
    },
}

impl VirtualNetwork {
    pub(super) fn schedule(&mut self, at: Instant, happening: Happening) {
        self.agenda.insert((at, self.order), happening);
        self.order += 1;
    }

    /// Lets the next thing happen, if that is not after `end`.
    pub(super) fn step(&mut self, end: Instant) -> bool {
        match self.agenda.first_key_value() {
            Some(((at, _), _)) if *at <= end => {}
            Some(_) | None => return false,
        }
        let Some(((at, _), happening)) = self.agenda.pop_first() else {
            return false;
        };
        self.now = self.now.max(at);
        match happening {
            Happening::Wake { host } => {
                if self.hosts[host].wake == Some(at) {
                    self.hosts[host].wake = None;
                    self.input(host, Input::Tick);
                }
            }
            Happening::Syn { stream, attempt } => self.syn_arrives(stream, attempt),
            Happening::SynAck { stream } => self.syn_ack_arrives(stream),
            Happening::Refused { stream } => self.refused(stream),
            Happening::Arrival {
                stream,
                to,
                segment,
            } => self.arrive(stream, to, segment),
            Happening::Question {
                from,
                query,
                server,
                incarnation,
            } => {
                self.question(from, query, server, incarnation);
            }
            Happening::Answer {
                to,
                query,
                result,
                incarnation,
            } => {
                if self.hosts[to].incarnation == incarnation {
                    self.input(to, Input::Resolved { query, result });
                }
            }
        }
        true
    }

    /// Puts an input into a node and does what it wants done.
    pub(super) fn input(&mut self, host: HostId, input: Input) {
        let now = self.now();
        let machine = &mut self.hosts[host];
        let Inhabitant::Node(node) = &mut machine.inhabitant else {
            return;
        };
        node.handle(now, input);
        let mut outputs = VecDeque::new();
        while let Some(output) = node.poll_output() {
            outputs.push_back(output);
        }
        let (deadline, failed) = (node.next_deadline(), node.failed().is_some());
        for output in outputs {
            self.output(host, output);
        }
        if failed {
            self.kill(host);
        } else if let Some(at) = deadline.map(|at| at.max(self.now))
            && self.hosts[host].wake.is_none_or(|wake| at < wake)
        {
            self.hosts[host].wake = Some(at);
            self.schedule(at, Happening::Wake { host });
        }
    }

    pub(super) fn output(&mut self, host: HostId, output: Output) {
        match output {
            Output::Send { conn, bytes } => {
                if let Some((stream, side)) = self.hosts[host].connections.get(&conn).copied() {
                    self.transmit(stream, side, Segment::Bytes(bytes));
                }
            }
            Output::Dial { conn, remote } => {
                self.dial(host, conn, remote);
            }
            Output::Hangup { conn, reason } => {
                if let Some((stream, side)) = self.hosts[host].connections.remove(&conn) {
                    let name = &self.hosts[host].config.name;
                    self.trace
                        .add(self.now, format_args!("{name} hangs up {stream}: {reason}"));
                    self.hang_up(stream, side, Segment::End);
                }
            }
            Output::Resolve { query, server } => {
                let incarnation = self.hosts[host].incarnation;
                let question = Happening::Question {
                    from: host,
                    query,
                    server,
                    incarnation,
                };
                let delay = self
                    .find_by_ip(server.ip())
                    .map_or(DNS_TIMEOUT, |to| self.weather.delay(host, to));
                self.schedule(self.now + delay, question);
            }
            Output::Reply { id, result } => {
                self.hosts[host].replies.insert(id, result);
            }
            Output::Event(event) => {
                let name = &self.hosts[host].config.name;
                self.trace.add(
                    self.now,
                    format_args!("{name}: {}", trace::describe(&event)),
                );
                self.hosts[host].events.push((self.now, event));
            }
        }
    }

    pub(super) fn find_by_ip(&self, ip: IpAddr) -> Option<HostId> {
        self.hosts.iter().position(|host| host.config.address == ip)
    }

    pub(super) fn question(
        &mut self,
        from: HostId,
        query: QueryId,
        server: SocketAddr,
        incarnation: u64,
    ) {
        let seed = self.find_by_ip(server.ip()).filter(|seed| {
            self.hosts[*seed].config.dns_port == server.port()
                && !self.weather.is_cut(from, *seed)
                && !self.weather.is_cut(*seed, from)
        });
        let answer = seed.and_then(|seed| Some((seed, self.running(seed)?.dns_answer())));
        let Some((seed, mut ips)) = answer else {
            let result = Err("timed out".to_owned());
            let failure = Happening::Answer {
                to: from,
                query,
                result,
                incarnation,
            };
            self.schedule(self.now + DNS_TIMEOUT, failure);
            return;
        };
        shuffle(&mut self.rng, &mut ips);
        ips.truncate(DNS_ANSWER);
        let at = self.now + self.weather.delay(seed, from);
        self.schedule(
            at,
            Happening::Answer {
                to: from,
                query,
                result: Ok(ips),
                incarnation,
            },
        );
        let ip = self.hosts[from].config.address;
        self.input(seed, Input::DnsAsked { from: ip });
    }

    pub(super) fn dial(&mut self, host: HostId, conn: ConnId, remote: SocketAddr) -> StreamId {
        let id = StreamId(self.next_stream);
        self.next_stream += 1;
        let target = self.find_by_ip(remote.ip());
        let name = &self.hosts[host].config.name;
        self.trace
            .add(self.now, format_args!("{name} dials {remote} as {id}"));
        self.hosts[host]
            .connections
            .insert(conn, (id, Side::Dialler));
        let stream = Stream::new((host, conn), target, remote);
        self.streams.insert(id, stream);
        if let Some(target) = target {
            let at = self.now + self.weather.delay(host, target);
            self.schedule(
                at,
                Happening::Syn {
                    stream: id,
                    attempt: 0,
                },
            );
        }
        id
    }

    pub(super) fn syn_arrives(&mut self, id: StreamId, attempt: u32) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        let (dialler, Some(target)) = (stream.dialler(), stream.target()) else {
            return;
        };
        if !stream.is_open(Side::Dialler) {
            self.streams.remove(&id);
            return;
        }
        let blocked = self.weather.is_cut(dialler, target) || self.weather.is_cut(target, dialler);
        if blocked || self.weather.loses() {
            let pause = SYN_RETRY * 2_u32.pow(attempt.min(6));
            let again = Happening::Syn {
                stream: id,
                attempt: attempt + 1,
            };
            self.schedule(self.now + pause, again);
            return;
        }
        let back = self.now + self.weather.delay(target, dialler);
        let listens = self.hosts[target].listens_at(stream.remote());
        if !listens {
            self.schedule(back, Happening::Refused { stream: id });
            return;
        }
        let conn = self.hosts[target].next_inbound();
        let port = u16::try_from(id.0 % 20_000).expect("below 20,000") + 40_000;
        let from = SocketAddr::new(self.hosts[dialler].config.address, port);
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.accept(target, conn, back);
        self.hosts[target]
            .connections
            .insert(conn, (id, Side::Acceptor));
        self.schedule(back, Happening::SynAck { stream: id });
        self.input(target, Input::Accepted { conn, remote: from });
    }

    pub(super) fn syn_ack_arrives(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        if let Some((host, conn)) = stream.end(Side::Dialler) {
            self.input(host, Input::Connected { conn });
        }
    }

    pub(super) fn refused(&mut self, id: StreamId) {
        let Some(stream) = self.streams.remove(&id) else {
            return;
        };
        if let Some((host, conn)) = stream.end(Side::Dialler) {
            self.hosts[host].connections.remove(&conn);
            self.input(
                host,
                Input::DialFailed {
                    conn,
                    reason: "connection refused".to_owned(),
                },
            );
        }
    }

    /// Sends a segment from `from` to the other side, after everything sent before.
    pub(super) fn transmit(&mut self, id: StreamId, from: Side, segment: Segment) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let (Some(sender), Some(receiver)) = (stream.host(from), stream.host(from.other())) else {
            return;
        };
        let mut delay = self.weather.delay(sender, receiver);
        if self.weather.loses() {
            delay += stream::FIRST_RETRANSMISSION;
        }
        let at = stream.arrival(from.other(), self.now + delay);
        self.schedule(
            at,
            Happening::Arrival {
                stream: id,
                to: from.other(),
                segment,
            },
        );
    }

    pub(super) fn arrive(&mut self, id: StreamId, to: Side, segment: Segment) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let (Some(sender), Some(receiver)) = (stream.host(to.other()), stream.host(to)) else {
            return;
        };
        if self.weather.is_cut(sender, receiver) || stream.is_stalled(to) {
            stream.stall(to, segment, self.now);
            return;
        }
        let Some((host, conn)) = stream.end(to) else {
            // Nobody is at this end any more: bytes are answered with a reset.
            if matches!(segment, Segment::Bytes(_)) && stream.is_open(to.other()) {
                self.transmit(id, to, Segment::Reset);
            }
            return;
        };
        let name = &self.hosts[host].config.name;
        let from = &self.hosts[sender].config.name;
        self.trace
            .add(self.now, format_args!("{name} <- {from} {id} {segment}"));
        if let Inhabitant::Stranger(heard) = &mut self.hosts[host].inhabitant {
            match segment {
                Segment::Bytes(bytes) => heard.entry(id).or_default().extend(bytes),
                Segment::End | Segment::Reset => stream.close(to),
            }
            return;
        }
        match segment {
            Segment::Bytes(bytes) => self.input(host, Input::Received { conn, bytes }),
            Segment::End | Segment::Reset => {
                let ended = matches!(segment, Segment::End);
                let reason = if ended {
                    ENDED
                } else {
                    "connection reset by peer"
                };
                self.hosts[host].connections.remove(&conn);
                stream.close(to);
                if stream.is_over() {
                    self.streams.remove(&id);
                }
                self.input(
                    host,
                    Input::Closed {
                        conn,
                        reason: reason.to_owned(),
                    },
                );
            }
        }
    }

    /// One end is gone; the other learns of it behind everything sent before.
    pub(super) fn hang_up(&mut self, id: StreamId, side: Side, last: Segment) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.close(side);
        if stream.host(side.other()).is_none() || stream.is_over() {
            self.streams.remove(&id);
        } else {
            self.transmit(id, side, last);
        }
    }

    /// Lets what stalled on the way to `to` go on.
    pub(super) fn resume(&mut self, id: StreamId, to: Side) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let (Some(sender), Some(receiver)) = (stream.host(to.other()), stream.host(to)) else {
            return;
        };
        let Some((retransmission, segments)) = stream.resume(to, self.now) else {
            return;
        };
        for segment in segments {
            let at = retransmission + self.weather.delay(sender, receiver);
            let Some(stream) = self.streams.get_mut(&id) else {
                return;
            };
            let at = stream.arrival(to, at);
            self.schedule(
                at,
                Happening::Arrival {
                    stream: id,
                    to,
                    segment,
                },
            );
        }
    }
}
