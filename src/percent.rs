//! The percent coding of URLs, in one place: how `%20` is read and how a path is written.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// What a path in a `file:` URL escapes: everything but letters, digits and `/ - . _ ~`, as Python's `pathlib` does.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The bytes that `text` stands for. A `%` that two hexadecimal digits do not follow stands for itself.
pub(crate) fn decoded(text: &str) -> Cow<'_, [u8]> {
    percent_decode_str(text).into()
}

/// The text that `text` stands for; bytes that are not UTF-8 are replaced.
pub(crate) fn decoded_text(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// A path as a `file:` URL writes it.
pub(crate) fn encoded_path(path: &[u8]) -> String {
    percent_encode(path, PATH).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_percent_without_two_digits_stands_for_itself() {
        assert_eq!(decoded_text("a%20b%2Cc%zz100%"), "a b,c%zz100%");
        assert_eq!(encoded_path("/my data/a%20b,ü".as_bytes()), "/my%20data/a%2520b%2C%C3%BC");
    }

    proptest! {
        #[test]
        fn an_encoded_path_is_plain_and_leads_back(path in prop::collection::vec(any::<u8>(), 0..40)) {
            let encoded = encoded_path(&path);
            prop_assert!(encoded.bytes().all(|b| b.is_ascii_graphic()));
            let back = decoded(&encoded);
            prop_assert_eq!(back.as_ref(), path.as_slice());
        }
    }
}
