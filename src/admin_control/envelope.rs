//! Parses Admin Control's envelope strictly: anything but a certain success is an error.

use awc::http::StatusCode;
use serde_json::value::RawValue;

use super::Error;
use crate::strict_json::Object;

/// The depth that `serde_json` parses by default.
const MAX_DEPTH: usize = 128;

/// Returns the error of a status that is one whatever the body is. For other 2xx and 4xx, the envelope decides.
pub(super) fn status_error(status: StatusCode) -> Option<Error> {
    match status {
        StatusCode::NOT_FOUND => Some(Error::NotFound),
        // Without a body by definition: bytes that follow do not belong to this response.
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT => Some(Error::Status(status.as_u16())),
        _ if status.is_success() || status.is_client_error() => None,
        _ => Some(Error::Status(status.as_u16())),
    }
}

/// Extracts `data`, byte for byte. `status` must have no [`status_error`].
pub(super) fn data(status: StatusCode, body: &[u8]) -> Result<&RawValue, Error> {
    let envelope = serde_json::from_slice::<Object<&RawValue>>(body);
    let error = envelope.as_ref().ok().and_then(|envelope| envelope.get("error")).map(|error| error.get());
    match error {
        Some("null") if is_complete_success(status) => {
            let data = envelope.ok().and_then(|mut envelope| envelope.remove("data"));
            data.filter(|data| is_shallow(data.get())).ok_or(Error::NotTheEnvelope)
        }
        Some(error) if is_not_found(error) => Err(Error::NotFound),
        _ if !is_complete_success(status) => Err(Error::Status(status.as_u16())),
        Some(_) => Err(Error::ErrorInEnvelope),
        None => Err(Error::NotTheEnvelope),
    }
}

/// Returns whether a status may carry a complete envelope. 206 carries a part by definition.
fn is_complete_success(status: StatusCode) -> bool {
    status.is_success() && status != StatusCode::PARTIAL_CONTENT
}

/// Returns whether the nesting of well-formed JSON is shallow enough for any client's parser.
fn is_shallow(json: &str) -> bool {
    if !json.starts_with(['[', '{']) {
        return true;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    json.bytes().all(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth <= MAX_DEPTH
    })
}

fn is_not_found(error: &str) -> bool {
    serde_json::from_str::<Object>(error).is_ok_and(|error| error.integer("code") == Some(404))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> Result<String, Error> {
        let status = StatusCode::from_u16(status).unwrap();
        status_error(status).map_or_else(|| data(status, body.as_bytes()), Err).map(|data| data.get().to_owned())
    }

    #[test]
    fn data_of_a_success_is_returned_byte_for_byte() {
        for data in [
            r#""text""#,
            "null",
            "1e400",
            "123456789012345678901234567890.10",
            r#"{"b": 1,  "a":[ ]}"#,
            r#""\ud800 \u2028""#,
            "\"\u{2028}\"",
            r#"{"a":1,"a":2}"#,
            "-0",
        ] {
            assert_eq!(read(200, &format!(r#"{{"error": null, "data": {data} }}"#)).as_deref(), Ok(data));
        }
        assert_eq!(read(201, r#"{"data":1,"error":null,"extra":true}"#).as_deref(), Ok("1"));
    }

    #[test]
    fn data_nested_too_deep_is_rejected() {
        let nested = |depth: usize| format!(r#"{{"error":null,"data":{}"[\\\"["{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(read(200, &nested(0)).is_ok() && read(200, &nested(MAX_DEPTH)).is_ok());
        assert_eq!(read(200, &nested(MAX_DEPTH + 1)), Err(Error::NotTheEnvelope));
        let wide = format!(r#"{{"error":null,"data":[{}0]}}"#, r#"{"a":[1]},"#.repeat(1000));
        assert!(read(200, &wide).is_ok());
    }

    #[test]
    fn status_or_envelope_code_404_is_not_found() {
        assert_eq!(read(404, "<html>"), Err(Error::NotFound));
        for status in [200, 400, 422] {
            assert_eq!(read(status, r#"{"error":{"code":404},"data":null}"#), Err(Error::NotFound));
        }
        assert_eq!(read(500, r#"{"error":{"code":404},"data":null}"#), Err(Error::Status(500)));
        assert_eq!(read(410, "{}"), Err(Error::Status(410)));
    }

    #[test]
    fn anything_but_a_certain_success_is_an_error() {
        for status in [100, 101, 199, 204, 205, 301, 302, 304, 400, 401, 403, 429, 500, 503, 600, 999, 206] {
            assert_eq!(read(status, r#"{"error":null,"data":"x"}"#), Err(Error::Status(status)));
        }
        for body in [
            "",
            " ",
            "null",
            "[]",
            "{}",
            "1",
            r#""x""#,
            "NaN",
            r#"[null,"x"]"#,
            r#"{"error":null}"#,
            r#"{"data":"x"}"#,
            r#"{"error":null,"data":"x""#,
            r#"{"error":null,"data":"x"}}"#,
            r#"{"error":null,"data":"x"}{"error":null,"data":"y"}"#,
            r#"{"error":null,"data":"x","data":"y"}"#,
            r#"{"error":null,"data":"x","d\u0061ta":"y"}"#,
            "\u{feff}{\"error\":null,\"data\":1}",
            r#"{"error":null,"data":01}"#,
            "<html>",
        ] {
            assert_eq!(read(200, body), Err(Error::NotTheEnvelope), "{body}");
        }
        for error in [r#"{"code":401}"#, r#"{"code":200}"#, r#"{"code":"404"}"#, r#""text""#, "{}", "false", "0", "[]"] {
            let body = format!(r#"{{"error":{error},"data":"x"}}"#);
            assert_eq!(read(200, &body), Err(Error::ErrorInEnvelope), "{body}");
        }
        assert_eq!(data(StatusCode::OK, b"{\"error\":null,\"data\":\"\xff\"}").unwrap_err(), Error::NotTheEnvelope);
        let deep = "[".repeat(200_000);
        assert_eq!(read(200, &deep), Err(Error::NotTheEnvelope));
    }
}
