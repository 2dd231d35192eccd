//! Reads a stream of server-sent events.

use std::io::{BufRead as _, BufReader};

use serde_json::Value;
use ureq::http::{self, HeaderMap};
use ureq::{Body, BodyReader};

use super::case::{Failure, check};
use super::response::Response;

/// The maximum number of lines that are read.
const MAX_LINES: usize = 10_000;

/// One event with data.
#[derive(Debug, Default)]
pub(super) struct Event {
    /// Empty for an unnamed event.
    pub(super) name: String,
    pub(super) id: String,
    data: String,
}

/// An open stream. It is closed when it is dropped.
pub(super) struct EventStream {
    request: String,
    pub(super) headers: HeaderMap,
    lines: BufReader<BodyReader<'static>>,
}

impl EventStream {
    /// Reads the head; fails unless the status is 200.
    pub(super) fn new(request: String, response: http::Response<Body>) -> Result<Self, Failure> {
        let (head, body) = response.into_parts();
        if head.status != 200 {
            let response = Response::new(request, head.status.as_u16(), &head.headers, Vec::new());
            return Err(response.assert_status(200).err().unwrap_or_else(|| "unreachable".to_owned().into()));
        }
        Ok(Self { request, headers: head.headers, lines: BufReader::new(body.into_reader()) })
    }

    /// Reads the next event that has data; `None` if the time limit is reached.
    pub(super) fn next_or_timeout(&mut self) -> Result<Option<Event>, Failure> {
        let mut event = Event::default();
        for _ in 0..MAX_LINES {
            let mut line = String::new();
            match self.lines.read_line(&mut line).map_err(ureq::Error::from) {
                Ok(0) => return Err(format!("{}: the stream ended before an event", self.request).into()),
                Ok(_) => {}
                Err(ureq::Error::Timeout(_)) => return Ok(None),
                Err(error) => return Err(format!("{}: no event: {error}", self.request).into()),
            }
            let line = line.trim_end_matches(['\r', '\n']);
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut event.name),
                "id" => value.clone_into(&mut event.id),
                "data" if event.data.is_empty() => value.clone_into(&mut event.data),
                "data" => event.data.extend(["\n", value]),
                "" if line.is_empty() && !event.data.is_empty() => return Ok(Some(event)),
                _ => {}
            }
        }
        Err(format!("{}: no event in {MAX_LINES} lines", self.request).into())
    }

    /// Reads the next event and asserts its name and that its data is JSON, which is returned.
    pub(super) fn expect_event(&mut self, name: &str) -> Result<(Event, Value), Failure> {
        let event = self.next_or_timeout()?.ok_or_else(|| format!("{}: no event in time", self.request))?;
        check(event.name == name, || format!("{}: event {:?} and not {name:?}", self.request, event.name))?;
        let data = serde_json::from_str(&event.data);
        let data = data.map_err(|_| format!("{}: the data is not JSON: {}", self.request, event.data))?;
        Ok((event, data))
    }
}
