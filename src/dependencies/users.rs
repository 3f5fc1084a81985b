//! Which versions depend on a file, or on the files below a URL: may they be deleted?

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};

use super::lines::Lines;
use super::place::FilePlace;
use super::totals::DependencyCounts;
use crate::error::Result;
use crate::format::{Container, Entry, FileKey, VirtualFile};
use crate::handle::Repository;
use crate::history::LogEntry;
use crate::id::SnapshotId;
use crate::key::Key;
use crate::map::{MapNumbers, Spans, Union};
use crate::refs::{READS, Ref, RefKind, unreadable, unreadable_tip};
use crate::time::Timestamp;

/// What depends on the files at or below a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlaceUse {
    /// The branches and tags whose latest versions depend on such files: branches first, by name.
    pub refs: Vec<RefUse>,
    /// The versions that depend on such files, latest first; only where the history was asked for.
    pub versions: Vec<VersionUse>,
    /// How many branches and tags were asked.
    pub asked_refs: u64,
    /// How many versions were asked.
    pub asked_versions: u64,
    /// Versions before this time belong to the lines that were asked, and are not in this repository: whether they depend on such files is
    /// not known. `None`: all are here, or the history was not asked for.
    pub since: Option<Timestamp>,
    /// Whether a container of any of those versions can name such a file at all.
    pub is_in_a_container: bool,
}

/// A branch or tag, and how much of its latest version depends on some files.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefUse {
    /// The branch or tag.
    pub reference: Ref,
    /// Its latest version.
    pub at: LogEntry,
    /// The files, and what depends on them there.
    pub counts: DependencyCounts,
}

/// A version, and how much of it depends on some files.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionUse {
    /// The version.
    pub at: LogEntry,
    /// The files, and what depends on them there.
    pub counts: DependencyCounts,
}

/// A key that points into one of some files, in the latest versions of some branches and tags.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyUse {
    /// The key.
    pub key: Key,
    /// The file.
    pub url: String,
    /// Where its value begins in the file.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// The branches and tags in whose latest versions it has this value.
    pub refs: Vec<Ref>,
}

impl PlaceUse {
    /// Whether any branch, tag or version that was asked depends on such a file.
    pub fn is_used(&self) -> bool {
        !self.refs.is_empty() || !self.versions.is_empty()
    }
}

impl Repository {
    /// Which branches and tags depend on the file at `url`, or on files below it; with `all_history` also which versions that any of
    /// them shows, has shown or leads back to. Those could not be read any more without the file.
    ///
    /// Reads the files maps of these versions where such a file can be listed, each node once, and no leaf of a manifest. With
    /// `all_history` it reads the snapshot of every version. The path of a `file:` URL is found however it is spelt.
    ///
    /// `Invalid` when `url` is no URL. A branch, a tag or a version that cannot be read is an error, since it may depend on the
    /// file. Changes nothing, so it can be cancelled at any moment.
    pub async fn who_uses(&self, url: &str, all_history: bool) -> Result<PlaceUse> {
        let place = FilePlace::new(url)?;
        let (refs, shown) = self.kept_by_refs(all_history).await?;
        let tips = self.latest(&refs).await?;
        let asked = if all_history { Lines::behind(self, shown).await? } else { Lines::default() };
        let (at_tips, is_named) = counted(self, &place, &tips).await?;
        let (at_versions, was_named) = counted(self, &place, &asked).await?;
        let used = |(version, counts): (&super::lines::LineVersion, DependencyCounts)| {
            (counts.files > 0).then(|| VersionUse { at: version.at.clone(), counts })
        };
        let mut versions: Vec<_> = asked.versions.iter().zip(at_versions).filter_map(used).collect();
        versions.sort_by_key(|version| std::cmp::Reverse((version.at.time, version.at.id)));
        let rows = refs.iter().zip(&tips.versions).zip(at_tips).filter(|(_, counts)| counts.files > 0);
        let used_refs = rows.map(|(((reference, _), tip), counts)| RefUse { reference: reference.clone(), at: tip.at.clone(), counts });
        Ok(PlaceUse {
            refs: used_refs.collect(),
            versions,
            asked_refs: refs.len() as u64,
            asked_versions: asked.versions.len() as u64,
            since: asked.since,
            is_in_a_container: is_named || was_named,
        })
    }

