//! Reads `.env` of the current folder, overridden by the process's environment.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::config::Error;
use crate::secret::files;

const FILE: &str = ".env";

/// Returns both layers, merged. An empty value counts as unset.
pub(super) fn read() -> Result<BTreeMap<String, String>, Error> {
    let mut environment = match files::read_regular(Path::new(FILE)) {
        Ok(text) => parse(&text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => return Err(Error::of(FILE, format!("can't be read: {error}"))),
    };
    environment.extend(of_process()?);
    Ok(environment)
}

/// Returns the environment of the process, without empty values.
pub(super) fn of_process() -> Result<BTreeMap<String, String>, Error> {
    let mut environment = BTreeMap::new();
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) if value.is_empty() => {}
            Ok(value) => drop(environment.insert(name, value)),
            Err(_) if name.starts_with("APP_") => return Err(Error::of(&name, "must be UTF-8")),
            Err(_) => {}
        }
    }
    Ok(environment)
}

fn parse(text: &str) -> Result<BTreeMap<String, String>, Error> {
    for (number, line) in (1..).zip(text.lines()) {
        // dotenvy would substitute another variable's value, and silently change a secret.
        let value = line.split_once('=').map_or("", |(_, value)| value.trim());
        if line.trim_start().starts_with("APP_") && value.contains('$') && !value.starts_with('\'') {
            let source = format!("{FILE}, line {number}");
            return Err(Error::of(&source, "has a value with $, which must be in single quotes"));
        }
    }
    let pairs = dotenvy::from_read_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(|error| {
        let line = match &error {
            dotenvy::Error::LineParse(line, _) => text.lines().position(|other| other.contains(line.trim())),
            _ => None,
        };
        let source = line.map_or(FILE.to_owned(), |line| format!("{FILE}, line {}", line + 1));
        Error::of(&source, "is not NAME=value")
    })?;
    Ok(pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_quotes_and_empty_values_are_parsed() {
        let read = parse("# a comment\nAPP_A=1\nAPP_B='a $b #c'\nAPP_C=\nexport OTHER=x\n").unwrap();
        let pairs: Vec<(&str, &str)> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("APP_A", "1"), ("APP_B", "a $b #c"), ("OTHER", "x")]);
    }

    #[test]
    fn ambiguous_line_is_named_and_not_quoted() {
        for (text, expected) in [
            ("APP_A=1\nAPP_AUTH__JWT_SECRET=canary$PATH", ".env, line 2 has a value with $"),
            ("APP_A=1\nAPP_AUTH__JWT_SECRET canary", ".env, line 2 is not NAME=value"),
        ] {
            let problem = parse(text).unwrap_err().to_string();
            assert!(problem.starts_with(expected) && !problem.contains("canary"), "{problem}");
        }
    }
}
