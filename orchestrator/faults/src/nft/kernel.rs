//! The enforcer that works on the running kernel.

use std::{collections::BTreeSet, io, net::Ipv4Addr};

use nix::net::if_::if_nametoindex;

use super::{
    build::{Ports, Scope},
    decode,
    encode::{
        Before, GETCHAIN, GETRULE, GETSET, GETSETELEM, GETTABLE, NEWCHAIN, NEWRULE, NEWSET,
        NEWSETELEM, NEWTABLE, batch, delete_table, header, write_table,
    },
    neighbours, probe,
    ruleset::{FORWARD, Family, Installed, Rule, Ruleset, Set, Tag},
};
use crate::{
    enforcer::{EnforceError, Enforcer},
    netlink::{
        socket::Netlink,
        wire::{Attributes, Message},
    },
};

/// Holds one table of the network namespace it was opened in. Where the kernel can, the table is owned by this value's
/// socket: nobody else can change it, and the kernel removes it when the process ends in whatever way.
#[derive(Debug)]
pub struct Kernel {
    netlink: Netlink,
    scope: Scope,
    bridge: Option<String>,
    owner: bool,
    present: bool,
}

impl Kernel {
    /// Tries what the kernel can do, and removes a table of the same name that an earlier process left.
    ///
    /// `bridge` is the device whose ports are asked for; it need not exist yet. Where the namespace routes there is none.
    ///
    /// # Errors
    /// [`EnforceError::Missing`] when cuts cannot be made here; `Refused` when another living process holds the table.
    pub fn open(scope: Scope, bridge: Option<&str>) -> Result<Self, EnforceError> {
        let mut netlink = probe::open()?;
        let capabilities = probe::probe_with(&mut netlink, scope.family)?;
        let owner = capabilities.owner;
        let mut kernel = Self {
            netlink,
            scope,
            bridge: bridge.map(str::to_owned),
            owner,
            present: true,
        };
        kernel.clear()?;
        Ok(kernel)
    }

    /// The flags of our table, if it is there.
    fn find(&mut self) -> io::Result<Option<bool>> {
        let Self { netlink, scope, .. } = self;
        let mut found = None;
        netlink.dump(
            GETTABLE,
            &header(scope.family.number(), 0),
            |_| {},
            |message| {
                if let Some(table) = read(&message, NEWTABLE, scope.family, decode::table)
                    && table.name == scope.table
                {
                    found = Some(table.owned);
                }
            },
        )?;
        Ok(found)
    }

    fn read_hook(&mut self, foreign: &mut Vec<String>) -> io::Result<u32> {
        let Self { netlink, scope, .. } = self;
        let mut hooks = Vec::new();
        netlink.dump(
            GETCHAIN,
            &header(scope.family.number(), 0),
            |_| {},
            |message| {
                let chain = |payload| decode::chain(payload, &scope.table);
                match read(&message, NEWCHAIN, scope.family, chain) {
                    Some(Ok(hook)) => hooks.push(hook),
                    Some(Err(reason)) => foreign.push(reason),
                    None => {}
                }
            },
        )?;
        match hooks[..] {
            [hook] => Ok(hook),
            _ => {
                foreign.push(format!("{} chains instead of one", hooks.len()));
                Ok(FORWARD)
            }
        }
    }

