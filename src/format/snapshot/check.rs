//! What must hold of a commit beyond its shape.

use std::collections::BTreeMap;

use super::{Commit, Container};
use crate::error::{Error, Result};
use crate::format::limits;
use crate::id::HashAlgorithm;
use crate::text::shown;

/// Refuses ids of another hash (`Unsupported`) and everything else that no writer makes (`Corrupt`).
pub(super) fn commit(commit: &Commit, hash: HashAlgorithm) -> Result<()> {
    let maps = [&commit.manifest, &commit.files, &commit.history];
    let mut digests = maps.into_iter().map(crate::id::NodeId::digest).chain(commit.parents.iter().map(crate::id::SnapshotId::digest));
    if let Some(other) = digests.find(|d| d.hash() != hash) {
        return Err(Error::unsupported(format!("it holds an id of hash {} in a repository of {hash}", other.hash())));
    }
    faults(commit).map_err(Error::corrupt)
}

/// Refuses a canonical form of `len` bytes when no commit is that long.
pub(super) fn length(len: usize) -> Result<()> {
    if len <= limits::COMMIT { Ok(()) } else { Err(Error::corrupt(format!("it has {len} bytes; at most {} are allowed", limits::COMMIT))) }
}

/// What [`commit`] and [`length`] refuse, for a writer, before anything is stored: `Invalid`, naming what is too long or out of order.
pub(super) fn writable(commit: &Commit) -> Result<()> {
    faults(commit).map_err(Error::invalid)?;
    match super::canonical::encode(commit).len() {
        len if len > limits::COMMIT => Err(Error::invalid(format!("the commit takes {len} bytes; at most {} are allowed", limits::COMMIT))),
        _ => Ok(()),
    }
}

/// What [`writable`] refuses of the texts that a caller gives, before there is a commit to put them into.
pub(super) fn texts(message: &str, author: Option<&str>, meta: &BTreeMap<String, String>) -> Result<()> {
    let faults = || {
        at_most("the message", message.len(), limits::MESSAGE)?;
        at_most("the author", author.map_or(0, str::len), limits::AUTHOR)?;
        pairs("metadata", meta, limits::META_VALUE)
    };
    faults().map_err(Error::invalid)?;
    let metadata = meta.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    at_most("the message with author and metadata", message.len() + author.map_or(0, str::len) + metadata, limits::COMMIT)
        .map_err(Error::invalid)
}

fn faults(commit: &Commit) -> Result<(), String> {
    if commit.time.micros() < 0 {
        return Err(format!("its time {} lies before 1970", commit.time));
    }
    if commit.since.is_some_and(|since| since > commit.time) {
        return Err("its history begins after it".to_owned());
    }
    at_most("the message", commit.message.len(), limits::MESSAGE)?;
    at_most("the author", commit.author.as_ref().map_or(0, String::len), limits::AUTHOR)?;
    count("parents", commit.parents.len(), limits::PARENTS)?;
    if commit.parents.iter().enumerate().any(|(i, parent)| commit.parents.iter().skip(i + 1).any(|other| other == parent)) {
        return Err("a parent is named twice".to_owned());
    }
    count("places", commit.places.len(), limits::PLACES)?;
    commit.places.iter().try_for_each(|place| at_most("a place", place.len(), limits::TEMPLATE))?;
    ascending("places", commit.places.iter().map(String::as_str))?;
    count("containers", commit.containers.len(), limits::CONTAINERS)?;
    commit.containers.iter().try_for_each(container)?;
    ascending("containers", commit.containers.iter().map(|c| c.name.as_str()))?;
    pairs("metadata", &commit.meta, limits::META_VALUE)?;
    let inside = |c: &Container| 2 * (c.defaults.len() + c.options.len());
    count("names and values", 2 * commit.meta.len() + commit.containers.iter().map(inside).sum::<usize>(), limits::TEXTS)
}

fn container(container: &Container) -> Result<(), String> {
    if container.name.is_empty() || container.name.contains(char::is_control) {
        return Err(format!("the container name {:?} is empty or has a control character", shown(&container.name)));
    }
    at_most("a container's name", container.name.len(), limits::NAME)?;
    at_most("a template", container.template.len(), limits::TEMPLATE)?;
    pairs("defaults", &container.defaults, limits::TEMPLATE)?;
    pairs("options", &container.options, limits::TEMPLATE)
}

fn pairs(what: &str, pairs: &BTreeMap<String, String>, longest: usize) -> Result<(), String> {
    count(what, pairs.len(), limits::PAIRS)?;
    pairs.iter().try_for_each(|(name, value)| {
        at_most(&format!("a name in the {what}"), name.len(), limits::NAME)?;
        at_most(&format!("{:?} in the {what}", shown(name)), value.len(), longest)
    })
}

fn ascending<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut last = None;
    for name in names {
        if last.is_some_and(|last| last >= name) {
            return Err(format!("the {what} are not sorted and unique at {:?}", shown(name)));
        }
        last = Some(name);
    }
    Ok(())
}

fn at_most(what: &str, len: usize, most: usize) -> Result<(), String> {
    if len > most { Err(format!("{what} has {len} bytes; at most {most} are allowed")) } else { Ok(()) }
}

fn count(what: &str, len: usize, most: usize) -> Result<(), String> {
    if len > most { Err(format!("there are {len} {what}; at most {most} are allowed")) } else { Ok(()) }
}
