//! Strict JSON objects, in which each member name occurs once.
//!
//! serde's derived structs accept an array for an object, a repeated unknown member, and a missing member for `null`. A body,
//! a token or a response that decides about access must mean the same to every reader.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object with members of type `V`: [`serde_json::Value`], or `&RawValue` for unchanged bytes.
#[derive(Debug)]
pub struct Object<V = serde_json::Value>(BTreeMap<String, V>);

impl<V> Object<V> {
    /// Returns the member of that name; `null` is a member too.
    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        self.0.get(name)
    }

    /// Returns whether there is no member.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes and returns the member of that name.
    pub fn remove(&mut self, name: &str) -> Option<V> {
        self.0.remove(name)
    }
}

impl Object {
    /// Returns the member of that name if it is a string.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// Returns the member of that name if it is an integer.
    ///
    /// It must be written as one: `5`, not `5.0` or `"5"`.
    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        let number = self.get(name)?;
        // An expiry beyond i64 is "never", too.
        number.as_i64().or_else(|| number.as_u64().map(|_| i64::MAX))
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Object<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(PhantomData))
    }
}

struct Members<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for Members<V> {
    type Value = Object<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value()?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(Object(members))
    }
}

/// Returns whether each member name occurs once in each object of a value, nested ones included.
///
/// The value is valid JSON, and not deeper than serde's limit.
pub(crate) fn has_unique_names(json: &RawValue) -> bool {
    fn parse<'a, T: Deserialize<'a>>(json: &'a RawValue) -> Option<T> {
        serde_json::from_str(json.get()).ok()
    }
    match json.get().as_bytes().first() {
        Some(b'{') => {
            parse::<Object<&RawValue>>(json).is_some_and(|object| object.0.values().all(|member| has_unique_names(member)))
        }
        Some(b'[') => parse::<Vec<&RawValue>>(json).is_some_and(|all| all.into_iter().all(has_unique_names)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_valid(json: &str) -> bool {
        serde_json::from_str::<Object>(json).is_ok()
    }

    #[test]
    fn object_with_repeated_member_is_rejected() {
        assert!(is_valid(r#"{"a":1,"b":{"c":1}}"#));
        for invalid in [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, "[]", r#"["a"]"#, "null", "1", "", "{}{}", "{\"a\":"] {
            assert!(!is_valid(invalid), "{invalid}");
        }
    }

    #[test]
    fn repeated_name_is_found_at_any_depth() {
        let is_unique = |json: &str| has_unique_names(serde_json::from_str(json).unwrap());
        for unique in ["1", "null", r#""{""#, "[]", "{}", r#"[{"a":1},{"a":1}]"#, r#"{"a":{"a":[{"a":{}}]},"b":" {"}"#] {
            assert!(is_unique(unique), "{unique}");
        }
        for repeated in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[0,[{"b":1,"\u0062":2}]]}"#,
            r#"[ {"a":{"b":{"c":1}, "b":1}}]"#,
        ] {
            assert!(!is_unique(repeated), "{repeated}");
        }
    }

    #[test]
    fn integer_excludes_floats_and_strings() {
        let object: Object =
            serde_json::from_str(r#"{"a":5,"b":5.0,"c":"5","d":18446744073709551615,"e":1e3,"f":-1}"#).unwrap();
        let integers: Vec<_> = ["a", "b", "c", "d", "e", "f", "g"].map(|name| object.integer(name)).into();
        assert_eq!(integers, [Some(5), None, None, Some(i64::MAX), None, Some(-1), None]);
    }
}
