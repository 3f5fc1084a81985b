//! How foreign text and bytes look in messages and output: bounded, and in one form everywhere.

/// The first 80 characters of a text that may be anything at all; print it with `{:?}`, which escapes.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}
