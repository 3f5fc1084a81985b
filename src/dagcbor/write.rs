//! Writing item by item.

use crate::id::BINARY_CID;

/// Appends canonical items to a buffer. The caller opens arrays with their length and then writes that many items.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// A writer that can take `capacity` bytes before it allocates again.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { out: Vec::with_capacity(capacity) }
    }

    /// The bytes written.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }

    fn head(&mut self, major: u8, argument: u64) {
        let first = |low: u8| major << 5 | low;
        if let Ok(byte) = u8::try_from(argument) {
            if byte < 24 { self.out.push(first(byte)) } else { self.out.extend_from_slice(&[first(24), byte]) }
        } else if let Ok(short) = u16::try_from(argument) {
            self.out.push(first(25));
            self.out.extend_from_slice(&short.to_be_bytes());
        } else if let Ok(word) = u32::try_from(argument) {
            self.out.push(first(26));
            self.out.extend_from_slice(&word.to_be_bytes());
        } else {
            self.out.push(first(27));
            self.out.extend_from_slice(&argument.to_be_bytes());
        }
    }

    pub(crate) fn uint(&mut self, value: u64) {
        self.head(0, value);
    }

    pub(crate) fn int(&mut self, value: i64) {
        // The argument of a negative integer is -1 - value, which is its complement.
        if value < 0 { self.head(1, (!value).cast_unsigned()) } else { self.head(0, value.cast_unsigned()) }
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.head(2, value.len() as u64);
        self.out.extend_from_slice(value);
    }

    pub(crate) fn text(&mut self, value: &str) {
        self.head(3, value.len() as u64);
        self.out.extend_from_slice(value.as_bytes());
    }

    /// Opens an array of `len` items.
    pub(crate) fn array(&mut self, len: usize) {
        self.head(4, len as u64);
    }

    /// Opens a map of `len` pairs. The caller writes them in canonical order: shorter keys first, then bytewise.
    pub(crate) fn map(&mut self, len: usize) {
        self.head(5, len as u64);
    }

    /// Writes what is there, or null.
    pub(crate) fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.out.push(0xf6),
        }
    }

    /// A link: tag 42 over a zero byte and the binary CID.
    pub(crate) fn link(&mut self, cid: &[u8; BINARY_CID]) {
        self.out.extend_from_slice(&[0xd8, 42, 0x58, 37, 0]);
        self.out.extend_from_slice(cid);
    }
}
