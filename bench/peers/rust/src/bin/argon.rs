//! argon2 alone: hashes per second of one thread, with the server's parameters and reused memory.
//!
//!     argon SECONDS

use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Block, Params, Version};

fn main() {
    let seconds = std::env::args().nth(1).and_then(|seconds| seconds.parse().ok()).expect("usage: argon SECONDS");
    let limit = Duration::from_secs_f64(seconds);
    let params = Params::new(19 * 1024, 2, 1, Some(32)).expect("the parameters are right");
    let mut blocks = vec![Block::default(); params.block_count()];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut output = [0; 32];
    let (started, mut hashes) = (Instant::now(), 0_u32);
    while started.elapsed() < limit {
        argon2
            .hash_password_into_with_memory(b"a password of some length", b"sixteen bytes ok", &mut output, &mut blocks)
            .expect("it hashes");
        hashes += 1;
    }
    println!(r#"{{"hashes_per_second": {:.2}}}"#, f64::from(hashes) / started.elapsed().as_secs_f64());
}
