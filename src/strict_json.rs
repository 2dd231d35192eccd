//! Strict JSON objects: nothing but an object, and each member name once.
//!
//! serde's derived structs take an array for an object, ignore a repeated unknown member, and make `null` of a missing one.
//! Where a body, a token or an answer decides who sees what, two readers must not be able to read it differently.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

/// An object with members of type `V`: [`serde_json::Value`], or `Box<RawValue>` for unchanged bytes.
#[derive(Debug)]
pub struct Object<V = serde_json::Value>(BTreeMap<String, V>);

impl<V> Object<V> {
    /// Returns the member of that name; `null` is a member too.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&V> {
        self.0.get(name)
    }

    /// Removes and returns the member of that name.
    pub fn remove(&mut self, name: &str) -> Option<V> {
        self.0.remove(name)
    }
}

impl Object {
    /// Returns the member of that name if it is a string.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// Returns the member of that name if it is written as an integer: `5`, not `5.0` or `"5"`.
    #[must_use]
    pub fn integer(&self, name: &str) -> Option<i64> {
        let number = self.get(name)?;
        // Past what an i64 holds an expiry is "never" all the same.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(json: &str) -> bool {
        serde_json::from_str::<Object>(json).is_ok()
    }

    #[test]
    fn only_an_object_with_distinct_members_is_read() {
        assert!(reads(r#"{"a":1,"b":{"c":1}}"#));
        for refused in [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, "[]", r#"["a"]"#, "null", "1", "", "{}{}", "{\"a\":"] {
            assert!(!reads(refused), "{refused}");
        }
    }

    #[test]
    fn an_integer_is_an_integer() {
        let object: Object =
            serde_json::from_str(r#"{"a":5,"b":5.0,"c":"5","d":18446744073709551615,"e":1e3,"f":-1}"#).unwrap();
        let read: Vec<_> = ["a", "b", "c", "d", "e", "f", "g"].map(|name| object.integer(name)).into();
        assert_eq!(read, [Some(5), None, None, Some(i64::MAX), None, Some(-1), None]);
    }
}
