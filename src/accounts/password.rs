//! Passwords: argon2id, off the event loop, at most one a core at a time, on threads that give way to all others as long as those
//! leave them some time. Each hash takes 19 MiB; the memory is kept and used again, because an allocator that gets it back in
//! pieces does not give it back to the system.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::PasswordHasher as _;
use argon2::password_hash::phc::{Output, PasswordHash};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::sync::{AcquireError, OnceCell, OwnedSemaphorePermit, Semaphore};
use unicode_normalization::UnicodeNormalization as _;

use super::Error;
use super::giving_way::GivingWay;
use crate::background::Background;

/// How long a login waits for its turn; a person who waits longer has tried again.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many strangers may stand in line among those who were here before, for each core: enough that a crowd of the latter leaves
/// strangers their share, and few enough that a storm of strangers holds none of the latter up for long.
const STRANGERS: usize = 8;

/// OWASP's second choice for argon2id: 19 MiB, two passes, one lane. 15 to 20 ms on the machines we measured.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A password that nobody has; its hash stands in where there is no account.
const NOBODYS: &str = "nobody has this password";

/// Hashes and verifies.
pub(super) struct Hasher {
    turns: Arc<Semaphore>,
    /// Strangers wait for a place in that line first, and those who signed in from the same place before do not: a storm of
    /// strangers must not keep them out. Not by a turn of their own: two hashes on one core take longer together than one after
    /// the other.
    strangers: Arc<Semaphore>,
    threads: OnceCell<(Background, GivingWay)>,
    memory: Memory,
    /// That of threads that give way. Not shared, because its lock would be.
    memory_there: Memory,
    dummy: OnceCell<String>,
}

/// Leave to hash once; given back when it is dropped.
struct Turn {
    _stranger: Option<OwnedSemaphorePermit>,
    _turn: OwnedSemaphorePermit,
}

impl Hasher {
    pub(super) fn new() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(cores())),
            strangers: Arc::new(Semaphore::new(STRANGERS * cores())),
            threads: OnceCell::new(),
            memory: Memory::default(),
            memory_there: Memory::default(),
            dummy: OnceCell::new(),
        }
    }

    /// A new PHC string, with a salt of its own.
    pub(super) async fn hash(&self, password: &str) -> Result<String, Error> {
        let turn = self.turn(false).await?;
        let password = normalised(password);
        self.off_the_event_loop(turn, move |_| {
            let hash = argon2()?.hash_password(password.as_bytes()).map_err(|_| Error::Hash)?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Whether `password` is the one of `hash`. With no hash the same work is done, for nothing.
    /// `known` says that they stand in line at once, where a stranger may have to wait for a place in it.
    pub(super) async fn verify(&self, password: &str, hash: Option<String>, known: bool) -> Result<bool, Error> {
        // Made on first use, before the account is known to be there or not.
        let dummy = self.dummy.get_or_try_init(|| self.hash(NOBODYS)).await?;
        let has_hash = hash.is_some();
        let hash = hash.unwrap_or_else(|| dummy.clone());
        let password = normalised(password);
        let turn = self.turn(known).await?;
        self.off_the_event_loop(turn, move |memory| {
            let matches = memory.with(|blocks| matches(password.as_bytes(), &hash, blocks))?;
            Ok(matches && has_hash)
        })
        .await
    }

    async fn turn(&self, known: bool) -> Result<Turn, Error> {
        let turn = async {
            let stranger = if known { None } else { Some(Arc::clone(&self.strangers).acquire_owned().await?) };
            Ok(Turn { _stranger: stranger, _turn: Arc::clone(&self.turns).acquire_owned().await? })
        };
        match tokio::time::timeout(PATIENCE, turn).await {
            Ok(turn) => turn.map_err(|_: AcquireError| Error::Overloaded),
            Err(_) => Err(Error::Overloaded),
        }
    }

    async fn off_the_event_loop<T: Send + 'static>(
        &self,
        turn: Turn,
        work: impl FnOnce(&Memory) -> Result<T, Error> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let start = || async {
            let threads = Background::for_blocking_work(cores()).map_err(|_| Error::Hash)?;
            Ok::<_, Error>((threads, GivingWay::start(cores())))
        };
        let (threads, giving_way) = self.threads.get_or_try_init(start).await?;
        let (giving_way, memory, memory_there) = (giving_way.clone(), self.memory.clone(), self.memory_there.clone());
        let work = threads.run_blocking(move || {
            let there = work.clone();
            let result = giving_way.wait_for(move || there(&memory_there)).unwrap_or_else(|| work(&memory));
            drop(turn);
            result
        });
        work.await.unwrap_or(Err(Error::Hash))
    }
}

/// The memory of earlier hashes, as many as were ever made at once.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<Vec<Block>>>>);

impl Memory {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<Block>) -> T) -> T {
        // A list of buffers is whole whoever panicked.
        let spare = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut blocks = spare().pop().unwrap_or_default();
        let done = work(&mut blocks);
        spare().push(blocks);
        done
    }
}

