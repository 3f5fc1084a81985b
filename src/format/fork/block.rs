//! Blocks of rows: canonical DAG-CBOR of at most 1 MiB.
//!
//! ```text
//! block      = [kind, rows] | [kind, files, rows]
//! containers = [0, [[Container|null, Container]…]]                          before, now
//! files      = [1, [[file key, ForkFile|null, ForkFile]…]]                  before, now
//! inherited  = [2, [[container, [arg…]]…], [[key or prefix, Entry|null]…]]
//! edits      = [3, [[container, [arg…]]…], [[key or prefix, Entry|null]…]]
//! moves      = [4, [[from, to]…]]
//! ```

use super::ForkFile;
use super::file::{read_fork_file, write_fork_file};
use crate::dagcbor::{Malformed, Reader, Writer};
use crate::error::{Error, Result};
use crate::format::file::{FileKey, MAX_FILE_KEY};
use crate::format::limits;
use crate::format::node::{CheckEntry as _, FileTable, read_entry, read_file, same_hash, write_entry, write_files};
use crate::format::snapshot::{read_container, write_container};
use crate::format::{Container, Entry};
use crate::id::HashAlgorithm;
use crate::key::{MAX_KEY, MapKey, Prefix};
use crate::text::shown;

/// A block is ended when its rows may take more bytes than this, so that it stays below [`limits::FORK_BLOCK`].
pub(crate) const BLOCK_TARGET: usize = 1 << 19;

/// The most rows of one block that is written. A reader takes more changes.
pub(crate) const BLOCK_ROWS: usize = limits::ROWS;

/// The most bytes of a row beside its texts and its inline value.
const ROW: usize = 64;
/// The most bytes that the file of a row takes beside its key.
const FILE: usize = 128;

/// Rows of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ForkBlock {
    /// Containers, sorted by name.
    Containers(Vec<ContainerRow>),
    /// External files, in the order of the maps.
    Files(Vec<FileRow>),
    /// What the fork inherited for places that it changed, in the order of the maps.
    Inherited(Vec<ForkEdit>),
    /// Changes, in the order of the maps.
    Edits(Vec<ForkEdit>),
    /// Moves, oldest first: from where to where.
    Moves(Vec<[String; 2]>),
}

/// A change of a key, or the deletion of everything below a prefix. A deletion comes before all changes of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ForkEdit {
    /// Everything below is deleted.
    Prefix(Prefix),
    /// The key is set, or deleted.
    Key(MapKey, Option<Entry>),
}

/// A container, as the fork inherited it and as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerRow {
    pub(crate) before: Option<Container>,
    pub(crate) now: Container,
}

/// What is known of a file, as the fork inherited it and as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileRow {
    pub(crate) file: FileKey,
    pub(crate) before: Option<ForkFile>,
    pub(crate) now: ForkFile,
}

impl ForkEdit {
    /// The key or prefix, by which rows are sorted.
    pub(crate) fn place(&self) -> &MapKey {
        match self {
            Self::Prefix(prefix) => prefix.as_map_key(),
            Self::Key(key, _) => key,
        }
    }

    fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Prefix(_) | Self::Key(_, None) => None,
            Self::Key(_, Some(entry)) => Some(entry),
        }
    }

    /// The external file of a reference.
    pub(crate) fn file(&self) -> Option<&FileKey> {
        self.entry().and_then(Entry::file)
    }

    /// The most bytes that the row takes in a block which names the file `known` already.
    pub(crate) fn most_bytes(&self, known: Option<&FileKey>) -> usize {
        let value = match self.entry() {
            Some(Entry::Inline(bytes)) => bytes.len(),
            Some(Entry::Virtual { file, .. }) if known != Some(file) => file.as_map_key().as_str().len() + FILE,
            _ => 0,
        };
        ROW + self.place().as_str().len() + value
    }
}

impl ContainerRow {
    /// The most bytes that the row takes in a block.
    pub(crate) fn most_bytes(&self) -> usize {
        let pairs = |c: &Container| c.defaults.iter().chain(&c.options).map(|(name, value)| 6 + name.len() + value.len()).sum::<usize>();
        let one = |c: &Container| 2 * ROW + c.name.len() + c.template.len() + pairs(c);
        one(&self.now) + self.before.as_ref().map_or(1, one)
    }
}

