//! A double of the kernel: holds a table and runs packets through it, expression by expression.

use std::{
    collections::BTreeSet,
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{EnforceError, Enforcer};
use crate::nft::{
    build::{Ports, Scope},
    ruleset::{Base, Expression, Installed, Meta, Rule, Ruleset, Tag},
};

/// A frame on its way through the bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Ethertype; 0x0800 is IPv4.
    pub ethertype: u16,
    /// Whether the frame is broadcast or multicast.
    pub group: bool,
    /// Sender.
    pub from: Ipv4Addr,
    /// Receiver.
    pub to: Ipv4Addr,
    /// Transport protocol.
    pub transport: u8,
    /// Port it comes from.
    pub source_port: u16,
    /// Port it goes to.
    pub destination_port: u16,
    /// Number of the device it leaves by.
    pub output: u32,
}

/// The double. Clones share one table, so a test can look at what an agent does.
#[derive(Clone, Debug)]
pub struct FakeKernel {
    scope: Scope,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    table: Option<Ruleset>,
    counts: Vec<u64>,
    ports: Ports,
    refusing: bool,
    commits: usize,
}

impl FakeKernel {
    /// A kernel without a table.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self {
            scope,
            state: Arc::default(),
        }
    }

    /// Where nodes are from now on.
    pub fn set_ports(&self, ports: Ports) {
        self.state().ports = ports;
    }

    /// Whether it refuses every change from now on.
    pub fn set_refusing(&self, refusing: bool) {
        self.state().refusing = refusing;
    }

    /// The table in force.
    #[must_use]
    pub fn table(&self) -> Option<Ruleset> {
        self.state().table.clone()
    }

    /// Times a table was replaced.
    #[must_use]
    pub fn commits(&self) -> usize {
        self.state().commits
    }

    /// Takes the table away, as a foreign hand would.
    pub fn lose_table(&self) {
        self.state().table = None;
    }

    /// Sends a packet through; true if it arrives.
    #[must_use]
    pub fn pass(&self, packet: &Packet) -> bool {
        let mut state = self.state();
        let Some(table) = &state.table else {
            return true;
        };
        let hit = table
            .rules
            .iter()
            .position(|rule| matches(table, rule, packet));
        if let Some(rule) = hit {
            state.counts[rule] += 1;
        }
        hit.is_none()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a rule drops a packet.
fn matches(table: &Ruleset, rule: &Rule, packet: &Packet) -> bool {
    let mut register = Vec::new();
    for expression in &rule.expressions {
        match expression {
            Expression::Meta(meta) => register = load(*meta, packet),
            Expression::Payload {
                base,
                offset,
                length,
            } => {
                let Some(bytes) = field(*base, *offset, *length, packet) else {
                    return false;
                };
                register = bytes;
            }
            Expression::Mask(mask) => {
                register
                    .iter_mut()
                    .zip(mask)
                    .for_each(|(byte, mask)| *byte &= mask);
            }
            Expression::Equals(value) if register != *value => return false,
            Expression::Lookup { set, inverted } => {
                let set = table.sets.iter().find(|known| known.name == *set);
                if set.is_some_and(|set| set.elements.contains(&register)) == *inverted {
                    return false;
                }
            }
            Expression::Equals(_) | Expression::Counter => {}
            Expression::Drop => return true,
        }
    }
    false
}

fn load(meta: Meta, packet: &Packet) -> Vec<u8> {
    match meta {
        Meta::Protocol => packet.ethertype.to_be_bytes().to_vec(),
        Meta::OutputDevice => packet.output.to_ne_bytes().to_vec(),
        Meta::AddressFamily => vec![if packet.ethertype == 0x0800 { 2 } else { 10 }],
        Meta::Transport => vec![packet.transport],
    }
}

fn field(base: Base, offset: u32, length: u32, packet: &Packet) -> Option<Vec<u8>> {
    let has_ports = matches!(packet.transport, 6 | 17);
    match (base, offset, length) {
        (Base::Link, 0, 1) => Some(vec![u8::from(packet.group)]),
        (Base::Network, 12, 4) => Some(packet.from.octets().to_vec()),
        (Base::Network, 16, 4) => Some(packet.to.octets().to_vec()),
        (Base::Transport, 0, 2) if has_ports => Some(packet.source_port.to_be_bytes().to_vec()),
        (Base::Transport, 2, 2) if has_ports => {
            Some(packet.destination_port.to_be_bytes().to_vec())
        }
        _ => None,
    }
}

impl Enforcer for FakeKernel {
    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn apply(&mut self, ruleset: &Ruleset) -> Result<(), EnforceError> {
        let mut state = self.state();
        if state.refusing {
            let source = io::Error::from_raw_os_error(libc::EPERM);
            return Err(EnforceError::Refused {
                operation: "replace the table",
                source,
            });
        }
        state.commits += 1;
        state.counts = vec![0; ruleset.rules.len()];
        state.table = (!ruleset.rules.is_empty()).then(|| ruleset.clone());
        Ok(())
    }

    fn read_back(&mut self) -> Result<Option<Installed>, EnforceError> {
        let table = self.table();
        Ok(table.map(|ruleset| Installed {
            ruleset,
            owned: true,
            foreign: Vec::new(),
        }))
    }

    fn counters(&mut self) -> Result<Vec<(Tag, u64)>, EnforceError> {
        let state = self.state();
        let rules = state.table.iter().flat_map(|table| &table.rules);
        Ok(rules
            .zip(&state.counts)
            .map(|(rule, count)| (rule.tag, *count))
            .collect())
    }

    fn clear(&mut self) -> Result<(), EnforceError> {
        self.state().table = None;
        Ok(())
    }

    fn ports(&mut self, addresses: &BTreeSet<Ipv4Addr>) -> Result<Ports, EnforceError> {
        let mut ports = self.state().ports.clone();
        ports.retain(|address, _| addresses.contains(address));
        Ok(ports)
    }

    fn owned(&self) -> bool {
        true
    }
}
