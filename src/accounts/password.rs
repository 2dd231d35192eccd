//! Password hashing: argon2id on a low-priority thread pool, one hash per core at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::PasswordHasher as _;
use argon2::password_hash::phc::{Output, PasswordHash};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use unicode_normalization::UnicodeNormalization as _;

use super::Error;

/// How long a login waits for a permit.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// OWASP's second choice for argon2id: 19 MiB, two passes, one lane. It takes 15 to 20 ms.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The highest nice value.
const LOWEST_PRIORITY: i32 = 19;

/// The password that is verified if there is no account, to take the same time.
const DUMMY: &str = "the password of no account";

/// Verifies and hashes passwords off the event loop.
pub(super) struct Hasher {
    /// One per core, in FIFO order.
    permits: Arc<Semaphore>,
    pool: Handle,
    buffers: BufferPool,
    dummy: OnceCell<String>,
}

impl Hasher {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            permits: Arc::new(Semaphore::new(cores)),
            pool: low_priority_pool(cores),
            buffers: BufferPool::default(),
            dummy: OnceCell::new(),
        }
    }

    /// Acquires the permit to verify one password.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`] if the queue is longer than can be served in two seconds.
    pub(super) async fn acquire(&self) -> Result<OwnedSemaphorePermit, Error> {
        match timeout(MAX_WAIT, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            // Timed out; the semaphore is never closed.
            _ => Err(Error::Overloaded),
        }
    }

    /// Returns whether `password` matches `hash`. Without a hash it does the same work and returns `false`.
    pub(super) async fn verify(&self, password: &str, hash: Option<String>) -> Result<bool, Error> {
        // Computed on first use, whether there is an account or not.
        let dummy = self.dummy.get_or_try_init(|| self.hash(DUMMY)).await?;
        let has_hash = hash.is_some();
        let (hash, password) = (hash.unwrap_or_else(|| dummy.clone()), normalised(password));
        let buffers = self.buffers.clone();
        let verify = move || buffers.with(|blocks| matches(password.as_bytes(), &hash, blocks));
        Ok(self.pool.spawn_blocking(verify).await.unwrap_or(Err(Error::Hash))? && has_hash)
    }

    /// Returns a new PHC string, as [`hash`] does.
    pub(super) async fn hash(&self, password: &str) -> Result<String, Error> {
        let password = password.to_owned();
        self.pool.spawn_blocking(move || hash(&password)).await.unwrap_or(Err(Error::Hash))
    }
}

/// Creates a thread pool for blocking work at the lowest priority.
fn low_priority_pool(threads: usize) -> Handle {
    let mut builder = Builder::new_current_thread();
    builder.max_blocking_threads(threads).thread_name("low-priority").on_thread_start(lower_priority);
    // Without drivers and workers nothing can fail here.
    let Ok(runtime) = builder.build() else { return Handle::current() };
    let handle = runtime.handle().clone();
    // It lives as long as the process; idle threads end by themselves.
    std::mem::forget(runtime);
    handle
}

/// Gives the current thread the lowest priority, so that it leaves the cores to the event loops.
///
/// Only Linux has a nice value for each thread. `SCHED_IDLE` is lower still, but starves beside any other process.
fn lower_priority() {
    if cfg!(target_os = "linux") {
        // Work at the usual priority is better than none.
        let _ = rustix::process::setpriority_process(None, LOWEST_PRIORITY);
    }
}

/// Returns a new PHC string with a random salt. Blocks the thread.
pub(super) fn hash(password: &str) -> Result<String, Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| Error::Hash)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password(normalised(password).as_bytes()).map_err(|_| Error::Hash)?;
    Ok(hash.to_string())
}

/// Reuses buffers of earlier hashes. The allocator would not return 19 MiB to the system.
#[derive(Clone, Default)]
struct BufferPool(Arc<Mutex<Vec<Vec<Block>>>>);

impl BufferPool {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<Block>) -> T) -> T {
        let spare = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut blocks = spare().pop().unwrap_or_default();
        let done = work(&mut blocks);
        spare().push(blocks);
        done
    }
}

/// Returns whether `password` matches the PHC string `hash`, with any parameters.
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
    // `Output` compares in constant time.
    Ok(Output::new(&output).map_err(|_| Error::Hash)? == expected)
}

/// Returns whether the PHC string `hash` differs from new ones in algorithm or parameters.
pub(super) fn is_outdated(hash: &str) -> bool {
    !hash.starts_with(&format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$"))
}

/// Returns the password in Unicode NFC (NIST SP 800-63B-4 section 3.1.1.2).
///
/// Keyboards encode the same characters differently.
pub(super) fn normalised(password: &str) -> String {
    password.nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn password_matches_to_the_last_byte_in_either_normal_form() {
        let hasher = Hasher::new();
        let password = format!("{}\0 é🎥", "x".repeat(200));
        let hash = hasher.hash(&password).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(!is_outdated(&hash));
        assert_ne!(hash, hasher.hash(&password).await.unwrap(), "each hash has a salt of its own");
        let verify = async |password: &str| hasher.verify(password, Some(hash.clone())).await.unwrap();
        assert!(verify(&password).await);
        assert!(verify(&password.replace('é', "e\u{301}")).await);
        for other in
            [password.replace("x\0", "y\0"), password.to_uppercase(), format!("{password} "), password[1..].to_owned()]
        {
            assert!(!verify(&other).await);
        }
    }

    #[cfg(target_os = "linux")]
    #[actix_rt::test]
    async fn low_priority_pool_survives_a_panic() {
        let priority = || rustix::process::getpriority_process(None).unwrap();
        let (pool, before) = (low_priority_pool(1), priority());
        assert!(pool.spawn_blocking(|| panic!("on purpose")).await.is_err());
        assert_eq!(pool.spawn_blocking(priority).await.unwrap(), LOWEST_PRIORITY);
        assert_eq!(priority(), before, "of the caller");
    }

    #[actix_rt::test]
    async fn no_password_matches_without_an_account() {
        assert!(!Hasher::new().verify(DUMMY, None).await.unwrap());
    }

    #[actix_rt::test]
    async fn waiters_are_served_in_order_and_leave_when_cancelled_or_late() {
        let hasher = Hasher::new();
        let all = u32::try_from(hasher.permits.available_permits()).unwrap();
        let busy = Arc::clone(&hasher.permits).acquire_many_owned(all).await.unwrap();
        assert!(matches!(hasher.acquire().await, Err(Error::Overloaded)), "after {MAX_WAIT:?}");
        let mut cancelled = Box::pin(hasher.acquire());
        assert!(futures_util::poll!(&mut cancelled).is_pending());
        let mut first = Box::pin(Arc::clone(&hasher.permits).acquire_many_owned(all));
        assert!(futures_util::poll!(&mut first).is_pending());
        let mut second = Box::pin(hasher.acquire());
        assert!(futures_util::poll!(&mut second).is_pending());
        drop((cancelled, busy));
        let first = first.await.unwrap();
        assert!(futures_util::poll!(&mut second).is_pending(), "the first one has them all");
        drop(first);
        assert!(second.await.is_ok());
    }
}
