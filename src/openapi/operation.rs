//! What one row of the route table says of itself.

use serde_json::{Map, Value, json};

use super::components::{self, failure};
use crate::catch_up::Reason;
use crate::responders::ApiError;
use crate::routes::Who;

/// One operation of the document, said next to its handler.
#[derive(Debug, Clone)]
pub struct Operation {
    id: &'static str,
    tag: &'static str,
    description: String,
    documented: bool,
    of_room: bool,
    repeats: Repeats,
    takes: Option<Value>,
    content: Value,
    streams: bool,
    headers: Map<String, Value>,
    failures: Vec<ApiError>,
}

/// Whether the same answer may be asked for again, and how that shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeats {
    /// Each answer is one of its own.
    Never,
    /// It serves everybody for a while: `ETag`, `Age`, 304.
    Kept,
    /// It is a file: `ETag`, 304.
    File,
}

impl Operation {
    /// An operation with this name, unique in the document, in this group.
    #[must_use]
    pub fn new(id: &'static str, tag: &'static str) -> Self {
        Self {
            id,
            tag,
            description: String::new(),
            documented: true,
            of_room: false,
            repeats: Repeats::Never,
            takes: None,
            content: json!({}),
            streams: false,
            headers: Map::new(),
            failures: Vec::new(),
        }
    }

    /// A file of a page, which is no part of the API and not in the document.
    #[must_use]
    pub fn undocumented() -> Self {
        Self { documented: false, ..Self::new("", "") }
    }

    /// What a client developer should know, beyond the row's sentence.
    #[must_use]
    pub fn says(self, description: &str) -> Self {
        Self { description: description.to_owned(), ..self }
    }

    /// It takes a room: in the path where the path has a place for it, else in the query.
    #[must_use]
    pub fn of_room(self) -> Self {
        Self { of_room: true, ..self }.fails([ApiError::RoomRequired])
    }

    /// It takes a JSON object of this schema.
    #[must_use]
    pub fn takes(self, schema: &Value, example: &Value) -> Self {
        let takes = json!({
            "required": true,
            "description": "One JSON object with each member once, of at most 64 KiB.",
            "content": {"application/json": {"schema": schema, "example": example}},
        });
        let failures = [ApiError::RoomRequired, ApiError::TooSlow, ApiError::PayloadTooLarge];
        Self { takes: Some(takes), ..self }.fails(failures)
    }

    /// It answers with the envelope, whose `data` has this schema.
    #[must_use]
    pub fn answers(self, data: &Value, example: &Value) -> Self {
        let schema = json!({
            "type": "object",
            "required": ["error", "data"],
            "additionalProperties": false,
            "properties": {"error": {"type": "null"}, "data": data},
        });
        let example = json!({"error": null, "data": example});
        Self { content: json!({"application/json": {"schema": schema, "example": example}}), ..self }
    }

    /// It answers with a file of the server's own, which is not in the envelope.
    #[must_use]
    pub fn file(self, media_type: &str, schema: &Value) -> Self {
        Self { repeats: Repeats::File, content: json!({media_type: {"schema": schema}}), ..self }
            .carrying("ETag", "ETag")
            .carrying("Cache-Control", "Revalidate")
    }

    /// It answers with server-sent events, for as long as there are any.
    #[must_use]
    pub fn streams(self) -> Self {
        // Of a stream, some tools hold the schema against each event, others against the whole text: it demands nothing.
        let content = json!({"text/event-stream": {"schema": {"description": "Server-sent events."}}});
        Self { content, streams: true, ..self }
    }

    /// Its answer serves everybody who asks for a while: with an `ETag`, an `Age`, and 304.
    #[must_use]
    pub fn kept(self) -> Self {
        Self { repeats: Repeats::Kept, ..self }
            .carrying("ETag", "ETag")
            .carrying("Age", "Age")
            .carrying("Cache-Control", "Kept")
    }

    /// Where there is nothing to catch up with, it says why, in a header.
    #[must_use]
    pub fn reasoned(self) -> Self {
        self.carrying("X-Catch-Up-Reason", "CatchUpReason").fails([ApiError::NoCatchUp(Reason::NoneYet)])
    }

    /// Failures that do not follow from anything above.
    #[must_use]
    pub fn fails(mut self, failures: impl IntoIterator<Item = ApiError>) -> Self {
        self.failures.extend(failures);
        self
    }

    /// The operation on one of its row's paths; `None` if it is in no document.
    pub(super) fn on(&self, path: &str, number: usize, summary: &str, who: Who) -> Option<Value> {
        let in_path = path.contains("{roomName}");
        let place = if in_path { "InPath" } else { "InQuery" };
        let id = if number == 0 { self.id.to_owned() } else { format!("{}{place}", self.id) };
        let mut parameters = vec![components::parameter("RequestId")];
        if self.of_room {
            parameters.push(components::parameter(if in_path { "RoomInPath" } else { "RoomInQuery" }));
        }
        if self.repeats != Repeats::Never {
            parameters.push(components::parameter("IfNoneMatch"));
        }
        if self.streams {
            parameters.extend(["LastEventId", "LastEventIdInQuery"].map(components::parameter));
        }
        let mut operation = json!({
            "operationId": id,
            "tags": [self.tag],
            "summary": summary,
            "security": who.security(),
            "parameters": parameters,
            "responses": self.responses(who),
        });
        if let Value::Object(members) = &mut operation {
            let description = [("description", (!self.description.is_empty()).then(|| json!(self.description)))];
            for (name, member) in description.into_iter().chain([("requestBody", self.takes.clone())]) {
                if let Some(member) = member {
                    members.insert(name.to_owned(), member);
                }
            }
        }
        self.documented.then_some(operation)
    }

    fn carrying(mut self, header: &str, component: &str) -> Self {
        self.headers.insert(header.to_owned(), components::header(component));
        self
    }

    fn responses(&self, who: Who) -> Map<String, Value> {
        let mut headers = self.headers.clone();
        headers.insert("X-Request-Id".to_owned(), components::header("RequestId"));
        headers.entry("Cache-Control").or_insert_with(|| components::header("NotKept"));
        let success = json!({"description": "Success.", "headers": headers, "content": self.content});
        let mut responses = Map::from_iter([("200".to_owned(), success)]);
        match self.repeats {
            Repeats::Never => {}
            Repeats::Kept => drop(responses.insert("304".to_owned(), components::response("NotModified"))),
            Repeats::File => drop(responses.insert("304".to_owned(), components::response("FileNotModified"))),
        }
        let of_caller: &[ApiError] = match who {
            Who::Anyone => &[],
            Who::Caller | Who::CallerOrTicket => &[ApiError::Unauthorized],
            Who::User => &[ApiError::Unauthorized, ApiError::Forbidden],
        };
        let of_all = [ApiError::Internal, ApiError::Overloaded];
        for error in self.failures.iter().chain(of_caller).chain(&of_all) {
            responses.insert(error.code().to_string(), failure(error));
        }
        responses
    }
}
