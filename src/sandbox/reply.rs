//! One reply of a sandbox, faults included.

use std::time::Duration;

/// A reply. Without status and body it is the default reply.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub(super) status: Option<u16>,
    pub(super) body: Option<String>,
    /// Time before the reply.
    pub(super) delay: Duration,
    /// Whether there is no reply at all, while the connection stays open.
    pub(super) hang: bool,
    /// Whether the connection is closed in the middle of the body.
    pub(super) truncate: bool,
    /// Number of requests that get this reply; `None` for all.
    pub(super) times: Option<u64>,
}

impl Reply {
    /// Creates a success with this `data`, which must be JSON and is sent unchanged.
    #[must_use]
    pub fn data(json: &str) -> Self {
        Self::body(200, &format!(r#"{{"error":null,"data":{json}}}"#))
    }

    /// Creates a reply with this status and this body.
    #[must_use]
    pub fn body(status: u16, body: &str) -> Self {
        Self { status: Some(status), body: Some(body.to_owned()), ..Self::default() }
    }

    /// Creates the reply of Admin Control for an unknown room or path.
    #[must_use]
    pub fn not_found() -> Self {
        Self::body(404, r#"{"data":null,"error":{"code":404,"message":"Not found"}}"#)
    }

    /// Creates a reply that is never sent, while the connection stays open.
    #[must_use]
    pub fn hang() -> Self {
        Self { hang: true, ..Self::default() }
    }

    /// Delays the reply.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Closes the connection in the middle of the body.
    #[must_use]
    pub fn truncated(self) -> Self {
        Self { truncate: true, ..self }
    }
}
