//! Python's two ways of formatting, for integers and text.

use super::{LONGEST, TemplateValue};

/// The widest field, in characters.
const WIDEST: usize = 1024;

/// How one value is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FormatSpec {
    fill: char,
    /// `<`, `>`, `^`, `=`; `None` is the default of the kind of value, which for numbers depends on whether zeros fill.
    align: Option<char>,
    /// `+`, or a space: what stands before a number that is not negative.
    sign: Option<char>,
    /// Whether `0x` and its like stand before a number.
    is_marked: bool,
    width: usize,
    precision: Option<usize>,
    kind: Option<char>,
}

impl Default for FormatSpec {
    fn default() -> Self {
        Self { fill: ' ', align: None, sign: None, is_marked: false, width: 0, precision: None, kind: None }
    }
}

/// `'%03d-%s' % (n, text)`: `d`, `i`, `u`, `x`, `X`, `o` and `s`.
pub(super) fn format_percent(text: &str, arguments: &[TemplateValue]) -> Result<String, String> {
    let (mut out, mut rest, mut arguments) = (String::new(), text, arguments.iter());
    while let Some((before, after)) = rest.split_once('%') {
        push(&mut out, before)?;
        if let Some(after) = after.strip_prefix('%') {
            push(&mut out, "%")?;
            rest = after;
            continue;
        }
        let (spec, after) = percent_spec(after)?;
        let value = arguments.next().ok_or("a format has fewer arguments than places")?;
        write_value(&mut out, value, &spec)?;
        rest = after;
    }
    if arguments.next().is_some() {
        return Err("a format has more arguments than places".to_owned());
    }
    push(&mut out, rest)?;
    Ok(out)
}

/// Reads what follows `%`; gives what follows the specification.
fn percent_spec(text: &str) -> Result<(FormatSpec, &str), String> {
    let flags = text.bytes().position(|b| !b"-+ #0".contains(&b)).unwrap_or(text.len());
    let (flags, rest) = text.split_at(flags);
    let mut spec = FormatSpec::default();
    for flag in flags.chars() {
        match flag {
            '-' => spec.align = Some('<'),
            '0' if spec.align.is_none() => (spec.fill, spec.align) = ('0', Some('=')),
            '+' => spec.sign = Some('+'),
            ' ' => spec.sign = spec.sign.or(Some(' ')),
            '#' => spec.is_marked = true,
            _ => {}
        }
    }
    if spec.align == Some('<') {
        spec.fill = ' ';
    }
    let (width, rest) = leading_number(rest)?;
    spec.width = width.unwrap_or_default();
    let rest = match rest.strip_prefix('.') {
        Some(after) => {
            let (precision, after) = leading_number(after)?;
            spec.precision = Some(precision.unwrap_or_default());
            after
        }
        None => rest,
    };
    let kind = rest.chars().next().ok_or("a format ends after %")?;
    spec.kind = Some(match kind {
        'd' | 'i' | 'u' => 'd',
        'x' | 'X' | 'o' | 's' => kind,
        _ => return Err(format!("the format %{kind} is not known")),
    });
    if kind == 's' && spec.fill == '0' {
        // Text has no digits to fill up.
        (spec.fill, spec.align) = (' ', None);
    }
    if kind == 's' && spec.align.is_none() {
        spec.align = Some('>');
    }
    Ok((spec, rest.get(kind.len_utf8()..).unwrap_or_default()))
}

fn leading_number(text: &str) -> Result<(Option<usize>, &str), String> {
    let digits = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(digits);
    if digits.is_empty() {
        return Ok((None, rest));
    }
    match digits.parse() {
        Ok(n) if n <= WIDEST => Ok((Some(n), rest)),
        _ => Err(format!("a field is wider than {WIDEST} characters")),
    }
}

/// `'{:03d}-{name}'.format(n, name=text)`.
pub(super) fn format_braces(text: &str, plain: &[TemplateValue], named: &[(String, TemplateValue)]) -> Result<String, String> {
    let (mut out, mut rest, mut next) = (String::new(), text, 0);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        push(&mut out, before)?;
        if let Some((brace, after)) = [("{", "{{"), ("}", "}}")].iter().find_map(|(one, two)| Some((one, from.strip_prefix(two)?))) {
            push(&mut out, brace)?;
            rest = after;
            continue;
        }
        let field = from.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let Some((field, after)) = field else { return Err("a brace of a format has no counterpart".to_owned()) };
        let (name, spec) = field.split_once(':').unwrap_or((field, ""));
        let value = if name.is_empty() {
            next += 1;
            plain.get(next - 1)
        } else if let Ok(at) = name.parse::<usize>() {
            plain.get(at)
        } else {
            named.iter().find(|(known, _)| known == name).map(|(_, value)| value)
        };
        let value = value.ok_or_else(|| format!("the format names {field:?}, for which there is no argument"))?;
        let read = braces_spec(spec)?;
        if matches!(value, TemplateValue::Int(_)) && (read.precision.is_some() || read.kind == Some('s')) {
            return Err(format!("a number cannot be written as {spec:?}"));
        }
        write_value(&mut out, value, &read)?;
        rest = after;
    }
    push(&mut out, rest)?;
    Ok(out)
}

