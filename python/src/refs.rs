//! Branches and tags.

use std::collections::BTreeMap;

use firnline::{Move, RefInfo, RefKind, TagOptions};
use pyo3::prelude::*;

use crate::repository::{NativeRepository, reference};
use crate::rows::micros;

/// Name, tip, its time, message, author and metadata of a tag, damage.
type RefRow = (String, Option<String>, Option<i64>, Option<String>, Option<String>, Option<BTreeMap<String, String>>, Option<String>);

/// Sequence number, time, from, to, what was done.
type MoveRow = (u64, i64, Option<String>, Option<String>, &'static str);

fn ref_row(info: RefInfo) -> RefRow {
    let damage = info.damage.map(|damage| damage.to_string());
    let (message, author, meta) = match info.tag {
        Some(tag) => (Some(tag.message), tag.author, Some(tag.meta)),
        None => (None, None, None),
    };
    (info.name.as_str().to_owned(), info.tip.map(|tip| tip.to_string()), micros(info.time), message, author, meta, damage)
}

fn move_row(moved: &Move) -> MoveRow {
    let id = |id: Option<firnline::SnapshotId>| id.map(|id| id.to_string());
    (moved.seq, moved.time.micros(), id(moved.from), id(moved.to), moved.op.word())
}

/// The kind that a flag tells.
pub(crate) fn kind(is_tag: bool) -> RefKind {
    if is_tag { RefKind::Tag } else { RefKind::Branch }
}

#[pymethods]
impl NativeRepository {
    /// All branches, or all tags.
    fn refs(&self, py: Python<'_>, tags: bool) -> PyResult<Vec<RefRow>> {
        let list =
            |repository: firnline::Repository| async move { if tags { repository.tags().await } else { repository.branches().await } };
        Ok(self.origin.call(py, list)?.into_iter().map(ref_row).collect())
    }

    /// One branch or tag.
    fn lookup(&self, py: Python<'_>, name: &str, tag: bool) -> PyResult<RefRow> {
        let found = self.origin.call(py, |repository| async move { repository.ref_info(&reference(kind(tag), name)?).await })?;
        Ok(ref_row(found))
    }

    fn create_branch(&self, py: Python<'_>, name: &str, revision: &str) -> PyResult<MoveRow> {
        let moved = self.origin.call(py, |repository| async move {
            let target = repository.read(revision).await?;
            repository.create_branch(&name.parse()?, &target).await
        })?;
        Ok(move_row(&moved))
    }

    fn create_tag(
        &self,
        py: Python<'_>,
        name: &str,
        revision: &str,
        message: String,
        author: Option<String>,
        metadata: BTreeMap<String, String>,
    ) -> PyResult<MoveRow> {
        let moved = self.origin.call(py, |repository| async move {
            let target = repository.read(revision).await?;
            let mut options = TagOptions::from(message);
            (options.author, options.meta) = (author, metadata);
            repository.create_tag(&name.parse()?, &target, options).await
        })?;
        Ok(move_row(&moved))
    }

    fn reset_branch(&self, py: Python<'_>, name: &str, revision: &str) -> PyResult<MoveRow> {
        let moved = self.origin.call(py, |repository| async move {
            let target = repository.read(revision).await?;
            repository.reset(&name.parse()?, &target).await
        })?;
        Ok(move_row(&moved))
    }

    fn delete_ref(&self, py: Python<'_>, name: &str, tag: bool) -> PyResult<MoveRow> {
        let moved = self.origin.call(py, |repository| async move {
            let name = name.parse()?;
            if tag { repository.delete_tag(&name).await } else { repository.delete_branch(&name).await }
        })?;
        Ok(move_row(&moved))
    }

    /// The moves of a branch or tag, and why those before them cannot be read.
    fn moves(&self, py: Python<'_>, name: &str, tag: bool) -> PyResult<(Vec<MoveRow>, Option<String>)> {
        let found = self.origin.call(py, |repository| async move { repository.readable_moves(&reference(kind(tag), name)?).await })?;
        Ok((found.moves.iter().map(move_row).collect(), found.damage.map(|damage| damage.to_string())))
    }

    /// The latest snapshots of a branch or tag that can be read.
    fn readable_snapshots(
        &self,
        py: Python<'_>,
        name: &str,
        tag: bool,
        limit: usize,
    ) -> PyResult<Vec<(String, i64, String, &'static str)>> {
        let find =
            |repository: firnline::Repository| async move { repository.readable_snapshots(&reference(kind(tag), name)?, limit).await };
        let found = self.origin.call(py, find)?.into_iter();
        Ok(found.map(|s| (s.id.to_string(), s.time.micros(), s.summary, s.found_in.word())).collect())
    }

    /// Whether a commit whose outcome was not known happened.
    fn settle(&self, py: Python<'_>, branch: &str, snapshot: &str) -> PyResult<bool> {
        let settle = |repository: firnline::Repository| async move { repository.settle(&branch.parse()?, snapshot.parse()?).await };
        Ok(self.origin.call(py, settle)? == firnline::Settlement::Committed)
    }
}
