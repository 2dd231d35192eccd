//! The report as JSON.

use serde_json::{Value, json};

use super::Report;

pub(in crate::conformance) fn render(report: &Report) -> String {
    let cases = report.results.iter().map(|result| {
        json!({
            "name": result.case.name,
            "tags": result.case.tags.split_whitespace().collect::<Vec<_>>(),
            "contract": result.case.sentence,
            "state": result.state.name(),
            "detail": result.state.detail(),
            "milliseconds": u64::try_from(result.elapsed.as_millis()).unwrap_or(u64::MAX),
        })
    });
    let counts = json!({
        "held": report.count("held"),
        "failed": report.count("failed"),
        "waived": report.count("waived"),
        "notTried": report.count("not tried"),
    });
    let cases: Vec<Value> = cases.collect();
    let report = json!({"url": report.url, "counts": counts, "requests": report.requests, "cases": cases});
    format!("{report:#}\n")
}
