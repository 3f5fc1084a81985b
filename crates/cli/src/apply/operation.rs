//! One line of the input, and the operation that it describes.

use std::borrow::Cow;

use serde::Deserialize;

use firnline::{Error, Key, Prefix, Result, VirtualRefs};

/// A string of a line, borrowed from it unless it has escapes.
#[derive(Debug, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A line with every field that any operation has. Which go together is checked once it is read, for better messages.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    op: Text<'a>,
    key: Option<Text<'a>>,
    prefix: Option<Text<'a>>,
    file: Option<Text<'a>>,
    text: Option<Text<'a>>,
    url: Option<Text<'a>>,
    offset: Option<u64>,
    length: Option<u64>,
}

/// A line that was understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Operation<'a> {
    PutFile(Key, Cow<'a, str>),
    PutText(Key, Cow<'a, str>),
    Virtual(Reference<'a>),
    Delete(Key),
    DeletePrefix(Prefix),
}

/// A reference as a line gives it. Its key, its URL and its range are checked when it is staged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    pub(super) key: Cow<'a, str>,
    pub(super) url: Cow<'a, str>,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Reads one line, which is not empty; `Invalid` unless it is an operation with exactly its fields.
pub(super) fn parse(line: &[u8]) -> Result<Operation<'_>> {
    // The deserialiser would also take an array of all fields.
    check_object(line)?;
    let line: Line<'_> = serde_json::from_slice(line).map_err(|e| Error::invalid("not an operation").caused_by(e))?;
    let text = |text: Option<Text<'_>>| text.map(|text| text.0.into_owned()).ok_or_else(|| Error::invalid("has no field \"key\""));
    let key = |name: Option<Text<'_>>| Key::new(text(name)?);
    let op = line.op.0.as_ref();
    match line {
        Line { key: name, file: Some(file), prefix: None, text: None, url: None, offset: None, length: None, .. } if op == "put" => {
            Ok(Operation::PutFile(key(name)?, file.0))
        }
        Line { key: name, text: Some(text), prefix: None, file: None, url: None, offset: None, length: None, .. } if op == "put" => {
            Ok(Operation::PutText(key(name)?, text.0))
        }
        Line { key: name, url: Some(url), offset: Some(offset), length: Some(length), prefix: None, file: None, text: None, .. }
            if op == "virtual" =>
        {
            let key = name.ok_or_else(|| Error::invalid("has no field \"key\""))?;
            // In columns of references that number has another meaning.
            if length == VirtualRefs::TO_END {
                return Err(Error::invalid(format!("{}: offset and length are too large", key.0)));
            }
            Ok(Operation::Virtual(Reference { key: key.0, url: url.0, offset, length }))
        }
        Line { key: name @ Some(_), prefix: None, file: None, text: None, url: None, offset: None, length: None, .. } if op == "delete" => {
            Ok(Operation::Delete(key(name)?))
        }
        Line { prefix: Some(prefix), key: None, file: None, text: None, url: None, offset: None, length: None, .. } if op == "delete" => {
            Ok(Operation::DeletePrefix(Prefix::new(&prefix.0)?))
        }
        Line { .. } => Err(Error::invalid(match op {
            "put" => "put takes \"key\" and either \"file\" or \"text\"".to_owned(),
            "virtual" => "virtual takes \"key\", \"url\", \"offset\" and \"length\"".to_owned(),
            "delete" => "delete takes either \"key\" or \"prefix\"".to_owned(),
            other => format!("{other:?} is not an operation; the operations are put, virtual and delete"),
        })),
    }
}

/// Refuses bytes that cannot be a JSON object in UTF-8, with the reason where it is a known one.
fn check_object(line: &[u8]) -> Result<()> {
    let wrong = |why: &str| Err(Error::invalid(why));
    match line {
        [0xef, 0xbb, 0xbf, ..] => wrong("begins with a byte order mark (BOM); write UTF-8 without one"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => wrong("begins with a byte order mark (BOM) of UTF-16; write UTF-8 without one"),
        _ if line.trim_ascii_start().first() != Some(&b'{') => wrong("not an operation: an operation is a JSON object"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_read_and_nothing_else() {
        let key = |text: &str| Key::new(text).unwrap();
        assert_eq!(parse(br#"{"op":"put","key":"a","text":"x"}"#).unwrap(), Operation::PutText(key("a"), "x".into()));
        assert_eq!(parse(br#"{"op":"put","key":"a","file":"x"}"#).unwrap(), Operation::PutFile(key("a"), "x".into()));
        assert_eq!(parse(br#"{"op":"delete","prefix":"a/"}"#).unwrap(), Operation::DeletePrefix(Prefix::new("a").unwrap()));
        let reference = Reference { key: "a".into(), url: "file:///é\"".into(), offset: 1, length: 2 };
        let escaped = br#" {"length":2,"op":"virtual","key":"\u0061","url":"file:\/\/\/\u00e9\"","offset":1}"#;
        assert_eq!(parse(escaped).unwrap(), Operation::Virtual(reference), "strings with escapes are written out");
        let bad: [&[u8]; 16] = [
            br#"{"op":"put","key":"a"}"#,
            br#"{"op":"put","key":"a","text":"x","file":"y"}"#,
            br#"{"op":"put","text":"x"}"#,
            br#"{"op":"delete"}"#,
            br#"{"op":"delete","key":"a","prefix":"b/"}"#,
            br#"{"op":"virtual","key":"a","url":"file:///x","offset":-1,"length":1}"#,
            br#"{"op":"virtual","key":"a","url":"file:///x","offset":1}"#,
            br#"{"op":"copy","key":"a"}"#,
            br#"{"op":"put","key":"a","text":"x","mode":1}"#,
            b"[]",
            // An array in the order of the fields was once taken for the object.
            br#"["delete","a",null,null,null,null,null,null]"#,
            b"\xef\xbb\xbf{\"op\":\"delete\",\"key\":\"a\"}",
            b"\xff\xfe{\0",
            b"null",
            br#"{"op":"virtual","url":"file:///x","offset":1,"length":1}"#,
            // It was once taken for "up to the end of the file".
            br#"{"op":"virtual","key":"a","url":"file:///x","offset":0,"length":18446744073709551615}"#,
        ];
        for line in bad {
            assert_eq!(parse(line).unwrap_err().kind(), firnline::ErrorKind::Invalid, "{}", String::from_utf8_lossy(line));
        }
        assert!(parse(bad[11]).unwrap_err().to_string().contains("BOM"));
    }

    #[test]
    fn a_plain_line_is_not_copied() {
        let Operation::Virtual(reference) = parse(br#"{"op":"virtual","key":"a","url":"file:///x","offset":1,"length":1}"#).unwrap() else {
            panic!("it is a reference");
        };
        assert!(matches!((reference.key, reference.url), (Cow::Borrowed("a"), Cow::Borrowed("file:///x"))));
    }
}
