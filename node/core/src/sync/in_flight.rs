//! What was asked of whom, and since when: nothing is asked twice at once, and nothing is waited for in vain.

use std::{collections::BTreeMap, time::Duration};

use crate::{io::ConnId, time::Instant};

/// Requests under way, by what was asked for.
#[derive(Debug)]
pub(crate) struct InFlight<K> {
    timeout: Duration,
    asked: BTreeMap<K, (ConnId, Instant)>,
    counts: BTreeMap<ConnId, usize>,
}

impl<K: Ord + Copy> InFlight<K> {
    pub(crate) const fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            asked: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    /// `conn` was asked for `key`, which nobody was asked for at the moment.
    pub(crate) fn asked(&mut self, conn: ConnId, key: K, now: Instant) {
        if self.asked.insert(key, (conn, now + self.timeout)).is_none() {
            *self.counts.entry(conn).or_default() += 1;
        }
    }

    /// Whether somebody is being asked for `key`.
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.asked.contains_key(key)
    }

    /// Whether `conn` is being asked for `key`.
    pub(crate) fn is_asked(&self, conn: ConnId, key: &K) -> bool {
        self.asked.get(key).is_some_and(|(asked, _)| *asked == conn)
    }

    /// How many things `conn` is being asked for.
    pub(crate) fn count(&self, conn: ConnId) -> usize {
        self.counts.get(&conn).copied().unwrap_or(0)
    }

    /// `key` came, or will not come. Answers with who was asked.
    pub(crate) fn over(&mut self, key: &K) -> Option<ConnId> {
        let (conn, _) = self.asked.remove(key)?;
        if let Some(count) = self.counts.get_mut(&conn) {
            *count -= 1;
        }
        Some(conn)
    }

    /// `conn` answers: what else it was asked for is on its way, behind this.
    pub(crate) fn is_delivering(&mut self, conn: ConnId, now: Instant) {
        let deadline = now + self.timeout;
        for (_, until) in self.asked.values_mut().filter(|(asked, _)| *asked == conn) {
            *until = deadline;
        }
    }

    /// `conn` is gone. Answers with what it was asked for.
    pub(crate) fn peer_disconnected(&mut self, conn: ConnId) -> Vec<K> {
        self.counts.remove(&conn);
        let lost: Vec<K> = self
            .asked
            .iter()
            .filter(|(_, (asked, _))| *asked == conn)
            .map(|(k, _)| *k)
            .collect();
        for key in &lost {
            self.asked.remove(key);
        }
        lost
    }

    /// Ends the requests that have lasted too long, and names them.
    pub(crate) fn timed_out(&mut self, now: Instant) -> Vec<(K, ConnId)> {
        let late: Vec<(K, ConnId)> = self
            .asked
            .iter()
            .filter(|(_, (_, until))| *until <= now)
            .map(|(key, (conn, _))| (*key, *conn))
            .collect();
        for (key, _) in &late {
            self.over(key);
        }
        late
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.asked.values().map(|(_, until)| *until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: ConnId = ConnId(1);
    const BOB: ConnId = ConnId(2);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_request_lasts_until_it_is_answered_or_too_old() {
        let mut requests = InFlight::new(SECOND);
        requests.asked(ALICE, 'x', Instant(0));
        requests.asked(BOB, 'y', Instant(0) + SECOND / 2);
        assert_eq!(requests.over(&'x'), Some(ALICE));
        assert_eq!(requests.count(ALICE), 0);
        assert_eq!(requests.timed_out(Instant(0) + SECOND), []);
        assert_eq!(
            requests.timed_out(Instant(0) + SECOND * 3 / 2),
            [('y', BOB)]
        );
        assert!(!requests.contains(&'y'));
    }

    #[test]
    fn one_who_delivers_gets_more_time() {
        let mut requests = InFlight::new(SECOND);
        requests.asked(ALICE, 'x', Instant(0));
        requests.is_delivering(ALICE, Instant(0) + SECOND / 2);
        assert_eq!(requests.next_deadline(), Some(Instant(0) + SECOND * 3 / 2));
    }

    #[test]
    fn what_the_lost_were_asked_for_is_free_again() {
        let mut requests = InFlight::new(SECOND);
        requests.asked(ALICE, 'x', Instant(0));
        requests.asked(ALICE, 'y', Instant(0));
        requests.asked(BOB, 'z', Instant(0));
        assert_eq!(requests.peer_disconnected(ALICE), ['x', 'y']);
        assert!(!requests.contains(&'x') && requests.is_asked(BOB, &'z'));
    }
}
