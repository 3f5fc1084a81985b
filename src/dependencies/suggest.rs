//! Finds templates for the URLs of many files, so that their names become short.
//!
//! A candidate is a template that many URLs of automatic containers have in common: equal but for their numbers
//! (`…/tas_{}_{}.nc`), or of one directory and ending alike (`…/tas/{}.nc`). The candidates that shorten names most are taken
//! one after the other, each for what it saves beyond those taken before. Two templates that begin with the same text are never taken,
//! because a URL that fits both could not be named. Each file then gets the name that a new reference to it would get.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

use futures::TryStreamExt as _;

use super::rename::{better_name, length};
use crate::error::Result;
use crate::format::{Container, FileKey};
use crate::seeded::Seeded;
use crate::snapshot::Snapshot;
use crate::virtuals::Locator;

/// Fewer files than this are not worth a container.
const FEWEST: usize = 8;
/// The most containers that are proposed.
const MOST: usize = 64;
/// The most placeholders in a template that is proposed.
const SLOTS: usize = 8;
/// What a container takes in every snapshot besides its name and template, roughly, in bytes.
const COST: usize = 32;
/// The longest name that is made up for a container, in bytes.
const NAME: usize = 16;

/// A container that would shorten the names of files.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContainerSuggestion {
    /// The container; one of the snapshot where [`is_new`](Self::is_new) is `false`.
    pub container: Container,
    /// Whether it would have to be added.
    pub is_new: bool,
    /// How many files would get a name in it.
    pub files: u64,
    /// How many references point into them.
    pub refs: u64,
    /// By how much their names would be shorter together, each counted once, in bytes; less than 0 if they would be longer.
    pub bytes_saved: i64,
}

impl Snapshot {
    /// Proposes containers that make the names of files short, sorted by name: new ones for URLs that lie in automatic containers and have
    /// much in common, and containers of the snapshot that were added after files whose URLs fit them.
    /// [`WriteSession::rename_files`](crate::WriteSession::rename_files) carries it out.
    ///
    /// At most 64 new containers, each for at least 8 files. Reads the files and no reference; holds all URLs in memory.
    pub async fn suggest_containers(&self) -> Result<Vec<ContainerSuggestion>> {
        let mut files = Vec::new();
        let mut all = std::pin::pin!(self.dependencies());
        while let Some(found) = all.try_next().await? {
            files.push(NamedUrl { url: found.url, file: found.file, refs: found.record.refs });
        }
        let containers = self.record().containers.clone();
        crate::blocking::blocking("suggest containers", move || suggest(&files, &containers)).await
    }
}

/// A file, by both of its names.
#[derive(Debug, Clone)]
struct NamedUrl {
    url: String,
    file: FileKey,
    refs: u64,
}

/// A template that URLs have in common.
#[derive(Debug)]
struct Candidate {
    container: Container,
    /// The text before its first placeholder.
    head: String,
    /// The files that it matches, by place, and how long their names in it are.
    files: Vec<(usize, i64)>,
}

fn suggest(files: &[NamedUrl], known: &[Container]) -> Result<Vec<ContainerSuggestion>> {
    let locator = Locator::new(known)?;
    // By how much the name of each file is shorter already.
    let mut saved: Vec<i64> =
        files.iter().map(|f| better_name(&locator, known, &f.file, &f.url).map_or(0, |name| length(&f.file) - length(&name))).collect();
    let candidates = candidates(files, known);
    let mut heads: BTreeSet<String> = known.iter().filter_map(|c| Some(c.parsed().ok()?.literal_prefix().to_owned())).collect();
    let mut chosen = Vec::new();
    let mut queue: BinaryHeap<(i64, usize)> = candidates.iter().enumerate().map(|(at, c)| (c.gain(files, &saved), at)).collect();
    while let Some((gain, at)) = queue.pop() {
        let Some(candidate) = candidates.get(at).filter(|_| gain > 0 && chosen.len() < MOST) else { break };
        // What was taken since may have left less to gain; it never leaves more.
        let now = candidate.gain(files, &saved);
        if now < gain {
            queue.push((now, at));
        } else if heads.insert(candidate.head.clone()) {
            for (file, name) in &candidate.files {
                if let (Some(saved), Some(file)) = (saved.get_mut(*file), files.get(*file)) {
                    *saved = (*saved).max(length(&file.file) - name);
                }
            }
            chosen.push(candidate.container.clone());
        }
    }
    settle(files, known, chosen)
}

