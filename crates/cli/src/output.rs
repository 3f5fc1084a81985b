//! The only place that prints.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;

use super::args::Global;
use super::failure::{Stop, Verdict};
use super::progress::Bar;
use firnline::Error;

/// For whom standard output is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// For people, and for programs that read lines.
    Text,
    /// For programs: one object a line.
    Json,
}

/// How much is said on standard error besides errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loudness {
    /// Counts and progress, if it is a terminal.
    Usual,
    /// Counts, whatever it is.
    Verbose,
    /// Neither.
    Quiet,
}

impl Loudness {
    pub(super) fn of(global: &Global) -> Self {
        match (global.quiet, global.verbose) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Verbose,
            (false, false) => Self::Usual,
        }
    }
}

/// Something that is printed: serialised for programs, in words for people.
pub(super) trait Show: Serialize {
    /// The text, without the final line break. May hold anything that the repository holds; it is made
    /// [`printable`] when it is printed.
    fn text(&self) -> String;
}

/// The standard streams of the process.
#[derive(Debug)]
pub(super) struct Output {
    format: Format,
    /// Whether counts are printed.
    chatty: bool,
    /// Where progress is shown, if it is.
    bar: Option<Bar>,
    out: BufWriter<Stdout>,
}

impl Output {
    pub(super) fn new(format: Format, loudness: Loudness) -> Self {
        let is_watched = format == Format::Text && io::stderr().is_terminal();
        let chatty = loudness == Loudness::Verbose || (is_watched && loudness != Loudness::Quiet);
        let bar = (is_watched && loudness != Loudness::Quiet).then(Bar::new);
        Self { format, chatty, bar, out: BufWriter::with_capacity(64 << 10, io::stdout()) }
    }

    /// The bar on which progress is shown; `None` where none is.
    pub(super) fn bar(&self) -> Option<&Bar> {
        self.bar.as_ref()
    }

    /// Writes while no bar is in the way.
    fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.aside(print),
            None => print(),
        }
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Prints one row of a list, or a document.
    pub(super) fn show(&mut self, item: &impl Show) -> Result<(), Stop> {
        match self.format {
            Format::Text => self.line(&printable(&item.text())),
            Format::Json => {
                let json = serde_json::to_string(item).map_err(|e| Error::internal("a row cannot be printed").caused_by(e))?;
                self.line(&json)
            }
        }
    }

    /// Prints rows: for people as a table, which begins with `head` and whose columns end where the longest cell does.
    pub(super) fn table<T: Show, const N: usize>(
        &mut self,
        head: [&str; N],
        rows: &[T],
        cells: impl Fn(&T) -> [String; N],
    ) -> Result<(), Stop> {
        if self.format == Format::Json || rows.is_empty() {
            return rows.iter().try_for_each(|row| self.show(row));
        }
        let lines: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows.iter().map(cells)).collect();
        let width = |column: usize| lines.iter().filter_map(|l| l.get(column)).map(|c| c.chars().count()).max().unwrap_or(0);
        let widths: Vec<_> = (0..N).map(width).collect();
        for cells in &lines {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            let line = padded.collect::<Vec<_>>().join("  ");
            self.line(&printable(line.trim_end()))?;
        }
        Ok(())
    }

    /// Prints one line as it is, whatever the format: the id that a writer made.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Stop> {
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    /// Prints bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        // Whoever prints what was asked for has done the work.
        if let Some(bar) = &self.bar {
            bar.end();
        }
        self.out.write_all(bytes).map_err(lost)
    }

    /// Prints one line at once: for whoever reads along.
    pub(super) fn line_now(&mut self, text: &str) -> Result<(), Stop> {
        let bar = self.bar.clone();
        let mut print = || writeln!(self.out, "{text}").and_then(|()| self.out.flush()).map_err(lost);
        match bar {
            Some(bar) => bar.aside(print),
            None => print(),
        }
    }

    /// Says on standard error what somebody who looks on wants to know: counts, mostly.
    pub(super) fn note(&self, text: &str) {
        if self.chatty {
            self.say(text);
        }
    }

    /// Says on standard error what everybody must know.
    pub(super) fn say(&self, text: &str) {
        self.aside(|| match self.format {
            Format::Text => complain(&format!("firn: {}", printable(text))),
            Format::Json => complain_json(&serde_json::json!({ "note": text })),
        });
    }

    /// Says on standard error something that programs read too.
    pub(super) fn say_item(&self, item: &impl Show) {
        self.aside(|| match self.format {
            Format::Text => complain(&format!("firn: {}", printable(&item.text()))),
            Format::Json => complain_json(item),
        });
    }

    /// Writes out what is buffered. What was printed before an error stays printed.
    pub(super) fn finish(&mut self, outcome: Result<Verdict, Stop>) -> Result<Verdict, Stop> {
        if let Some(bar) = &self.bar {
            bar.end();
        }
        let flushed = self.out.flush().map_err(lost);
        let verdict = outcome?;
        flushed.map(|()| verdict)
    }
}

fn lost(error: io::Error) -> Stop {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Stop::ClosedPipe;
    }
    Stop::Failed(Error::unavailable("standard output cannot be written").caused_by(error))
}

/// Writes one line to standard error. Nothing can be done if that fails.
pub(super) fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes one object to standard error.
pub(super) fn complain_json(item: &impl Serialize) {
    if let Ok(json) = serde_json::to_string(item) {
        complain(&json);
    }
}

/// Text with control characters escaped, except line breaks and tabs: what a repository holds was written by others,
/// and must not drive a terminal.
pub(super) fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !matches!(c, '\n' | '\t') {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    clean
}

/// A count with its noun: `1 file`, `2 files`.
pub(super) fn count(n: u64, noun: &str) -> String {
    if n == 1 { format!("{n} {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_drive_a_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\tc\nd\u{9b}"), "a\\u{1b}[31mb\tc\nd\\u{9b}");
    }
}
