//! Addresses given in the configuration.

use std::{net::SocketAddr, time::Duration};

use netsplit_api::config::Timers;

use crate::{
    discovery::Discovery,
    io::ConnId,
    outbox::{Effect, Outbox},
    time::Instant,
};

/// Names the configured addresses whenever there is nobody else.
#[derive(Debug)]
pub(crate) struct Bootstrap {
    addresses: Vec<SocketAddr>,
    interval: Duration,
    next: Instant,
}

impl Bootstrap {
    pub(crate) fn new(addresses: Vec<SocketAddr>, timers: &Timers) -> Self {
        let interval = Duration::from_millis(timers.redial_ms);
        Self {
            addresses,
            interval,
            next: Instant(0),
        }
    }
}

impl Discovery for Bootstrap {
    fn started(&mut self, now: Instant, out: &mut Outbox) {
        self.search(now, &[], out);
    }

    fn search(&mut self, now: Instant, _peers: &[ConnId], out: &mut Outbox) {
        if !self.addresses.is_empty() && now >= self.next {
            self.next = now + self.interval;
            out.push(Effect::Found(self.addresses.clone()));
        }
    }

    fn next_search(&self) -> Option<Instant> {
        (!self.addresses.is_empty()).then_some(self.next)
    }
}
