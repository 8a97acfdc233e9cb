//! The link table in force: checked, brought into the kernel, read back, counted over replacements.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    enforcer::{EnforceError, Enforcer},
    link::{Applied, Counters, Cut, CutCounters, Drop, DropCounters, LinkTable},
    nft::{
        build::{Directions, Ports, build},
        pairs::{differences, installed, intended},
        ruleset::{Class, Ruleset},
    },
};

/// A link table was not brought into force.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The table makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The kernel did not do it.
    #[error(transparent)]
    Kernel(#[from] EnforceError),
}

/// Packets counted by rules that have since been replaced, by cut and directed drop.
type Totals = BTreeMap<String, Vec<(Drop, DropCounters)>>;

/// The table in force and whoever enforces it.
#[derive(Debug)]
pub struct Links<E> {
    enforcer: E,
    members: BTreeSet<Ipv4Addr>,
    subnet: (IpAddr, u8),
    table: LinkTable,
    cuts: Vec<Directions>,
    ports: Ports,
    totals: Totals,
}

impl<E: Enforcer> Links<E> {
    /// Nothing is cut. Only addresses within `subnet` will ever be.
    pub fn new(enforcer: E, subnet: (IpAddr, u8)) -> Self {
        Self {
            enforcer,
            members: BTreeSet::new(),
            subnet,
            table: LinkTable::default(),
            cuts: Vec::new(),
            ports: Ports::new(),
            totals: Totals::new(),
        }
    }

    /// Addresses of the nodes: only the ports of these get broadcasts of a cut's senders.
    pub fn set_members(&mut self, members: BTreeSet<Ipv4Addr>) {
        self.members = members;
    }

    /// Version of the table in force.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.table.version
    }

    /// Whether the kernel's table dies with this process.
    #[must_use]
    pub fn owned(&self) -> bool {
        self.enforcer.owned()
    }

    /// Brings all links into the state of `table`, and reads back what the kernel then holds.
    ///
    /// # Errors
    /// On `Invalid`, and on `Kernel` unless only the reading failed, nothing has changed.
    pub fn apply(&mut self, table: LinkTable) -> Result<Applied, LinkError> {
        let cuts = directions(&table, self.subnet).map_err(LinkError::Invalid)?;
        if table.version < self.table.version {
            return Err(LinkError::Invalid(format!(
                "version {} is older than version {} in force",
                table.version, self.table.version
            )));
        }
        let ports = self.look_up_ports();
        let (totals, doubt) = self.totals_now();
        let (ruleset, from, to) = self.commit(&cuts, &ports)?;
        self.ports = ports;
        self.totals = carried(&table, totals);
        self.table = table;
        self.cuts = cuts;
        let mut applied = self.verify(&ruleset, (from, to))?;
        applied.differences.extend(doubt);
        Ok(applied)
    }

    /// Lets broadcasts through to ports that nodes turned up behind since the table was built. True if there were any.
    ///
    /// # Errors
    /// The table is left as it was.
    pub fn refresh(&mut self) -> Result<bool, LinkError> {
        if self.cuts.is_empty() {
            return Ok(false);
        }
        let ports = self.look_up_ports();
        if ports == self.ports {
            return Ok(false);
        }
        let (totals, doubt) = self.totals_now();
        if let Some(doubt) = doubt {
            // Left as it is, so that the next look at it finds what is wrong.
            return Err(LinkError::Invalid(doubt));
        }
        let cuts = std::mem::take(&mut self.cuts);
        let done = self.commit(&cuts, &ports);
        self.cuts = cuts;
        done?;
        self.ports = ports;
        self.totals = totals;
        Ok(true)
    }

    /// Packets dropped so far by each cut in force.
    ///
    /// # Errors
    /// When they cannot be read, or the kernel's table is gone.
    pub fn counters(&mut self) -> Result<Counters, LinkError> {
        let mut totals = self.read_totals()?;
        let cuts = self.table.cuts.iter().map(|cut| CutCounters {
            id: cut.id.clone(),
            drops: totals
                .remove(&cut.id)
                .into_iter()
                .flatten()
                .map(|(_, count)| count)
                .collect(),
        });
        Ok(Counters {
            cuts: cuts.collect(),
        })
    }

    /// Undoes everything and checks that nothing is left.
    ///
    /// # Errors
    /// When something is left.
    pub fn clear(&mut self) -> Result<(), LinkError> {
        self.enforcer.clear()?;
        self.table.cuts.clear();
        self.cuts.clear();
        self.totals.clear();
        Ok(())
    }

    fn commit(
        &mut self,
        cuts: &[Directions],
        ports: &Ports,
    ) -> Result<(Ruleset, u64, u64), EnforceError> {
        let ruleset = build(cuts, ports, self.enforcer.scope());
        let from = now();
        self.enforcer.apply(&ruleset)?;
        Ok((ruleset, from, now()))
    }

    fn verify(&mut self, wanted: &Ruleset, (from, to): (u64, u64)) -> Result<Applied, LinkError> {
        let got = self.enforcer.read_back()?;
        let mut differences = differences(wanted, got.as_ref());
        if let Some(got) = &got
            && got.owned != self.enforcer.owned()
        {
            differences.push("the table is not owned as asked".to_owned());
        }
        let intended = intended(&self.cuts);
        let installed = got.map_or(0, |got| installed(&got.ruleset).count());
        Ok(Applied {
            version: self.table.version,
            committed_from_ns: from,
            committed_to_ns: to,
            pairs_intended: intended.count(),
            pairs_installed: installed,
            differences,
        })
    }

    /// A port that is not found gets no broadcasts: that is the safe side.
    fn look_up_ports(&mut self) -> Ports {
        self.enforcer.ports(&self.members).unwrap_or_else(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no bridge port is known"
            );
            Ports::new()
        })
    }

    /// The totals, and why they may be too low. What is dropped between this and the commit is not counted.
    fn totals_now(&mut self) -> (Totals, Option<String>) {
        match self.read_totals() {
            Ok(totals) => (totals, None),
            Err(error) => (
                self.totals.clone(),
                Some(format!("the counters before the change are lost: {error}")),
            ),
        }
    }

    fn read_totals(&mut self) -> Result<Totals, LinkError> {
        let read = self.enforcer.counters()?;
        if read.is_empty() && !self.cuts.is_empty() {
            return Err(LinkError::Invalid("the firewall table is gone".to_owned()));
        }
        let mut totals = self.totals.clone();
        for (place, cut) in self.table.cuts.iter().enumerate() {
            let kept = totals.entry(cut.id.clone()).or_insert_with(|| nothing(cut));
            for (tag, packets) in read.iter().filter(|(tag, _)| is(tag.cut, place)) {
                let drop = usize::try_from(tag.drop)
                    .ok()
                    .and_then(|drop| kept.get_mut(drop));
                if let Some((_, count)) = drop {
                    *class(count, tag.class) += packets;
                }
            }
        }
        Ok(totals)
    }
}