    fn read_sets(&mut self, foreign: &mut Vec<String>) -> io::Result<Vec<Set>> {
        let Self { netlink, scope, .. } = self;
        let family = header(scope.family.number(), 0);
        let named = |attributes: &mut Attributes<'_>| attributes.text(1, &scope.table);
        let mut sets = Vec::new();
        netlink.dump(GETSET, &family, named, |message| {
            let set = |payload| decode::set(payload, &scope.table);
            match read(&message, NEWSET, scope.family, set) {
                Some((name, Some(kind))) => {
                    sets.push(Set {
                        name,
                        kind,
                        elements: BTreeSet::new(),
                    });
                }
                Some((name, None)) => foreign.push(format!("set `{name}` is none of ours")),
                None => {}
            }
        })?;
        for set in &mut sets {
            let Set { name, elements, .. } = set;
            let named = |attributes: &mut Attributes<'_>| {
                attributes.text(1, &scope.table);
                attributes.text(2, name);
            };
            netlink.dump(GETSETELEM, &family, named, |message| {
                if message.kind == NEWSETELEM {
                    elements.extend(decode::keys(message.payload));
                }
            })?;
        }
        Ok(sets)
    }

    fn read_rules(&mut self) -> io::Result<Vec<Result<(Rule, u64), String>>> {
        let Self { netlink, scope, .. } = self;
        let named = |attributes: &mut Attributes<'_>| attributes.text(1, &scope.table);
        let mut rules = Vec::new();
        netlink.dump(
            GETRULE,
            &header(scope.family.number(), 0),
            named,
            |message| {
                let rule = |payload| decode::rule(payload, &scope.table);
                rules.extend(read(&message, NEWRULE, scope.family, rule));
            },
        )?;
        Ok(rules)
    }

    fn read_table(&mut self) -> io::Result<Option<Installed>> {
        let Some(owned) = self.find()? else {
            return Ok(None);
        };
        let mut foreign = Vec::new();
        let hook = self.read_hook(&mut foreign)?;
        let sets = self.read_sets(&mut foreign)?;
        let mut rules = Vec::new();
        for rule in self.read_rules()? {
            match rule {
                Ok((rule, _)) => rules.push(rule),
                Err(reason) => foreign.push(reason),
            }
        }
        let Scope { family, table, .. } = self.scope.clone();
        let ruleset = Ruleset {
            family,
            table,
            hook,
            sets,
            rules,
        };
        Ok(Some(Installed {
            ruleset,
            owned,
            foreign,
        }))
    }

    fn replace(&mut self, ruleset: &Ruleset) -> io::Result<()> {
        let before = if self.present {
            Before::Present
        } else {
            Before::Absent
        };
        let sequence = self.netlink.sequence();
        self.netlink.commit(batch(sequence, |writer| {
            write_table(writer, ruleset, self.owner, before);
        }))
    }
}

/// What a message of a dump says, if it is of the kind and family asked for.
fn read<'a, T>(
    message: &Message<'a>,
    kind: u16,
    family: Family,
    decode: impl FnOnce(&'a [u8]) -> Option<T>,
) -> Option<T> {
    let fits = message.kind == kind && decode::is_of(message.payload, family);
    fits.then(|| decode(message.payload)).flatten()
}

fn refused(operation: &'static str) -> impl FnOnce(io::Error) -> EnforceError {
    move |source| EnforceError::Refused { operation, source }
}

impl Enforcer for Kernel {
    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn apply(&mut self, ruleset: &Ruleset) -> Result<(), EnforceError> {
        if ruleset.rules.is_empty() {
            return self.clear();
        }
        let missing = |error: &io::Error| error.raw_os_error() == Some(libc::ENOENT);
        match self.replace(ruleset) {
            // Somebody took an unowned table away: what is read back will tell, here it is only made again.
            Err(error) if self.present && missing(&error) => {
                self.present = false;
                self.replace(ruleset)
            }
            result => result,
        }
        .map_err(refused("replace the firewall table"))?;
        self.present = true;
        Ok(())
    }

    fn read_back(&mut self) -> Result<Option<Installed>, EnforceError> {
        self.read_table()
            .map_err(refused("read the firewall table back"))
    }

    fn counters(&mut self) -> Result<Vec<(Tag, u64)>, EnforceError> {
        let rules = match self.read_rules() {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Vec::new(),
            rules => rules.map_err(refused("read the firewall's counters"))?,
        };
        Ok(rules
            .into_iter()
            .flatten()
            .map(|(rule, packets)| (rule.tag, packets))
            .collect())
    }

    fn clear(&mut self) -> Result<(), EnforceError> {
        let Scope { family, table, .. } = self.scope.clone();
        if self
            .find()
            .map_err(refused("look for the firewall table"))?
            .is_some()
        {
            let sequence = self.netlink.sequence();
            let removal = batch(sequence, |writer| {
                delete_table(writer, family.number(), &table);
            });
            self.netlink
                .commit(removal)
                .map_err(refused("remove the firewall table"))?;
        }
        self.present = false;
        match self
            .find()
            .map_err(refused("look for the firewall table"))?
        {
            None => Ok(()),
            Some(_) => Err(EnforceError::Left { table }),
        }
    }

    fn ports(&mut self, addresses: &BTreeSet<Ipv4Addr>) -> Result<Ports, EnforceError> {
        let Some(bridge) = &self.bridge else {
            return Ok(Ports::new());
        };
        let bridge = if_nametoindex(bridge.as_str()).map_err(io::Error::from);
        bridge
            .and_then(|bridge| neighbours::ports(bridge, addresses))
            .map_err(refused("look up the nodes' bridge ports"))
    }

    fn owned(&self) -> bool {
        self.owner
    }
}
