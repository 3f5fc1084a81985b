//! The words of an expression.

/// The longest expression, in bytes.
const LONGEST: usize = 16 << 10;

/// How many words an expression has at most. A chain of operators is as deep as it is long, and is computed from the inside out.
const MOST: usize = 400;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TemplateWord {
    Int(i64),
    Text(String),
    Name(String),
    /// An operator or a bracket.
    Sign(&'static str),
}

/// The longer ones first.
const SIGNS: [&str; 12] = ["//", "**", "+", "-", "*", "/", "%", "(", ")", ",", "=", "|"];

/// The words up to `}}`, and the length of everything up to its end; in words, what is not understood.
pub(super) fn words(text: &str) -> Result<(Vec<TemplateWord>, usize), String> {
    if text.starts_with(['-', '+']) {
        return Err(format!("the sign in {{{{{} controls white space", text.get(..1).unwrap_or_default()));
    }
    let (mut words, mut rest) = (Vec::new(), text);
    loop {
        rest = rest.trim_start();
        if text.len() - rest.len() > LONGEST {
            return Err(format!("it is longer than {LONGEST} bytes"));
        }
        if let Some(after) = rest.strip_prefix("}}") {
            return Ok((words, text.len() - after.len()));
        }
        let Some(first) = rest.chars().next() else { return Err("it has no end".to_owned()) };
        let (word, length) = match first {
            '0'..='9' => number(rest)?,
            'a'..='z' | 'A'..='Z' | '_' => {
                let name = rest.get(..run(rest, |b| b.is_ascii_alphanumeric() || b == b'_')).unwrap_or_default();
                (TemplateWord::Name(name.to_owned()), name.len())
            }
            '\'' | '"' => literal(rest, first)?,
            '.' => (TemplateWord::Sign("."), 1),
            _ => {
                let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign)).ok_or_else(|| format!("{first:?} is no operator here"))?;
                (TemplateWord::Sign(sign), sign.len())
            }
        };
        if words.len() == MOST {
            return Err(format!("it has more than {MOST} words"));
        }
        words.push(word);
        rest = rest.get(length..).unwrap_or_default();
    }
}

/// How many bytes at the beginning are of a kind.
fn run(text: &str, is_one: impl Fn(u8) -> bool) -> usize {
    text.bytes().position(|b| !is_one(b)).unwrap_or(text.len())
}

fn number(text: &str) -> Result<(TemplateWord, usize), String> {
    let length = run(text, |b| b.is_ascii_alphanumeric() || b == b'_');
    let digits = text.get(..length).unwrap_or_default();
    let is_octal = digits.len() > 1 && digits.starts_with('0');
    let is_fraction =
        text.get(length..).is_some_and(|rest| rest.starts_with('.') && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit));
    match digits.parse() {
        Ok(n) if !is_octal && !is_fraction => Ok((TemplateWord::Int(n), length)),
        _ => Err(format!("{digits} is no decimal integer of 64 bits")),
    }
}

/// Text in quotes, with the escapes that are the same in all of Python.
fn literal(text: &str, quote: char) -> Result<(TemplateWord, usize), String> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => return Ok((TemplateWord::Text(out), at + 1)),
            '\\' => out.push(match chars.next() {
                Some((_, c @ ('\\' | '\'' | '"'))) => c,
                Some((_, 'n')) => '\n',
                Some((_, 't')) => '\t',
                other => return Err(format!("the escape \\{} is not understood", other.map_or(' ', |(_, c)| c))),
            }),
            c => out.push(c),
        }
    }
    Err("a quote is not closed".to_owned())
}
