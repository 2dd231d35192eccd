//! Waivers: cases in which a deployment differs on purpose, each with a reason and an end date.

use std::collections::BTreeSet;

use serde::Deserialize;
use toml::value::Datetime;

use super::cases::all_cases;

/// The waivers of a file.
#[derive(Default)]
pub(super) struct Waivers(Vec<Waiver>);

/// One waiver.
pub(super) struct Waiver {
    case: String,
    reason: String,
    /// The last day, as `2026-12-31`.
    pub(super) until: String,
    pub(super) is_in_force: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WaiverFile {
    #[serde(default)]
    waiver: Vec<WaiverEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WaiverEntry {
    case: String,
    reason: String,
    until: Datetime,
}

impl Waivers {
    /// Parses the text of a file. `today` is a date such as `2026-12-31`.
    ///
    /// # Errors
    ///
    /// A sentence about an entry.
    pub(super) fn parse(text: &str, today: &str) -> Result<Self, String> {
        let file: WaiverFile = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut seen = BTreeSet::new();
        let waivers = file.waiver.into_iter().map(|entry| {
            if !all_cases().any(|case| case.name == entry.case) {
                return Err(format!("{:?} is not a case; --list prints the names", entry.case));
            }
            if !seen.insert(entry.case.clone()) {
                return Err(format!("{} is waived twice", entry.case));
            }
            if entry.reason.trim().is_empty() {
                return Err(format!("the reason to waive {} is empty", entry.case));
            }
            if entry.until.date.is_none() || entry.until.time.is_some() {
                return Err(format!("until of {} must be a date such as 2026-12-31", entry.case));
            }
            let until = entry.until.to_string();
            Ok(Waiver { is_in_force: *today <= *until, case: entry.case, reason: entry.reason, until })
        });
        Ok(Self(waivers.collect::<Result<_, _>>()?))
    }

    /// Returns the waiver of a case.
    pub(super) fn of(&self, case: &str) -> Option<&Waiver> {
        self.0.iter().find(|waiver| waiver.case == case)
    }
}

impl Waiver {
    /// Returns the end date and the reason.
    pub(super) fn describe(&self) -> String {
        format!("until {}: {}", self.until, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(until: &str) -> Result<Waivers, String> {
        Waivers::parse(
            &format!("[[waiver]]\ncase = 'login::sample_response'\nreason = 'a reason'\nuntil = {until}\n"),
            "2026-06-15",
        )
    }

    #[test]
    fn waiver_is_in_force_until_the_end_of_its_last_day() {
        for (until, is_in_force) in [("2026-06-14", false), ("2026-06-15", true), ("2027-01-01", true)] {
            let waivers = parse(until).unwrap();
            let waiver = waivers.of("login::sample_response").unwrap();
            assert_eq!((waiver.is_in_force, waiver.until.as_str()), (is_in_force, until));
            assert!(waivers.of("login::sample").is_none());
        }
    }

    #[test]
    fn empty_file_has_no_waivers() {
        for text in ["", "# none at present\n"] {
            assert!(Waivers::parse(text, "2026-06-15").is_ok_and(|waivers| waivers.0.is_empty()), "{text:?}");
        }
    }

    #[test]
    fn entry_that_is_not_valid_is_rejected() {
        for until in ["'2026-06-15'", "2026-06-15T10:00:00Z", "10:00:00", "2026-02-30", "1"] {
            assert!(parse(until).is_err(), "{until}");
        }
        let entry = "[[waiver]]\ncase = 'login::sample_response'\nreason = 'r'\nuntil = 2026-06-15\n";
        for (text, says) in [
            (entry.replace("sample", "other"), "is not a case"),
            (entry.repeat(2), "twice"),
            (entry.replace("'r'", "' '"), "the reason"),
            (entry.replace("until", "til"), "unknown field"),
            ("waiver = 1".to_owned(), "invalid type"),
        ] {
            let error = Waivers::parse(&text, "2026-06-15").err().unwrap_or_default();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
