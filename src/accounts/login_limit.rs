//! Limits failed logins by address, by account and address, and by account (`docs/adr/0002`).
//!
//! The counters are in the database, so that all replicas count together. Unknown accounts count exactly like known ones.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::Error;
use crate::clock::milliseconds;
use crate::db::{Database, KNOWN_ADDRESS_RETENTION, LoginFailures};
use crate::secret;

/// How far another replica's clock may be ahead.
const MAX_CLOCK_LEAD: Duration = Duration::from_mins(1);

/// The limit of a scope: a leaky bucket of failures.
struct LimitPolicy {
    /// Failures without a backoff.
    burst: u32,
    /// The backoff after the last of them. Each further failure doubles it, up to `leak_interval`.
    initial_backoff: Duration,
    /// The time in which one failure leaks out of the bucket, and the maximum backoff.
    leak_interval: Duration,
}

/// Limits one password tried on many accounts to twenty failures in any minute.
const ADDRESS: LimitPolicy =
    LimitPolicy { burst: 10, initial_backoff: Duration::from_secs(6), leak_interval: Duration::from_secs(6) };
/// Limits guesses at one account from one address, and locks out that address only.
const ACCOUNT_AND_ADDRESS: LimitPolicy =
    LimitPolicy { burst: 10, initial_backoff: Duration::from_secs(30), leak_interval: Duration::from_mins(15) };
/// Limits guesses at one account from many addresses.
///
/// NIST SP 800-63B-4 section 3.2.2 allows at most 100 failures.
const ACCOUNT: LimitPolicy =
    LimitPolicy { burst: 100, initial_backoff: Duration::from_mins(15), leak_interval: Duration::from_mins(15) };

/// The scopes that count a login's failures: address, account and address, account.
///
/// Each is a hash. That of account and address follows the account's, so that all counters of an account can be deleted.
pub(super) struct FailureScopes([String; 3]);

impl FailureScopes {
    pub(super) fn new(email: &str, client: IpAddr) -> Self {
        let (network, account) = (network_of(client), Self::account(email));
        // E-mails contain no NUL, so that scopes differ.
        let pair = secret::sha256(&format!("pair\0{network}\0{email}"));
        Self([secret::sha256(&format!("address\0{network}")), format!("{account}/{pair}"), account])
    }

    /// Returns the scope of the account, with which all of its others begin.
    pub(super) fn account(email: &str) -> String {
        secret::sha256(&format!("account\0{email}"))
    }

    /// Returns the scope that a success resets.
    pub(super) fn account_and_address(&self) -> String {
        let [_, account_and_address, _] = &self.0;
        account_and_address.clone()
    }

    /// Checks that a password may be tried at `now` (milliseconds since 1970-01-01 UTC). Writes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Throttled`] with the longest backoff of its scopes, [`Error::Database`].
    pub(super) async fn check(&self, database: &Database, now: i64) -> Result<(), Error> {
        let [address, account_and_address, account] = database.login_failures(self.0.clone()).await?;
        let is_known_address = account_and_address.succeeded_at > now - milliseconds(KNOWN_ADDRESS_RETENTION);
        let mut backoff = ADDRESS.backoff(address, now).max(ACCOUNT_AND_ADDRESS.backoff(account_and_address, now));
        // Guesses from other addresses do not lock out the account's owner.
        if !is_known_address {
            backoff = backoff.max(ACCOUNT.backoff(account, now));
        }
        if backoff.is_zero() { Ok(()) } else { Err(Error::Throttled(backoff)) }
    }

    /// Counts a failure in all three scopes.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub(super) async fn record_failure(&self, database: &Database, now: i64) -> Result<(), Error> {
        let [address, account_and_address, account] = self.0.clone();
        let scopes = [(address, &ADDRESS), (account_and_address, &ACCOUNT_AND_ADDRESS), (account, &ACCOUNT)];
        let scopes = scopes.map(|(scope, policy)| (scope, milliseconds(policy.leak_interval)));
        Ok(database.count_login_failure(scopes, now).await?)
    }
}

impl LimitPolicy {
    /// Returns the time until the next password may be tried.
    fn backoff(&self, counter: LoginFailures, now: i64) -> Duration {
        let leak_interval = milliseconds(self.leak_interval);
        // At the last failure, including it.
        let failures = (counter.empty_at - counter.failed_at + leak_interval - 1) / leak_interval;
        let Ok(doublings) = u32::try_from(failures - i64::from(self.burst)) else {
            return Duration::ZERO;
        };
        let backoff = self.initial_backoff.saturating_mul(1 << doublings.min(20)).min(self.leak_interval);
        let wait = counter.failed_at.saturating_add(milliseconds(backoff)) - now;
        // A longer wait than the backoff means that the clock was set back.
        if wait > milliseconds(backoff + MAX_CLOCK_LEAD) {
            return Duration::ZERO;
        }
        Duration::from_millis(u64::try_from(wait).unwrap_or(0)).min(backoff)
    }
}