impl FileRow {
    /// The most bytes that the row takes in a block.
    pub(crate) fn most_bytes(&self) -> usize {
        ROW + self.file.as_map_key().as_str().len() + self.now.most_bytes() + self.before.as_ref().map_or(1, ForkFile::most_bytes)
    }
}

impl ForkBlock {
    /// The block as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(4096);
        match self {
            Self::Containers(rows) => {
                head(&mut w, 0, rows.len());
                for row in rows {
                    w.array(2);
                    w.optional(row.before.as_ref(), write_container);
                    write_container(&mut w, &row.now);
                }
            }
            Self::Files(rows) => {
                head(&mut w, 1, rows.len());
                for row in rows {
                    w.array(3);
                    w.text(row.file.as_map_key().as_str());
                    w.optional(row.before.as_ref(), write_fork_file);
                    write_fork_file(&mut w, &row.now);
                }
            }
            Self::Inherited(rows) => write_edits(&mut w, 2, rows),
            Self::Edits(rows) => write_edits(&mut w, 3, rows),
            Self::Moves(rows) => {
                head(&mut w, 4, rows.len());
                for [from, to] in rows {
                    w.array(2);
                    w.text(from);
                    w.text(to);
                }
            }
        }
        w.finish()
    }

    /// Reads a block of a repository of this hash. Everything that [`encode`](Self::encode) would not have written is `Corrupt`; an id
    /// of another hash is `Unsupported`. Whether rows follow those of the block before is for the caller to check.
    pub(crate) fn decode(bytes: &[u8], hash: HashAlgorithm) -> Result<Self> {
        if bytes.len() > limits::FORK_BLOCK {
            return Err(Error::corrupt(format!("a block of {} bytes; at most {} are allowed", bytes.len(), limits::FORK_BLOCK)));
        }
        let mut r = Reader::new(bytes);
        let items = r.array(3, 1)?;
        let at = r.at();
        let kind = r.uint()?;
        if items != if matches!(kind, 2 | 3) { 3 } else { 2 } {
            return Err(Malformed { at, wrong: format!("a block of kind {kind} and {items} items") }.into());
        }
        let block = match kind {
            0 => Self::Containers(read_containers(&mut r)?),
            1 => Self::Files(read_files(&mut r)?),
            2 => Self::Inherited(read_edits(&mut r, hash)?),
            3 => Self::Edits(read_edits(&mut r, hash)?),
            4 => Self::Moves(read_moves(&mut r)?),
            _ => return Err(Malformed { at, wrong: format!("a block of the unknown kind {kind}") }.into()),
        };
        r.end()?;
        Ok(block)
    }
}

fn head(w: &mut Writer, kind: u64, rows: usize) {
    w.array(2);
    w.uint(kind);
    w.array(rows);
}

fn write_edits(w: &mut Writer, kind: u64, rows: &[ForkEdit]) {
    let table = FileTable::of(rows.iter().filter_map(ForkEdit::file));
    w.array(3);
    w.uint(kind);
    write_files(w, &table);
    w.array(rows.len());
    let mut places = table.places.iter().copied();
    for row in rows {
        w.array(2);
        w.text(row.place().as_str());
        w.optional(row.entry(), |w, entry| write_entry(w, entry, &mut places));
    }
}

/// The number of rows, at most `most`, each of which has at least `least` bytes.
fn rows(r: &mut Reader<'_>, most: usize, least: usize) -> Result<usize> {
    let at = r.at();
    match r.array(most, least)? {
        0 => Err(Malformed { at, wrong: "a block without rows".to_owned() }.into()),
        count => Ok(count),
    }
}

fn ascending<'a>(last: &mut Option<&'a str>, next: &'a str, follows: impl Fn(&str, &str) -> bool) -> Result<()> {
    if last.is_some_and(|last| !follows(last, next)) {
        return Err(Error::corrupt(format!("the row {:?} is out of order", shown(next))));
    }
    *last = Some(next);
    Ok(())
}

