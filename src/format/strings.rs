//! Strings of a node at rest. A string that is foretold from the one before it costs nothing; the others are front-coded.
//!
//! A *run* is a maximal run of ASCII digits. The string foretold after another is that with one run counted up: the last one
//! that is not known to turn. A run is known to turn at a value once a spelt-out string has shown it: in that string, an
//! earlier run changed. Runs after the one that is counted up begin again at the value that they were seen to begin at.
//! So `c/0/99` is followed by `c/0/100` until `c/1/0` has been spelt out once, and `c/1/99` by `c/2/0`.

use std::ops::Range;

use super::column::{ColumnReader, ColumnWriter, Misfit, Slices, misfit, sum};
use super::file::MAX_FILE_KEY;
use super::limits;
use crate::key::order::shared_len;

/// A walk through strings.
#[derive(Default)]
struct StringWalk {
    string: Vec<u8>,
    runs: Vec<Range<usize>>,
    /// For each run, where it turns.
    turns: Vec<Turn>,
    /// What is foretold after `string`.
    next: Vec<u8>,
    next_runs: Vec<Range<usize>>,
}

/// The value at which a run turned, and the one at which it began again; both empty while it has not been seen to turn.
#[derive(Default)]
struct Turn {
    last: Vec<u8>,
    first: Vec<u8>,
}

impl StringWalk {
    /// Foretells the next string. One that is too long for any map is left unfinished, but longer than the limit.
    fn foretell(&mut self) {
        let turned = |run: &Range<usize>, turn: &Turn| !turn.last.is_empty() && part(&self.string, run.clone()) == turn.last;
        let moving = self.runs.iter().zip(&self.turns).rposition(|(run, turn)| !turned(run, turn)).unwrap_or(0);
        self.next.clear();
        self.next_runs.clear();
        let mut copied = 0;
        for (at, (run, turn)) in self.runs.iter().zip(&self.turns).enumerate() {
            if at < moving {
                self.next_runs.push(run.clone());
                continue;
            }
            self.next.extend_from_slice(part(&self.string, copied..run.start));
            let start = self.next.len();
            if at == moving {
                count_up(part(&self.string, run.clone()), &mut self.next);
            } else {
                self.next.extend_from_slice(&turn.first);
            }
            self.next_runs.push(start..self.next.len());
            copied = run.end;
            if self.next.len() > MAX_FILE_KEY {
                return;
            }
        }
        self.next.extend_from_slice(part(&self.string, copied..self.string.len()));
    }

    /// Goes on to the string that was foretold.
    const fn follow(&mut self) {
        std::mem::swap(&mut self.string, &mut self.next);
        std::mem::swap(&mut self.runs, &mut self.next_runs);
    }

    /// Goes on to a string that is spelt out, and learns from it.
    fn jump(&mut self, to: &[u8]) {
        self.next_runs.clear();
        self.next_runs.extend(runs(to));
        let (from, old, new) = (&self.string, &self.runs, &self.next_runs);
        if outside(from, old).eq(outside(to, new)) {
            let changed = old.iter().zip(new).position(|(old, new)| part(from, old.clone()) != part(to, new.clone()));
            let after = changed.map_or(old.len(), |at| at + 1);
            for ((old, new), turn) in old.iter().zip(new).zip(&mut self.turns).skip(after) {
                turn.last.clear();
                turn.last.extend_from_slice(part(from, old.clone()));
                turn.first.clear();
                turn.first.extend_from_slice(part(to, new.clone()));
            }
        } else {
            self.turns.clear();
            self.turns.resize_with(new.len(), Turn::default);
        }
        self.next.clear();
        self.next.extend_from_slice(to);
        self.follow();
    }
}

fn part(string: &[u8], range: Range<usize>) -> &[u8] {
    string.get(range).unwrap_or_default()
}

/// The runs of digits.
fn runs(string: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + part(string, at..string.len()).iter().position(u8::is_ascii_digit)?;
        at = start + part(string, start..string.len()).iter().take_while(|byte| byte.is_ascii_digit()).count();
        Some(start..at)
    })
}

