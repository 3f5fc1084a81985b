//! Templates: literal text and placeholders, read once, matched against URLs and written out again.
//!
//! `{name}` and `{}` are placeholders, with literal text between any two. Those that have a default are replaced by it
//! before anything is matched; the others are the arguments of a file key, in order. Going from the left, a placeholder
//! takes the *shortest* text up to the next literal; the last takes the rest (up to the literal that ends the template,
//! if one does). Matching therefore never backtracks. Not every list of arguments survives `match(render(args))`: one
//! that holds the literal that follows it does not, and such arguments are refused rather than stored under two names.
//!
//! A brace cannot be written literally in a template or a default. URLs with braces are arguments of a placeholder, as
//! they are in every automatic container.

use std::collections::{BTreeMap, BTreeSet};

/// A parsed template, its defaults written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    /// The text before the first placeholder.
    head: String,
    slots: Vec<TemplateSlot>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct TemplateSlot {
    /// What stands between the braces.
    name: String,
    /// The literal up to the next placeholder or the end; empty only after the last placeholder.
    tail: String,
}

impl Template {
    /// Reads a template; the error says what is wrong with it, without naming it.
    pub(crate) fn parse(text: &str, defaults: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut out = Self { head: String::new(), slots: Vec::new() };
        let mut seen = BTreeSet::new();
        let (mut rest, mut after_placeholder) = (text, false);
        while let Some(at) = rest.find(['{', '}']) {
            let (literal, braced) = rest.split_at(at);
            if after_placeholder && literal.is_empty() {
                return Err("has two placeholders without text between them".to_owned());
            }
            out.push(literal);
            let Some((name, tail)) = braced.strip_prefix('{').and_then(|inner| inner.split_once('}')) else {
                return Err("has a brace without its partner".to_owned());
            };
            check_name(name)?;
            if !name.is_empty() && !seen.insert(name) {
                return Err(format!("has the placeholder {{{name}}} twice"));
            }
            match defaults.get(name).filter(|_| !name.is_empty()) {
                Some(value) => out.push(value),
                None => out.slots.push(TemplateSlot { name: name.to_owned(), tail: String::new() }),
            }
            (rest, after_placeholder) = (tail, true);
        }
        out.push(rest);
        match defaults.iter().find(|(name, value)| !seen.contains(name.as_str()) || value.contains(['{', '}'])) {
            Some((name, _)) if !seen.contains(name.as_str()) => Err(format!("has no placeholder {{{name}}} for its default")),
            Some((name, _)) => Err(format!("has a default with a brace, for {{{name}}}")),
            None => Ok(out),
        }
    }

    fn push(&mut self, literal: &str) {
        self.slots.last_mut().map_or(&mut self.head, |slot| &mut slot.tail).push_str(literal);
    }

    /// The text before the first placeholder, defaults written out.
    pub(crate) fn literal_prefix(&self) -> &str {
        &self.head
    }

    /// How many arguments it takes.
    pub(crate) const fn arity(&self) -> usize {
        self.slots.len()
    }

    /// The names of the placeholders that are left, in order; empty for `{}`.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|slot| slot.name.as_str())
    }

    /// The template as text, defaults written out.
    pub(crate) fn written_out(&self) -> String {
        let mut out = self.head.clone();
        for slot in &self.slots {
            out.extend(["{", &slot.name, "}", &slot.tail]);
        }
        out
    }

    /// The arguments that give `url`, if any do.
    pub(crate) fn matches<'u>(&self, url: &'u str) -> Option<Vec<&'u str>> {
        let mut rest = url.strip_prefix(self.head.as_str())?;
        let Some((last, before)) = self.slots.split_last() else {
            return rest.is_empty().then(Vec::new);
        };
        let mut args = Vec::with_capacity(self.slots.len());
        for slot in before {
            let (arg, tail) = rest.split_once(slot.tail.as_str())?;
            args.push(arg);
            rest = tail;
        }
        args.push(rest.strip_suffix(last.tail.as_str())?);
        Some(args)
    }

    /// How the arguments begin of every URL that begins with `beginning`: all of them but the last are whole. `None` when no such
    /// URL matches.
    pub(crate) fn args_beginning<'u>(&self, beginning: &'u str) -> Option<Vec<&'u str>> {
        if self.head.starts_with(beginning) {
            return Some(Vec::new());
        }
        let mut rest = beginning.strip_prefix(self.head.as_str())?;
        let (last, before) = self.slots.split_last()?;
        let mut args = Vec::new();
        for slot in before {
            let Some((arg, tail)) = rest.split_once(slot.tail.as_str()) else {
                args.push(before_a_part_of(&slot.tail, rest));
                return Some(args);
            };
            args.push(arg);
            rest = tail;
        }
        args.push(before_a_part_of(&last.tail, rest));
        Some(args)
    }

    /// The URL for `args`; `None` when there are too few or too many.
    pub(crate) fn render(&self, args: &[&str]) -> Option<String> {
        if args.len() != self.slots.len() {
            return None;
        }
        let mut out = self.head.clone();
        for (slot, arg) in self.slots.iter().zip(args) {
            out.push_str(arg);
            out.push_str(&slot.tail);
        }
        Some(out)
    }

    /// The URL for `args`, if matching it gives them back; the error says why not, without naming the template.
    pub(crate) fn render_exactly(&self, args: &[&str]) -> Result<String, String> {
        let Some(url) = self.render(args) else {
            return Err(format!("takes {} arguments, not {}", self.arity(), args.len()));
        };
        match self.matches(&url) {
            Some(back) if back == args => Ok(url),
            _ => Err("is ambiguous for these arguments: one of them holds the text that follows it".to_owned()),
        }
    }
}

/// `text` without the longest end of it with which `literal` begins: what follows may complete the literal.
fn before_a_part_of<'t>(literal: &str, text: &'t str) -> &'t str {
    let ends = text.char_indices().map(|(at, _)| at);
    let found = ends.filter_map(|at| text.split_at_checked(at)).find(|(_, end)| literal.starts_with(end));
    found.map_or(text, |(before, _)| before)
}

fn check_name(name: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.chars().all(good) { Ok(()) } else { Err("has a placeholder whose name is not letters, digits, _ and -".to_owned()) }
}