/// What the containers come to when each file is named by the one that fits it best. Those that too few files are left for are dropped.
fn settle(files: &[NamedUrl], known: &[Container], mut chosen: Vec<Container>) -> Result<Vec<ContainerSuggestion>> {
    loop {
        let mut all = known.to_vec();
        for container in &mut chosen {
            container.name = unused_name(&container.template, &all);
            all.push(container.clone());
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let locator = Locator::new(&all)?;
        let mut found = BTreeMap::<String, ContainerSuggestion>::new();
        for NamedUrl { url, file, refs } in files {
            let Some(name) = better_name(&locator, &all, file, url) else { continue };
            let Some(container) = all.iter().find(|container| container.name == name.container()) else { continue };
            let row = found.entry(container.name.clone()).or_insert_with(|| ContainerSuggestion {
                container: container.clone(),
                is_new: !known.contains(container),
                files: 0,
                refs: 0,
                bytes_saved: 0,
            });
            row.files += 1;
            row.refs += refs;
            row.bytes_saved += length(file) - length(&name);
        }
        let before = chosen.len();
        chosen.retain(|container| found.get(&container.name).is_some_and(|row| row.files >= FEWEST as u64 && row.bytes_saved > 0));
        if chosen.len() == before {
            return Ok(found.into_values().collect());
        }
    }
}

impl Candidate {
    /// A template that these files match; `None` when it is not valid, and when too few files come back from it as they went in.
    fn new(template: String, members: &[usize], files: &[NamedUrl]) -> Option<Self> {
        if members.len() < FEWEST {
            return None;
        }
        let container = Container::new(unused_name(&template, &[]), template);
        container.check().ok()?;
        let parsed = container.parsed().ok()?;
        let name_of = |at: &usize| {
            let args = parsed.matches(&files.get(*at)?.url)?;
            parsed.render_exactly(&args).ok()?;
            Some((*at, length(&FileKey::new(&container.name, args).ok()?)))
        };
        let named: Vec<_> = members.iter().filter_map(name_of).collect();
        (named.len() >= FEWEST).then(|| Self { head: parsed.literal_prefix().to_owned(), files: named, container })
    }

    /// By how much it shortens names beyond what is `saved` already, less what it takes itself.
    fn gain(&self, files: &[NamedUrl], saved: &[i64]) -> i64 {
        let one = |(at, name): &(usize, i64)| {
            let (Some(file), Some(saved)) = (files.get(*at), saved.get(*at)) else { return 0 };
            (length(&file.file) - name - saved).max(0)
        };
        let cost = i64::try_from(COST + self.container.name.len() + self.container.template.len()).unwrap_or(i64::MAX);
        self.files.iter().map(one).sum::<i64>() - cost
    }
}

/// Every template that enough URLs in automatic containers have in common.
fn candidates(files: &[NamedUrl], known: &[Container]) -> Vec<Candidate> {
    let mut by_numbers = HashMap::<String, Vec<usize>, Seeded>::default();
    let mut by_directory = HashMap::<&str, Vec<usize>, Seeded>::default();
    for (at, NamedUrl { url, file, .. }) in files.iter().enumerate() {
        let container = file.container();
        if !container.contains("://") || known.iter().all(|known| known.name != container) || url.contains(['{', '}']) {
            continue;
        }
        let root = container.len() + 1;
        by_numbers.entry(numbers_of(url, root).0).or_default().push(at);
        for (end, _) in url.match_indices('/').filter(|(end, _)| *end + 1 > root) {
            if let Some(directory) = url.get(..=end) {
                by_directory.entry(directory).or_default().push(at);
            }
        }
    }
    let numbers = by_numbers.into_values().filter_map(|members| Candidate::new(by_numbers_of(files, &members)?, &members, files));
    let directories = by_directory.into_iter().filter_map(|(directory, members)| {
        let template = template_of_directory(directory, files, &members)?;
        Candidate::new(template, &members, files)
    });
    let mut all: Vec<_> = numbers.chain(directories).collect();
    // Equal gains are taken in the same order each time.
    all.sort_by(|a, b| b.container.template.cmp(&a.container.template));
    all
}

/// A URL behind its first `root` bytes with each number taken out, and the numbers.
fn numbers_of(url: &str, root: usize) -> (String, Vec<&str>) {
    let (head, path) = url.split_at_checked(root).unwrap_or((url, ""));
    let (mut pattern, mut numbers, mut rest) = (head.to_owned(), Vec::new(), path);
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (literal, from) = rest.split_at(at);
        let end = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (number, tail) = from.split_at(end);
        pattern.push_str(literal);
        // No URL that can be recorded has a control character.
        pattern.push('\u{0}');
        numbers.push(number);
        rest = tail;
    }
    pattern.push_str(rest);
    (pattern, numbers)
}