/// The text before each run, and after the last.
fn outside<'a>(string: &'a [u8], runs: &'a [Range<usize>]) -> impl Iterator<Item = &'a [u8]> {
    let starts = std::iter::once(0).chain(runs.iter().map(|run| run.end));
    let ends = runs.iter().map(|run| run.start).chain(std::iter::once(string.len()));
    starts.zip(ends).map(|(start, end)| part(string, start..end))
}

/// Appends the decimal number after `digits`, as wide as it or, after nothing but nines, one wider.
fn count_up(digits: &[u8], out: &mut Vec<u8>) {
    let nines = digits.iter().rev().take_while(|digit| **digit == b'9').count();
    match digits.split_at_checked(digits.len() - nines).and_then(|(head, _)| head.split_last()) {
        Some((digit, head)) => {
            out.extend_from_slice(head);
            out.push(digit + 1);
        }
        None => out.push(b'1'),
    }
    out.extend(std::iter::repeat_n(b'0', nines));
}

/// Writes strings, of which the reader has to know how many there are.
pub(super) fn write<'s>(out: &mut ColumnWriter, strings: impl IntoIterator<Item = &'s str>) {
    let (mut skipped, mut shared, mut lengths, mut rests) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut walk, mut foretold) = (StringWalk::default(), 0_u64);
    for string in strings.into_iter().map(str::as_bytes) {
        walk.foretell();
        if walk.next == string {
            walk.follow();
            foretold += 1;
            continue;
        }
        let same = shared_len(&walk.string, string);
        let rest = part(string, same..string.len());
        skipped.push(foretold);
        shared.push(same as u64);
        lengths.push(rest.len() as u64);
        rests.extend_from_slice(rest);
        walk.jump(string);
        foretold = 0;
    }
    out.number(skipped.len() as u64);
    out.column(&skipped);
    out.column(&shared);
    out.column(&lengths);
    out.bytes(&rests);
}

/// Reads `count` strings and gives each to `take`. All together they may not exceed a node.
pub(super) fn read(
    input: &mut ColumnReader<'_>,
    count: usize,
    what: &str,
    mut take: impl FnMut(&str) -> Result<(), Misfit>,
) -> Result<(), Misfit> {
    let spelt = input.count(count, what)?;
    let (skipped, shared, lengths) = (input.column(spelt, what)?, input.column(spelt, what)?, input.column(spelt, what)?);
    let mut rests = Slices(input.bytes(sum(lengths.iter().copied()), what)?);
    let (mut walk, mut left, mut total) = (StringWalk::default(), count, 0);
    let mut give = |string: &[u8]| {
        total += string.len();
        if string.len() > MAX_FILE_KEY || total > limits::NODE {
            return misfit(format!("the {what} are longer than a node, or one of them than a key"));
        }
        take(std::str::from_utf8(string).map_err(|_| Misfit(format!("a string among the {what} is not UTF-8")))?)
    };
    let mut spelt_out = Vec::new();
    for ((skip, shared), length) in skipped.into_iter().zip(shared).zip(lengths) {
        let after = usize::try_from(skip).ok().and_then(|skip| left.checked_sub(skip)?.checked_sub(1));
        let after = after.ok_or_else(|| Misfit(format!("there are more than {count} {what}")))?;
        for _ in after + 1..left {
            walk.foretell();
            walk.follow();
            give(&walk.string)?;
        }
        left = after;
        let head = usize::try_from(shared).ok().and_then(|shared| walk.string.get(..shared));
        let head =
            head.ok_or_else(|| Misfit(format!("a string among the {what} shares {shared} bytes with one of {}", walk.string.len())))?;
        spelt_out.clear();
        spelt_out.extend_from_slice(head);
        spelt_out.extend_from_slice(rests.take(length, what)?);
        give(&spelt_out)?;
        walk.jump(&spelt_out);
    }
    for _ in 0..left {
        walk.foretell();
        walk.follow();
        give(&walk.string)?;
    }
    rests.end(what)
}
