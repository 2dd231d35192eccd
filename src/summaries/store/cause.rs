//! Describes failures of a store without the store's own texts.
//!
//! They may quote paths, credentials and responses.

use std::io;

use object_store::client::HttpError;

/// What the URL of a request for credentials of the instance contains.
const METADATA_PATHS: [&str; 3] = ["/latest/api/token", "/latest/meta-data/", "/computeMetadata/"];

/// Describes the innermost cause of a known type.
pub(super) fn describe(error: &object_store::Error) -> String {
    let causes = std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source());
    let cause = causes.filter_map(known_cause).last();
    let cause = cause.unwrap_or_else(|| "its response is not valid".to_owned());
    let text = error.to_string();
    let is_metadata = METADATA_PATHS.iter().any(|path| text.contains(path));
    if is_metadata { format!("no credentials from the metadata service: {cause}") } else { cause }
}

fn known_cause(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        // Failures of TLS and of name resolution have a text and no kind.
        let text = error.to_string();
        return Some(match text {
            text if text.starts_with("invalid peer certificate") => format!("its certificate is not accepted: {text}"),
            text if error.get_ref().is_some() => text,
            _ => error.kind().to_string(),
        });
    }
    if let Some(error) = error.downcast_ref::<HttpError>() {
        return Some(format!("{:?}", error.kind()).to_lowercase());
    }
    // The type with the status as a number is private.
    let text = error.to_string();
    let (_, status) = text.split_once("status code: ")?;
    let status: u16 = status.get(..3)?.parse().ok()?;
    Some(error_code(&text).map_or_else(|| format!("status {status}"), |code| format!("status {status}, {code}")))
}

/// Returns the code of an error in XML: `<Error><Code>AccessDenied</Code>`.
fn error_code(text: &str) -> Option<&str> {
    let (code, _) = text.split_once("<Code>")?.1.split_once("</Code>")?;
    let is_code = (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_code.then_some(code)
}
