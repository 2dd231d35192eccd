//! Compares the results of two deployments.

use std::fmt::Write as _;

use super::report::{CaseResult, Report};

/// Describes each case whose state differs; empty if none does.
pub(super) fn differences(first: &Report, second: &Report) -> String {
    let mut text = String::new();
    for (one, other) in first.results.iter().zip(&second.results) {
        if one.state.name() != other.state.name() {
            // Writing to a string can't fail.
            let _ = writeln!(text, "{}", one.case.name);
            for (report, result) in [(first, one), (second, other)] {
                let _ = writeln!(text, "    {}: {}", report.url, describe(result));
            }
        }
    }
    text
}

fn describe(result: &CaseResult) -> String {
    let detail = result.state.detail().map(|detail| format!(": {detail}"));
    format!("{}{}", result.state.name(), detail.unwrap_or_default())
}