/// Reads `[[fill]align][sign][#][0][width][.precision][kind]`.
fn braces_spec(text: &str) -> Result<FormatSpec, String> {
    let mut spec = FormatSpec::default();
    let (mut rest, mut has_fill) = (text, false);
    let is_align = |c: char| matches!(c, '<' | '>' | '^' | '=');
    let mut chars = rest.chars();
    match (chars.next(), chars.next()) {
        (Some(fill), Some(align)) if is_align(align) => {
            (spec.fill, spec.align, rest, has_fill) = (fill, Some(align), chars.as_str(), true);
        }
        (Some(align), _) if is_align(align) => {
            (spec.align, rest) = (Some(align), rest.get(1..).unwrap_or_default());
        }
        _ => {}
    }
    if let Some(sign @ ('+' | '-' | ' ')) = rest.chars().next() {
        spec.sign = Some(sign).filter(|sign| *sign != '-');
        rest = rest.get(1..).unwrap_or_default();
    }
    if let Some(after) = rest.strip_prefix('#') {
        (spec.is_marked, rest) = (true, after);
    }
    if rest.starts_with('0') && !has_fill {
        spec.fill = '0';
    }
    let (width, after) = leading_number(rest)?;
    (spec.width, rest) = (width.unwrap_or_default(), after);
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = leading_number(after)?;
        (spec.precision, rest) = (Some(precision.ok_or("a precision is missing")?), after);
    }
    let mut chars = rest.chars();
    spec.kind = chars.next();
    if !matches!(spec.kind, None | Some('d' | 'x' | 'X' | 'o' | 'b' | 's')) || chars.next().is_some() {
        return Err(format!("the format {text:?} is not known"));
    }
    Ok(spec)
}

fn write_value(out: &mut String, value: &TemplateValue, spec: &FormatSpec) -> Result<(), String> {
    match (value, spec.kind) {
        (TemplateValue::Text(text), None | Some('s')) => write_text(out, text, spec),
        // `%s` of a number is its text.
        (TemplateValue::Int(n), Some('s')) => write_text(out, &n.to_string(), spec),
        (TemplateValue::Int(n), kind) => write_int(out, *n, kind.unwrap_or('d'), spec),
        (TemplateValue::Text(text), Some(kind)) => Err(format!("{text:?} cannot be written as {kind}")),
        (TemplateValue::Tuple(_), _) => Err("several values are given for one place".to_owned()),
    }
}

fn write_text(out: &mut String, text: &str, spec: &FormatSpec) -> Result<(), String> {
    if spec.align == Some('=') || spec.sign.is_some() && spec.kind.is_none() {
        return Err("text has no sign".to_owned());
    }
    let text: String = text.chars().take(spec.precision.unwrap_or(usize::MAX)).collect();
    pad(out, "", &text, spec.align.unwrap_or('<'), spec)
}

fn write_int(out: &mut String, n: i64, kind: char, spec: &FormatSpec) -> Result<(), String> {
    let size = n.unsigned_abs();
    let (mark, digits) = match kind {
        'x' => ("0x", format!("{size:x}")),
        'X' => ("0X", format!("{size:X}")),
        'o' => ("0o", format!("{size:o}")),
        'b' => ("0b", format!("{size:b}")),
        'd' => ("", size.to_string()),
        _ => return Err(format!("a number cannot be written as {kind}")),
    };
    let least = spec.precision.unwrap_or_default();
    let digits = format!("{digits:0>least$}");
    let sign = if n < 0 { "-".to_owned() } else { spec.sign.map_or_else(String::new, String::from) };
    let before = format!("{sign}{}", if spec.is_marked { mark } else { "" });
    // Zeros are digits, so they stand behind the sign.
    let usual = if spec.fill == '0' { '=' } else { '>' };
    pad(out, &before, &digits, spec.align.unwrap_or(usual), spec)
}

/// Writes `before` and `text` with what fills them up to the width; `=` fills between the two.
fn pad(out: &mut String, before: &str, text: &str, align: char, spec: &FormatSpec) -> Result<(), String> {
    let missing = spec.width.saturating_sub(before.chars().count() + text.chars().count());
    let (left, between, right) = match align {
        '<' => (0, 0, missing),
        '^' => (missing / 2, 0, missing - missing / 2),
        '=' => (0, missing, 0),
        _ => (missing, 0, 0),
    };
    let fill = |n| std::iter::repeat_n(spec.fill, n).collect::<String>();
    [&fill(left), before, &fill(between), text, &fill(right)].into_iter().try_for_each(|piece| push(out, piece))
}

/// Appends to a text that may not become longer than a template's. Formats may be nested, and each may double what it is given.
fn push(out: &mut String, piece: &str) -> Result<(), String> {
    if out.len().saturating_add(piece.len()) > LONGEST {
        return Err(format!("a format gives more than {LONGEST} bytes"));
    }
    out.push_str(piece);
    Ok(())
}
