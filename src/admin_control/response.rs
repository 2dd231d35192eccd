//! Reads a whole response, or classifies why there is none.

use std::error::Error as _;
use std::io;

use awc::ClientResponse;
use awc::error::{ConnectError, PayloadError, SendRequestError};
use awc::http::header::CONTENT_ENCODING;
use bytes::Bytes;
use futures_util::Stream;
use serde_json::value::RawValue;

use super::stream::StaleConnection;
use super::{Error, envelope};

/// Returns the `data` of a complete response.
pub(super) async fn read<S>(
    response: Result<ClientResponse<S>, SendRequestError>,
    max_bytes: usize,
) -> Result<Box<RawValue>, Error>
where
    S: Stream<Item = Result<Bytes, PayloadError>>,
{
    let mut response = response.map_err(|error| classify(&error))?;
    // For these statuses the body does not matter.
    if let Some(error) = envelope::status_error(response.status()) {
        return Err(error);
    }
    if response.headers().get_all(CONTENT_ENCODING).any(|encoding| encoding != "identity") {
        return Err(Error::Encoded);
    }
    let body = response.body().limit(max_bytes).await.map_err(|error| match error {
        PayloadError::Overflow => Error::TooLarge,
        other => Error::CutShort(other.to_string()),
    })?;
    envelope::data(response.status(), &body)
}

/// Whether a reused connection failed before the first byte of a response.
pub(super) fn is_stale_connection(error: &SendRequestError) -> bool {
    io_error(error).and_then(io::Error::get_ref).is_some_and(<dyn std::error::Error + Send + Sync>::is::<StaleConnection>)
}

/// The I/O error below awc's error.
fn io_error(error: &SendRequestError) -> Option<&io::Error> {
    match error {
        SendRequestError::Connect(ConnectError::Io(error)) | SendRequestError::Send(error) => Some(error),
        SendRequestError::Response(error) => error.source()?.downcast_ref(),
        _ => None,
    }
}

/// Classifies a failure before the end of the response's head.
fn classify(error: &SendRequestError) -> Error {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidData, NotConnected, TimedOut,
        UnexpectedEof,
    };

    let Some(io) = io_error(error) else {
        return match error {
            SendRequestError::Response(error) => Error::NotHttp(error.to_string()),
            other => Error::NotConnected(other.to_string()),
        };
    };
    // EMFILE and ENFILE.
    if matches!(io.raw_os_error(), Some(24 | 23)) {
        return Error::OutOfFiles;
    }
    if let Some(tls) = io.get_ref().and_then(|error| error.downcast_ref()) {
        return match tls {
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                Error::Certificate(tls.to_string())
            }
            _ => Error::NotConnected(format!("TLS: {tls}")),
        };
    }
    match io.kind() {
        TimedOut => Error::TimedOut,
        InvalidData => Error::NotHttp(io.to_string()),
        BrokenPipe | ConnectionAborted | ConnectionRefused | ConnectionReset | NotConnected | UnexpectedEof => {
            Error::Connection(io.to_string())
        }
        _ => Error::NotConnected(io.to_string()),
    }
}
