//! What a session knows of an external file that staged references point into.
//!
//! ```text
//! ForkFile = [VirtualFile, length|null, flags, untouched since|null, Unpinned|null]        flags: 1 pinned anew, 2 by itself
//! Unpinned = [why, problem|null, remedy|null]
//! remedy   = [kind, text]                                                                   kind: 0 allow, 1 pin anew
//! ```

use crate::dagcbor::{Malformed, Reader, Writer};
use crate::error::{Error, Remedy, Result};
use crate::format::VirtualFile;
use crate::format::limits;
use crate::format::node::{read_virtual_file, write_virtual_file};
use crate::time::Timestamp;

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForkFile {
    /// How its state will be recognised; the counts are 0.
    pub(crate) record: VirtualFile,
    /// Its length in bytes, where it is known.
    pub(crate) length: Option<u64>,
    /// Whether it is pinned anew.
    pub(crate) repin: bool,
    /// Whether it is, although no reference into it is staged.
    pub(crate) by_itself: bool,
    /// The source proves that nobody touched it after this moment.
    pub(crate) untouched_since: Option<Timestamp>,
    /// Why it is not pinned.
    pub(crate) unpinned: Option<ForkUnpinned>,
}

/// Why a lookup did not pin a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForkUnpinned {
    /// A number for the reason.
    pub(crate) why: u64,
    /// What the lookup failed with.
    pub(crate) problem: Option<String>,
    pub(crate) remedy: Option<Remedy>,
}

impl ForkFile {
    /// The most bytes that it takes in a block.
    pub(super) fn most_bytes(&self) -> usize {
        let remedy = |remedy: &Remedy| 8 + text_of(remedy).1.len();
        let unpinned =
            |unpinned: &ForkUnpinned| 16 + unpinned.problem.as_ref().map_or(1, String::len) + unpinned.remedy.as_ref().map_or(1, remedy);
        128 + limits::ETAG + limits::FILE_VERSION + limits::FILE_DIGEST + self.unpinned.as_ref().map_or(1, unpinned)
    }
}

fn text_of(remedy: &Remedy) -> (u64, &str) {
    match remedy {
        Remedy::Allow(entry) => (0, entry),
        Remedy::Repin(url) => (1, url),
        Remedy::Rebind(text) => (2, text),
    }
}

pub(super) fn write_fork_file(w: &mut Writer, file: &ForkFile) {
    w.array(5);
    write_virtual_file(w, &file.record);
    w.optional(file.length, Writer::uint);
    w.uint(u64::from(file.repin) + 2 * u64::from(file.by_itself));
    w.optional(file.untouched_since, |w, time| w.int(time.micros()));
    w.optional(file.unpinned.as_ref(), |w, unpinned| {
        w.array(3);
        w.uint(unpinned.why);
        w.optional(unpinned.problem.as_deref(), Writer::text);
        w.optional(unpinned.remedy.as_ref(), |w, remedy| {
            let (kind, text) = text_of(remedy);
            w.array(2);
            w.uint(kind);
            w.text(text);
        });
    });
}

pub(super) fn read_fork_file(r: &mut Reader<'_>) -> Result<ForkFile> {
    r.tuple(5)?;
    let at = r.at();
    let record = read_virtual_file(r)?;
    if (record.refs, record.bytes) != (0, 0) {
        return Err(Malformed { at, wrong: "a file with counts".to_owned() }.into());
    }
    record.check().map_err(Error::corrupt)?;
    let length = if r.null()? { None } else { Some(r.uint()?) };
    let at = r.at();
    let flags = r.uint()?;
    if flags > 3 {
        return Err(Malformed { at, wrong: format!("the unknown flags {flags}") }.into());
    }
    let untouched_since = if r.null()? { None } else { Some(Timestamp::from_micros(r.int()?)) };
    let unpinned = if r.null()? { None } else { Some(read_unpinned(r)?) };
    Ok(ForkFile { record, length, repin: flags & 1 != 0, by_itself: flags & 2 != 0, untouched_since, unpinned })
}

fn read_unpinned(r: &mut Reader<'_>) -> Result<ForkUnpinned> {
    r.tuple(3)?;
    let why = r.uint()?;
    let problem = if r.null()? { None } else { Some(r.text(limits::FORK_TEXT)?.to_owned()) };
    let remedy = if r.null()? { None } else { Some(read_remedy(r)?) };
    Ok(ForkUnpinned { why, problem, remedy })
}

fn read_remedy(r: &mut Reader<'_>) -> Result<Remedy> {
    r.tuple(2)?;
    let at = r.at();
    let kind = r.uint()?;
    let text = r.text(limits::FORK_TEXT)?.to_owned();
    match kind {
        0 => Ok(Remedy::Allow(text)),
        1 => Ok(Remedy::Repin(text)),
        2 => Ok(Remedy::Rebind(text)),
        _ => Err(Malformed { at, wrong: format!("the unknown remedy {kind}") }.into()),
    }
}
