//! What goes into the next block.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
};

use bitcoin::{Txid, Weight};

use super::{Entry, Mempool, Package};

/// A package in the queue: its rate when it was queued, then the older first.
type Queued = (u128, Reverse<u64>, Txid);

impl Mempool {
    /// The best-paying transactions that fit, each together with and after its unconfirmed ancestors.
    #[must_use]
    pub fn select(&self, max_weight: Weight, max_sigops: usize) -> Vec<&Entry> {
        let mut queue: BinaryHeap<Queued> = self
            .iter()
            .map(|(txid, entry)| (entry.ancestors.rate(), Reverse(entry.order), *txid))
            .collect();
        let mut template = Template {
            taken: BTreeSet::new(),
            entries: Vec::new(),
        };
        let (mut weight, mut sigops) = (Weight::ZERO, 0);
        while let Some((rate, order, txid)) = queue.pop() {
            if template.taken.contains(&txid) {
                continue;
            }
            let package = template.package(self, &txid);
            let now = sum(&package).rate();
            if now != rate {
                // Ancestors were taken since it was queued.
                queue.push((now, order, txid));
                continue;
            }
            let heavier = weight + package.iter().map(|entry| entry.weight).sum::<Weight>();
            let more = sigops + package.iter().map(|entry| entry.sigops).sum::<usize>();
            if heavier > max_weight || more > max_sigops {
                continue;
            }
            (weight, sigops) = (heavier, more);
            for changed in template.take(self, &package) {
                let rate = sum(&template.package(self, &changed)).rate();
                queue.extend(
                    self.get(&changed)
                        .map(|e| (rate, Reverse(e.order), changed)),
                );
            }
        }
        template.entries
    }
}

struct Template<'a> {
    taken: BTreeSet<Txid>,
    entries: Vec<&'a Entry>,
}

impl<'a> Template<'a> {
    /// A transaction and its ancestors that are not taken yet, ancestors first.
    fn package(&self, mempool: &'a Mempool, txid: &Txid) -> Vec<&'a Entry> {
        let Some(entry) = mempool.get(txid) else {
            return Vec::new();
        };
        let mut txids = mempool.ancestors(&entry.tx);
        txids.insert(*txid);
        txids.retain(|txid| !self.taken.contains(txid));
        mempool
            .in_order(txids)
            .iter()
            .filter_map(|txid| mempool.get(txid))
            .collect()
    }

    /// Takes a package. Answers with the transactions whose packages are smaller now.
    fn take(&mut self, mempool: &Mempool, package: &[&'a Entry]) -> BTreeSet<Txid> {
        let txids: Vec<Txid> = package
            .iter()
            .map(|entry| entry.tx.compute_txid())
            .collect();
        self.taken.extend(&txids);
        self.entries.extend(package);
        let descendants = txids.iter().flat_map(|txid| mempool.descendants(txid));
        descendants
            .filter(|txid| !self.taken.contains(txid))
            .collect()
    }
}

fn sum(package: &[&Entry]) -> Package {
    let mut sum = Package::default();
    for entry in package {
        sum.add(entry.fee, entry.vsize);
    }
    sum
}
