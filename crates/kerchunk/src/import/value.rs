//! What the value of a key may be in a reference set that is JSON.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use data_encoding::BASE64;
use firnline::{Error, Result};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use crate::template::quoted;

/// The value of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ReferenceValue<'t> {
    /// The bytes themselves.
    Inline(Bytes),
    /// A file, or with offset and length a part of one.
    Reference(Cow<'t, str>, Option<(u64, u64)>),
}

/// Text as it stands in the source where it has no escapes.
#[derive(Debug, serde::Deserialize)]
struct MaybeEscaped<'t>(#[serde(borrow)] Cow<'t, str>);

impl<'t> ReferenceValue<'t> {
    /// Reads a value of JSON; `Invalid`, with what was found, for one that means nothing in a reference set.
    ///
    /// Text is its UTF-8, or after `base64:` what it encodes. An object is a document: its JSON as it is spelt. `[url]` and `[url, offset,
    /// length]` are references.
    pub(super) fn parse(text: &'t str) -> Result<Self> {
        let wrong = |why: &str| Error::invalid(format!("{} {why}", quoted(text)));
        match text.trim_start().as_bytes().first() {
            Some(b'"') => {
                let MaybeEscaped(value) = serde_json::from_str(text).map_err(|e| wrong("is no text").caused_by(e))?;
                match value.strip_prefix("base64:") {
                    Some(encoded) => {
                        let bytes = BASE64.decode(encoded.trim_ascii_end().as_bytes()).map_err(|e| wrong("is not base64").caused_by(e))?;
                        Ok(Self::Inline(bytes.into()))
                    }
                    None => Ok(Self::Inline(value.into_owned().into())),
                }
            }
            Some(b'{') => Ok(Self::Inline(text.trim_ascii().to_owned().into())),
            Some(b'[') => {
                let wrong = |e| wrong("is no reference; one is [url] or [url, offset, length]").caused_by(e);
                serde_json::from_str::<Reference<'t>>(text).map(|Reference(url, range)| Self::Reference(url, range)).map_err(wrong)
            }
            _ => Err(wrong("is no value of a reference set; text, an object, [url] or [url, offset, length] is")),
        }
    }
}

struct Reference<'t>(Cow<'t, str>, Option<(u64, u64)>);

impl<'de> Deserialize<'de> for Reference<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ReferenceVisitor)
    }
}

struct ReferenceVisitor;

impl<'de> Visitor<'de> for ReferenceVisitor {
    type Value = Reference<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[url] or [url, offset, length]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Reference<'de>, A::Error> {
        let Some(MaybeEscaped(url)) = seq.next_element()? else { return Err(de::Error::invalid_length(0, &self)) };
        let Some(offset) = seq.next_element()? else { return Ok(Reference(url, None)) };
        let Some(length) = seq.next_element()? else { return Err(de::Error::invalid_length(2, &self)) };
        match seq.next_element::<de::IgnoredAny>()? {
            None => Ok(Reference(url, Some((offset, length)))),
            Some(_) => Err(de::Error::invalid_length(4, &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_bytes_or_a_reference_or_an_error_that_quotes_it() {
        let inline = |bytes: &[u8]| ReferenceValue::Inline(Bytes::copy_from_slice(bytes));
        let reference = |url: &'static str, range| ReferenceValue::Reference(Cow::Borrowed(url), range);
        for (text, value) in [
            (r#""data""#, inline(b"data")),
            (r#""""#, inline(b"")),
            (r#""a\u0000\u00b0""#, inline("a\0°".as_bytes())),
            (r#""base64:AP+A""#, inline(&[0, 255, 128])),
            (r#""base64:""#, inline(b"")),
            (r#" {"a" : [1.50]} "#, inline(br#"{"a" : [1.50]}"#)),
            (r#"["s3://b/k"]"#, reference("s3://b/k", None)),
            (r#"["\/a b", 0, 0]"#, reference("/a b", Some((0, 0)))),
            (r#"["u", 18446744073709551615, 7]"#, reference("u", Some((u64::MAX, 7)))),
        ] {
            assert_eq!(ReferenceValue::parse(text).unwrap_or_else(|e| panic!("{text}: {e}")), value, "{text}");
        }
        for bad in [
            "",
            "1",
            "null",
            "true",
            "[]",
            "[1]",
            "[null, 0, 1]",
            r#"["u", 1]"#,
            r#"["u", 1, 2, 3]"#,
            r#"["u", -1, 2]"#,
            r#"["u", 1.5, 2]"#,
            r#"["u", "1", "2"]"#,
            r#"["u", 18446744073709551616, 2]"#,
            r#"[["u"]]"#,
            r#""base64:A""#,
            r#""base64:*""#,
            r#""\ud800""#,
        ] {
            let error = ReferenceValue::parse(bad).unwrap_err();
            assert_eq!(error.kind(), firnline::ErrorKind::Invalid);
            assert!(error.to_string().starts_with(&format!("`{bad}`")), "{bad}: {error}");
        }
    }
}
