//! Reading many values at once: keys resolved together, requests bounded, neighbours in one file read by one request.
//!
//! Each value is read as by a call of its own: chunks are verified against their ids, and every request to an external file carries the
//! condition under which it was pinned. A value that is asked for twice is read once.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::Snapshot;
use super::read::{slice, within};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Container, Entry, FileKey, VirtualFile};
use crate::id::ChunkId;
use crate::key::{Key, MapKey};
use crate::virtuals::RangeJoining;

/// How many requests are under way at once.
const CONCURRENT: usize = 16;

impl Snapshot {
    /// What is stored under each of `keys`, in their order. Reads every node of the manifest on the way once.
    pub async fn entries(&self, keys: &[Key]) -> Result<Vec<Option<Entry>>> {
        let mut sorted: Vec<&MapKey> = keys.iter().map(Key::as_map_key).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let sorted: Vec<MapKey> = sorted.into_iter().cloned().collect();
        let found = match self.manifest().find_many(&sorted).await {
            Err(error) => return Err(self.explained(error).await),
            found => found?,
        };
        let at = |key: &Key| sorted.binary_search(key.as_map_key()).ok().and_then(|at| found.get(at).cloned().flatten());
        Ok(keys.iter().map(at).collect())
    }

    /// The value of each of `keys`, in their order; `None` where there is none.
    ///
    /// At most 16 requests run at once. Ranges of one external file that overlap or lie within 64 KiB of each other are read
    /// together, up to 16 MiB by one request, unless [`Access`](crate::Access) says otherwise; values read together share their memory. An error of one value is the error
    /// of all, and names its key.
    pub async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>> {
        let entries = self.entries(keys).await?;
        self.read_parts(keys.iter().zip(entries).map(|(key, entry)| (key, entry, None)).collect()).await
    }

    /// The bytes of each part: a key and a range within its value, in the order asked; `None` where there is no value.
    /// `Invalid` when a range lies past the end of its value. Otherwise as [`get_many`](Self::get_many).
    pub async fn get_ranges(&self, parts: &[(Key, Range<u64>)]) -> Result<Vec<Option<Bytes>>> {
        let keys: Vec<_> = parts.iter().map(|(key, _)| key.clone()).collect();
        let entries = self.entries(&keys).await?;
        self.read_parts(parts.iter().zip(entries).map(|((key, range), entry)| (key, entry, Some(range.clone()))).collect()).await
    }

    /// The bytes of each part: a key, what [`entry`](Self::entry) or [`entries`](Self::entries) found under it, and a range within
    /// that; in the order asked, `None` where nothing was found.
    ///
    /// For ranges that depend on the size of the value, such as its last bytes: size and bytes are those of one entry. `Invalid` when a
    /// range lies past the end. Otherwise as [`get_many`](Self::get_many).
    pub async fn get_ranges_of(&self, parts: &[(Key, Option<Entry>, Range<u64>)]) -> Result<Vec<Option<Bytes>>> {
        self.read_parts(parts.iter().map(|(key, entry, range)| (key, entry.clone(), Some(range.clone()))).collect()).await
    }

    async fn read_parts(&self, parts: Vec<Asked<'_>>) -> Result<Vec<Option<Bytes>>> {
        let plan = ReadPlan::of(parts, self.repository().virtuals().joining())?;
        let read = async {
            let records = self.records(plan.files()).await?;
            PartReader { snapshot: self, containers: &self.record().containers, records }.run(plan).await
        };
        match read.await {
            Err(error) => Err(self.explained(error).await),
            read => read,
        }
    }

    /// The records of files, which must be sorted.
    pub(crate) async fn records(&self, files: Vec<FileKey>) -> Result<HashMap<FileKey, VirtualFile>> {
        let keys: Vec<_> = files.iter().map(|file| file.as_map_key().clone()).collect();
        let found = self.file_map().find_many(&keys).await?;
        Ok(files.into_iter().zip(found).filter_map(|(file, record)| Some((file, record?))).collect())
    }
}

