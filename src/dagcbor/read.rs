//! Reading item by item: every head in its shortest form, every length checked before it is believed.

use crate::error::Error;

/// What was expected and is not there. The caller adds the object's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {wrong}")]
pub(crate) struct Malformed {
    /// Where the item begins, in bytes from the start.
    pub(crate) at: usize,
    /// What is wrong with it.
    pub(crate) wrong: String,
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::corrupt(malformed.to_string())
    }
}

type Read<T> = Result<T, Malformed>;

/// Walks over canonical items. Allocates nothing: text, bytes and links are borrowed from the input.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, total: bytes.len() }
    }

    /// How many bytes were read.
    pub(crate) fn at(&self) -> usize {
        self.total - self.rest.len()
    }

    /// An error about the item that begins here.
    pub(crate) fn wrong(&self, wrong: impl Into<String>) -> Malformed {
        Malformed { at: self.at(), wrong: wrong.into() }
    }

    /// Succeeds when nothing is left.
    pub(crate) fn end(&self) -> Read<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.wrong(format!("{} bytes follow the value", self.rest.len()))) }
    }

    fn peek(&self) -> Read<u8> {
        self.rest.first().copied().ok_or_else(|| self.wrong("the bytes end here"))
    }

    /// The major type of the next item.
    pub(crate) fn major(&self) -> Read<u8> {
        Ok(self.peek()? >> 5)
    }

    fn take(&mut self, len: usize) -> Read<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(len).ok_or_else(|| self.wrong("the bytes end inside an item"))?;
        self.rest = tail;
        Ok(head)
    }

    /// Reads a head of type `major` and gives its argument.
    fn head(&mut self, major: u8, what: &str) -> Read<u64> {
        let start = self.rest;
        let at = self.at();
        let first = self.peek()?;
        if first >> 5 != major {
            return Err(Malformed { at, wrong: format!("0x{first:02x} where {what} belongs") });
        }
        let argument = match first & 31 {
            small @ 0..24 => {
                self.take(1)?;
                return Ok(u64::from(small));
            }
            width @ 24..28 => {
                let bytes = 1 << (width - 24);
                let big_endian = self.take(1 + bytes)?.iter().skip(1);
                let value = big_endian.fold(0u64, |value, byte| value << 8 | u64::from(*byte));
                let least = if bytes == 1 { 24 } else { 1u64 << (bytes * 4) };
                (value >= least).then_some(value)
            }
            _ => None,
        };
        argument.ok_or_else(|| {
            self.rest = start;
            Malformed { at, wrong: format!("{what} whose head 0x{first:02x} is not the shortest") }
        })
    }

    pub(crate) fn uint(&mut self) -> Read<u64> {
        self.head(0, "a non-negative integer")
    }

    pub(crate) fn int(&mut self) -> Read<i64> {
        let at = self.at();
        let negative = self.peek()? >> 5 == 1;
        let argument = if negative { self.head(1, "an integer")? } else { self.head(0, "an integer")? };
        let value = i64::try_from(argument).map_err(|_| Malformed { at, wrong: "an integer beyond 64 bits".to_owned() })?;
        Ok(if negative { !value } else { value })
    }

    fn run(&mut self, major: u8, most: usize, what: &str) -> Read<&'a [u8]> {
        let at = self.at();
        let len = self.head(major, what)?;
        match usize::try_from(len) {
            Ok(len) if len <= most => self.take(len),
            _ => Err(Malformed { at, wrong: format!("{what} of {len} bytes; at most {most} are allowed") }),
        }
    }

    /// A byte string of at most `most` bytes.
    pub(crate) fn bytes(&mut self, most: usize) -> Read<&'a [u8]> {
        self.run(2, most, "a byte string")
    }

    /// A text of at most `most` bytes.
    pub(crate) fn text(&mut self, most: usize) -> Read<&'a str> {
        let at = self.at();
        std::str::from_utf8(self.run(3, most, "a text")?).map_err(|_| Malformed { at, wrong: "a text that is not UTF-8".to_owned() })
    }

    /// The length of an array: at most `most`, and no more than the bytes left could hold with `item` bytes each.
    pub(crate) fn array(&mut self, most: usize, item: usize) -> Read<usize> {
        let at = self.at();
        let len = self.head(4, "an array")?;
        match usize::try_from(len) {
            Ok(len) if len <= most && len.saturating_mul(item) <= self.rest.len() => Ok(len),
            Ok(len) if len <= most => Err(Malformed { at, wrong: format!("an array of {len} items, but the bytes end before") }),
            _ => Err(Malformed { at, wrong: format!("an array of {len} items; at most {most} are allowed") }),
        }
    }

    /// An array of exactly `len` items.
    pub(crate) fn tuple(&mut self, len: usize) -> Read<()> {
        let at = self.at();
        match self.head(4, "an array")? {
            n if n == len as u64 => Ok(()),
            n => Err(Malformed { at, wrong: format!("an array of {n} items where {len} belong") }),
        }
    }

    /// The number of pairs in a map, at most `most`.
    pub(crate) fn map(&mut self, most: usize) -> Read<usize> {
        let at = self.at();
        let len = self.head(5, "a map")?;
        match usize::try_from(len) {
            Ok(len) if len <= most => Ok(len),
            _ => Err(Malformed { at, wrong: format!("a map of {len} pairs; at most {most} are allowed") }),
        }
    }

    /// Takes the key `name`; the caller asks in the canonical order of keys.
    pub(crate) fn field(&mut self, name: &str) -> Read<()> {
        if self.is_field(name)? { Ok(()) } else { Err(self.wrong(format!("the field {name:?} belongs here"))) }
    }

    /// Takes the key `name` if it is next.
    pub(crate) fn is_field(&mut self, name: &str) -> Read<bool> {
        let start = self.rest;
        let found = self.text(1024)? == name;
        if !found {
            self.rest = start;
        }
        Ok(found)
    }

    /// Takes a null if one is next.
    pub(crate) fn null(&mut self) -> Read<bool> {
        let is_null = self.peek()? == 0xf6;
        if is_null {
            self.take(1)?;
        }
        Ok(is_null)
    }

    /// The binary CID of a link.
    pub(crate) fn link(&mut self) -> Read<&'a [u8]> {
        let at = self.at();
        if self.head(6, "a link")? != 42 {
            return Err(Malformed { at, wrong: "a tag that is not 42".to_owned() });
        }
        match self.bytes(128)?.split_first() {
            Some((0, cid)) => Ok(cid),
            _ => Err(Malformed { at, wrong: "a link whose bytes do not begin with zero".to_owned() }),
        }
    }
}
