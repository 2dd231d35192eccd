//! The room and the invitation of a request, from the path or the query, strictly decoded once.
//!
//! actix's own path and query extractors decode `%2F`, turn bad UTF-8 into U+FFFD and accept malformed escapes, so that
//! several spellings become one room. Here a spelling is exactly one name or a 400.

use std::borrow::Cow;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use percent_encoding::percent_decode_str;

use super::app_data;
use crate::response::ApiError;
use crate::room::{self, NameComparison, RoomName};

/// The name of the room, in the path's pattern and in the query.
const NAME: &str = "roomName";

/// The room of a request.
pub(crate) struct RoomParam(pub RoomName);

impl FromRequest for RoomParam {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(room_of(request).map(Self))
    }
}

fn room_of(request: &HttpRequest) -> Result<RoomName, ApiError> {
    let names = *app_data::<NameComparison>(request)?;
    let parse = |raw: &str| parse(raw, names);
    // An empty segment (`/callCatchUp/`) is a missing room.
    let in_path = raw_segment(request).filter(|segment| !segment.is_empty()).map(parse).transpose()?;
    let in_query =
        raw_query_value(request.query_string(), NAME)?.map(|value| parse(&value.replace('+', " "))).transpose()?;
    match (in_path, in_query) {
        (Some(path), Some(query)) if path != query => {
            Err(ApiError::bad_request("The room in the path and roomName in the query differ."))
        }
        (Some(room), _) | (None, Some(room)) => Ok(room),
        (None, None) => Err(ApiError::RoomRequired),
    }
}

/// Returns the invitation in a query, not verified; none if it is empty.
pub(crate) fn invitation_of(query: &str) -> Result<Option<Cow<'_, str>>, ApiError> {
    let raw = raw_query_value(query, "invitation")?.filter(|raw| !raw.is_empty());
    // A malformed escape is no part of a valid invitation either.
    Ok(raw.map(|raw| decode(raw).unwrap_or(raw.into())))
}

/// Returns the raw path segment of the room, the second one in every pattern (`/callStatus/{roomName}`).
fn raw_segment(request: &HttpRequest) -> Option<&str> {
    request.match_info().get(NAME)?;
    request.uri().path().split('/').nth(2)
}

/// Returns the raw value of `name`. Two values are an error, because another reader might take the other one.
fn raw_query_value<'a>(query: &'a str, name: &str) -> Result<Option<&'a str>, ApiError> {
    if query.is_empty() {
        return Ok(None);
    }
    let mut values = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(key, _)| decode(&key.replace('+', " ")).is_some_and(|key| key == name))
        .map(|(_, value)| value);
    let value = values.next();
    match values.next() {
        None => Ok(value),
        Some(_) => Err(ApiError::bad_request(format!("{name} must be given once."))),
    }
}

fn parse(raw: &str, names: NameComparison) -> Result<RoomName, ApiError> {
    let name = decode(raw).ok_or(room::Error::Invalid)?;
    Ok(names.parse(&name)?)
}

/// Decodes each `%XX` once; `None` if that is not valid UTF-8.
///
/// A `%` without two hexadecimal digits is not valid.
fn decode(raw: &str) -> Option<Cow<'_, str>> {
    let well_formed = raw.split('%').skip(1).all(|rest| {
        let mut digits = rest.bytes();
        let mut digit = || digits.next().is_some_and(|digit| digit.is_ascii_hexdigit());
        digit() && digit()
    });
    if !well_formed {
        return None;
    }
    percent_decode_str(raw).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escape_is_decoded_once_if_well_formed() {
        assert_eq!(decode("a%20b").as_deref(), Some("a b"));
        assert_eq!(decode("%25%32%46").as_deref(), Some("%2F"));
        for malformed in ["%", "a%", "%2", "%zz", "%%32%66", "%2%46", "%u002f", "%FF", "%C0%AF", "%ED%A0%80", "%E2%82"] {
            assert_eq!(decode(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn room_is_the_second_segment_of_every_path() {
        let paths = crate::routes::TABLE.iter().flat_map(|row| row.paths);
        let with_room: Vec<_> = paths.filter(|path| path.contains("{roomName}")).collect();
        assert!(!with_room.is_empty());
        for path in with_room {
            assert_eq!(path.split('/').nth(2), Some("{roomName}"), "{path}");
        }
    }

    #[test]
    fn query_with_two_rooms_is_rejected() {
        assert_eq!(raw_query_value("a=1&roomName=r1&b", NAME), Ok(Some("r1")));
        assert_eq!(raw_query_value("roomName", NAME), Ok(Some("")));
        assert_eq!(raw_query_value("room%4eame=r2", NAME), Ok(Some("r2")));
        assert_eq!(raw_query_value("roomName[]=r2&RoomName=r3&roomname=r4", NAME), Ok(None));
        assert_eq!(raw_query_value("", NAME), Ok(None));
        assert!(raw_query_value("roomName=r1&roomName=r1", NAME).is_err());
        assert!(raw_query_value("roomName=r1&room%4Eame=r2", NAME).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn encoded_name_decodes_to_itself(name in r"\PC{0,20}", plain in any::<bool>()) {
            let encoded: String = name
                .chars()
                .map(|c| if plain && c != '%' { c.to_string() } else { encode_all(c) })
                .collect();
            let decoded = decode(&encoded);
            prop_assert_eq!(decoded.as_deref(), Some(name.as_str()));
        }
    }

    fn encode_all(c: char) -> String {
        c.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect()
    }
}
