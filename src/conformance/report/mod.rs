//! The results of a run, and their summary for a terminal.

pub(super) mod html;
pub(super) mod json;
pub(super) mod junit;

use std::fmt::Write as _;
use std::time::Duration;

use super::case::Case;

/// The results of a run.
pub struct Report {
    /// The deployment.
    pub url: String,
    /// One result for each case, in the order of the suite.
    pub results: Vec<CaseResult>,
    /// The number of requests that were sent.
    pub requests: u64,
    /// The duration of the run.
    pub elapsed: Duration,
}

/// The result of one case.
pub struct CaseResult {
    /// The case.
    pub case: &'static Case,
    /// Whether it held.
    pub state: Verdict,
    /// Its duration.
    pub elapsed: Duration,
}

/// Whether a case held.
#[derive(Debug)]
pub enum Verdict {
    /// The deployment conforms.
    Held,
    /// The deployment conforms, and a waiver is not needed.
    HeldAlthoughWaived,
    /// The deployment violates the contract: what was received and what is required.
    Failed(String),
    /// The deployment violates the contract on purpose.
    Waived {
        /// What was received and what is required.
        failure: String,
        /// The end date and the reason.
        waiver: String,
    },
    /// The case could not be tried; names what is missing.
    NotTried(String),
}

impl Verdict {
    /// Returns the state's name in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Held | Self::HeldAlthoughWaived => "held",
            Self::Failed(_) => "failed",
            Self::Waived { .. } => "waived",
            Self::NotTried(_) => "not tried",
        }
    }

    /// Returns what there is to say beside the name.
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Held => None,
            Self::HeldAlthoughWaived => Some("its waiver is no longer needed".to_owned()),
            Self::Failed(message) | Self::NotTried(message) => Some(message.clone()),
            Self::Waived { failure, waiver } => Some(format!("waived {waiver} ({failure})")),
        }
    }
}

impl Report {
    /// Returns the number of cases with this state's name.
    #[must_use]
    pub fn count(&self, state: &str) -> usize {
        self.results.iter().filter(|result| result.state.name() == state).count()
    }

    /// Returns the names of the failed cases.
    #[must_use]
    pub fn failed_cases(&self) -> Vec<&'static str> {
        let failed = self.results.iter().filter(|result| matches!(result.state, Verdict::Failed(_)));
        failed.map(|result| result.case.name).collect()
    }

    /// Describes each case about which there is something to say, and counts all.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for result in &self.results {
            let Some(detail) = result.state.detail() else { continue };
            // Writing to a string can't fail.
            let _ = writeln!(text, "{:9}  {}\n           {detail}", result.state.name(), result.case.name);
            if matches!(result.state, Verdict::Failed(_)) {
                let _ = writeln!(text, "           contract: {}", result.case.sentence);
            }
        }
        let _ = writeln!(text, "{}: {}", self.url, self.summary());
        text
    }

    /// Describes each case whose state differs in `other`; empty if none does.
    pub(super) fn differences(&self, other: &Self) -> String {
        let mut text = String::new();
        for (mine, theirs) in self.results.iter().zip(&other.results) {
            if mine.state.name() != theirs.state.name() {
                // Writing to a string can't fail.
                let _ = writeln!(text, "{}", mine.case.name);
                for (url, state) in [(&self.url, &mine.state), (&other.url, &theirs.state)] {
                    let detail = state.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
                    let _ = writeln!(text, "    {url}: {}{detail}", state.name());
                }
            }
        }
        text
    }

    /// Counts the cases by state.
    pub(super) fn summary(&self) -> String {
        let counts = ["held", "failed", "waived", "not tried"].map(|state| format!("{} {state}", self.count(state)));
        let (cases, seconds) = (self.results.len(), self.elapsed.as_secs_f64());
        format!("{cases} cases: {}; {} requests in {seconds:.1} s", counts.join(", "), self.requests)
    }
}

/// Escapes text for XML and HTML, in content and attributes.
fn escape(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    escaped.replace('"', "&quot;").replace('\'', "&#39;")
}
