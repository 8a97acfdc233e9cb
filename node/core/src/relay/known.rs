//! A set that forgets its oldest members: what a peer has, what was refused.

use std::collections::{BTreeSet, VecDeque};

/// The last `limit` things.
#[derive(Debug)]
pub(crate) struct Known<K> {
    limit: usize,
    order: VecDeque<K>,
    members: BTreeSet<K>,
}

impl<K: Ord + Copy> Known<K> {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            limit,
            order: VecDeque::new(),
            members: BTreeSet::new(),
        }
    }

    /// `true` if `key` was not there.
    pub(crate) fn insert(&mut self, key: K) -> bool {
        if !self.members.insert(key) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.members.remove(&oldest);
        }
        true
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.members.contains(key)
    }

    pub(crate) fn clear(&mut self) {
        self.order.clear();
        self.members.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut known = Known::new(2);
        assert!(known.insert(1) && known.insert(2) && !known.insert(1));
        assert!(known.insert(3));
        assert!(!known.contains(&1) && known.contains(&2) && known.contains(&3));
    }
}
