//! Removes secrets and control characters from everything that is printed or reported.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// Shorter strings are no secrets, unless the operator gave them.
const SHORTEST: usize = 6;
/// The members of a response whose strings are secrets.
const SECRET_MEMBERS: [&str; 3] = ["data", "token", "refreshToken"];
/// The maximum length of a reported message, in characters.
const MAX_MESSAGE: usize = 600;
const REDACTED: &str = "[redacted]";
/// Replaces a character that is not printable.
const REPLACEMENT: &str = "\u{fffd}";

/// The password, the tokens and the tickets that the suite sent or received.
#[derive(Default)]
pub(super) struct Secrets(Mutex<BTreeSet<String>>);

impl Secrets {
    /// Adds a secret that the operator gave, whatever its length, also as it is written in JSON.
    pub(super) fn add_given(&self, secret: &str) {
        let json = Value::from(secret).to_string();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend([json.trim_matches('"').to_owned(), secret.to_owned()]);
        all.remove("");
    }

    /// Adds a secret that the suite sent or received, unless it is too short to be one.
    pub(super) fn add(&self, secret: &str) {
        if secret.len() >= SHORTEST {
            self.add_given(secret);
        }
    }

    /// Adds the secrets in a response that issues tokens; the whole body if it is not JSON.
    pub(super) fn add_response(&self, body: &[u8]) {
        let value: Value = serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into());
        self.add_member("data", &value);
    }

    fn add_member(&self, name: &str, value: &Value) {
        match value {
            Value::String(text) if SECRET_MEMBERS.contains(&name) => self.add(text),
            Value::Array(items) => items.iter().for_each(|item| self.add_member(name, item)),
            Value::Object(members) => members.iter().for_each(|(name, member)| self.add_member(name, member)),
            _ => {}
        }
    }

    /// Returns `message` without secrets, on one line, and shortened.
    pub(super) fn redact(&self, message: &str) -> String {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut longest_first: Vec<&String> = all.iter().collect();
        longest_first.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let without = longest_first.into_iter().fold(message.to_owned(), |text, secret| text.replace(secret, REDACTED));
        let mut printable = without.replace(is_unprintable, REPLACEMENT);
        if let Some((end, _)) = printable.char_indices().nth(MAX_MESSAGE) {
            printable.truncate(end);
            printable.push('…');
        }
        printable
    }
}

/// Returns text of several lines without control characters, for a terminal.
pub(super) fn printable(text: &str) -> String {
    text.replace(|c| c != '\n' && is_unprintable(c), REPLACEMENT)
}

/// Returns whether a character controls a terminal, changes the direction of text, or is not allowed in XML.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_has_no_secret_and_no_control_character() {
        let secrets = Secrets::default();
        secrets.add("pass\"word");
        secrets.add("eyJh.eyJz.c2ln");
        secrets.add_response(br#"{"data":{"token":"a-new-token","tokenType":"Bearer","refreshToken":"another-one"}}"#);
        secrets.add_response(br#"{"error":null,"data":"a-ticket"}"#);
        secrets.add_response(b"an-opaque-body");
        let message = "pass\"word pass\\\"word eyJh.eyJz.c2ln a-new-token another-one a-ticket an-opaque-body \u{1b}[31m\n\u{202e}\u{61c}";
        let expected = format!("{} \u{fffd}[31m\u{fffd}\u{fffd}\u{fffd}", [REDACTED; 7].join(" "));
        assert_eq!(secrets.redact(message), expected);
        assert_eq!(secrets.redact(&"é".repeat(1000)).chars().count(), MAX_MESSAGE + 1);
    }

    #[test]
    fn name_and_token_type_are_reported() {
        let secrets = Secrets::default();
        secrets.add_response(br#"{"data":{"token":"a-new-token","tokenType":"Bearer","user":{"name":"Ann Example"}}}"#);
        assert_eq!(secrets.redact("Bearer a-new-token, Ann Example"), "Bearer [redacted], Ann Example");
    }

    #[test]
    fn given_secret_is_removed_whatever_its_length() {
        let secrets = Secrets::default();
        for given in ["", "pw1"] {
            secrets.add_given(given);
        }
        secrets.add("null");
        assert_eq!(secrets.redact("pw1 and null"), "[redacted] and null");
    }

    #[test]
    fn longer_secret_is_removed_before_its_part() {
        let secrets = Secrets::default();
        secrets.add("secret");
        secrets.add("secret-and-more");
        assert_eq!(secrets.redact("secret-and-more"), REDACTED);
    }
}
