//! Summaries of ended calls: text files.
//!
//! Admin Control's record names the file. It is not trusted: the file must be one of the room.

mod store;

use std::time::{Duration, Instant};

pub(crate) use store::{Store, StoreConfig};

use crate::admin_control::{self, Endpoint};
use crate::auth::room_access::PermittedRoom;
use crate::cache::{CachedResponse, Envelope, FailureKind, FetchError, ResponseCache, Responses};
use crate::request_context::RequestContext;
use crate::room::RoomName;
use crate::strict_json::Object;

/// The longest key of a file, in bytes; S3's own limit.
const MAX_KEY_BYTES: usize = 1024;

/// The reason why a summary cannot be returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The store has no such file.
    #[error("there is no such file")]
    NoFile,
    /// The record is not that of this room's summary.
    #[error("the record can't be used: {0}")]
    BadRecord(&'static str),
    /// The store failed, or the file is too large or not UTF-8.
    #[error("the store failed: {0}")]
    StoreFailed(String),
    /// Admin Control failed, or knows no such room.
    #[error(transparent)]
    AdminControl(#[from] admin_control::Error),
}

impl FetchError for Error {
    fn kind(&self) -> FailureKind {
        match self {
            Self::NoFile => FailureKind::NotFound,
            Self::AdminControl(error) => error.kind(),
            Self::BadRecord(_) | Self::StoreFailed(_) => FailureKind::Failed,
        }
    }

    /// Replicas do not share summaries, so that only aborted reads occur.
    fn from_kind(_: FailureKind) -> Self {
        Self::StoreFailed("the read was aborted".to_owned())
    }
}

/// Reads summaries.
pub(crate) struct Summaries {
    responses: Responses,
    store: Store,
    /// The texts by key. They never change.
    texts: ResponseCache<Error>,
    /// The time limit of reading record and file together.
    timeout: Duration,
}

impl Summaries {
    /// Reads records from `responses` and files from `store` through `texts`, both within `timeout`.
    pub(crate) fn new(responses: Responses, store: Store, texts: ResponseCache<Error>, timeout: Duration) -> Self {
        Self { responses, store, texts, timeout }
    }

    /// Reads the text of the summary of `room`.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub(crate) async fn read(&self, room: &PermittedRoom, context: &RequestContext) -> Result<CachedResponse, Error> {
        let started = Instant::now();
        let record = self.responses.get(Endpoint::CallSummary, Some(room), context).await?;
        let key = file_key(record.envelope.data(), room).map_err(|error| {
            self.responses.remove(Endpoint::CallSummary, Some(room));
            log_failure(error)
        })?;
        let (store, file, left) = (self.store.clone(), key.clone(), self.timeout.saturating_sub(started.elapsed()));
        let fetch = || async move { store.read(&file, left).await.and_then(|text| envelope(&text)).map_err(log_failure) };
        self.texts.get(&key, fetch).await
    }
}

/// Logs a failure, unless Admin Control's client has.
fn log_failure(error: Error) -> Error {
    if matches!(error, Error::BadRecord(_) | Error::StoreFailed(_)) {
        log::error!(cause:% = error; "a summary could not be read");
    }
    error
}

/// Returns whether `meeting` is `<room>_<digits>`, with this room.
///
/// The last `_` counts: the room `r` does not own the files of the room `r_1`.
fn is_meeting_of(meeting: &str, room: &RoomName) -> bool {
    let is_time = |time: &str| !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit());
    meeting.rsplit_once('_').is_some_and(|(name, time)| is_time(time) && room.matches_folded(name))
}

/// Wraps a text as a JSON string.
fn envelope(text: &str) -> Result<Envelope, Error> {
    let json = serde_json::value::to_raw_value(text).map_err(|error| Error::StoreFailed(error.to_string()))?;
    Ok(Envelope::new(&json))
}

