//! How often one may try a password. Counted are failures only, in the database, so that all replicas count together.
//!
//! Three scopes at once (`reliability.md`, A5 to A11): an account from one address, so that a guesser shuts out nobody but
//! himself; an address, against one password tried on many accounts; and an account from everywhere, against many addresses.
//! Unknown accounts are counted exactly like known ones.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::{Error, milliseconds, refresh_token};
use crate::db::{Database, LoginFailures};

/// How often a count is tried to be written when others write it too.
const TRIES: u32 = 200;
/// For so long after a success, the account's failures elsewhere do not matter at this address.
const KNOWN_FOR: Duration = Duration::from_hours(30 * 24);

/// What a scope allows.
struct Limit {
    /// Failures before there is a pause.
    free: i64,
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

const PAIR: Limit = Limit {
    free: 10,
    pause: Duration::from_secs(30),
    max_pause: Duration::from_mins(15),
    forgotten: Forgotten::After(Duration::from_mins(15)),
};
/// Ten at once and ten more a minute: at most twenty in any minute.
const ADDRESS: Limit = Limit {
    free: 10,
    pause: Duration::from_secs(6),
    max_pause: Duration::from_secs(6),
    forgotten: Forgotten::OneEvery(Duration::from_secs(6)),
};
const ACCOUNT: Limit = Limit {
    free: 100,
    pause: Duration::from_mins(15),
    max_pause: Duration::from_mins(15),
    forgotten: Forgotten::After(Duration::from_hours(24)),
};

impl Limit {
    /// What is known after one more attempt, as if it had failed; or how long to wait, in milliseconds.
    fn attempt(&self, known: LoginFailures, now: i64) -> Result<LoginFailures, i64> {
        let wait = known.blocked_until - now;
        // A longer wait than there is means that the clock was set back.
        if wait > 0 && wait <= milliseconds(self.max_pause) {
            return Err(wait);
        }
        let quiet = (now - known.last_at).max(0);
        let failures = match self.forgotten {
            Forgotten::After(duration) if quiet >= milliseconds(duration) => 1,
            Forgotten::After(_) => known.failures + 1,
            Forgotten::OneEvery(duration) => (known.failures - quiet / milliseconds(duration)).max(0) + 1,
        };
        Ok(LoginFailures { failures, last_at: now, blocked_until: self.blocked_until(failures, now), ..known })
    }

    /// What is known once it turned out that an attempt was no failure.
    fn take_back(&self, known: LoginFailures) -> LoginFailures {
        let failures = (known.failures - 1).max(0);
        LoginFailures { failures, blocked_until: self.blocked_until(failures, known.last_at), ..known }
    }

    fn blocked_until(&self, failures: i64, now: i64) -> i64 {
        match u32::try_from(failures - self.free) {
            Ok(beyond) => now + milliseconds(self.pause.saturating_mul(1 << beyond.min(20)).min(self.max_pause)),
            Err(_) => 0,
        }
    }
}

/// One login that is being checked. It counts as a failure until it is said to be none.
pub(super) struct Attempt {
    counted: Vec<(String, &'static Limit)>,
    pair: String,
    now: i64,
}

impl Attempt {
    /// Counts an attempt on the account `email` from an address, at `now` in milliseconds.
    ///
    /// # Errors
    ///
    /// [`Error::Throttled`] if no password is to be checked now, [`Error::Overloaded`], [`Error::Database`].
    pub(super) async fn begin(database: &Database, email: &str, from: IpAddr, now: i64) -> Result<Self, Error> {
        let address = network(from);
        let pair = refresh_token::hash(&format!("account {email} from {address}"));
        let mut attempt = Self { counted: Vec::new(), pair: pair.clone(), now };
        let known_here = attempt.count(database, pair, &PAIR).await?.succeeded_at > now - milliseconds(KNOWN_FOR);
        let address = refresh_token::hash(&format!("address {address}"));
        let account = refresh_token::hash(&format!("account {email}"));
        let mut rest = vec![(address, &ADDRESS)];
        if !known_here {
            rest.push((account, &ACCOUNT));
        }
        for (scope, limit) in rest {
            if let Err(error) = attempt.count(database, scope, limit).await {
                attempt.withdrawn(database).await?;
                return Err(error);
            }
        }
        Ok(attempt)
    }

