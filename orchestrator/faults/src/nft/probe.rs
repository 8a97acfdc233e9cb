//! Tries what a run needs of the kernel, in tables that are gone before they could drop anything, and names what is missing.

use std::{collections::BTreeSet, io};

use super::{
    build::{Ports, Scope, build},
    encode::{Before, batch, delete_table, write_table},
    ruleset::{Family, Ruleset},
};
use crate::{
    enforcer::EnforceError,
    netlink::socket::{NETLINK_NETFILTER, Netlink},
};

/// What this kernel can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Tables can be owned by a process and die with it.
    pub owner: bool,
}

/// Tries everything a cut needs in the network namespace of the calling thread.
///
/// # Errors
/// [`EnforceError::Missing`] names the first thing that is missing and what would provide it.
pub fn probe(family: Family) -> Result<Capabilities, EnforceError> {
    let mut netlink = open()?;
    probe_with(&mut netlink, family)
}

pub(super) fn open() -> Result<Netlink, EnforceError> {
    Netlink::open(NETLINK_NETFILTER).map_err(|source| EnforceError::Missing {
        what: "nf_tables over netlink",
        remedy: "a kernel with CONFIG_NF_TABLES (`modprobe nf_tables`)",
        source,
    })
}

pub(super) fn probe_with(
    netlink: &mut Netlink,
    family: Family,
) -> Result<Capabilities, EnforceError> {
    let scope = Scope {
        family,
        table: format!("netsplit-probe-{}", std::process::id()),
        probe_port: 1,
    };
    let empty = build(&[], &Ports::new(), &scope);
    let owner = match attempt(netlink, &empty, true) {
        Ok(()) => true,
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL)) => {
            attempt(netlink, &empty, false).map_err(|source| missing_table(family, source))?;
            false
        }
        Err(source) => return Err(missing_table(family, source)),
    };
    // Two addresses that never meet on a wire.
    let [from, to] =
        [[192, 0, 2, 1], [192, 0, 2, 2]].map(|address| BTreeSet::from([address.into()]));
    let full = build(&[vec![(from, to)]], &Ports::new(), &scope);
    attempt(netlink, &full, owner).map_err(|source| EnforceError::Missing {
        what: "sets, counters and packet matching in nf_tables",
        remedy: "a kernel from 5.4 on with CONFIG_NF_TABLES built in or loaded",
        source,
    })?;
    Ok(Capabilities { owner })
}

fn missing_table(family: Family, source: io::Error) -> EnforceError {
    let (what, remedy) = match (source.raw_os_error(), family) {
        (Some(libc::EPERM | libc::EACCES), _) => (
            "the right to change the firewall",
            "run the agent with CAP_NET_ADMIN in the namespace that holds the network",
        ),
        (_, Family::Bridge) => (
            "nf_tables in the bridge family",
            "a kernel with CONFIG_NF_TABLES_BRIDGE (`modprobe nf_tables_bridge`), or `--runtime sim`",
        ),
        (_, Family::Inet) => (
            "nf_tables in the inet family",
            "a kernel with CONFIG_NF_TABLES_INET (`modprobe nf_tables`), or `--runtime sim`",
        ),
    };
    EnforceError::Missing {
        what,
        remedy,
        source,
    }
}

/// Makes a table and removes it again in the same batch.
fn attempt(netlink: &mut Netlink, ruleset: &Ruleset, owned: bool) -> io::Result<()> {
    netlink.commit(batch(netlink.sequence(), |writer| {
        write_table(writer, ruleset, owned, Before::Absent);
        delete_table(writer, ruleset.family.number(), &ruleset.table);
    }))
}
