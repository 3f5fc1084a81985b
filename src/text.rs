//! How text from outside looks in messages and output: bounded, escaped, and in one form everywhere.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The first 80 characters of any text; print it with `{:?}`, which escapes.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// The characters of the Unicode categories Cc, Cf, Zl and Zp, except those below U+0080, as inclusive ranges. Planned
/// extensions of a range (Egyptian format controls, tags) are included.
const UNPRINTABLE: [(char, char); 21] = [
    ('\u{80}', '\u{9f}'),
    ('\u{ad}', '\u{ad}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{180e}', '\u{180e}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0001}', '\u{e0001}'),
    ('\u{e0020}', '\u{e007f}'),
];

/// Whether a character can drive a terminal, or hide or reorder the text around it: control characters (C0, C1 and DEL),
/// bidirectional marks and all other format characters, and the line and paragraph separators of Unicode.
///
/// Line breaks and tabs are control characters.
pub fn is_unprintable(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    UNPRINTABLE.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// `text` on one line, with every [unprintable](is_unprintable) character written as an escape such as `\u{1b}` or `\n`.
///
/// Use it for everything that a repository or a server says before it is shown to a person.
pub fn printable_line(text: &str) -> Cow<'_, str> {
    escaped(text, is_unprintable)
}

/// Like [`printable_line`], but keeps line breaks and tabs.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_unprintable(c) && !matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, is_bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_bad) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_bad(c) {
            let _ = write!(clean, "{}", c.escape_default());
        } else {
            clean.push(c);
        }
    }
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_drives_a_terminal_or_hides_text_is_escaped() {
        assert_eq!(printable("a\u{1b}[31mb\tc\nd\u{9b}\u{7f}"), "a\\u{1b}[31mb\tc\nd\\u{9b}\\u{7f}");
        assert_eq!(
            printable_line("a\tb\nc\r\u{202e}\u{2066}\u{200b}\u{2028}\u{feff}"),
            "a\\tb\\nc\\r\\u{202e}\\u{2066}\\u{200b}\\u{2028}\\u{feff}"
        );
        assert!(matches!(printable_line("süß 日本語 \u{301}e"), Cow::Borrowed(_)));
    }

    /// `char::escape_debug` of the standard library escapes every character of these categories, so it is the oracle.
    #[test]
    fn every_control_and_format_character_is_unprintable() {
        for c in '\0'..=char::MAX {
            let is_escaped_by_std = !matches!(c, '\\' | '\'' | '"') && c.escape_debug().len() > 1;
            assert!(!is_unprintable(c) || is_escaped_by_std, "{:x} is printable", u32::from(c));
            assert!(!c.is_control() || is_unprintable(c), "{:x} is a control character", u32::from(c));
        }
    }

    proptest! {
        #[test]
        fn no_unprintable_character_passes(text in any::<String>(), bad in prop::collection::vec(0..UNPRINTABLE.len(), 0..4)) {
            let hidden: String = bad.iter().map(|n| UNPRINTABLE[*n].1).collect();
            let text = format!("{hidden}{text}{hidden}");
            prop_assert!(!printable_line(&text).chars().any(is_unprintable));
            prop_assert!(!printable(&text).chars().any(|c| is_unprintable(c) && c != '\n' && c != '\t'));
        }
    }
}
