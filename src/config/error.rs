//! What is wrong with the configuration, by setting. Never quotes a value: it may be a secret, or hold one.

use std::fmt;
use std::path::Path;

use ::config::ConfigError;

/// What is wrong with one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSetting {
    setting: String,
    problem: String,
}

impl InvalidSetting {
    pub(super) fn new(setting: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { setting: setting.into(), problem: problem.into() }
    }
}

impl fmt::Display for InvalidSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.setting, self.problem)
    }
}

/// Settings that the server cannot run with, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(pub(super) Vec<InvalidSetting>);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| writeln!(f, "{problem}"))
    }
}

impl std::error::Error for Error {}

impl Error {
    /// One setting and what is wrong with it.
    pub fn of(setting: &str, problem: impl Into<String>) -> Self {
        Self(vec![InvalidSetting::new(setting, problem)])
    }

    /// Names the setting and what it must be.
    pub(super) fn new(error: &ConfigError, file: Option<&Path>) -> Self {
        let (path, problem) = path_and_problem(error);
        // serde names an unknown key in its message, its section in the path.
        if let Some(key) = problem.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) {
            let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            return Self::of(&super::variable_of(&path), "is not a setting; .env.example lists them all");
        }
        match (path.as_str(), file) {
            ("", Some(file)) => Self::of(&format!("--config {}", file.display()), format!("cannot be read: {problem}")),
            (path, _) if problem.starts_with("must ") => Self::of(&super::variable_of(path), problem),
            (path, _) => Self::of(&super::variable_of(path), format!("is not valid: {problem}")),
        }
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
        // The first line alone: the others quote the file.
        other => (String::new(), other.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}
