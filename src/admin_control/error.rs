//! Errors of a call to Admin Control. Their text is for the log; no client ever sees it.

use strum::VariantNames as _;

/// Why a call returned no data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum Error {
    /// Status 404, or an envelope with `error.code` 404.
    #[error("Admin Control says 404")]
    NotFound,
    /// `APP_ADMIN_CONTROL__MAX_IN_FLIGHT` calls to this endpoint are in flight.
    #[error("too many calls to this endpoint are in flight")]
    TooManyCalls,
    /// The limit on open files is reached.
    #[error("no file descriptor is left for a connection (ulimit -n)")]
    OutOfFiles,
    /// The circuit breaker is open: the endpoint was unreachable.
    #[error("not attempted: the circuit breaker is open")]
    BreakerOpen,
    /// The connection was refused, reset or closed before the end of the response's head.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// No connection for another reason: the name does not resolve, or the TLS handshake failed.
    #[error("no connection: {0}")]
    NotConnected(String),
    /// The certificate's issuer is not trusted, or its name or validity does not match.
    #[error("its certificate is not accepted: {0}")]
    Certificate(String),
    /// The whole call took longer than `APP_ADMIN_CONTROL__TIMEOUT`, or connecting longer than its own limit.
    #[error("timed out")]
    TimedOut,
    /// What came back is not HTTP.
    #[error("the response is not HTTP: {0}")]
    NotHttp(String),
    /// The body ended early, or is longer than announced.
    #[error("the body does not end where announced: {0}")]
    CutShort(String),
    /// The body is longer than `APP_ADMIN_CONTROL__MAX_BODY_BYTES`.
    #[error("the body is too large")]
    TooLarge,
    /// The body has a `Content-Encoding`, although none was requested.
    #[error("the body is encoded")]
    Encoded,
    /// An unsuccessful status: 3xx (never followed), 401 and 403 (this server's misconfiguration), any other.
    #[error("status {0}")]
    Status(u16),
    /// A success whose body is not the envelope.
    #[error("the body is not the envelope")]
    NotTheEnvelope,
    /// A success whose envelope has an error. Its text is not logged.
    #[error("the envelope carries an error")]
    ErrorInEnvelope,
}

impl Error {
    /// Every value of [`Error::reason`].
    pub const REASONS: &'static [&'static str] = Self::VARIANTS;

    /// Whether the circuit breaker counts it as a failure. A response that can't be used is still a response.
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

    /// The variant's name in kebab case, for logs and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.into()
    }
}
