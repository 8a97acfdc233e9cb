//! Whoever brings a table into force: the kernel, or a double of it.

pub mod fake;

use std::{collections::BTreeSet, io, net::Ipv4Addr};

use crate::nft::{
    build::{Ports, Scope},
    ruleset::{Installed, Ruleset, Tag},
};

/// Brings one table into force. All calls return within milliseconds.
pub trait Enforcer: Send {
    /// What a table for this enforcer needs to know.
    fn scope(&self) -> &Scope;

    /// Replaces the whole table at one instant.
    ///
    /// # Errors
    /// Nothing has changed then.
    fn apply(&mut self, ruleset: &Ruleset) -> Result<(), EnforceError>;

    /// The table that is in force; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read_back(&mut self) -> Result<Option<Installed>, EnforceError>;

    /// Packets each rule dropped, in the table's order; rules may share a tag.
    ///
    /// # Errors
    /// When they cannot be read.
    fn counters(&mut self) -> Result<Vec<(Tag, u64)>, EnforceError>;

    /// Removes the table, and makes sure it is gone.
    ///
    /// # Errors
    /// When it is still there.
    fn clear(&mut self) -> Result<(), EnforceError>;

    /// Bridge ports these nodes are known to be behind; empty where nothing is bridged.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn ports(&mut self, addresses: &BTreeSet<Ipv4Addr>) -> Result<Ports, EnforceError>;

    /// Whether the table dies with this process.
    fn owned(&self) -> bool;
}

impl<E: Enforcer + ?Sized> Enforcer for Box<E> {
    fn scope(&self) -> &Scope {
        (**self).scope()
    }

    fn apply(&mut self, ruleset: &Ruleset) -> Result<(), EnforceError> {
        (**self).apply(ruleset)
    }

    fn read_back(&mut self) -> Result<Option<Installed>, EnforceError> {
        (**self).read_back()
    }

    fn counters(&mut self) -> Result<Vec<(Tag, u64)>, EnforceError> {
        (**self).counters()
    }

    fn clear(&mut self) -> Result<(), EnforceError> {
        (**self).clear()
    }

    fn ports(&mut self, addresses: &BTreeSet<Ipv4Addr>) -> Result<Ports, EnforceError> {
        (**self).ports(addresses)
    }

    fn owned(&self) -> bool {
        (**self).owned()
    }
}

/// The table could not be brought into force or read.
#[derive(Debug, thiserror::Error)]
pub enum EnforceError {
    /// The kernel refused something.
    #[error("failed to {operation}")]
    Refused {
        /// What was attempted.
        operation: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel lacks something a cut needs.
    #[error("cutting links needs {what}: {remedy}")]
    Missing {
        /// What is missing.
        what: &'static str,
        /// What would provide it.
        remedy: &'static str,
        /// What the kernel said when it was tried.
        #[source]
        source: io::Error,
    },
    /// Something is still there after it was removed.
    #[error("table `{table}` is still there after it was removed")]
    Left {
        /// The table.
        table: String,
    },
}