/// A key, what is stored under it, and which bytes of that are wanted (all, if not said).
pub(crate) type Asked<'k> = (&'k Key, Option<Entry>, Option<Range<u64>>);

/// What one request can read from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum ReadPlace {
    Chunk(ChunkId, u64),
    File(FileKey),
}

/// Bytes that are wanted from a place, and the slot of the answer that they fill.
#[derive(Debug, Clone)]
struct WantedPart<'k> {
    key: &'k Key,
    range: Range<u64>,
    slot: usize,
}

/// One request, and the parts that it answers.
#[derive(Debug)]
struct Fetch<'k> {
    place: ReadPlace,
    range: Range<u64>,
    parts: Vec<WantedPart<'k>>,
}

/// What has to be read for an answer.
pub(crate) struct ReadPlan<'k> {
    /// The answer, as far as it needs no request.
    answer: Vec<Option<Bytes>>,
    fetches: Vec<Fetch<'k>>,
}

impl<'k> ReadPlan<'k> {
    pub(crate) fn of(parts: Vec<Asked<'k>>, of_files: RangeJoining) -> Result<Self> {
        let mut answer = vec![None; parts.len()];
        let mut places: BTreeMap<ReadPlace, Vec<WantedPart<'k>>> = BTreeMap::new();
        for (slot, ((key, entry, range), known)) in parts.into_iter().zip(&mut answer).enumerate() {
            let Some(entry) = entry else { continue };
            let range = within(key, &entry, range)?;
            match entry {
                Entry::Inline(bytes) => *known = Some(slice(&bytes, &range)),
                Entry::Chunk { id, size } => places.entry(ReadPlace::Chunk(id, size)).or_default().push(WantedPart { key, range, slot }),
                Entry::Virtual { file, offset, .. } => {
                    let range = offset + range.start..offset + range.end;
                    places.entry(ReadPlace::File(file)).or_default().push(WantedPart { key, range, slot });
                }
            }
        }
        let fetches = places.into_iter().flat_map(|(place, parts)| join(&place, parts, of_files)).collect();
        Ok(Self { answer, fetches })
    }

    /// The external files that are read, sorted, each once.
    pub(crate) fn files(&self) -> Vec<FileKey> {
        let files = self.fetches.iter().filter_map(|fetch| match &fetch.place {
            ReadPlace::File(file) => Some(file.clone()),
            ReadPlace::Chunk(..) => None,
        });
        let mut files: Vec<_> = files.collect();
        files.dedup();
        files
    }
}

/// Joins the parts of one place that overlap or lie near each other.
fn join<'k>(place: &ReadPlace, mut parts: Vec<WantedPart<'k>>, of_files: RangeJoining) -> Vec<Fetch<'k>> {
    let RangeJoining { gap, longest } = match place {
        ReadPlace::Chunk(..) => RangeJoining::default(),
        ReadPlace::File(_) => of_files,
    };
    parts.sort_by_key(|part| (part.range.start, part.range.end));
    let mut fetches: Vec<Fetch<'k>> = Vec::new();
    for part in parts {
        let start_new = match fetches.last_mut() {
            Some(last) => {
                let end = last.range.end.max(part.range.end);
                let joins = part.range.start <= last.range.end.saturating_add(gap) && end - last.range.start <= longest;
                // A range inside the previous one adds nothing to the request.
                let joins = joins || part.range.end <= last.range.end;
                if joins {
                    last.range.end = end;
                    last.parts.push(part.clone());
                }
                !joins
            }
            None => true,
        };
        if start_new {
            fetches.push(Fetch { place: place.clone(), range: part.range.clone(), parts: vec![part] });
        }
    }
    fetches
}

/// Reads parts of values for a snapshot, or for a session that is based on one.
pub(crate) struct PartReader<'s> {
    pub(crate) snapshot: &'s Snapshot,
    pub(crate) containers: &'s [Container],
    pub(crate) records: HashMap<FileKey, VirtualFile>,
}