    async fn count(&mut self, database: &Database, scope: String, limit: &'static Limit) -> Result<LoginFailures, Error> {
        let now = self.now;
        let counted = rewrite(database, &scope, |known| limit.attempt(known, now).map_err(throttled)).await?;
        self.counted.push((scope, limit));
        Ok(counted)
    }

    /// The password was right: it was no failure, and here there were none.
    pub(super) async fn succeeded(self, database: &Database) -> Result<(), Error> {
        for (scope, limit) in self.counted {
            let (pair, now) = (scope == self.pair, self.now);
            rewrite(database, &scope, |known| {
                let clean = LoginFailures { failures: 0, blocked_until: 0, succeeded_at: now, ..known };
                Ok(if pair { clean } else { limit.take_back(known) })
            })
            .await?;
        }
        Ok(())
    }

    /// No password was checked.
    pub(super) async fn withdrawn(self, database: &Database) -> Result<(), Error> {
        for (scope, limit) in self.counted {
            rewrite(database, &scope, |known| Ok(limit.take_back(known))).await?;
        }
        Ok(())
    }
}

/// Reads, decides and writes, again if somebody else wrote in between. Gives what was written.
async fn rewrite(
    database: &Database,
    scope: &str,
    decide: impl Fn(LoginFailures) -> Result<LoginFailures, Error>,
) -> Result<LoginFailures, Error> {
    for _ in 0..TRIES {
        let next = decide(database.login_failures(scope.to_owned()).await?)?;
        if database.replace_login_failures(scope.to_owned(), next).await? {
            return Ok(next);
        }
    }
    Err(Error::Overloaded)
}

fn throttled(milliseconds: i64) -> Error {
    Error::Throttled(Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0)))
}

/// What counts as one address: an IPv6 customer has a whole /64, and an IPv4 address may be written as an IPv6 one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Attempts that are let through when somebody tries every `step` milliseconds, for `duration` milliseconds.
    fn let_through(limit: &Limit, step: i64, duration: i64) -> Vec<i64> {
        let mut known = LoginFailures::default();
        let mut let_through = Vec::new();
        for now in (0..duration).step_by(usize::try_from(step).unwrap()).map(|at| 1_800_000_000_000 + at) {
            if let Ok(next) = limit.attempt(known, now) {
                known = next;
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
        assert_eq!(pauses[..6], [30, 60, 120, 240, 480, 900]);
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
    fn an_address_is_one_however_it_is_written() {
        let network_of = |text: &str| network(text.parse().unwrap());
        assert_eq!(network_of("::ffff:10.0.0.1"), network_of("10.0.0.1"));
        assert_eq!(network_of("2001:db8::1"), network_of("2001:db8::ffff:0:0:2"));
        assert_ne!(network_of("2001:db8::1"), network_of("2001:db8:0:1::1"));
    }

    proptest! {
        #[test]
        fn nobody_waits_longer_than_the_longest_pause_whatever_the_clock_does(jumps in prop::collection::vec(-400_000_000_i64..400_000_000, 1..60)) {
            for limit in [&PAIR, &ADDRESS, &ACCOUNT] {
                let (mut known, mut now) = (LoginFailures::default(), 1_800_000_000_000_i64);
                for jump in &jumps {
                    now += jump;
                    match limit.attempt(known, now) {
                        Ok(next) => known = next,
                        Err(wait) => prop_assert!(wait <= milliseconds(limit.max_pause)),
                    }
                }
            }
        }

        #[test]
        fn what_is_taken_back_never_counted(before in 0_i64..120) {
            for limit in [&PAIR, &ADDRESS, &ACCOUNT] {
                let known = LoginFailures { failures: before, last_at: 1000, ..LoginFailures::default() };
                let after = limit.take_back(limit.attempt(known, 1000).unwrap());
                prop_assert_eq!(after.failures, before);
            }
        }
    }
}
