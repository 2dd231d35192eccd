//! Removes secrets and control characters from everything that is printed or reported.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// Shorter strings are no secrets.
const SHORTEST: usize = 6;
/// The maximum length of a reported message, in characters.
const MAX_MESSAGE: usize = 600;
const REDACTED: &str = "[redacted]";

/// The password, the tokens and the tickets that the suite sent or received.
#[derive(Default)]
pub(super) struct Secrets(Mutex<BTreeSet<String>>);

impl Secrets {
    /// Adds a secret, also as it is written in JSON.
    pub(super) fn add(&self, secret: &str) {
        if secret.len() < SHORTEST {
            return;
        }
        let json = Value::from(secret).to_string();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(json.trim_matches('"').to_owned());
        all.insert(secret.to_owned());
    }

    /// Adds every string in a response that issues tokens; the whole body if it is not JSON.
    pub(super) fn add_response(&self, body: &[u8]) {
        match serde_json::from_slice(body) {
            Ok(value) => self.add_strings(&value),
            Err(_) => self.add(&String::from_utf8_lossy(body)),
        }
    }

    fn add_strings(&self, value: &Value) {
        match value {
            Value::String(text) => self.add(text),
            Value::Array(items) => items.iter().for_each(|item| self.add_strings(item)),
            Value::Object(members) => members.values().for_each(|member| self.add_strings(member)),
            _ => {}
        }
    }

    /// Returns `message` without secrets, on one line, and shortened.
    pub(super) fn redact(&self, message: &str) -> String {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut longest_first: Vec<&String> = all.iter().collect();
        longest_first.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let without = longest_first.into_iter().fold(message.to_owned(), |text, secret| text.replace(secret, REDACTED));
        let mut printable: String = without.chars().map(|c| if is_unprintable(c) { '\u{fffd}' } else { c }).collect();
        if let Some((end, _)) = printable.char_indices().nth(MAX_MESSAGE) {
            printable.truncate(end);
            printable.push('…');
        }
        printable
    }
}

/// Returns whether a character controls a terminal, changes the direction of text, or is not allowed in XML.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_has_no_secret_and_no_control_character() {
        let secrets = Secrets::default();
        secrets.add("pass\"word");
        secrets.add("eyJh.eyJz.c2ln");
        secrets.add_response(br#"{"data":{"token":"a-new-token","n":1,"list":["another-one"]}}"#);
        secrets.add_response(b"an-opaque-body");
        let message = "pass\"word pass\\\"word eyJh.eyJz.c2ln a-new-token another-one an-opaque-body \u{1b}[31m\n\u{202e}";
        let expected = format!("{} \u{fffd}[31m\u{fffd}\u{fffd}", [REDACTED; 6].join(" "));
        assert_eq!(secrets.redact(message), expected);
        assert_eq!(secrets.redact(&"é".repeat(1000)).chars().count(), MAX_MESSAGE + 1);
    }

    #[test]
    fn longer_secret_is_removed_before_its_part() {
        let secrets = Secrets::default();
        secrets.add("secret");
        secrets.add("secret-and-more");
        assert_eq!(secrets.redact("secret-and-more"), REDACTED);
    }
}
