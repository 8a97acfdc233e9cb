//! Ways to break cuts on purpose, so that tests can show that the evidence notices. In no release: the whole file is behind
//! the feature `sabotage`.

use std::{collections::BTreeSet, env, net::Ipv4Addr};

use crate::{
    enforcer::{EnforceError, Enforcer},
    nft::{
        build::{Ports, Scope},
        ruleset::{Installed, Ruleset, Tag},
    },
};

/// Where forwarded packets never pass (`NF_BR_LOCAL_OUT`, `NF_INET_LOCAL_OUT`).
const OUTPUT: u32 = 3;

/// A way to break a cut while its read-back looks right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sabotage {
    /// The table is there, its sets are empty.
    EmptySet,
    /// The table is right but hangs where nothing passes.
    WrongHook,
}

impl Sabotage {
    /// What `NETSPLIT_SABOTAGE` asks for.
    pub(super) fn from_environment() -> Option<Self> {
        match env::var("NETSPLIT_SABOTAGE").ok()?.as_str() {
            "empty-set" => Some(Self::EmptySet),
            "wrong-hook" => Some(Self::WrongHook),
            _ => None,
        }
    }
}

/// Breaks cuts if it was asked for.
pub(super) fn wrap(enforcer: Box<dyn Enforcer>, sabotage: Option<Sabotage>) -> Box<dyn Enforcer> {
    match sabotage {
        Some(sabotage) => {
            tracing::warn!("cuts are broken on purpose");
            Box::new(Sabotaged::new(enforcer, sabotage))
        }
        None => enforcer,
    }
}

/// An enforcer that does not do what it says it did.
#[derive(Debug)]
pub(super) struct Sabotaged<E> {
    inner: E,
    sabotage: Sabotage,
    said: Option<Ruleset>,
}

impl<E: Enforcer> Sabotaged<E> {
    /// Breaks `inner`.
    pub(super) const fn new(inner: E, sabotage: Sabotage) -> Self {
        Self {
            inner,
            sabotage,
            said: None,
        }
    }
}

impl<E: Enforcer> Enforcer for Sabotaged<E> {
    fn scope(&self) -> &Scope {
        self.inner.scope()
    }

    fn apply(&mut self, ruleset: &Ruleset) -> Result<(), EnforceError> {
        let mut broken = ruleset.clone();
        match self.sabotage {
            Sabotage::EmptySet => broken.sets.iter_mut().for_each(|set| set.elements.clear()),
            Sabotage::WrongHook => broken.hook = OUTPUT,
        }
        self.inner.apply(&broken)?;
        self.said = (!ruleset.rules.is_empty()).then(|| ruleset.clone());
        Ok(())
    }

    fn read_back(&mut self) -> Result<Option<Installed>, EnforceError> {
        let owned = self.inner.owned();
        let said = self.said.clone();
        Ok(said.map(|ruleset| Installed {
            ruleset,
            owned,
            foreign: Vec::new(),
        }))
    }

    fn counters(&mut self) -> Result<Vec<(Tag, u64)>, EnforceError> {
        self.inner.counters()
    }

    fn clear(&mut self) -> Result<(), EnforceError> {
        self.said = None;
        self.inner.clear()
    }

    fn ports(&mut self, addresses: &BTreeSet<Ipv4Addr>) -> Result<Ports, EnforceError> {
        self.inner.ports(addresses)
    }

    fn owned(&self) -> bool {
        self.inner.owned()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::net::IpAddr;

    use super::*;
    use crate::{
        enforcer::fake::{FakeKernel, Packet},
        link::{Cut, Drop, LinkTable},
        links::Links,
        nft::ruleset::Family,
    };

    const FROM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const TO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn cut() -> LinkTable {
        let drops = vec![Drop {
            from: vec![FROM.into()],
            to: vec![TO.into()],
        }];
        LinkTable {
            version: 1,
            cuts: vec![Cut {
                id: "cut".to_owned(),
                drops,
            }],
        }
    }

    fn fake() -> FakeKernel {
        let table = "t".to_owned();
        FakeKernel::new(Scope {
            family: Family::Bridge,
            table,
            probe_port: 9,
        })
    }

    #[test]
    fn what_is_reported_looks_right_and_is_not() {
        for sabotage in [Sabotage::EmptySet, Sabotage::WrongHook] {
            let fake = fake();
            let subnet = (IpAddr::from([10, 0, 0, 0]), 24);
            let mut links = Links::new(Sabotaged::new(fake.clone(), sabotage), subnet);
            let applied = links.apply(cut()).unwrap();
            assert_eq!((applied.pairs_intended, applied.pairs_installed), (1, 1));
            assert!(applied.differences.is_empty(), "{:?}", applied.differences);
            let table = fake.table().unwrap();
            let packet = Packet {
                ethertype: 0x0800,
                group: false,
                from: FROM,
                to: TO,
                transport: 6,
                source_port: 1,
                destination_port: 2,
                output: 3,
            };
            assert!(
                table.hook == OUTPUT || fake.pass(&packet),
                "{sabotage:?} cuts"
            );
        }
    }
}
