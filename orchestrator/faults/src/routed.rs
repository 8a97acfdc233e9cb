//! Cuts in a network namespace that routes between the nodes, each behind a device of its own.
//!
//! What is sent to one node is dropped by a firewall table of family inet where the namespace forwards. Broadcast and
//! multicast are not routed at all: the [`Relay`] copies them, and keeps back what a cut forbids. Both follow from the same
//! [`Ruleset`], are replaced together and read back together.

mod policy;
mod relay;
mod segment;
mod socket;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, net::Ipv4Addr};

use policy::Policy;
pub use relay::Relay;
pub use segment::Segment;

use crate::{
    enforcer::{EnforceError, Enforcer},
    nft::{
        build::{Ports, Scope},
        kernel::Kernel,
        ruleset::{Family, Installed, Ruleset, Tag, table_name},
    },
};

/// The enforcer of a routing namespace: a table for what is routed, and the relay for what is not.
#[derive(Debug)]
pub struct Routed<E = Kernel> {
    table: E,
    segment: Segment,
}

impl Routed {
    /// A table for `run` in the network namespace of the calling thread, which must be the one where `segment` is relayed.
    ///
    /// # Errors
    /// [`EnforceError::Missing`] when cuts cannot be made here; `Refused` when another living process holds the table.
    pub fn open(run: &str, probe_port: u16, segment: Segment) -> Result<Self, EnforceError> {
        let scope = Scope {
            family: Family::Inet,
            table: table_name(run),
            probe_port,
        };
        Ok(Self::new(Kernel::open(scope, None)?, segment))
    }
}

impl<E: Enforcer> Routed<E> {
    /// The enforcer of a table and of what the table means for a segment.
    pub const fn new(table: E, segment: Segment) -> Self {
        Self { table, segment }
    }
}

impl<E: Enforcer> Enforcer for Routed<E> {
    fn scope(&self) -> &Scope {
        self.table.scope()
    }

    fn apply(&mut self, ruleset: &Ruleset) -> Result<(), EnforceError> {
        // No packet is relayed between the two.
        let mut switchboard = self.segment.lock();
        self.table.apply(ruleset)?;
        switchboard.policy = Policy::of(ruleset);
        Ok(())
    }

    fn read_back(&mut self) -> Result<Option<Installed>, EnforceError> {
        let installed = self.table.read_back()?;
        let expected = installed
            .as_ref()
            .map_or_else(Policy::default, |installed| Policy::of(&installed.ruleset));
        if self.segment.lock().policy.is_like(&expected) {
            return Ok(installed);
        }
        let Scope { family, table, .. } = self.scope().clone();
        let mut installed = installed.unwrap_or_else(|| Installed::nothing(family, table));
        let difference = "broadcasts are kept back otherwise than the table says";
        installed.foreign.push(difference.to_owned());
        Ok(Some(installed))
    }

    fn counters(&mut self) -> Result<Vec<(Tag, u64)>, EnforceError> {
        let mut counters = self.table.counters()?;
        // None at all mean that the table is gone, and that must stay visible.
        if !counters.is_empty() {
            counters.extend(self.segment.lock().policy.counters());
        }
        Ok(counters)
    }

    fn clear(&mut self) -> Result<(), EnforceError> {
        let mut switchboard = self.segment.lock();
        self.table.clear()?;
        switchboard.policy = Policy::default();
        Ok(())
    }

    fn ports(&mut self, _: &BTreeSet<Ipv4Addr>) -> Result<Ports, EnforceError> {
        Ok(Ports::new())
    }

    fn owned(&self) -> bool {
        self.table.owned()
    }
}

impl<E> Drop for Routed<E> {
    /// As an owned table does, what is kept back ends with its holder.
    fn drop(&mut self) {
        self.segment.lock().policy = Policy::default();
    }
}
