//! Waivers: cases in which a deployment differs on purpose, each with a reason and an end date.

use std::collections::BTreeSet;

use serde::Deserialize;
use toml::value::{Date, Datetime};

use super::cases::all_cases;
use super::redaction::printable;

/// The waivers of a file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waivers {
    #[serde(default)]
    waiver: Vec<Waiver>,
    #[serde(skip)]
    today: Option<Date>,
}

/// One waiver.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Waiver {
    case: String,
    reason: String,
    /// The last day, as `2026-12-31`.
    pub(super) until: Date,
}

impl Waivers {
    /// Parses the text of a file. `today` is a date such as `2026-12-31`.
    ///
    /// # Errors
    ///
    /// A sentence about an entry.
    pub(super) fn parse(text: &str, today: &str) -> Result<Self, String> {
        let waivers: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut seen = BTreeSet::new();
        for Waiver { case, reason, .. } in &waivers.waiver {
            if !all_cases().any(|known| known.name == case) {
                return Err(format!("{case:?} is not a case; --list prints the names"));
            }
            if !seen.insert(case) {
                return Err(format!("{case} is waived twice"));
            }
            if reason.trim().is_empty() {
                return Err(format!("the reason to waive {case} is empty"));
            }
        }
        Ok(Self { today: today.parse::<Datetime>().ok().and_then(|today| today.date), ..waivers })
    }

    /// Returns the waiver of a case, and whether it is valid today.
    pub(super) fn of(&self, case: &str) -> Option<(&Waiver, bool)> {
        let waiver = self.waiver.iter().find(|waiver| waiver.case == case)?;
        Some((waiver, self.today.is_some_and(|today| today <= waiver.until)))
    }
}

impl Waiver {
    /// Returns the end date and the reason.
    pub(super) fn describe(&self) -> String {
        format!("until {}: {}", self.until, printable(&self.reason))
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
            let (waiver, in_force) = waivers.of("login::sample_response").unwrap();
            assert_eq!((in_force, waiver.until.to_string().as_str()), (is_in_force, until));
            assert!(waivers.of("login::sample").is_none());
        }
    }

    #[test]
    fn empty_file_has_no_waivers() {
        for text in ["", "# none at present\n"] {
            assert!(Waivers::parse(text, "2026-06-15").is_ok_and(|waivers| waivers.waiver.is_empty()), "{text:?}");
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
