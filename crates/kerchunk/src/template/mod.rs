//! The templates of reference sets: text with `{{ expressions }}`, of which the part is understood that reference sets use.
//!
//! Kerchunk has them rendered by Jinja. Understood are names, calls of templates with keyword arguments (`f(c='x')`), integers with
//! `+ - * // %` and parentheses, text in quotes, and the three ways of formatting: `'%03d' % i`, `'%03d' | format(i)` and
//! `'{:03d}'.format(i)`. Everything else is an error that quotes it, also an unknown name, for which Jinja would write nothing.

mod eval;
mod expression;
mod format;
mod lexer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use firnline::{Error, Result, printable_line};

use expression::Expression;

/// The longest text that a template may give, in bytes.
pub(crate) const LONGEST: usize = 16 << 10;

/// At most this many characters of a template are quoted.
const SHOWN: usize = 200;

/// A text with expressions, read once and rendered any number of times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<TemplatePart>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum TemplatePart {
    Text(String),
    /// An expression, and how it was written.
    Expression(Expression, String),
}

/// What a name or an expression stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TemplateValue {
    Int(i64),
    Text(String),
    /// Only to the right of `%`.
    Tuple(Vec<TemplateValue>),
}

/// The member `templates` of a reference set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Templates {
    by_name: BTreeMap<String, NamedTemplate>,
}

#[derive(Debug, Clone)]
enum NamedTemplate {
    /// Text without expressions.
    Plain(String),
    /// Rendered when it is called, from the arguments of the call alone.
    Called(Template),
}

/// What names stand for where a template is rendered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'s> {
    pub(crate) names: &'s [(String, TemplateValue)],
    pub(crate) templates: Option<&'s Templates>,
}

impl Templates {
    /// Adds one, or replaces the one of this name.
    pub(crate) fn set(&mut self, name: String, text: String) -> Result<()> {
        let named = if Template::is_in(&text) {
            NamedTemplate::Called(Template::parse(&text).map_err(|e| e.context(format!("template {}", quoted(&name))))?)
        } else {
            NamedTemplate::Plain(text)
        };
        self.by_name.insert(name, named);
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }
}

impl Template {
    /// Whether a text holds an expression; a URL without one is taken as it stands.
    pub(crate) fn is_in(text: &str) -> bool {
        text.contains("{{")
    }

    /// Reads a template; what is not understood is `Invalid`, and quoted.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            if from.starts_with("{%") || from.starts_with("{#") {
                return Err(wrong(from, "statements and comments are not understood"));
            }
            let Some(inner) = from.strip_prefix("{{") else {
                let (brace, after) = from.split_at(1);
                parts.push(TemplatePart::Text(format!("{before}{brace}")));
                rest = after;
                continue;
            };
            parts.push(TemplatePart::Text(before.to_owned()));
            let (expression, length) = Expression::parse(inner).map_err(|why| {
                let end = inner.find("}}").map_or(from.len(), |end| end + 4);
                wrong(from.get(..end).unwrap_or(from), &why)
            })?;
            let (written, after) = inner.split_at_checked(length).unwrap_or((inner, ""));
            parts.push(TemplatePart::Expression(expression, format!("{{{{{written}")));
            rest = after;
        }
        parts.push(TemplatePart::Text(rest.to_owned()));
        parts.retain(|part| !matches!(part, TemplatePart::Text(text) if text.is_empty()));
        Ok(Self { parts })
    }

    /// The text with the values of its expressions; `Invalid`, with the expression, when one has no value or the text is too long.
    pub(crate) fn render(&self, scope: Scope<'_>) -> Result<String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                TemplatePart::Text(text) => out.push_str(text),
                TemplatePart::Expression(expression, written) => {
                    let value = expression.value(scope).map_err(|why| wrong(written, &why))?;
                    match value {
                        TemplateValue::Text(text) => out.push_str(&text),
                        TemplateValue::Int(n) => out.push_str(&n.to_string()),
                        TemplateValue::Tuple(_) => return Err(wrong(written, "several values are no text")),
                    }
                }
            }
            if out.len() > LONGEST {
                return Err(Error::invalid(format!("a template gives more than {LONGEST} bytes")));
            }
        }
        Ok(out)
    }
}

fn wrong(written: &str, why: &str) -> Error {
    Error::invalid(format!("{} is not understood: {why}", quoted(written)))
}

/// A bounded and escaped piece of a text, in backquotes.
pub(crate) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(SHOWN).collect();
    let more = if shown.len() < text.len() { "…" } else { "" };
    format!("`{}{more}`", printable_line(&shown))
}
