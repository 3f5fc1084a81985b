//! JSON documents in one spelling.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// A value of JSON whose objects keep the order of their members.
#[derive(Debug, Clone, PartialEq)]
enum OrderedJson {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    Array(Vec<OrderedJson>),
    Object(Vec<(String, OrderedJson)>),
}

/// A document without white space, with each number and text in the one spelling of this crate's writer; `None` when it is no JSON.
pub(super) fn compact(text: &[u8]) -> Option<Vec<u8>> {
    let document: OrderedJson = serde_json::from_slice(text).ok()?;
    serde_json::to_vec(&document).ok()
}

struct OrderedVisitor;

impl<'de> Visitor<'de> for OrderedVisitor {
    type Value = OrderedJson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<OrderedJson, E> {
        Ok(OrderedJson::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<OrderedJson, E> {
        Ok(OrderedJson::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<OrderedJson, E> {
        Ok(OrderedJson::Unsigned(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<OrderedJson, E> {
        Ok(OrderedJson::Signed(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<OrderedJson, E> {
        Ok(OrderedJson::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<OrderedJson, E> {
        Ok(OrderedJson::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OrderedJson, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = seq.next_element()? {
            all.push(one);
        }
        Ok(OrderedJson::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OrderedJson, A::Error> {
        let mut all = Vec::new();
        while let Some(member) = map.next_entry()? {
            all.push(member);
        }
        Ok(OrderedJson::Object(all))
    }
}

impl<'de> Deserialize<'de> for OrderedJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OrderedVisitor)
    }
}

impl Serialize for OrderedJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Unsigned(value) => serializer.serialize_u64(*value),
            Self::Signed(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Array(all) => serializer.collect_seq(all),
            Self::Object(all) => {
                let mut map = serializer.serialize_map(Some(all.len()))?;
                for (name, value) in all {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_spelt_in_one_way_and_keep_their_order() {
        let spelt = [r#"{ "b":1, "a" :[1.50,-2, null,true], "u":"m\/s °" }"#, "{\"b\":1,\n\"a\":[1.5,-2,null,true],\"u\":\"m/s \\u00b0\"}"];
        for text in spelt {
            assert_eq!(compact(text.as_bytes()).unwrap(), r#"{"b":1,"a":[1.5,-2,null,true],"u":"m/s °"}"#.as_bytes());
        }
        for bad in ["", "{", "NaN", "{\"a\":NaN}", "{} {}"] {
            assert_eq!(compact(bad.as_bytes()), None);
        }
        assert_eq!(compact(&b"[".repeat(10_000)), None);
    }
}