/// The template of URLs that are equal but for numbers; numbers that are the same in all of them are written out.
fn by_numbers_of(files: &[NamedUrl], members: &[usize]) -> Option<String> {
    if members.len() < FEWEST {
        return None;
    }
    let numbers = |at: &usize| {
        let NamedUrl { url, file, .. } = files.get(*at)?;
        Some(numbers_of(url, file.container().len() + 1))
    };
    let (pattern, first) = numbers(members.first()?)?;
    let mut is_varying = vec![false; first.len()];
    for at in members {
        for (varying, (a, b)) in is_varying.iter_mut().zip(numbers(at)?.1.iter().zip(&first)) {
            *varying |= a != b;
        }
    }
    let slots = is_varying.iter().filter(|varying| **varying).count();
    if slots == 0 || slots > SLOTS {
        return None;
    }
    let mut pieces = pattern.split('\u{0}');
    let mut template = pieces.next()?.to_owned();
    for (piece, (varying, number)) in pieces.zip(is_varying.iter().zip(&first)) {
        template.push_str(if *varying { "{}" } else { number });
        template.push_str(piece);
    }
    Some(template)
}

/// The template of the URLs below a directory: what they have in common at both ends, whole words of it.
fn template_of_directory(directory: &str, files: &[NamedUrl], members: &[usize]) -> Option<String> {
    if members.len() < FEWEST {
        return None;
    }
    let mut rests = members.iter().filter_map(|at| files.get(*at)?.url.strip_prefix(directory));
    let first = rests.next()?;
    let (mut head, mut tail) = (first.len(), first.len());
    for rest in rests {
        head = common(first.bytes().take(head), rest.bytes());
        tail = common(first.bytes().rev().take(tail), rest.bytes().rev());
    }
    // Whole words: up to and with a separator at the beginning, from a dot on at the end.
    let is_separator = |c: char| matches!(c, '/' | '_' | '-' | '.' | '=');
    let head = first.get(..head).and_then(|head| head.get(..=head.rfind(is_separator)?)).unwrap_or_default();
    let end = first.get(first.len() - tail..).and_then(|tail| tail.get(tail.find('.')?..)).unwrap_or_default();
    let shortest = members.iter().filter_map(|at| Some(files.get(*at)?.url.len() - directory.len())).min()?;
    let end = if head.len() + end.len() > shortest { "" } else { end };
    Some(format!("{directory}{head}{{}}{end}"))
}

/// How many bytes two texts have in common at their beginnings.
fn common(a: impl Iterator<Item = u8>, b: impl Iterator<Item = u8>) -> usize {
    a.zip(b).take_while(|(a, b)| a == b).count()
}

/// A short name for a template that no container has: the last word of the text before its first placeholder.
fn unused_name(template: &str, known: &[Container]) -> String {
    let head = template.split('{').next().unwrap_or_default();
    let path = head.split_once("://").map_or(head, |(_, path)| path);
    let word = path.split(|c: char| !c.is_ascii_alphanumeric()).rfind(|word| word.chars().any(|c| c.is_ascii_alphabetic()));
    let word: String = word.unwrap_or("files").chars().take(NAME).collect();
    let is_unused = |name: &String| known.iter().all(|known| known.name != *name);
    let numbered = (2..).map(|n| format!("{word}-{n}"));
    std::iter::once(word.clone()).chain(numbered).find(is_unused).unwrap_or_default()
}

#[cfg(test)]
mod tests;
