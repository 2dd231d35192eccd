//! What can go wrong with a call to Admin Control. The text is for the log; no client ever sees it.

/// Why a call gave no data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Admin Control does not know what was asked for: its status, or the code in its envelope, was 404.
    #[error("Admin Control says 404")]
    NotFound,
    /// As many calls as `APP_ADMIN_CONTROL__MAX_IN_FLIGHT` allows are under way.
    #[error("too many calls to this endpoint are under way")]
    TooManyCalls,
    /// This process has as many files open as it may: there is none for a connection.
    #[error("no file is left for a connection (ulimit -n)")]
    OutOfFiles,
    /// The breaker is open: the endpoint could not be reached for a while, and is not tried now.
    #[error("not tried: the endpoint could not be reached for a while")]
    BreakerOpen,
    /// The connection was refused, reset or closed before a response began, twice.
    #[error("the connection broke: {0}")]
    Connection(String),
    /// No connection for another reason: the name does not resolve, or nobody speaks TLS there.
    #[error("no connection: {0}")]
    NotConnected(String),
    /// The certificate is of nobody who is trusted, of another name, or of another time.
    #[error("its certificate is not accepted: {0}")]
    Certificate(String),
    /// The whole call took longer than `APP_ADMIN_CONTROL__TIMEOUT`, or connecting longer than its own limit.
    #[error("timed out")]
    TimedOut,
    /// What came back is not HTTP.
    #[error("the response is not HTTP: {0}")]
    NotHttp(String),
    /// The body ended early, or its length is not what was announced.
    #[error("the body was cut short: {0}")]
    CutShort(String),
    /// The body is longer than `APP_ADMIN_CONTROL__MAX_BODY_BYTES`.
    #[error("the body is too large")]
    TooLarge,
    /// The body is compressed or otherwise encoded, which nobody asked for.
    #[error("the body is encoded")]
    Encoded,
    /// A status that is no success: 3xx (never followed), 401 and 403 (this server's own misconfiguration), any other.
    #[error("status {0}")]
    Status(u16),
    /// A success whose body is not the envelope.
    #[error("the body is not the envelope")]
    NotTheEnvelope,
    /// A success whose envelope carries an error. Its text stays where it came from.
    #[error("the envelope carries an error")]
    ErrorInEnvelope,
}

impl Error {
    /// Every word that [`Error::reason`] may say.
    pub const REASONS: [&'static str; 15] = [
        "not-found",
        "too-many-calls",
        "out-of-files",
        "breaker-open",
        "connection",
        "not-connected",
        "certificate",
        "timed-out",
        "not-http",
        "cut-short",
        "too-large",
        "encoded",
        "status",
        "not-the-envelope",
        "error-in-envelope",
    ];

    /// Whether Admin Control was not reached: what the breaker counts. An answer that can't be used is still an answer.
    pub(super) fn is_unreached(&self) -> bool {
        matches!(
            self,
            Self::Connection(_)
                | Self::NotConnected(_)
                | Self::Certificate(_)
                | Self::TimedOut
                | Self::NotHttp(_)
                | Self::CutShort(_)
        )
    }

    /// One word for logs and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::TooManyCalls => "too-many-calls",
            Self::OutOfFiles => "out-of-files",
            Self::BreakerOpen => "breaker-open",
            Self::Connection(_) => "connection",
            Self::NotConnected(_) => "not-connected",
            Self::Certificate(_) => "certificate",
            Self::TimedOut => "timed-out",
            Self::NotHttp(_) => "not-http",
            Self::CutShort(_) => "cut-short",
            Self::TooLarge => "too-large",
            Self::Encoded => "encoded",
            Self::Status(_) => "status",
            Self::NotTheEnvelope => "not-the-envelope",
            Self::ErrorInEnvelope => "error-in-envelope",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_in_the_list_of_reasons() {
        let text = String::new;
        let all = [
            Error::NotFound,
            Error::TooManyCalls,
            Error::OutOfFiles,
            Error::BreakerOpen,
            Error::Connection(text()),
            Error::NotConnected(text()),
            Error::Certificate(text()),
            Error::TimedOut,
            Error::NotHttp(text()),
            Error::CutShort(text()),
            Error::TooLarge,
            Error::Encoded,
            Error::Status(500),
            Error::NotTheEnvelope,
            Error::ErrorInEnvelope,
        ];
        assert_eq!(all.map(|error| error.reason()), Error::REASONS);
    }
}
