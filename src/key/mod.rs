//! Names of things inside a repository: validated keys, and the order in which every map keeps its strings.

pub(crate) mod order;

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::text::shown;

/// The longest key, in bytes.
pub(crate) const MAX_KEY: usize = 1024;

/// A string in the order of the maps: digit runs compare by length and then digit by digit, the rest bytewise.
///
/// Equality and order agree (the order is total and injective). It does not order like `str`, so it does not
/// borrow as one. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MapKey(Arc<str>);

impl MapKey {
    /// Takes any string as it is. The caller checks which strings its map admits.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The string itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for MapKey {
    fn cmp(&self, other: &Self) -> Ordering {
        order::compare(&self.0, &other.0)
    }
}

impl PartialOrd for MapKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for MapKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for MapKey {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for MapKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// The conversions of a name that is parsed once: to and from text, for serde as a string.
macro_rules! string_like {
    ($name:ident, $parse:expr) => {
        impl std::str::FromStr for $name {
            type Err = $crate::error::Error;
            fn from_str(text: &str) -> $crate::error::Result<Self> {
                $parse(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = $crate::error::Error;
            fn try_from(text: &str) -> $crate::error::Result<Self> {
                $parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::error::Error;
            fn try_from(text: String) -> $crate::error::Result<Self> {
                $parse(text.as_str())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }
    };
}
pub(crate) use string_like;

/// The key of a value: 1 to 1,024 bytes of UTF-8, segments joined by `/`; no empty, `.` or `..` segment, no
/// control character.
///
/// A `Key` is checked when it is made, and never again.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(MapKey);

impl Key {
    /// Parses `text`; the error names the key and what is wrong with it.
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self> {
        let text = text.into();
        check(&text, "key")?;
        Ok(Self(MapKey(text)))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The same string as the maps hold it.
    pub fn as_map_key(&self) -> &MapKey {
        &self.0
    }

    /// The part after the last `/`.
    pub fn last_segment(&self) -> &str {
        let text = self.as_str();
        text.rsplit_once('/').map_or(text, |(_, last)| last)
    }
}

impl From<Key> for MapKey {
    fn from(key: Key) -> Self {
        key.0
    }
}

string_like!(Key, Key::new);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A directory of keys: empty (everything), or a key followed by `/`.
///
/// All keys below a prefix are neighbours in the order of the maps.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(MapKey);

string_like!(Prefix, Prefix::new);

/// As [`Prefix::as_str`]: empty, or ending in `/`.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Prefix {
    /// The prefix of all keys.
    pub fn all() -> Self {
        Self(MapKey::new(""))
    }

    /// Parses a directory, with or without its final `/`; the empty string is everything.
    pub fn new(text: &str) -> Result<Self> {
        let bare = text.strip_suffix('/').unwrap_or(text);
        if text.is_empty() {
            return Ok(Self::all());
        }
        check(bare, "prefix")?;
        Ok(Self(MapKey::new(format!("{bare}/"))))
    }

    /// The prefix as text: empty, or ending in `/`.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The same string as the maps compare it: everything below sorts after it.
    pub fn as_map_key(&self) -> &MapKey {
        &self.0
    }

    /// Whether `key` lies below.
    pub fn contains(&self, key: &str) -> bool {
        key.starts_with(self.as_str())
    }

    /// Whether two prefixes have keys in common: one lies inside the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.as_str()) || other.contains(self.as_str())
    }

    /// The key `rest` below this prefix.
    pub fn join(&self, rest: &str) -> Result<Key> {
        Key::new(format!("{}{rest}", self.as_str()))
    }
}

/// Whether `text` is a key; `what` names it in the error.
pub(crate) fn check(text: &str, what: &str) -> Result<()> {
    // Nearly all keys are ASCII, where this is a scan of bytes; every key of every node that is loaded comes through here.
    let control = if text.is_ascii() {
        text.bytes().position(|b| b.is_ascii_control())
    } else {
        text.char_indices().find(|(_, c)| c.is_control()).map(|(at, _)| at)
    };
    let wrong = if text.is_empty() {
        "is empty".to_owned()
    } else if text.len() > MAX_KEY {
        format!("is {} bytes long; at most {MAX_KEY} are allowed", text.len())
    } else if let Some(at) = control {
        format!("has a control character at byte {at}")
    } else if let Some(segment) = text.as_bytes().split(|b| *b == b'/').find(|s| matches!(*s, b"" | b"." | b"..")) {
        format!("has the forbidden segment {:?}", String::from_utf8_lossy(segment))
    } else {
        return Ok(());
    };
    // A key may be anything at all here: show a bounded, escaped piece of it.
    let shown = shown(text);
    Err(Error::invalid(format!("{what} {shown:?} {wrong}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_no_paths_are_refused() {
        for bad in ["", "/a", "a/", "a//b", "a/./b", "..", "a\u{0}b", "a\nb", "a\u{85}b", &"k".repeat(1025)] {
            assert_eq!(Key::new(bad).unwrap_err().kind(), crate::ErrorKind::Invalid, "{bad:?}");
        }
        for good in ["a", "zarr.json", "a/c/0/0", "temp °C/0", ".zgroup", "a/...", &"k".repeat(1024)] {
            assert_eq!(Key::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn keys_and_prefixes_go_through_serde_as_checked_text() {
        let told = serde_json::to_string(&(Key::new("a/b").unwrap(), Prefix::new("a").unwrap())).unwrap();
        assert_eq!(told, r#"["a/b","a/"]"#);
        let (key, prefix): (Key, Prefix) = serde_json::from_str(&told).unwrap();
        assert_eq!((key.as_ref(), prefix.to_string().as_str()), ("a/b", "a/"));
        assert!(serde_json::from_str::<Key>(r#""a//b""#).is_err());
        assert_eq!("a/".parse::<Prefix>().unwrap(), prefix);
        assert_eq!(Key::try_from("a/b".to_owned()).unwrap(), key);
    }

    #[test]
    fn a_prefix_is_a_directory_however_it_is_written() {
        assert_eq!(Prefix::new("a/b").unwrap(), Prefix::new("a/b/").unwrap());
        assert!(Prefix::all().contains("anything"));
        assert!(!Prefix::new("a").unwrap().contains("ab/c"));
        assert!(Prefix::new("a").unwrap().overlaps(&Prefix::new("a/b").unwrap()));
        assert!(!Prefix::new("a").unwrap().overlaps(&Prefix::new("ab").unwrap()));
        assert!(Prefix::new("a//").is_err());
    }
}