fn in_map_order(last: &str, next: &str) -> bool {
    crate::key::order::compare(last, next).is_lt()
}

fn read_edits(r: &mut Reader<'_>, hash: HashAlgorithm) -> Result<Vec<ForkEdit>> {
    let count = r.array(limits::MANIFEST_ROWS, 4)?;
    let files = (0..count).map(|_| read_file(r)).collect::<Result<Vec<_>>>()?;
    let count = rows(r, limits::MANIFEST_ROWS, 3)?;
    let (mut edits, mut last) = (Vec::with_capacity(count), None);
    for _ in 0..count {
        r.tuple(2)?;
        let text = r.text(MAX_KEY + 1)?;
        ascending(&mut last, text, in_map_order)?;
        edits.push(if text.is_empty() || text.ends_with('/') { read_prefix(r, text)? } else { read_key(r, text, &files, hash)? });
    }
    let table = FileTable::of(edits.iter().filter_map(ForkEdit::file));
    if table.files.len() != files.len() || table.files.iter().zip(&files).any(|(used, listed)| *used != listed) {
        return Err(Error::corrupt("a block does not list its files in the order of their first use"));
    }
    Ok(edits)
}

fn read_prefix(r: &mut Reader<'_>, text: &str) -> Result<ForkEdit> {
    let prefix = Prefix::new(text).map_err(|e| Error::corrupt(e.to_string()))?;
    if prefix.as_str() != text || !r.null()? {
        return Err(Error::corrupt(format!("the row {:?} is no deletion of a prefix", shown(text))));
    }
    Ok(ForkEdit::Prefix(prefix))
}

fn read_key(r: &mut Reader<'_>, text: &str, files: &[FileKey], hash: HashAlgorithm) -> Result<ForkEdit> {
    let key = MapKey::new(text);
    let wrong = |why: String| Error::corrupt(format!("at {:?}: {why}", shown(text)));
    Entry::check_key(&key).map_err(wrong)?;
    if r.null()? {
        return Ok(ForkEdit::Key(key, None));
    }
    let entry = read_entry(r, files)?;
    same_hash(entry.digest(), hash)?;
    entry.check_value(&key).map_err(wrong)?;
    Ok(ForkEdit::Key(key, Some(entry)))
}

fn read_files(r: &mut Reader<'_>) -> Result<Vec<FileRow>> {
    let count = rows(r, limits::ROWS, 18)?;
    let (mut files, mut last) = (Vec::with_capacity(count), None);
    for _ in 0..count {
        r.tuple(3)?;
        let text = r.text(MAX_FILE_KEY)?;
        ascending(&mut last, text, in_map_order)?;
        let file = FileKey::from_map_key(&MapKey::new(text)).map_err(|e| Error::corrupt(e.to_string()))?;
        let before = if r.null()? { None } else { Some(read_fork_file(r)?) };
        files.push(FileRow { file, before, now: read_fork_file(r)? });
    }
    Ok(files)
}

fn read_containers(r: &mut Reader<'_>) -> Result<Vec<ContainerRow>> {
    let count = rows(r, limits::ROWS, 32)?;
    let mut containers: Vec<ContainerRow> = Vec::with_capacity(count);
    let mut texts = limits::TEXTS;
    for _ in 0..count {
        r.tuple(2)?;
        let before = if r.null()? { None } else { Some(read_container(r, &mut texts)?) };
        let now = read_container(r, &mut texts)?;
        if before.as_ref().is_some_and(|before| before.name != now.name) || containers.last().is_some_and(|last| last.now.name >= now.name)
        {
            return Err(Error::corrupt(format!("the container {:?} is out of order", shown(&now.name))));
        }
        containers.push(ContainerRow { before, now });
    }
    Ok(containers)
}

fn read_moves(r: &mut Reader<'_>) -> Result<Vec<[String; 2]>> {
    let count = rows(r, limits::ROWS, 3)?;
    let mut moves = Vec::with_capacity(count);
    for _ in 0..count {
        r.tuple(2)?;
        moves.push([r.text(MAX_KEY + 1)?.to_owned(), r.text(MAX_KEY + 1)?.to_owned()]);
    }
    Ok(moves)
}
