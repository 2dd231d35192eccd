//! Errors of the configuration. They name settings and never quote a value: it may hold a secret.

use std::fmt;
use std::path::Path;

use ::config::ConfigError;

/// Invalid settings, each with its problem, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(pub(super) Vec<String>);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| writeln!(f, "{problem}"))
    }
}

impl std::error::Error for Error {}

impl Error {
    /// Creates the error of one setting.
    pub fn of(setting: &str, problem: impl fmt::Display) -> Self {
        Self(vec![format!("{setting} {problem}")])
    }

    /// Translates an error of the config crate.
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
        // Only the first line: the others quote the file.
        other => (String::new(), other.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}
