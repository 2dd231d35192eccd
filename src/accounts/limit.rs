//! What a scope allows: how many failures are free, how long the pauses are after them, and when they are forgotten. Counted are
//! failures only. Must not know where the counts are.

use std::time::Duration;

use super::milliseconds;
use crate::db::LoginFailures;

/// How far the clocks of replicas may be apart.
const SKEW: Duration = Duration::from_mins(1);
/// For so long an attempt is believed to be under way: longer than any is.
pub(super) const LEASE: Duration = Duration::from_secs(15);

/// What a scope allows.
pub(super) struct Limit {
    /// Failures before there is a pause.
    pub(super) free: i64,
    /// The first pause; each further failure doubles it.
    pause: Duration,
    /// The longest pause.
    max_pause: Duration,
    /// How failures are forgotten.
    forgotten: Forgotten,
}

enum Forgotten {
    /// All at once, after so long without an attempt.
    After(Duration),
    /// One by one, each after so long.
    OneEvery(Duration),
}

pub(super) const PAIR: Limit = Limit {
    free: 10,
    pause: Duration::from_secs(30),
    max_pause: Duration::from_mins(15),
    // Longer than the longest pause, or the pause would be the end of it.
    forgotten: Forgotten::After(Duration::from_mins(30)),
};
/// Ten at once and ten more a minute: at most twenty in any minute.
pub(super) const ADDRESS: Limit = Limit {
    free: 10,
    pause: Duration::from_secs(6),
    max_pause: Duration::from_secs(6),
    forgotten: Forgotten::OneEvery(Duration::from_secs(6)),
};
pub(super) const ACCOUNT: Limit = Limit {
    free: 100,
    pause: Duration::from_mins(15),
    max_pause: Duration::from_mins(15),
    forgotten: Forgotten::After(Duration::from_hours(24)),
};

/// What a scope says to one more attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// It may be checked; this is what is known from then on.
    Now(LoginFailures),
    /// As many are being checked as may still fail: it depends on them.
    Soon,
    /// Not for so many milliseconds.
    After(i64),
}

impl Limit {
    /// What it says to one more attempt at `now` (milliseconds since 1970-01-01 UTC, as all times here).
    pub(super) fn begin(&self, known: LoginFailures, now: i64) -> Begin {
        let wait = known.blocked_until - now;
        // A longer wait than there is means that the clock was set back, and not just that a replica's is a little ahead.
        if wait > 0 && wait <= milliseconds(self.max_pause + SKEW) {
            return Begin::After(wait.min(milliseconds(self.max_pause)));
        }
        let since = now - known.began_at;
        let abandoned = since >= milliseconds(LEASE) || since < -milliseconds(SKEW);
        let checking = if abandoned { 0 } else { known.checking };
        let began_at = if checking == 0 { now } else { known.began_at };
        let failures = self.remembered(known, now).0;
        // Past the free ones, one at a time.
        if checking > 0 && failures + checking >= self.free {
            return Begin::Soon;
        }
        Begin::Now(LoginFailures { checking: checking + 1, began_at, ..known })
    }

    /// What is known once an attempt has failed.
    pub(super) fn failed(&self, known: LoginFailures, now: i64) -> LoginFailures {
        let (remembered, since) = self.remembered(known, now);
        let failures = remembered + 1;
        let blocked_until = match u32::try_from(failures - self.free) {
            Ok(beyond) => now + milliseconds(self.pause.saturating_mul(1 << beyond.min(20)).min(self.max_pause)),
            Err(_) => 0,
        };
        LoginFailures { failures, last_at: since, blocked_until, ..ended(known) }
    }

    /// The failures that still count at `now`, and since when the next one is being forgotten.
    fn remembered(&self, known: LoginFailures, now: i64) -> (i64, i64) {
        let quiet = (now - known.last_at).max(0);
        match self.forgotten {
            Forgotten::After(duration) if quiet >= milliseconds(duration) => (0, now),
            Forgotten::After(_) => (known.failures, now),
            Forgotten::OneEvery(duration) => {
                let forgotten = quiet / milliseconds(duration);
                match known.failures - forgotten {
                    left @ 1.. => (left, known.last_at.min(now) + forgotten * milliseconds(duration)),
                    _ => (0, now),
                }
            }
        }
    }
}

