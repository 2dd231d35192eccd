//! Summaries of ended calls: the text of a file, for those who may enter the room. Knows neither HTTP nor Admin Control;
//! which file it is says a [`SummarySource`], and what that says is not trusted.

mod store;

use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::LocalBoxFuture;

pub use store::{Rules, Store};

use crate::answer::{Answer, Served};
use crate::asker::Asker;
use crate::caller::Caller;
use crate::json::Object;
use crate::room::RoomName;
use crate::window::{CallError, Kind, Window};

/// The longest key of a file, in bytes; S3's own limit.
const MAX_KEY_BYTES: usize = 1024;

/// Why there is no summary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The caller may not enter the room.
    #[error("the caller may not enter this room")]
    Forbidden,
    /// The source knows no such room, or the store has no such file.
    #[error("there is no summary")]
    NotFound,
    /// The source is busy with as many calls as it may have.
    #[error("too many calls at once")]
    Overloaded,
    /// The source failed, and has logged why, but what it said of the room before is not true any more.
    #[error("the room is gone")]
    Gone,
    /// The source failed; it has logged why.
    #[error("the source of summaries failed")]
    SourceFailed,
    /// The record is not one of this room's summary.
    #[error("the record can't be used: {0}")]
    BadRecord(&'static str),
    /// The store failed, or the file is too large or not a text.
    #[error("the store failed: {0}")]
    StoreFailed(String),
}

impl CallError for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound | Self::Gone => Kind::Absence,
            Self::Forbidden | Self::Overloaded => Kind::Refusal,
            Self::SourceFailed | Self::BadRecord(_) | Self::StoreFailed(_) => Kind::Failure,
        }
    }

    fn given_up() -> Self {
        Self::StoreFailed("the reading was given up".to_owned())
    }
}

/// Where the records come from.
pub trait SummarySource {
    /// The record of the summary of `room`.
    fn call_summary(&self, room: RoomName, asker: Asker) -> LocalBoxFuture<'static, Result<Answer, Error>>;
}

/// Answers with summaries.
pub struct Summaries {
    source: Rc<dyn SummarySource>,
    store: Store,
    windows: Windows,
    /// For the record and the file together.
    timeout: Duration,
}

/// What all workers share: records by room, texts by their key.
#[derive(Clone)]
pub struct Windows {
    /// The records, which may change.
    pub records: Window<Error>,
    /// The texts, which do not.
    pub texts: Window<Error>,
}

impl Summaries {
    /// Takes records from `source` and files from `store`, by way of `windows`, both within `timeout`; the source keeps to it by
    /// itself.
    #[must_use]
    pub fn new(source: Rc<dyn SummarySource>, store: Store, windows: Windows, timeout: Duration) -> Self {
        Self { source, store, windows, timeout }
    }

    /// The text of the summary of `room`. The caller's right to it is decided first.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn read(&self, caller: &Caller, room: &RoomName, asker: &Asker) -> Result<Served, Error> {
        if !caller.may_enter(room) {
            return Err(Error::Forbidden);
        }
        let began = Instant::now();
        let call = || {
            let (record, room) = (self.source.call_summary(room.clone(), asker.clone()), room.clone());
            async move {
                let record = record.await?;
                // Here already, so that a bad one is kept by nobody, and the log has it once and not for each asker.
                key_in(record.data(), &room).map_err(logged)?;
                Ok(record)
            }
        };
        let record = self.windows.records.read(room.key(), call).await?;
        let key = key_in(record.answer.data(), room)?;
        let (store, of, left) = (self.store.clone(), key.clone(), self.timeout.saturating_sub(began.elapsed()));
        let call = || async move { store.read(&of, left).await.and_then(|text| text_answer(&text)).map_err(logged) };
        self.windows.texts.read(&key, call).await
    }
}

/// Says in the log why a summary could not be read, where nobody else has.
fn logged(error: Error) -> Error {
    if matches!(error, Error::BadRecord(_) | Error::StoreFailed(_)) {
        log::error!(cause:% = error; "a summary could not be read");
    }
    error
}

/// Whether `meeting` has the documented form, `<room>_<digits>`, and this room. The last `_` counts: a room must not claim the files
/// of another whose name goes on after it.
fn is_meeting_of(meeting: &str, room: &RoomName) -> bool {
    let is_time = |time: &str| !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit());
    meeting.rsplit_once('_').is_some_and(|(name, time)| is_time(time) && room.matches_folded(name))
}

/// A text as an answer: a JSON string.
fn text_answer(text: &str) -> Result<Answer, Error> {
    let json = serde_json::value::to_raw_value(text).map_err(|error| Error::StoreFailed(error.to_string()))?;
    Ok(Answer::new(&json))
}

/// The key of the file, if the record is of `room` and so is the key: `r1_1718871014/summary.txt` for the room `r1`.
///
/// Admin Control lower-cases names, so both are compared folded; the key is read as it is.
fn key_in(record: &[u8], room: &RoomName) -> Result<String, Error> {
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
        key_in(record.as_bytes(), &NameComparison::Exact.parse("r1").unwrap())
    }

    #[test]
    fn a_key_is_of_the_room_or_it_is_none() {
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
    fn record_in_another_spelling_of_the_name_is_of_the_room() {
        for (asked, room_name, file_url) in [
            ("TestRoom", "testroom", "testroom_17/summary.txt"),
            ("testroom", "TestRoom", "TESTROOM_17/Summary.TXT"),
            ("Комната", "комната", "КОМНАТА_17/x"),
            ("a_1", "A_1", "A_1_17/x"),
            ("é", "e\u{301}", "É_17/x"),
        ] {
            let record = serde_json::json!({"room_name": room_name, "file_url": file_url}).to_string();
            for comparison in [NameComparison::Exact, NameComparison::Jitsi] {
                let room = comparison.parse(asked).unwrap();
                assert_eq!(key_in(record.as_bytes(), &room).unwrap(), file_url, "the key is read unfolded");
            }
        }
    }

    #[test]
    fn a_record_is_of_the_room_or_it_is_none() {
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
            assert!(matches!(key_in(record.as_bytes(), &room), Err(Error::BadRecord(_))), "{record}");
        }
    }
}
