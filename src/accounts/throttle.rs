//! How often one may try a password. Counted are failures only, in the database, so that all replicas count together.
//!
//! Three scopes at once (`docs/adr/0002`): an account from one address, so that a guesser shuts out nobody but
//! himself; an address, against one password tried on many accounts; and an account from everywhere, against many addresses.
//! Unknown accounts are counted exactly like known ones.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::line::{Line, Lines, Place};
use super::{Error, milliseconds, refresh_token};
use crate::clock::Clock;
use crate::db::{Database, EndedAttempt, LoginFailures};
use crate::random;

/// How far the clocks of replicas may be apart.
const SKEW: Duration = Duration::from_mins(1);
/// For so long an attempt is believed to be under way: longer than any is.
const LEASE: Duration = Duration::from_secs(15);
/// How long an attempt waits for others to end, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often an attempt that the database failed is tried to be withdrawn.
const RETRY: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(15);
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
    // Longer than the longest pause, or the pause would be the end of it.
    forgotten: Forgotten::After(Duration::from_mins(30)),
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

/// What a scope says to one more attempt.
#[derive(Debug, PartialEq, Eq)]
enum Begin {
    /// It may be checked; this is what is known from then on.
    Now(LoginFailures),
    /// As many are being checked as may still fail: it depends on them.
    Soon,
    /// Not for so many milliseconds.
    After(i64),
}

