//! One answer of a sandbox: what it says, and how it goes wrong.

use std::time::Duration;

/// One answer.
#[derive(Debug, Clone)]
pub struct Reply {
    delay: Duration,
    cut: bool,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Body { status: u16, body: String },
    Silence,
    Usual,
}

impl Reply {
    /// Success with this `data`, which must be JSON and is sent as it is.
    #[must_use]
    pub fn data(json: &str) -> Self {
        Self::body(200, &format!(r#"{{"error":null,"data":{json}}}"#))
    }

    /// This status and this body.
    #[must_use]
    pub fn body(status: u16, body: &str) -> Self {
        Self::of(What::Body { status, body: body.to_owned() })
    }

    /// The failure that Admin Control has for what it does not know.
    #[must_use]
    pub fn not_found() -> Self {
        Self::body(404, r#"{"data":null,"error":{"code":404,"message":"Not found"}}"#)
    }

    /// No answer, ever; the connection stays open.
    #[must_use]
    pub fn silence() -> Self {
        Self::of(What::Silence)
    }

    /// What would be answered if no reply was set; to be delayed or cut.
    #[must_use]
    pub fn usual() -> Self {
        Self::of(What::Usual)
    }

    fn of(what: What) -> Self {
        Self { delay: Duration::ZERO, cut: false, what }
    }

    /// The same, but not before `delay` has passed.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// The same, but the connection is cut in the middle of the body.
    #[must_use]
    pub fn cut_in_the_body(self) -> Self {
        Self { cut: true, ..self }
    }

    /// The same, with `usual` for what it leaves as usual.
    pub(super) fn or_usual(self, usual: impl FnOnce() -> Self) -> Self {
        match self.what {
            What::Usual => Self { what: usual().what, ..self },
            _ => self,
        }
    }

    pub(super) fn delay(&self) -> Duration {
        self.delay
    }

    /// The length of its body, in bytes.
    pub(super) fn len(&self) -> usize {
        match &self.what {
            What::Body { body, .. } => body.len(),
            What::Silence | What::Usual => 0,
        }
    }

    pub(super) fn is_silence(&self) -> bool {
        matches!(self.what, What::Silence)
    }

    pub(super) fn cuts(&self) -> bool {
        self.cut
    }

    pub(super) fn status_and_body(&self) -> Option<(u16, String)> {
        match &self.what {
            What::Body { status, body } => Some((*status, body.clone())),
            What::Silence | What::Usual => None,
        }
    }
}
