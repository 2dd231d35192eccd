//! Runs cases on several threads, and applies waivers.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::case::{Case, Failure};
use super::report::{CaseResult, Report, Verdict};
use super::target::Target;
use super::waiver::Waivers;

/// Runs `cases` on `jobs` threads, and then ends the sessions that they have opened.
#[must_use]
pub fn run_cases(target: &Target, cases: &[&'static Case], jobs: usize, waivers: &Waivers) -> Report {
    let (started, queue, results) = (Instant::now(), Mutex::new(cases.iter().enumerate()), Mutex::new(Vec::new()));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((index, case)) = next() {
                    let result = run_case(target, case, waivers);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    target.end_sessions();
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    Report {
        url: target.client.base_url.clone(),
        results: results.into_iter().map(|(_, result)| result).collect(),
        requests: target.client.requests.load(Ordering::Relaxed),
        elapsed: started.elapsed(),
    }
}

fn run_case(target: &Target, case: &'static Case, waivers: &Waivers) -> CaseResult {
    let started = Instant::now();
    let redact = |message: String| target.client.secrets.redact(&message);
    let state = match ((case.run)(target), waivers.of(case.name)) {
        (Ok(()), None) => Verdict::Held,
        (Ok(()), Some(_)) => Verdict::HeldAlthoughWaived,
        (Err(Failure::NotTried(missing)), _) => Verdict::NotTried(missing),
        (Err(Failure::Violation(failure)), Some((waiver, true))) => {
            Verdict::Waived { failure: redact(failure), waiver: waiver.describe() }
        }
        (Err(Failure::Violation(failure)), Some((waiver, false))) => {
            Verdict::Failed(format!("{} (its waiver ended on {})", redact(failure), waiver.until))
        }
        (Err(Failure::Violation(failure)), None) => Verdict::Failed(redact(failure)),
    };
    CaseResult { case, state, elapsed: started.elapsed() }
}