/// Extracts the key of the file, if record and key are of `room`.
///
/// The key for the room `r1` is `r1_1718871014/summary.txt`, for example.
/// Admin Control lower-cases names, so that names are compared folded. The key is used unchanged.
fn file_key(record: &[u8], room: &RoomName) -> Result<String, Error> {
    let record: Object = serde_json::from_slice(record).map_err(|_| Error::BadRecord("it is not one object"))?;
    if !record.text("room_name").is_some_and(|name| room.matches_folded(name)) {
        return Err(Error::BadRecord("it is of another room"));
    }
    let key = record.text("file_url").ok_or(Error::BadRecord("it has no file_url"))?;
    let of_room = key.split_once('/').is_some_and(|(meeting, file)| !file.is_empty() && is_meeting_of(meeting, room));
    if of_room && key.len() <= MAX_KEY_BYTES && !key.contains(char::is_control) {
        return Ok(key.to_owned());
    }
    Err(Error::BadRecord("its file_url is not of this room"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::NameComparison;

    fn key(file_url: &str) -> Result<String, Error> {
        let record = serde_json::json!({"id": 1, "room_name": "r1", "file_url": file_url}).to_string();
        file_key(record.as_bytes(), &NameComparison::Exact.parse("r1").unwrap())
    }

    #[test]
    fn key_of_another_room_is_rejected() {
        assert_eq!(key("r1_1718871014/summary.txt").unwrap(), "r1_1718871014/summary.txt");
        assert!(key("r1_1/a b/ж.txt").is_ok());
        for hostile in [
            "",
            "summary.txt",
            "r1/summary.txt",
            "r1_1718871014",
            "r1_1718871014/",
            "r2_17/summary.txt",
            "R2_17/summary.txt",
            "r1_2_17/summary.txt",
            "r1_１７/summary.txt",
            "r1\u{200b}_17/summary.txt",
            "r12_17/summary.txt",
            "r1_x_17/summary.txt",
            "r1_/summary.txt",
            "r1_17x/summary.txt",
            "/r1_17/summary.txt",
            "../r1_17/summary.txt",
            "/etc/passwd",
            "http://127.0.0.1:9909/x",
            "//127.0.0.1:9909/x",
            "s3://other/x",
            "r1_17/a\0b",
            "r1_17/a\nb",
            &format!("r1_17/{}", "x".repeat(2048)),
        ] {
            assert!(key(hostile).is_err(), "{hostile:?}");
        }
    }

    #[test]
    fn record_in_another_spelling_is_accepted() {
        for (requested, room_name, file_url) in [
            ("TestRoom", "testroom", "testroom_17/summary.txt"),
            ("testroom", "TestRoom", "TESTROOM_17/Summary.TXT"),
            ("Комната", "комната", "КОМНАТА_17/x"),
            ("a_1", "A_1", "A_1_17/x"),
            ("é", "e\u{301}", "É_17/x"),
        ] {
            let record = serde_json::json!({"room_name": room_name, "file_url": file_url}).to_string();
            for comparison in [NameComparison::Exact, NameComparison::Jitsi] {
                let room = comparison.parse(requested).unwrap();
                assert_eq!(file_key(record.as_bytes(), &room).unwrap(), file_url, "the key is read unfolded");
            }
        }
    }

    #[test]
    fn record_of_another_room_is_rejected() {
        let room = NameComparison::Exact.parse("r1").unwrap();
        for record in [
            "null",
            "[]",
            "\"r1_17/summary.txt\"",
            "{}",
            r#"{"file_url":"r1_17/summary.txt"}"#,
            r#"{"room_name":"r2","file_url":"r1_17/summary.txt"}"#,
            r#"{"room_name":["r1"],"file_url":"r1_17/summary.txt"}"#,
            r#"{"room_name":"r1"}"#,
            r#"{"room_name":"r1","file_url":null}"#,
            r#"{"room_name":"r1","file_url":["r1_17/summary.txt"]}"#,
            r#"{"room_name":"r1","file_url":"r1_17/a","file_url":"r1_17/b"}"#,
        ] {
            assert!(matches!(file_key(record.as_bytes(), &room), Err(Error::BadRecord(_))), "{record}");
        }
    }
}
