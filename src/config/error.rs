//! Errors of the configuration. They name settings and never quote a value: it may hold a secret.

use std::fmt;

use ::config::ConfigError;

use super::{RENAMED, Sources, variable_of};

/// Invalid settings, each with its problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(pub(super) Vec<(String, String)>);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(setting, problem)| writeln!(f, "{setting} {problem}"))
    }
}

impl std::error::Error for Error {}

impl Error {
    /// Creates the error of one setting.
    pub fn of(setting: &str, problem: impl fmt::Display) -> Self {
        Self(vec![(setting.to_owned(), problem.to_string())])
    }

    /// Returns the error of the first row that holds: a condition, a setting, and its problem.
    pub(super) fn first<const N: usize>(rows: [(bool, &str, &str); N]) -> Result<(), Self> {
        let row = rows.into_iter().find(|(is_wrong, ..)| *is_wrong);
        row.map_or(Ok(()), |(_, setting, problem)| Err(Self::of(setting, problem)))
    }

    /// Names each setting by where it was set.
    pub(crate) fn located(self, sources: &Sources) -> Self {
        Self(self.0.into_iter().map(|(setting, problem)| (sources.name_of(&setting), problem)).collect())
    }

    /// Translates an error of the config crate.
    pub(super) fn new(error: &ConfigError, sources: &Sources) -> Self {
        let (path, problem) = path_and_problem(error);
        // serde names an unknown key in its message, its section in the path.
        if let Some(key) = problem.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) {
            let variable = variable_of(&if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") });
            let problem = match RENAMED.iter().find(|(old, _)| *old == variable) {
                Some((_, new)) => format!("was renamed to {new}"),
                None => "is not a setting; .env.example lists them all".to_owned(),
            };
            return Self::of(&sources.name_of(&variable), problem);
        }
        let problem = match &*problem {
            "invalid socket address syntax" => {
                "must be an address and a port, such as 127.0.0.1:8080 or [::1]:8080".to_owned()
            }
            "invalid IP address syntax" => "must be networks, such as 10.0.0.0/8 or ::1/128".to_owned(),
            // Its message quotes the value.
            text if text.starts_with("enum ") => "must be one of the values in .env.example".to_owned(),
            text if text.starts_with("must ") => problem,
            _ => format!("is not valid: {problem}"),
        };
        Self::of(&sources.name_of(&variable_of(&path)), problem)
    }
}

fn path_and_problem(error: &ConfigError) -> (String, String) {
    match error {
        ConfigError::Type { expected, key, .. } => (key.clone().unwrap_or_default(), format!("must be {expected}")),
        ConfigError::At { error, key, .. } => {
            let (inner, problem) = path_and_problem(error);
            (key.clone().unwrap_or(inner), problem)
        }
        ConfigError::Message(message) => (String::new(), message.clone()),
        // Only the first line: the others quote the file.
        other => (String::new(), other.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}