    /// The keys that point into the file at `url`, or into files below it, in the latest versions of all branches and tags.
    ///
    /// Reads every leaf of the manifests of these versions, each once; what [`who_uses`](Self::who_uses) tells costs far less. Errors
    /// as there. The stream ends after an error. Changes nothing, so it can be cancelled at any moment.
    pub async fn keys_using(&self, url: &str) -> Result<impl Stream<Item = Result<KeyUse>> + Send + use<>> {
        let place = FilePlace::new(url)?;
        let (refs, _) = self.kept_by_refs(false).await?;
        let tips = self.latest(&refs).await?;
        // Where the files lie, by the versions that use them.
        let mut files: HashMap<FileKey, Vec<(String, std::ops::Range<usize>)>> = HashMap::new();
        each(self, &place, &tips, |file, url, _, range| files.entry(file.clone()).or_default().push((url.to_owned(), range))).await?;
        let mut manifests = Vec::new();
        // Versions that use none of them are not read.
        let used: std::collections::BTreeSet<usize> = files.values().flatten().flat_map(|(_, range)| range.clone()).collect();
        for at in &used {
            if let Some(tip) = tips.versions.get(*at) {
                manifests.push(self.objects().commit(&tip.at.id).await?.manifest);
            }
        }
        let files = Arc::new(files);
        let wanted = Arc::clone(&files);
        let is_wanted = move |_: &_, entry: &Entry| matches!(entry, Entry::Virtual { file, .. } if wanted.contains_key(file));
        let union = Union::open(Arc::new(self.objects().clone()), manifests, Spans::all(), Box::new(is_wanted)).await?;
        let used: Vec<usize> = used.into_iter().collect();
        let names: Vec<Ref> = refs.into_iter().map(|(reference, _)| reference).collect();
        let rows = union.into_stream().map_ok(move |(key, values)| {
            let rows = values.into_iter().flat_map(|(entry, numbers)| key_uses(key.as_str(), &entry, &numbers, &used, &files, &names));
            stream::iter(rows.collect::<Vec<_>>())
        });
        Ok(rows.try_flatten())
    }

    /// Every branch and tag with its latest version, and what they keep: with `moves` also what they showed before they were moved.
    async fn kept_by_refs(&self, moves: bool) -> Result<(Vec<(Ref, SnapshotId)>, Vec<SnapshotId>)> {
        let (branches, tags) = futures::try_join!(self.refs().list(RefKind::Branch), self.refs().list(RefKind::Tag))?;
        let (mut refs, mut shown) = (Vec::new(), Vec::new());
        for (kind, list) in [(RefKind::Branch, branches), (RefKind::Tag, tags)] {
            for (name, state) in list {
                let reference = Ref { kind, name };
                let record = state.map_err(|e| unreadable(&reference, e))?.record;
                shown.extend(record.tip);
                if moves {
                    let all = self.refs().moves_back_to(&record, |_| false).await.map_err(|e| unreadable(&reference, e))?;
                    shown.extend(all.iter().flat_map(|m| [m.to, m.from]).flatten());
                }
                refs.extend(record.tip.map(|tip| (reference, tip)));
            }
        }
        Ok((refs, shown))
    }

    /// The latest versions of refs, in the order of the refs.
    async fn latest(&self, refs: &[(Ref, SnapshotId)]) -> Result<Lines> {
        let reads = refs.iter().map(|(reference, tip)| async move {
            let commit = self.objects().commit(tip).await.map_err(|e| unreadable_tip(reference, e))?;
            Ok::<_, crate::error::Error>((*tip, commit))
        });
        let mut reads = stream::iter(reads.collect::<Vec<_>>()).buffered(READS);
        let mut tips = Lines::default();
        while let Some((id, commit)) = reads.try_next().await? {
            tips.push(id, &commit);
        }
        Ok(tips)
    }
}