/// What is known once an attempt has ended in any way.
fn ended(known: LoginFailures) -> LoginFailures {
    LoginFailures { checking: (known.checking - 1).max(0), ..known }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Failures that are let through when somebody tries every `step` milliseconds, for `duration` milliseconds.
    fn let_through(limit: &Limit, step: i64, duration: i64) -> Vec<i64> {
        let mut known = LoginFailures::default();
        let mut let_through = Vec::new();
        for now in (0..duration).step_by(usize::try_from(step).unwrap()).map(|at| 1_800_000_000_000 + at) {
            if let Begin::Now(next) = limit.begin(known, now) {
                known = limit.failed(next, now);
                let_through.push(now - 1_800_000_000_000);
            }
        }
        let_through
    }

    #[test]
    fn ten_failures_of_a_pair_are_free_and_the_pauses_then_double_to_a_quarter_of_an_hour() {
        let times = let_through(&PAIR, 1000, 2 * 3600 * 1000);
        let pauses: Vec<i64> = times.windows(2).skip(9).map(|pair| (pair[1] - pair[0]) / 1000).collect();
        assert!(times[9] < 10_000);
        assert_eq!(pauses[..8], [30, 60, 120, 240, 480, 900, 900, 900]);
    }

    #[test]
    fn an_address_gets_at_most_twenty_a_minute() {
        let times = let_through(&ADDRESS, 50, 600_000);
        for &start in &times {
            let within = times.iter().filter(|&&at| (start..start + 60_000).contains(&at)).count();
            assert!(within <= 20, "{within}");
        }
        assert!(times.len() >= 100, "and those who wait get on: {}", times.len());
    }

    #[test]
    fn an_account_pauses_a_quarter_of_an_hour_for_each_failure_after_a_hundred() {
        let times = let_through(&ACCOUNT, 1000, 3600 * 1000);
        assert_eq!(times.iter().filter(|&&at| at < 100_000).count(), 100);
        assert!(times.windows(2).skip(99).all(|pair| pair[1] - pair[0] >= 900_000));
    }

    #[test]
    fn as_many_are_checked_at_once_as_may_still_fail_and_success_counts_nothing() {
        let now = 1_800_000_000_000;
        let mut known = LoginFailures::default();
        for _ in 0..10 {
            let Begin::Now(next) = PAIR.begin(known, now) else { panic!("ten are free") };
            known = next;
        }
        assert_eq!(PAIR.begin(known, now), Begin::Soon);
        assert!(matches!(PAIR.begin(ended(known), now), Begin::Now(_)), "one of them ended well");
        let failed = (0..10).fold(known, |known, _| PAIR.failed(known, now));
        assert_eq!((failed.failures, failed.checking), (10, 0));
        assert_eq!(PAIR.begin(failed, now), Begin::After(30_000));
        assert!(
            matches!(PAIR.begin(known, now + milliseconds(LEASE)), Begin::Now(_)),
            "those that never ended are forgotten"
        );
    }

    #[test]
    fn right_logins_in_between_keep_no_failure_from_being_forgotten() {
        let (mut known, mut now) = (LoginFailures::default(), 1_800_000_000_000);
        for second in 0..600 {
            now += 1_000;
            let Begin::Now(next) = ADDRESS.begin(known, now) else {
                panic!("a typo every seven seconds is within the rate")
            };
            known = if second % 7 == 0 { ADDRESS.failed(next, now) } else { ended(next) };
        }
    }

    proptest! {
        #[test]
        fn nobody_waits_longer_than_the_longest_pause_whatever_the_clock_does(jumps in prop::collection::vec(-400_000_000_i64..400_000_000, 1..60)) {
            for limit in [&PAIR, &ADDRESS, &ACCOUNT] {
                let (mut known, mut now) = (LoginFailures::default(), 1_800_000_000_000_i64);
                for jump in &jumps {
                    now += jump;
                    match limit.begin(known, now) {
                        Begin::Now(next) => known = limit.failed(next, now),
                        Begin::After(wait) => prop_assert!(wait <= milliseconds(limit.max_pause)),
                        Begin::Soon => prop_assert!(false, "nothing is being checked"),
                    }
                }
            }
        }
    }
}
