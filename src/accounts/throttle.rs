//! How often one may try a password: counted in the database, so that all replicas count together; by which rules is in `limit`.
//!
//! Three scopes at once (`docs/adr/0002`): an account from one address, so that a guesser shuts out nobody but
//! himself; an address, against one password tried on many accounts; and an account from everywhere, against many addresses.
//! Unknown accounts are counted exactly like known ones.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::limit::{ACCOUNT, ADDRESS, Begin, LEASE, Limit, PAIR};
use super::line::{Line, Lines, Place};
use super::{Error, milliseconds, refresh_token};
use crate::clock::Clock;
use crate::db::{Database, EndedAttempt, LoginFailures};
use crate::random;

/// How long an attempt waits for others to end, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(15);
/// How often an attempt that the database failed is tried to be withdrawn.
const RETRY: Duration = Duration::from_millis(500);
/// For so long after a success, the account's failures elsewhere do not matter at this address.
const KNOWN_FOR: Duration = Duration::from_hours(30 * 24);

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
}
