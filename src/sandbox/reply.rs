//! One reply of a sandbox: what it says, and how it goes wrong.

use std::time::Duration;

/// One reply.
#[derive(Debug, Clone)]
pub struct Reply {
    pub(super) content: Content,
    pub(super) delay: Duration,
    pub(super) cut: bool,
    /// How often it is given; `None` is always.
    pub(super) times: Option<u64>,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    /// A status and a body.
    Body(u16, String),
    /// No reply, ever.
    Silence,
    /// What is replied if nothing is set.
    Usual,
}

impl Reply {
    /// Creates a success with this `data`, which must be JSON and is sent as it is.
    #[must_use]
    pub fn data(json: &str) -> Self {
        Self::body(200, &format!(r#"{{"error":null,"data":{json}}}"#))
    }

    /// Creates a reply with this status and this body.
    #[must_use]
    pub fn body(status: u16, body: &str) -> Self {
        Self::new(Content::Body(status, body.to_owned()))
    }

    /// Creates the failure that Admin Control has for what it does not know.
    #[must_use]
    pub fn not_found() -> Self {
        Self::body(404, r#"{"data":null,"error":{"code":404,"message":"Not found"}}"#)
    }

    /// Creates a reply that never comes, while the connection stays open.
    #[must_use]
    pub fn silence() -> Self {
        Self::new(Content::Silence)
    }

    /// Creates the usual reply, to be delayed or cut.
    #[must_use]
    pub fn usual() -> Self {
        Self::new(Content::Usual)
    }

    fn new(content: Content) -> Self {
        Self { content, delay: Duration::ZERO, cut: false, times: None }
    }

    /// Waits for `delay` before the reply.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Cuts the connection in the middle of the body.
    #[must_use]
    pub fn cut_in_the_body(self) -> Self {
        Self { cut: true, ..self }
    }
}
