//! Micro-benchmarks of the parts of a request: `cargo bench --bench micro`. In CI each runs once; no time is asserted.

#[expect(dead_code, reason = "each benchmark uses a part of it")]
#[path = "operations/fixture.rs"]
mod fixture;

use std::error::Error;
use std::future::ready;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput};
use futures_util::FutureExt as _;
use proconf_app_server::admin_control;
use proconf_app_server::cache::{CacheConfig, Envelope, FetchError as _, ResponseCache};
use proconf_app_server::clock::Clock;
use proconf_app_server::room::NameComparison;
use proconf_app_server::strict_json::Object;
use proconf_app_server::telemetry::metrics::Registry;
use serde_json::value::RawValue;

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = Criterion::default().configure_from_args();
    token_check(&mut criterion)?;
    room_parsing(&mut criterion);
    envelope(&mut criterion);
    cache_hit(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

fn token_check(criterion: &mut Criterion) -> Result<(), Box<dyn Error>> {
    let tokens = fixture::tokens();
    let user = tokens.issue_user_token("YHl0oAPyQm3nJ8zKq1eYlA", "4cX2pM0uS9aVbR7tWd5hEg");
    let guest =
        tokens.issue_guest_token(&NameComparison::Exact.parse("testRoom")?, i64::MAX).ok_or("guests are disabled")?;
    let (rest, signature) = user.rsplit_once('.').ok_or("a token has three parts")?;
    let forged = format!("{rest}.{}", signature.chars().rev().collect::<String>());
    for (name, token, good) in [("user", &user, true), ("guest", &guest, true), ("forged", &forged, false)] {
        if tokens.verify_token(token).is_ok() != good {
            return Err(format!("the {name} token has the wrong verdict").into());
        }
        criterion.bench_function(&format!("token check: {name}"), |bencher| {
            bencher.iter(|| tokens.verify_token(black_box(token)));
        });
    }
    Ok(())
}

fn room_parsing(criterion: &mut Criterion) {
    for (name, room) in [("short", "testRoom"), ("Cyrillic", "комната для встреч"), ("escaped", "a%2525252fb")]
    {
        criterion.bench_function(&format!("room parsing: {name}"), |bencher| {
            bencher.iter(|| NameComparison::Exact.parse(black_box(room)));
        });
    }
}

/// Measures the step from Admin Control's body to the cached body and its `ETag`.
fn envelope(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("envelope pass-through");
    for (name, size) in [("2 KB", 2 << 10), ("1 MB", 1 << 20)] {
        let sentence = r"Anna: the budget is agreed on.\n";
        let body = format!(r#"{{"error":null,"data":"{}"}}"#, sentence.repeat(size / sentence.len()));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || body.clone(),
                |body: String| {
                    let members = serde_json::from_str::<Object<Box<RawValue>>>(&body).ok();
                    members.and_then(|mut members| members.remove("data")).map(|data| Envelope::new(&data))
                },
                BatchSize::LargeInput,
            );
        });
    }
}

fn cache_hit(criterion: &mut Criterion) -> Result<(), Box<dyn Error>> {
    let hour = Duration::from_hours(1);
    let config = CacheConfig { fresh_for: hour, stale_if_error: hour, stale_after: hour, max_bytes: 1 << 30 };
    let cache: ResponseCache<admin_control::Error> =
        ResponseCache::new(config, None, &mut Registry::new(Clock::system().now()), "bench");
    let envelope = Envelope::new(&RawValue::from_string(format!("\"{}\"", "a".repeat(2048)))?);
    actix_rt::System::new().block_on(cache.get("testRoom", || ready(Ok(envelope))))?;
    let hit = || cache.get(black_box("testRoom"), || ready(Err(admin_control::Error::aborted()))).now_or_never();
    if !matches!(hit(), Some(Ok(_))) {
        return Err("the entry is not in the cache".into());
    }
    criterion.bench_function("cache hit", |bencher| bencher.iter(hit));
    Ok(())
}