fn is(number: u32, place: usize) -> bool {
    usize::try_from(number) == Ok(place)
}

fn class(count: &mut DropCounters, class: Class) -> &mut u64 {
    match class {
        Class::Probe => &mut count.probes,
        Class::Group => &mut count.group,
        Class::Protocol => &mut count.protocol,
    }
}

fn nothing(cut: &Cut) -> Vec<(Drop, DropCounters)> {
    cut.drops
        .iter()
        .map(|drop| (drop.clone(), DropCounters::default()))
        .collect()
}

/// Totals of the directed drops that stay in force, in the new table's order.
fn carried(table: &LinkTable, mut totals: Totals) -> Totals {
    let cuts = table.cuts.iter().map(|cut| {
        let before = totals.remove(&cut.id).unwrap_or_default();
        let kept = nothing(cut).into_iter().map(|(drop, zero)| {
            let count = before.iter().find(|(other, _)| *other == drop);
            let count = count.map_or(zero, |(_, count)| *count);
            (drop, count)
        });
        (cut.id.clone(), kept.collect())
    });
    cuts.collect()
}

fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Checks a table and turns it into sets of addresses.
fn directions(table: &LinkTable, subnet: (IpAddr, u8)) -> Result<Vec<Directions>, String> {
    let mut ids = BTreeSet::new();
    table
        .cuts
        .iter()
        .map(|cut| {
            if cut.id.is_empty() || cut.id.len() > 200 || !ids.insert(&cut.id) {
                return Err(format!(
                    "cut `{}` has no id, one that is too long, or one used twice",
                    cut.id
                ));
            }
            if cut.drops.is_empty() {
                return Err(format!("cut `{}` drops nothing", cut.id));
            }
            cut.drops
                .iter()
                .map(|drop| direction(&cut.id, drop, subnet))
                .collect()
        })
        .collect()
}

fn direction(
    cut: &str,
    drop: &Drop,
    subnet: (IpAddr, u8),
) -> Result<(BTreeSet<Ipv4Addr>, BTreeSet<Ipv4Addr>), String> {
    let side = |addresses: &[IpAddr]| {
        if addresses.is_empty() {
            return Err(format!("cut `{cut}` has an empty side"));
        }
        addresses
            .iter()
            .map(|address| match address {
                IpAddr::V4(v4) if within(*address, subnet) => Ok(*v4),
                IpAddr::V4(_) => Err(format!(
                    "cut `{cut}` names {address}, outside the run's network"
                )),
                IpAddr::V6(_) => Err(format!("cut `{cut}` names {address}: cuts are IPv4 only")),
            })
            .collect::<Result<BTreeSet<_>, _>>()
    };
    let (from, to) = (side(&drop.from)?, side(&drop.to)?);
    match from.intersection(&to).next() {
        Some(both) => Err(format!("cut `{cut}` has {both} on both sides")),
        None => Ok((from, to)),
    }
}

/// Whether an address belongs to a network.
pub(crate) fn within(address: IpAddr, (network, prefix): (IpAddr, u8)) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) if prefix <= 32 => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            (u32::from(address) ^ u32::from(network)) & mask == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) if prefix <= 128 => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            (u128::from(address) ^ u128::from(network)) & mask == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
