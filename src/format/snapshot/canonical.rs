//! The commit in strict DAG-CBOR: the block whose hash is a snapshot's id.
//!
//! A map with its keys in canonical order (shorter first, then bytewise): `v meta time files since author places history
//! message parents manifest containers`; in a container `name options defaults template`. What is absent is left out.

use std::collections::BTreeMap;

use super::{Commit, Container};
use crate::dagcbor::{Malformed, Reader, Writer};
use crate::error::{Error, Result};
use crate::format::limits;
use crate::id::{HashAlgorithm, NodeId, SnapshotId, cid_from_bytes};
use crate::time::Timestamp;

/// The version of the format: the only value of `v`.
const VERSION: u64 = 1;
/// The fields that every commit has.
const FIELDS: usize = 10;

type Pairs = BTreeMap<String, String>;

pub(super) fn encode(commit: &Commit) -> Vec<u8> {
    let mut w = Writer::with_capacity(512 + commit.message.len());
    w.map(FIELDS + usize::from(commit.since.is_some()) + usize::from(commit.author.is_some()));
    w.text("v");
    w.uint(VERSION);
    w.text("meta");
    write_pairs(&mut w, &commit.meta);
    w.text("time");
    w.int(commit.time.micros());
    w.text("files");
    w.link(&commit.files.to_bytes());
    if let Some(since) = commit.since {
        w.text("since");
        w.int(since.micros());
    }
    if let Some(author) = &commit.author {
        w.text("author");
        w.text(author);
    }
    w.text("places");
    w.array(commit.places.len());
    commit.places.iter().for_each(|place| w.text(place));
    w.text("history");
    w.bytes(&commit.history.to_bytes());
    w.text("message");
    w.text(&commit.message);
    w.text("parents");
    w.array(commit.parents.len());
    commit.parents.iter().for_each(|parent| w.bytes(&parent.to_bytes()));
    w.text("manifest");
    w.link(&commit.manifest.to_bytes());
    w.text("containers");
    w.array(commit.containers.len());
    commit.containers.iter().for_each(|container| write_container(&mut w, container));
    w.finish()
}

pub(in crate::format) fn write_container(w: &mut Writer, container: &Container) {
    w.map(4);
    w.text("name");
    w.text(&container.name);
    w.text("options");
    write_pairs(w, &container.options);
    w.text("defaults");
    write_pairs(w, &container.defaults);
    w.text("template");
    w.text(&container.template);
}

/// How DAG-CBOR orders the keys of a map.
fn rank(key: &str) -> (usize, &str) {
    (key.len(), key)
}

fn write_pairs(w: &mut Writer, pairs: &Pairs) {
    let mut sorted: Vec<_> = pairs.iter().collect();
    sorted.sort_unstable_by_key(|(key, _)| rank(key));
    w.map(sorted.len());
    for (key, value) in sorted {
        w.text(key);
        w.text(value);
    }
}

/// Reads a commit of a repository with this hash; everything that [`encode`] would have written differently is refused.
pub(super) fn decode(bytes: &[u8], hash: HashAlgorithm) -> Result<Commit> {
    super::check::length(bytes.len()).map_err(|e| e.context("commit"))?;
    let commit = read(&mut Reader::new(bytes)).map_err(|e| e.context("commit"))?;
    super::check::commit(&commit, hash).map_err(|e| e.context("commit"))?;
    // The reader lets nothing else through. Should it ever, an id must still stand for one sequence of bytes.
    if encode(&commit) == bytes { Ok(commit) } else { Err(Error::corrupt("commit is not in canonical form")) }
}

fn read(r: &mut Reader<'_>) -> Result<Commit> {
    let fields = r.map(FIELDS + 2)?;
    r.field("v")?;
    let version = r.uint()?;
    if version != VERSION {
        return Err(Error::unsupported(format!("format version {version}; this build knows {VERSION}")));
    }
    r.field("meta")?;
    let mut texts = limits::TEXTS;
    let meta = read_pairs(r, limits::META_VALUE, &mut texts)?;
    r.field("time")?;
    let time = Timestamp::from_micros(r.int()?);
    r.field("files")?;
    let files = NodeId::from_cid(&cid_from_bytes(r.link()?)?)?;
    let since = if r.is_field("since")? { Some(Timestamp::from_micros(r.int()?)) } else { None };
    let author = if r.is_field("author")? { Some(r.text(limits::AUTHOR)?.to_owned()) } else { None };
    r.field("places")?;
    let places = (0..r.array(limits::PLACES, 1)?).map(|_| r.text(limits::TEMPLATE).map(str::to_owned)).collect::<Result<_, _>>()?;
    r.field("history")?;
    let history = NodeId::from_cid(&cid_from_bytes(r.bytes(128)?)?)?;
    r.field("message")?;
    let message = r.text(limits::MESSAGE)?.to_owned();
    r.field("parents")?;
    let parents =
        (0..r.array(limits::PARENTS, 1)?).map(|_| SnapshotId::from_cid(&cid_from_bytes(r.bytes(128)?)?)).collect::<Result<_>>()?;
    r.field("manifest")?;
    let manifest = NodeId::from_cid(&cid_from_bytes(r.link()?)?)?;
    r.field("containers")?;
    let containers = (0..r.array(limits::CONTAINERS, 1)?).map(|_| read_container(r, &mut texts)).collect::<Result<_, _>>()?;
    r.end()?;
    if fields != FIELDS + usize::from(since.is_some()) + usize::from(author.is_some()) {
        return Err(Error::corrupt(format!("it says that it has {fields} fields")));
    }
    Ok(Commit { manifest, files, history, parents, since, containers, places, time, message, author, meta })
}

pub(in crate::format) fn read_container(r: &mut Reader<'_>, texts: &mut usize) -> Result<Container, Malformed> {
    if r.map(4)? != 4 {
        return Err(r.wrong("a container has four fields"));
    }
    r.field("name")?;
    let name = r.text(limits::NAME)?.to_owned();
    r.field("options")?;
    let options = read_pairs(r, limits::TEMPLATE, texts)?;
    r.field("defaults")?;
    let defaults = read_pairs(r, limits::TEMPLATE, texts)?;
    r.field("template")?;
    let template = r.text(limits::TEMPLATE)?.to_owned();
    Ok(Container { name, template, defaults, options })
}

/// Reads a map of texts; `left` is how many texts the commit may still have.
fn read_pairs(r: &mut Reader<'_>, longest: usize, left: &mut usize) -> Result<Pairs, Malformed> {
    let mut pairs = Pairs::new();
    let mut last: Option<&str> = None;
    let count = r.map(limits::PAIRS)?;
    *left = left.checked_sub(2 * count).ok_or_else(|| r.wrong(format!("more than {} names and values", limits::TEXTS)))?;
    for _ in 0..count {
        let at = r.at();
        let key = r.text(limits::NAME)?;
        if last.is_some_and(|last| rank(last) >= rank(key)) {
            return Err(Malformed { at, wrong: format!("the key {key:?} is out of order") });
        }
        last = Some(key);
        pairs.insert(key.to_owned(), r.text(longest)?.to_owned());
    }
    Ok(pairs)
}
