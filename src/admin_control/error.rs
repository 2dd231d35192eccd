//! Errors of a call to Admin Control. Their text is for the log and never sent to a client.

use std::error::Error as _;
use std::io;

use awc::error::{ConnectError, PayloadError, SendRequestError};
use strum::VariantNames as _;

use super::stream::StaleConnection;

/// The reason why a call returned no data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum Error {
    /// Status 404, or an envelope with `error.code` 404.
    #[error("Admin Control responded with 404")]
    NotFound,
    /// `APP_ADMIN_CONTROL__MAX_IN_FLIGHT` calls to this endpoint are in flight.
    #[error("too many calls to this endpoint are in flight")]
    TooManyCalls,
    /// The limit on open files is reached.
    #[error("no file descriptor is left for a connection (ulimit -n)")]
    TooManyFiles,
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
    /// The response is not HTTP.
    #[error("the response is not HTTP: {0}")]
    NotHttp(String),
    /// The body ended early, or is longer than announced.
    #[error("the body does not end where announced: {0}")]
    LengthMismatch(String),
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
    pub(crate) const REASONS: &'static [&'static str] = Self::VARIANTS;

    /// Returns whether the circuit breaker counts it as a failure. An unusable response is still a response.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Connection(_)
                | Self::NotConnected(_)
                | Self::Certificate(_)
                | Self::TimedOut
                | Self::NotHttp(_)
                | Self::LengthMismatch(_)
        )
    }

    /// Returns the variant's name in kebab case, for logs and metrics.
    pub(crate) fn reason(&self) -> &'static str {
        self.into()
    }
}

/// A failure behind the response's head.
impl From<PayloadError> for Error {
    fn from(error: PayloadError) -> Self {
        match error {
            PayloadError::Overflow => Self::TooLarge,
            other => Self::LengthMismatch(other.to_string()),
        }
    }
}

/// A failure before the end of the response's head.
impl From<SendRequestError> for Error {
    fn from(error: SendRequestError) -> Self {
        use io::ErrorKind::{
            BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidData, NotConnected, TimedOut,
            UnexpectedEof,
        };

        let Some(io) = io_error(&error) else {
            return match error {
                SendRequestError::Response(error) => Self::NotHttp(error.to_string()),
                other => Self::NotConnected(other.to_string()),
            };
        };
        // EMFILE and ENFILE.
        if matches!(io.raw_os_error(), Some(24 | 23)) {
            return Self::TooManyFiles;
        }
        if let Some(tls) = io.get_ref().and_then(|error| error.downcast_ref()) {
            return match tls {
                rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                    Self::Certificate(tls.to_string())
                }
                _ => Self::NotConnected(format!("TLS: {tls}")),
            };
        }
        match io.kind() {
            TimedOut => Self::TimedOut,
            InvalidData => Self::NotHttp(io.to_string()),
            BrokenPipe | ConnectionAborted | ConnectionRefused | ConnectionReset | NotConnected | UnexpectedEof => {
                Self::Connection(io.to_string())
            }
            _ => Self::NotConnected(io.to_string()),
        }
    }
}

/// Returns whether a reused connection failed before the first byte of a response.
pub(super) fn is_stale_connection(error: &SendRequestError) -> bool {
    io_error(error).and_then(io::Error::get_ref).is_some_and(<dyn std::error::Error + Send + Sync>::is::<StaleConnection>)
}

/// Returns the I/O error below awc's error.
fn io_error(error: &SendRequestError) -> Option<&io::Error> {
    match error {
        SendRequestError::Connect(ConnectError::Io(error)) | SendRequestError::Send(error) => Some(error),
        SendRequestError::Response(error) => error.source()?.downcast_ref(),
        _ => None,
    }
}
