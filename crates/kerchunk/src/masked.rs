//! JSON as Python writes it.

use std::borrow::Cow;

/// The text with numbers of the same length in the place of `NaN` and `Infinity`, which Python writes and JSON does not know.
pub(crate) fn masked(text: &[u8]) -> Cow<'_, [u8]> {
    let words: [(&[u8], &[u8]); 2] = [(b"NaN", b"0.0"), (b"Infinity", b"0.000000")];
    let mut out = Cow::Borrowed(text);
    let (mut at, mut is_inside) = (0, false);
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' if is_inside => at += 1,
            b'"' => is_inside = !is_inside,
            b'N' | b'I' if !is_inside => {
                for (word, number) in words {
                    if text.get(at..).is_some_and(|rest| rest.starts_with(word))
                        && let Some(place) = out.to_mut().get_mut(at..at + word.len())
                    {
                        place.copy_from_slice(number);
                    }
                }
            }
            _ => {}
        }
        at += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_take_the_place_of_what_json_does_not_know() {
        let text = br#"{"a": NaN, "b": [-Infinity, Infinity], "NaN\"Infinity": "NaN"}"#;
        let masked = super::masked(text);
        let value: serde_json::Value = serde_json::from_slice(&masked).unwrap();
        assert_eq!(value, serde_json::json!({"a": 0.0, "b": [-0.0, 0.0], "NaN\"Infinity": "NaN"}));
        assert_eq!(masked.len(), text.len());
        assert!(matches!(super::masked(b"{\"a\":1}"), std::borrow::Cow::Borrowed(_)));
    }
}
