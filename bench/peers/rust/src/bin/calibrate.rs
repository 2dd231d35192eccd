//! The current speed of the machine: the time of a cache-line transfer between two cores, and of a fixed calculation on each.
//! On a shared machine both change from minute to minute.
//!
//!     calibrate CORE CORE

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

const HOPS: u64 = 100_000;
const SPINS: u64 = 20_000_000;

fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).expect("the core is there");
}

/// Measures half a round trip, in nanoseconds: the median of several, because of interruptions.
fn hop(first: usize, second: usize) -> f64 {
    let mut all: Vec<f64> = (0..9).map(|_| hop_once(first, second)).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

fn hop_once(first: usize, second: usize) -> f64 {
    let ball = AtomicU64::new(0);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            pin(second);
            for round in 0..HOPS {
                wait(&ball, 2 * round + 1);
                ball.store(2 * round + 2, Ordering::Release);
            }
        });
        pin(first);
        // The first transfers wait until the other thread runs.
        ball.store(1, Ordering::Release);
        wait(&ball, 2);
        let started = Instant::now();
        for round in 1..HOPS {
            ball.store(2 * round + 1, Ordering::Release);
            wait(&ball, 2 * round + 2);
        }
        nanoseconds(started.elapsed()) / (2 * (HOPS - 1)) as f64
    })
}

fn wait(ball: &AtomicU64, value: u64) {
    while ball.load(Ordering::Acquire) != value {
        std::hint::spin_loop();
    }
}

/// Measures a thousand dependent multiplications, in nanoseconds.
fn spin(core: usize) -> f64 {
    pin(core);
    let started = Instant::now();
    let mut x = std::hint::black_box(0x9E37_79B9_7F4A_7C15_u64);
    for _ in 0..SPINS {
        x = x.wrapping_mul(0x2545_F491_4F6C_DD1D).rotate_left(17);
    }
    std::hint::black_box(x);
    nanoseconds(started.elapsed()) / (SPINS / 1000) as f64
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

fn main() {
    let mut cores = std::env::args().skip(1).map(|core| core.parse().expect("a core's number"));
    let (Some(first), Some(second)) = (cores.next(), cores.next()) else {
        panic!("usage: calibrate CORE CORE");
    };
    println!(r#"{{"hop_ns": {:.1}, "spin_ns": [{:.1}, {:.1}]}}"#, hop(first, second), spin(first), spin(second));
}