impl Limit {
    fn begin(&self, known: LoginFailures, now: i64) -> Begin {
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
    fn failed(&self, known: LoginFailures, now: i64) -> LoginFailures {
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

/// A count's name, and what it allows.
type Scope = (String, &'static Limit);

/// What is known of each of some scopes.
type Counts = Vec<(String, LoginFailures)>;

/// Where those who sign in from one address stand: as many as may be checked at once are checked, if none of them has failed.
pub(super) fn lines() -> Lines {
    Lines::new(usize::try_from(ADDRESS.free).unwrap_or(1))
}

/// Somebody who wants to sign in, until the attempt has begun.
pub(super) struct Applicant {
    scopes: [Scope; 3],
    came: Instant,
    line: Line,
    place: Option<Place>,
    clock: Clock,
}

impl Applicant {
    /// Waits for the turn of somebody who wants to sign in as `email` from an address. Nothing is written: who leaves while they
    /// wait was never there.
    ///
    /// # Errors
    ///
    /// [`Error::Throttled`] if no password is to be checked now, [`Error::Database`].
    pub(super) async fn wait(
        database: &Database,
        lines: &Lines,
        email: &str,
        from: IpAddr,
        clock: &Clock,
    ) -> Result<Self, Error> {
        let network = network(from);
        // An e-mail holds no NUL: whatever it says, it names no other scope.
        let pair = refresh_token::hash(&format!("pair\0{network}\0{email}"));
        let account = refresh_token::hash(&format!("account\0{email}"));
        let address = refresh_token::hash(&format!("address\0{network}"));
        let scopes = [(address, &ADDRESS), (pair, &PAIR), (account, &ACCOUNT)];
        let line = lines.of(network);
        let place = line.place_now();
        let mut applicant = Self { scopes, came: Instant::now(), line, place, clock: clock.clone() };
        if applicant.place.is_none() {
            // Who is to come later need not stand in line to be told so.
            let (scopes, clock) = (applicant.scopes.clone(), clock.clone());
            let refused = move |known: &[LoginFailures]| begin_in_all(&scopes, known, &clock).map(|_| (Vec::new(), ()));
            database.rewrite_login_failures(names(&applicant.scopes), Duration::ZERO, refused).await?;
            applicant.stand_in_line().await;
        }
        Ok(applicant)
    }

    /// Whose time is over goes on without a place: it may be the database that all wait for, and then it says so.
    async fn stand_in_line(&mut self) {
        self.place = timeout_at(self.came + PATIENCE, self.line.place()).await.ok().flatten();
    }

    /// Begins the attempt, once it depends on no other one any more.
    ///
    /// # Errors
    ///
    /// [`Error::Throttled`] if no password is to be checked now, [`Error::Overloaded`], [`Error::Database`].
    pub(super) async fn begin(mut self, database: &Database) -> Result<Attempt, Error> {
        loop {
            let (scopes, clock) = (self.scopes.clone(), self.clock.clone());
            let begin = move |known: &[LoginFailures]| begin_in_all(&scopes, known, &clock);
            match database.rewrite_login_failures(names(&self.scopes), self.came.elapsed(), begin).await? {
                Begun::Now(attempt) => {
                    self.place.iter_mut().for_each(Place::go_in);
                    return Ok(Attempt { _place: self.place, ..attempt });
                }
                _ if self.came.elapsed() >= PATIENCE => return Err(Error::Overloaded),
                Begun::AfterOthersHere => {}
                // Those behind have their turn meanwhile.
                Begun::AfterOthersOfTheAccount => self.place = None,
            }
            // Not all at the same moment again.
            tokio::time::sleep(POLL + POLL * u32::from(random::byte()) / 128).await;
            if self.place.is_none() {
                self.stand_in_line().await;
            }
        }
    }
}

/// Whether an attempt has begun.
enum Begun {
    Now(Attempt),
    /// As many are being checked from its address as may still fail.
    AfterOthersHere,
    /// As many of its account, whatever else.
    AfterOthersOfTheAccount,
}

/// One login that is being checked. Dropped without a word it is forgotten after [`LEASE`]: the client may have gone.
pub(super) struct Attempt {
    begun: Vec<Scope>,
    pair: String,
    known_here: bool,
    clock: Clock,
    /// Given back with it.
    _place: Option<Place>,
}

impl Attempt {
    /// Whether a login of this account succeeded at this address lately.
    pub(super) fn known_here(&self) -> bool {
        self.known_here
    }

    /// The password was wrong.
    pub(super) async fn failed(self, database: &Database) -> Result<(), Error> {
        let (begun, clock) = (self.begun.clone(), self.clock.clone());
        let failed = move |known: &[LoginFailures]| {
            let now = clock.unix_milliseconds();
            let counted = |((scope, limit), known): (&Scope, &LoginFailures)| (scope.clone(), limit.failed(*known, now));
            Ok::<_, Error>((begun.iter().zip(known).map(counted).collect(), ()))
        };
        database.rewrite_login_failures(names(&self.begun), Duration::ZERO, failed).await
    }

    /// How it ends if the password was right: here there were no failures.
    pub(super) fn succeeded(&self) -> EndedAttempt {
        EndedAttempt { succeeded: Some((self.pair.clone(), self.clock.unix_milliseconds())), ..self.ended() }
    }

    /// No password was checked.
    pub(super) async fn withdrawn(self, database: &Database) -> Result<(), Error> {
        Ok(database.end_login_attempt(self.ended()).await?)
    }

    /// Nobody knows whether it ended: the database failed. It is withdrawn as soon as it can be, so that those who were caught by
    /// the failure are not in the way of those who come after it. At worst it ends twice, and one more is checked at once.
    pub(super) fn withdrawn_later(self, database: Database) {
        let ended = self.ended();
        tokio::task::spawn_local(async move {
            let started = Instant::now();
            while database.end_login_attempt(ended.clone()).await.is_err() && started.elapsed() < LEASE {
                tokio::time::sleep(RETRY).await;
            }
        });
    }

    fn ended(&self) -> EndedAttempt {
        EndedAttempt { scopes: names(&self.begun), succeeded: None }
    }
}

fn names(scopes: &[Scope]) -> Vec<String> {
    scopes.iter().map(|(scope, _)| scope.clone()).collect()
}

/// What is known of each scope once the attempt has begun in all of them, if it has. One that has not leaves no trace.
///
/// # Errors
///
/// [`Error::Throttled`], with how long it takes until all of them let anybody through.
fn begin_in_all(all: &[Scope; 3], known: &[LoginFailures], clock: &Clock) -> Result<(Counts, Begun), Error> {
    let now = clock.unix_milliseconds();
    let [(address, _), (pair, _), _] = all;
    let succeeded_at = known.get(1).map_or(0, |pair| pair.succeeded_at);
    let known_here = succeeded_at > 0 && succeeded_at > now - milliseconds(KNOWN_FOR);
    // The account's, which comes last, does not matter then.
    let scopes = if known_here { &all[..2] } else { all };
    let (mut next, mut waits, mut longest) = (Vec::new(), None, 0);
    for ((scope, limit), known) in scopes.iter().zip(known) {
        match limit.begin(*known, now) {
            Begin::After(wait) => longest = longest.max(wait),
            Begin::Soon if scope == address => waits = Some(Begun::AfterOthersHere),
            Begin::Soon => waits = Some(Begun::AfterOthersOfTheAccount),
            Begin::Now(begun) => next.push((scope.clone(), begun)),
        }
    }
    if longest > 0 {
        return Err(throttled(longest));
    }
    if let Some(waits) = waits {
        return Ok((Vec::new(), waits));
    }
    let attempt = Attempt { begun: scopes.to_vec(), pair: pair.clone(), known_here, clock: clock.clone(), _place: None };
    Ok((next, Begun::Now(attempt)))
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
    use crate::background::Background;
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

    #[actix_rt::test]
    async fn who_leaves_while_they_wait_for_their_turn_was_never_there() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/app.db", folder.path().display());
        let database = Database::open(&url, Background::start().unwrap()).await.unwrap();
        let (lines, address) = (Lines::new(1), IpAddr::from([192, 0, 2, 1]));
        let place = lines.of(address).place_now();
        let clock = Clock::system();
        let waits = Applicant::wait(&database, &lines, "ann@example.com", address, &clock);
        assert!(tokio::time::timeout(Duration::from_millis(200), waits).await.is_err(), "nobody has gone in");
        drop(place);
        let waits = Applicant::wait(&database, &lines, "ann@example.com", address, &clock);
        let applicant = tokio::time::timeout(Duration::from_secs(2), waits).await.expect("it was nobody's turn").unwrap();
        let known = |known: &[LoginFailures]| Ok::<_, Error>((Vec::new(), known.to_vec()));
        let known = database.rewrite_login_failures(names(&applicant.scopes), Duration::ZERO, known).await.unwrap();
        assert_eq!(known, [LoginFailures::default(); 3]);
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