/// Returns the network of an address: IPv4 in canonical form, the /64 of IPv6.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_800_000_000_000;

    /// A database and the folder that it is in.
    async fn database() -> (Database, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/app.db", folder.path().display());
        (Database::open(&url).await.unwrap(), folder)
    }

    /// Attempts a login every `step` milliseconds; returns the times of the failures.
    async fn failures(emails: usize, addresses: usize, step: i64, duration: i64) -> Vec<i64> {
        let (database, _folder) = database().await;
        let mut times = Vec::new();
        for (number, now) in (0_usize..).zip((0..duration).step_by(usize::try_from(step).unwrap())) {
            let address = IpAddr::from(u32::try_from(number % addresses).unwrap().to_be_bytes());
            let scopes = FailureScopes::new(&format!("user{}@b.c", number % emails), address);
            if scopes.check(&database, START + now).await.is_ok() {
                scopes.record_failure(&database, START + now).await.unwrap();
                times.push(now);
            }
        }
        times
    }

    #[actix_rt::test]
    async fn account_and_address_back_off_longer_after_each_failure() {
        let times = failures(1, 1, 10_000, 3 * 3600 * 1000).await;
        let backoffs: Vec<i64> = times.windows(2).skip(9).map(|pair| (pair[1] - pair[0]) / 1000).collect();
        assert_eq!(times[9], 90_000);
        assert_eq!(backoffs[..4], [30, 60, 120, 240]);
        assert!(backoffs.is_sorted() && backoffs.last() == Some(&900), "{backoffs:?}");
    }

    #[actix_rt::test]
    async fn address_gets_at_most_twenty_failures_in_any_minute() {
        let times = failures(1000, 1, 100, 180_000).await;
        for &start in &times {
            let within = times.iter().filter(|&&at| (start..start + 60_000).contains(&at)).count();
            assert!(within <= 20, "{within}");
        }
        assert!(times.len() >= 35, "further failures are allowed: {}", times.len());
    }

    #[actix_rt::test]
    async fn failures_slower_than_the_leak_never_block_an_address() {
        let times = failures(1000, 1, 7_000, 600 * 7_000).await;
        assert_eq!(times.len(), 600);
    }

    #[actix_rt::test]
    async fn account_backs_off_after_a_hundred_failures_from_anywhere() {
        let times = failures(1, 10_000, 1_000, 3600 * 1000).await;
        assert_eq!(times.iter().filter(|&&at| at < 100_000).count(), 100);
        assert!(times.len() > 100 && times.windows(2).skip(99).all(|pair| pair[1] - pair[0] >= 900_000));
    }

    #[actix_rt::test]
    async fn backoff_stays_within_its_maximum_when_the_clock_jumps() {
        let (database, _folder) = database().await;
        let scopes = FailureScopes::new("ann@b.c", [192, 0, 2, 1].into());
        let mut now = START;
        let jumps = [0, 40_000, -400_000_000, 1, -1, 30_000, 400_000_000, -100, -59_000, 900_000, -900_000, 5_000];
        for jump in jumps.iter().cycle().take(300) {
            now += jump;
            match scopes.check(&database, now).await {
                Ok(()) => scopes.record_failure(&database, now).await.unwrap(),
                Err(Error::Throttled(backoff)) => assert!(backoff <= ACCOUNT.leak_interval, "{backoff:?}"),
                Err(error) => panic!("{error}"),
            }
        }
        scopes.check(&database, now + 1_000_000_000).await.unwrap();
    }

    #[actix_rt::test]
    async fn clock_that_is_set_back_ends_a_backoff() {
        let (database, _folder) = database().await;
        let scopes = FailureScopes::new("ann@b.c", [192, 0, 2, 1].into());
        for _ in 0..20 {
            scopes.record_failure(&database, START).await.unwrap();
        }
        assert!(matches!(scopes.check(&database, START).await, Err(Error::Throttled(_))));
        let behind = scopes.check(&database, START - 30_000).await;
        assert!(matches!(behind, Err(Error::Throttled(_))), "another replica's clock may be behind");
        scopes.check(&database, START - 3_600_000).await.unwrap();
    }

    #[actix_rt::test]
    async fn check_writes_nothing_and_failure_counts_in_all_scopes() {
        let (database, _folder) = database().await;
        let scopes = FailureScopes::new("ann@b.c", [192, 0, 2, 1].into());
        let counters = async || database.login_failures(scopes.0.clone()).await.unwrap();
        scopes.check(&database, START).await.unwrap();
        assert_eq!(counters().await, [LoginFailures::default(); 3]);
        scopes.record_failure(&database, START).await.unwrap();
        assert!(counters().await.iter().all(|counter| counter.failed_at == START));
    }

    #[test]
    fn address_is_the_same_however_it_is_written() {
        let network_of = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(network_of("::ffff:10.0.0.1"), network_of("10.0.0.1"));
        assert_eq!(network_of("2001:db8::1"), network_of("2001:db8::ffff:0:0:2"));
        assert_ne!(network_of("2001:db8::1"), network_of("2001:db8:0:1::1"));
    }
}