/// The references of a key into files that are asked for, by the URL of the file.
fn key_uses(
    key: &str,
    entry: &Entry,
    numbers: &MapNumbers,
    used: &[usize],
    files: &HashMap<FileKey, Vec<(String, std::ops::Range<usize>)>>,
    names: &[Ref],
) -> Vec<Result<KeyUse>> {
    let Entry::Virtual { file, offset, length } = entry else { return Vec::new() };
    let mut by_url: BTreeMap<&str, Vec<Ref>> = BTreeMap::new();
    for number in numbers.ranges().iter().cloned().flatten() {
        let Some(version) = used.get(number) else { continue };
        let places = files.get(file).into_iter().flatten();
        for (url, _) in places.filter(|(_, range)| range.contains(version)) {
            by_url.entry(url).or_default().extend(names.get(*version).cloned());
        }
    }
    let of =
        |(url, refs): (&str, Vec<Ref>)| Ok(KeyUse { key: Key::new(key)?, url: url.to_owned(), offset: *offset, length: *length, refs });
    by_url.into_iter().map(of).collect()
}

/// How much of each version depends on files at a place, and whether a container can name such a file.
async fn counted(repository: &Repository, place: &FilePlace, lines: &Lines) -> Result<(Vec<DependencyCounts>, bool)> {
    // What changes from one version to the next, so that a range of versions costs two additions.
    let mut steps = vec![[0i128; 3]; lines.versions.len() + 1];
    let is_named = each(repository, place, lines, |_, _, record, range| {
        let one = [1, i128::from(record.refs), i128::from(record.bytes)];
        for (at, sign) in [(range.start, 1), (range.end, -1)] {
            if let Some(step) = steps.get_mut(at) {
                step.iter_mut().zip(one).for_each(|(sum, n)| *sum += sign * n);
            }
        }
    })
    .await?;
    let running = steps.into_iter().scan([0i128; 3], |sum, step| {
        sum.iter_mut().zip(step).for_each(|(sum, n)| *sum += n);
        Some(sum.map(|n| u64::try_from(n).unwrap_or(u64::MAX)))
    });
    let counts = running.take(lines.versions.len()).map(|[files, refs, bytes]| DependencyCounts { files, refs, bytes });
    Ok((counts.collect(), is_named))
}

/// Shows every file at a place, with its URL and its record, to `see`, for each range of versions that have both. Whether a container
/// can name such a file.
async fn each(
    repository: &Repository,
    place: &FilePlace,
    lines: &Lines,
    mut see: impl FnMut(&FileKey, &str, &VirtualFile, std::ops::Range<usize>),
) -> Result<bool> {
    let mut containers: Vec<&Container> = lines.versions.iter().flat_map(|version| version.containers.iter()).collect();
    containers.sort_unstable_by_key(|c| (&c.name, &c.template, &c.defaults));
    containers.dedup_by_key(|c| (&c.name, &c.template, &c.defaults));
    let spans = place.spans(containers)?;
    let is_named = !spans.is_empty();
    let source = Arc::new(repository.objects().clone());
    let union = Union::<VirtualFile, _>::open(source, lines.roots(), spans, Box::new(|_, _| true)).await?;
    let mut found = std::pin::pin!(union.into_stream());
    while let Some((key, values)) = found.try_next().await? {
        let file = FileKey::from_map_key(&key)?;
        for (record, numbers) in &values {
            for piece in numbers.ranges().iter().flat_map(|range| lines.pieces(range.clone())) {
                let Some(version) = lines.versions.get(piece.start) else { continue };
                let url = file.url(&version.containers)?;
                if place.holds(&url) {
                    see(&file, &url, record, piece);
                }
            }
        }
    }
    Ok(is_named)
}
