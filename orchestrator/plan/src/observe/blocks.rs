//! What is known of blocks: who follows whom, and when each was first accepted anywhere.

use std::{borrow::Borrow, collections::BTreeMap, fmt, sync::Arc};

use super::At;

/// A block hash in hex as Bitcoin prints it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(Arc<str>);

impl BlockId {
    /// The whole hash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last eight digits: the first ones are zeros on most chains.
    #[must_use]
    pub fn short(&self) -> &str {
        let start = self.0.len().saturating_sub(8);
        self.0.get(start..).unwrap_or(&self.0)
    }
}

impl Borrow<str> for BlockId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for BlockId {
    fn from(hash: &str) -> Self {
        Self(hash.into())
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A block and its height.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tip {
    /// Which block.
    pub hash: BlockId,
    /// Its height.
    pub height: u32,
}

impl fmt::Display for Tip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (..{})", self.height, self.hash.short())
    }
}

#[derive(Clone, Debug)]
struct Fact {
    height: u32,
    previous: Option<BlockId>,
    first_accepted: Option<At>,
}

/// All blocks that any node told of.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    facts: BTreeMap<BlockId, Fact>,
}

/// A block whose parent is not known is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap(pub BlockId);

impl Blocks {
    /// The block's id, shared where it is known already: every node tells of every block.
    pub(super) fn id(&self, hash: &str) -> BlockId {
        self.facts
            .get_key_value(hash)
            .map_or_else(|| hash.into(), |(id, _)| id.clone())
    }

    /// Some node accepted a block.
    pub(super) fn accepted(&mut self, tip: &Tip, previous: BlockId, at: At) {
        let fact = self.entry(tip);
        fact.previous = Some(previous);
        fact.first_accepted = Some(fact.first_accepted.map_or(at, |first| first.min(at)));
    }

    /// A block exists; nothing is known of its acceptance.
    pub(super) fn seen(&mut self, tip: &Tip, previous: Option<BlockId>) {
        let fact = self.entry(tip);
        if fact.previous.is_none() {
            fact.previous = previous;
        }
    }

    fn entry(&mut self, tip: &Tip) -> &mut Fact {
        self.facts.entry(tip.hash.clone()).or_insert_with(|| Fact {
            height: tip.height,
            previous: None,
            first_accepted: None,
        })
    }

    /// When the block was first accepted by any node; `None` when no node said so.
    #[must_use]
    pub fn first_accepted(&self, block: &BlockId) -> Option<At> {
        self.facts.get(block)?.first_accepted
    }

    /// All blocks first accepted at or after `at`, in no particular order.
    pub(crate) fn accepted_since(&self, at: At) -> impl Iterator<Item = &BlockId> {
        self.facts
            .iter()
            .filter(move |(_, fact)| fact.first_accepted.is_some_and(|first| first >= at))
            .map(|(hash, _)| hash)
    }

    /// The block and its known ancestors, highest first.
    pub fn chain<'a>(&'a self, tip: &BlockId) -> impl Iterator<Item = Tip> + use<'a> {
        let mut next = Some(tip.clone());
        std::iter::from_fn(move || {
            let hash = next.take()?;
            let fact = self.facts.get(&hash)?;
            next.clone_from(&fact.previous);
            Some(Tip {
                hash,
                height: fact.height,
            })
        })
    }

    /// The last block that both chains have.
    ///
    /// # Errors
    /// With the block whose parent is unknown, when the chains are not known far enough.
    pub fn fork(&self, a: &Tip, b: &Tip) -> Result<Tip, Gap> {
        let (mut a, mut b) = (a.clone(), b.clone());
        while a.hash != b.hash {
            if a.height >= b.height {
                a = self.parent(&a)?;
            } else {
                b = self.parent(&b)?;
            }
        }
        Ok(a)
    }

    fn parent(&self, tip: &Tip) -> Result<Tip, Gap> {
        let gap = || Gap(tip.hash.clone());
        let hash = self
            .facts
            .get(&tip.hash)
            .and_then(|f| f.previous.clone())
            .ok_or_else(gap)?;
        let height = tip.height.checked_sub(1).ok_or_else(gap)?;
        Ok(Tip { hash, height })
    }

    /// How many blocks of the chain above `floor` were first accepted after `after`.
    ///
    /// # Errors
    /// With the block whose parent is unknown, when that leaves the number open.
    pub fn fresh(&self, tip: &Tip, floor: u32, after: At, enough: u32) -> Result<u32, Gap> {
        let mut count = 0;
        let mut at = tip.clone();
        while at.height > floor && count < enough {
            match self.first_accepted(&at.hash) {
                Some(first) if first > after => count += 1,
                // Everything below was accepted even earlier.
                Some(_) => break,
                None => {}
            }
            // Premined blocks are announced by nobody: the chain known from events ends there.
            match self.parent(&at) {
                Ok(parent) => at = parent,
                Err(_) if count >= enough || self.first_accepted(&at.hash).is_none() => break,
                Err(gap) => return Err(gap),
            }
        }
        Ok(count)
    }
}
