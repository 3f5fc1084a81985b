//! The only place that prints.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use serde::Serialize;

use super::args::Global;
use super::failure::{Stop, Verdict};
use super::progress::Bar;
use firnline::{Error, is_unprintable, printable, printable_line};

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

/// How many rows of a long table decide how wide its columns are.
const MEASURED: usize = 1000;

/// A table for people that is printed while its rows come.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    head: [&'static str; N],
    /// Rows that are not printed yet.
    waiting: Vec<[String; N]>,
    widths: Option<[usize; N]>,
    /// How many rows decide the widths.
    measured: usize,
}

impl<const N: usize> Table<N> {
    /// A table that begins with `head`.
    pub(super) const fn new(head: [&'static str; N]) -> Self {
        Self { head, waiting: Vec::new(), widths: None, measured: MEASURED }
    }
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
                let json = json(item).map_err(|e| Error::internal("a row cannot be printed").caused_by(e))?;
                self.line(&json)
            }
        }
    }

    /// Prints rows: for people as a table, which begins with `head` and whose columns end where the longest cell does.
    pub(super) fn table<T: Show, const N: usize>(
        &mut self,
        head: [&'static str; N],
        rows: &[T],
        cells: impl Fn(&T) -> [String; N],
    ) -> Result<(), Stop> {
        if self.format == Format::Json {
            return rows.iter().try_for_each(|row| self.show(row));
        }
        let mut table = Table { measured: usize::MAX, ..Table::new(head) };
        rows.iter().try_for_each(|row| self.table_row(&mut table, cells(row)))?;
        self.end_table(table)
    }

    /// Adds a row to a list that is printed while its rows come: for people to a table.
    pub(super) fn row<T: Show, const N: usize>(
        &mut self,
        table: &mut Table<N>,
        row: &T,
        cells: impl Fn(&T) -> [String; N],
    ) -> Result<(), Stop> {
        if self.format == Format::Json { self.show(row) } else { self.table_row(table, cells(row)) }
    }

    /// Adds a row to a table for people, of which the first rows decide how wide the columns are.
    pub(super) fn table_row<const N: usize>(&mut self, table: &mut Table<N>, cells: [String; N]) -> Result<(), Stop> {
        let cells = cells.map(|cell| printable_line(&cell).into_owned());
        if let Some(widths) = table.widths {
            return self.padded(&cells, &widths);
        }
        table.waiting.push(cells);
        if table.waiting.len() < table.measured { Ok(()) } else { self.begin_table(table) }
    }

    /// Prints what waits of a table. One without rows prints nothing.
    pub(super) fn end_table<const N: usize>(&mut self, mut table: Table<N>) -> Result<(), Stop> {
        if table.waiting.is_empty() { Ok(()) } else { self.begin_table(&mut table) }
    }

    fn begin_table<const N: usize>(&mut self, table: &mut Table<N>) -> Result<(), Stop> {
        let lines: Vec<[String; N]> = std::iter::once(table.head.map(str::to_owned)).chain(table.waiting.drain(..)).collect();
        let mut widths = [0; N];
        for cells in &lines {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        table.widths = Some(widths);
        lines.iter().try_for_each(|cells| self.padded(cells, &widths))
    }

    fn padded<const N: usize>(&mut self, cells: &[String; N], widths: &[usize; N]) -> Result<(), Stop> {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = padded.collect::<Vec<_>>().join("  ");
        self.line(line.trim_end())
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
            Format::Text => complain(&format!("firn: {}", printable_line(text))),
            Format::Json => complain_json(&serde_json::json!({ "note": text })),
        });
    }

    /// Says on standard error something that programs read too.
    pub(super) fn say_item(&self, item: &impl Show) {
        self.aside(|| match self.format {
            Format::Text => complain(&format!("firn: {}", printable_line(&item.text()))),
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
    if let Ok(json) = json(item) {
        complain(&json);
    }
}

/// An object as one line of JSON in which every unprintable character is an escape: the same value to a program, and harmless
/// to a terminal.
fn json(item: &impl Serialize) -> serde_json::Result<String> {
    let mut out = Vec::new();
    item.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Escaping))?;
    String::from_utf8(out).map_err(serde::ser::Error::custom)
}

/// Compact JSON whose strings hold no unprintable character.
struct Escaping;

impl serde_json::ser::Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_unprintable(*c)) {
            let (before, after) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = after.strip_prefix(c).unwrap_or_default();
        }
        writer.write_all(rest.as_bytes())
    }
}

/// One word of a shell, in quotes.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// One word of a shell, in quotes where it needs them.
pub(super) fn word(text: &str) -> String {
    let is_plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+:@%=,".contains(c));
    if is_plain { text.to_owned() } else { quoted(text) }
}

/// A count with its noun: `1 file`, `2 files`.
pub(super) fn count(n: u64, noun: &str) -> String {
    if n == 1 { format!("{n} {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Text from a repository or a server cannot drive a terminal through JSON either, and stays the same text.
        #[test]
        fn json_holds_no_unprintable_character_and_the_same_text(
            text in any::<String>(),
            hidden in prop::sample::select(vec!['\u{0}', '\u{1b}', '\u{7f}', '\u{9b}', '\u{202e}', '\u{2066}', '\u{feff}', '\u{e0041}', '\n', '"']),
        ) {
            let text = format!("{hidden}{text}{hidden}");
            let line = json(&serde_json::json!({ &text: [&text] })).unwrap();
            prop_assert!(!line.chars().any(is_unprintable), "{line:?}");
            let back: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(back[&text][0].as_str(), Some(text.as_str()));
        }
    }
}
