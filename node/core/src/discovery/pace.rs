//! How often a source of addresses is asked again.

use std::time::Duration;

use rand_chacha::ChaCha12Rng;

use crate::{peers::chance::jittered, time::Instant};

/// Intervals between questions to a source that has nothing new to tell, at the longest.
const LONGEST: u32 = 16;
/// The same while the node has no peer at all: it is worth more trouble then.
const LONGEST_ALONE: u32 = 4;

/// Asks soon at first, then at an interval, and ever more seldom while nothing new comes of it.
#[derive(Debug)]
pub(crate) struct Pace {
    first: Duration,
    interval: Duration,
    pause: Duration,
    next: Instant,
    rng: ChaCha12Rng,
}

impl Pace {
    /// The first repetition comes after `first`, and each later one after twice the time, up to `interval`.
    pub(crate) fn new(first: Duration, interval: Duration, rng: ChaCha12Rng) -> Self {
        let first = first.min(interval);
        Self {
            first,
            interval,
            pause: first,
            next: Instant(0),
            rng,
        }
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    pub(crate) const fn next(&self) -> Instant {
        self.next
    }

    /// The source is asked.
    pub(crate) fn asked(&mut self, now: Instant) {
        // Many nodes that know nothing new are not to ask in step.
        let pause = if self.pause > self.interval {
            jittered(&mut self.rng, self.pause)
        } else {
            self.pause
        };
        self.next = now + pause;
        if self.pause < self.interval {
            self.pause = (self.pause * 2).min(self.interval);
        }
    }

    /// The source is there; what it tells is nothing new unless [`news`](Self::news) follows.
    pub(crate) fn answered(&mut self, alone: bool) {
        if self.pause >= self.interval {
            let longest = if alone { LONGEST_ALONE } else { LONGEST };
            self.pause = (self.pause * 2).min(self.interval * longest);
        }
    }

    /// Something has changed, so that asking may be worth more than it was.
    pub(crate) fn news(&mut self, now: Instant) {
        self.pause = self.pause.min(self.interval);
        self.next = self.next.min(now + self.interval);
    }

    /// There is no more need to ask; the next need is a new one.
    pub(crate) fn satisfied(&mut self) {
        self.pause = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    const INTERVAL: Duration = Duration::from_millis(500);

    fn pace() -> Pace {
        let rng = random::stream(&[7; 32], "test");
        Pace::new(Duration::from_millis(50), INTERVAL, rng)
    }

    /// Seconds between questions that are answered with nothing new.
    fn pauses(pace: &mut Pace, alone: bool) -> Vec<f64> {
        let mut now = Instant(0);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            pace.asked(now);
            pace.answered(alone);
            pauses.push((pace.next() - now).as_secs_f64());
            now = pace.next();
        }
        pauses
    }

    #[test]
    fn a_source_with_nothing_new_is_asked_ever_more_seldom() {
        let pauses = pauses(&mut pace(), false);
        assert!(pauses[0] <= 0.05 && pauses[3] <= 0.5, "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= 10.0), "{pauses:?}");
        assert!(pauses[11] >= 6.0, "{pauses:?}");
    }

    #[test]
    fn who_is_alone_goes_on_asking() {
        let pauses = pauses(&mut pace(), true);
        assert!(pauses.iter().all(|pause| *pause <= 2.5), "{pauses:?}");
    }

    #[test]
    fn a_source_that_does_not_answer_is_asked_at_the_interval() {
        let (mut pace, mut now) = (pace(), Instant(0));
        for _ in 0..20 {
            pace.asked(now);
            assert!(pace.next() - now <= INTERVAL);
            now = pace.next();
        }
    }

    #[test]
    fn news_brings_the_next_question_forward() {
        let mut pace = pace();
        pauses(&mut pace, false);
        let now = pace.next();
        pace.asked(now);
        pace.news(now);
        assert_eq!(pace.next() - now, INTERVAL);
        pace.asked(pace.next());
        assert_eq!(pace.next() - now, 2 * INTERVAL);
    }
}