impl PartReader<'_> {
    pub(crate) async fn run(&self, plan: ReadPlan<'_>) -> Result<Vec<Option<Bytes>>> {
        let ReadPlan { mut answer, fetches } = plan;
        let reads: Vec<_> = fetches.into_iter().map(|fetch| self.fetch(fetch)).collect();
        let mut reads = stream::iter(reads).buffer_unordered(CONCURRENT);
        while let Some(values) = reads.try_next().await? {
            for (slot, value) in values {
                if let Some(empty) = answer.get_mut(slot) {
                    *empty = Some(value);
                }
            }
        }
        drop(reads);
        Ok(answer)
    }

    async fn fetch(&self, fetch: Fetch<'_>) -> Result<Vec<(usize, Bytes)>> {
        let Fetch { place, range, parts } = fetch;
        let Some(first) = parts.first() else { return Ok(Vec::new()) };
        match self.read(&place, range.clone(), first.key).await {
            Ok(bytes) => {
                let within = |part: &WantedPart<'_>| part.range.start - range.start..part.range.end - range.start;
                Ok(parts.iter().map(|part| (part.slot, slice(&bytes, &within(part)))).collect())
            }
            // The file may be too short for only some of the parts: find out for which.
            Err(e) if e.kind() == ErrorKind::Corrupt && parts.len() > 1 => {
                for part in &parts {
                    self.read(&place, part.range.clone(), part.key).await?;
                }
                Err(e)
            }
            Err(e) => Err(e),
        }
    }

    async fn read(&self, place: &ReadPlace, range: Range<u64>, key: &Key) -> Result<Bytes> {
        let repository = self.snapshot.repository();
        match place {
            ReadPlace::Chunk(id, size) => repository.chunks().read_range(id, *size, range).await.map_err(|e| e.context(key)),
            ReadPlace::File(file) => {
                let unlisted = || Error::corrupt(format!("{key} lies in {file}, which the files map does not list"));
                let record = self.records.get(file).ok_or_else(unlisted)?;
                repository.virtuals().read(self.containers, file, record, range, key.as_str()).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(ranges: &[(u64, u64)]) -> Vec<(Range<u64>, Vec<usize>)> {
        let key = Key::new("k").unwrap();
        let part = |(slot, (start, end)): (usize, &(u64, u64))| WantedPart { key: &key, range: *start..*end, slot };
        let parts = ranges.iter().enumerate().map(part).collect();
        let place = ReadPlace::File(FileKey::new("era5", ["a.nc"]).unwrap());
        let fetches = join(&place, parts, RangeJoining::default()).into_iter();
        fetches.map(|fetch| (fetch.range, fetch.parts.iter().map(|part| part.slot).collect())).collect()
    }

    const NEAR: u64 = 64 << 10;
    const LONGEST: u64 = 16 << 20;

    #[test]
    fn neighbours_are_joined_up_to_a_length() {
        assert_eq!(joined(&[]), []);
        assert_eq!(joined(&[(10, 20), (20, 30), (0, 5)]), [(0..30, vec![2, 0, 1])]);
        assert_eq!(joined(&[(0, 1), (0, 1), (0, 1)]), [(0..1, vec![0, 1, 2])], "duplicates");
        assert_eq!(joined(&[(0, 1), (1 + NEAR, 2 + NEAR)]), [(0..2 + NEAR, vec![0, 1])]);
        assert_eq!(joined(&[(0, 1), (2 + NEAR, 3 + NEAR)]), [(0..1, vec![0]), (2 + NEAR..3 + NEAR, vec![1])]);
        let half = LONGEST / 2;
        assert_eq!(
            joined(&[(0, half), (half, LONGEST), (LONGEST, LONGEST + 1)]),
            [(0..LONGEST, vec![0, 1]), (LONGEST..LONGEST + 1, vec![2])]
        );
        let long = 3 * LONGEST;
        assert_eq!(
            joined(&[(0, long), (7, 9), (long, long + 1)]),
            [(0..long, vec![0, 1]), (long..long + 1, vec![2])],
            "what is long stays whole"
        );
        assert_eq!(joined(&[(0, u64::MAX), (u64::MAX, u64::MAX)]), [(0..u64::MAX, vec![0, 1])]);
    }
}
