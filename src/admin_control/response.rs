//! Reads a response whole, or says what was wrong with it. That a body was cut short is seen by the connection.

use awc::ClientResponse;
use awc::error::{ConnectError, PayloadError, SendRequestError};
use awc::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use bytes::Bytes;
use futures_util::Stream;
use serde_json::value::RawValue;

use super::socket::{is_out_of_files, of_tls};
use super::{Error, wire};

/// The data of a response: all of it, or nothing.
pub(super) async fn read<S>(
    response: Result<ClientResponse<S>, SendRequestError>,
    max_bytes: usize,
) -> Result<Box<RawValue>, Error>
where
    S: Stream<Item = Result<Bytes, PayloadError>>,
{
    let mut response = response.map_err(not_sent)?;
    // Where the status says it all, it does not matter what becomes of the body.
    if let Some(failure) = wire::failure(response.status()) {
        return Err(failure);
    }
    check_head(response.headers())?;
    let body = response.body().limit(max_bytes).await.map_err(not_read)?;
    wire::data(response.status(), &body)
}

/// Sorts what went wrong before a response began: what may be tried again on another connection, and what may not.
fn not_sent(error: SendRequestError) -> Error {
    use std::error::Error as _;
    use std::io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected, Other, TimedOut, UnexpectedEof,
    };

    let broken = |error: &std::io::Error| {
        matches!(
            error.kind(),
            BrokenPipe | ConnectionAborted | ConnectionRefused | ConnectionReset | NotConnected | UnexpectedEof
        )
    };
    match error {
        SendRequestError::Timeout | SendRequestError::Connect(ConnectError::Timeout) => Error::TimedOut,
        SendRequestError::Connect(ConnectError::Disconnected) => Error::Connection("closed before an answer".to_owned()),
        SendRequestError::Connect(ConnectError::Io(error)) if is_out_of_files(&error) => Error::OutOfFiles,
        SendRequestError::Connect(ConnectError::Io(error)) if error.kind() == TimedOut => Error::TimedOut,
        SendRequestError::Connect(ConnectError::Io(error)) | SendRequestError::Send(error) if broken(&error) => {
            Error::Connection(error.to_string())
        }
        SendRequestError::Response(error) => match error.source().and_then(|source| source.downcast_ref()) {
            // awc says `Other` when the connection ends within the head.
            Some(source) if broken(source) || source.kind() == Other => Error::Connection(source.to_string()),
            _ => Error::NotHttp(error.to_string()),
        },
        SendRequestError::Connect(ConnectError::Io(error)) => match of_tls(&error) {
            Some((true, why)) => Error::Certificate(why),
            Some((false, why)) => Error::NotConnected(format!("TLS: {why}")),
            None => Error::NotConnected(error.to_string()),
        },
        other => Error::NotConnected(other.to_string()),
    }
}

fn not_read(error: PayloadError) -> Error {
    match error {
        PayloadError::Overflow => Error::TooLarge,
        other => Error::CutShort(other.to_string()),
    }
}

/// What a body is not believed for, however whole it is: nobody was asked to encode it, and two ways to tell its end are one
/// too many.
fn check_head(headers: &HeaderMap) -> Result<(), Error> {
    if headers.get_all(CONTENT_ENCODING).any(|encoding| encoding != "identity") {
        return Err(Error::Encoded);
    }
    if headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING) {
        return Err(Error::CutShort("its end is announced in two ways".to_owned()));
    }
    Ok(())
}