/// Whether `password` is the one of the PHC string `hash`, whatever the parameters in it.
fn matches(password: &[u8], hash: &str, blocks: &mut Vec<Block>) -> Result<bool, Error> {
    let hash = PasswordHash::new(hash).map_err(|_| Error::Hash)?;
    let params = Params::try_from(&hash).map_err(|_| Error::Hash)?;
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).map_err(|_| Error::Hash)?;
    let version = hash.version.map_or(Ok(Version::V0x13), Version::try_from).map_err(|_| Error::Hash)?;
    let (Some(salt), Some(expected)) = (hash.salt, hash.hash) else {
        return Err(Error::Hash);
    };
    blocks.resize(params.block_count(), Block::default());
    let mut output = vec![0; expected.len()];
    let argon2 = Argon2::new(algorithm, version, params);
    argon2.hash_password_into_with_memory(password, &salt, &mut output, blocks).map_err(|_| Error::Hash)?;
    // Compared in constant time, by the type.
    Ok(Output::new(&output).map_err(|_| Error::Hash)? == expected)
}

/// Whether the PHC string `hash` was made in another way than new ones are.
pub(super) fn is_outdated(hash: &str) -> bool {
    let is_new = |hash: &PasswordHash| {
        let params = Params::try_from(hash).ok()?;
        let costs = (params.m_cost(), params.t_cost(), params.p_cost());
        let is_ours = hash.algorithm == Algorithm::Argon2id.ident() && hash.version == Some(Version::V0x13.into());
        Some(is_ours && costs == (MEMORY_KIB, PASSES, LANES))
    };
    PasswordHash::new(hash).is_ok_and(|hash| is_new(&hash) != Some(true))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn argon2() -> Result<Argon2<'static>, Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| Error::Hash)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// The same characters typed on two keyboards are the same password (NIST SP 800-63B-4 section 3.1.1.2).
pub(super) fn normalised(password: &str) -> String {
    password.nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// For tests that keep all cores busy, and for those that would fail beside them.
    static CORES: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    #[actix_rt::test]
    async fn a_password_is_itself_to_the_last_byte_and_in_either_normal_form() {
        let hasher = Hasher::new();
        let password = format!("{}\0 é🎥", "x".repeat(200));
        let hash = hasher.hash(&password).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(!is_outdated(&hash));
        assert_ne!(hash, hasher.hash(&password).await.unwrap(), "each hash has a salt of its own");
        let verify = |password: String| hasher.verify_owned(password, hash.clone());
        assert!(verify(password.clone()).await);
        assert!(verify(password.replace('é', "e\u{301}")).await);
        for other in
            [password.replace("x\0", "y\0"), password.to_uppercase(), format!("{password} "), password[1..].to_owned()]
        {
            assert!(!verify(other).await);
        }
    }

    #[actix_rt::test]
    async fn where_there_is_no_account_no_password_is_right() {
        assert!(!Hasher::new().verify(NOBODYS, None, false).await.unwrap());
    }

    #[actix_rt::test]
    async fn a_storm_of_strangers_does_not_keep_out_who_was_here_before() {
        let _cores = CORES.lock().await;
        let hasher = Rc::new(Hasher::new());
        let hash = hasher.hash("secret").await.unwrap();
        assert!(hasher.verify("secret", Some(hash.clone()), true).await.unwrap());
        let done = Rc::new(Cell::new(0));
        for _ in 0..3 * STRANGERS * cores() {
            let (hasher, hash, done) = (Rc::clone(&hasher), hash.clone(), Rc::clone(&done));
            actix_rt::spawn(async move {
                if hasher.verify("guess", Some(hash), false).await.is_ok() {
                    done.set(done.get() + 1);
                }
            });
        }
        // All of them wait by then, but for those that are being hashed.
        tokio::task::yield_now().await;
        assert!(hasher.verify("secret", Some(hash), true).await.unwrap());
        assert!(done.get() <= (STRANGERS + 3) * cores(), "{} were before", done.get());
    }

    #[actix_rt::test]
    async fn where_others_leave_no_core_any_time_a_password_is_checked_all_the_same() {
        let _cores = CORES.lock().await;
        let hasher = Hasher::new();
        let hash = hasher.hash("secret").await.unwrap();
        let over = Arc::new(AtomicBool::new(false));
        for _ in 0..3 * cores() {
            let over = Arc::clone(&over);
            std::thread::spawn(move || while !over.load(Ordering::Relaxed) {});
        }
        // A thread that only gets what they leave would take three times as long at least.
        let checked = tokio::time::timeout(Duration::from_secs(5), hasher.verify("secret", Some(hash), false)).await;
        over.store(true, Ordering::Relaxed);
        assert!(checked.unwrap().unwrap());
    }

    impl Hasher {
        async fn verify_owned(&self, password: String, hash: String) -> bool {
            self.verify(&password, Some(hash), true).await.unwrap()
        }
    }
}
