//! Reading, writing and listing objects, which never change.

use std::collections::HashSet;
use std::future::ready;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, FuturesUnordered};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt as _, PutPayload};

use super::answers::PERMIT;
use super::place::StoreScheme;
use super::store::Cloud;
use crate::error::{Error, Result};
use crate::storage::outside::time_for;
use crate::storage::{Extent, ObjectMeta, ObjectName, ObjectSource, RemovalPermit, check_extent};
use crate::time::Timestamp;

/// Larger objects are uploaded in parts of this size, or larger ones where there would be too many.
const PART: usize = 8 << 20;
/// Parts of an object that is read from a source are a multiple of this, the length of the leaves of a chunk.
const PART_STEP: u64 = 1 << 20;
/// No store takes more parts than 10,000.
const MOST_PARTS: usize = 9_000;
/// Parts of one object on their way at a time.
const PARTS_AT_ONCE: usize = 4;
/// No object is longer, and no server reads a larger number wrongly.
const LONGEST: u64 = 1 << 50;

impl Cloud {
    pub(super) async fn get_object(&self, name: &str, extent: Extent) -> Result<Option<Bytes>> {
        let range = if let Extent::Range(range) = &extent { Some(range.clone()) } else { None };
        let path = self.path(name)?;
        let what = || format!("{name} cannot be read");
        if let Some(range) = &range
            && range.start >= range.end
        {
            // A range of no bytes cannot be asked for, but whether it lies inside can.
            return match self.connection.retrying.head(&path).await {
                Ok(meta) => check_extent(name, meta.size, extent).map(|_| Some(Bytes::new())),
                Err(e) if Self::is_absence(&e) => Ok(None),
                Err(e) => Err(self.trouble(&what(), e)),
            };
        }
        let asked = range.as_ref().map(|r| GetRange::Bounded(r.start..r.end.min(LONGEST).max(r.start.saturating_add(1))));
        let options = GetOptions { range: asked, ..GetOptions::default() };
        let answer = match self.connection.retrying.get_opts(&path, options).await {
            Ok(answer) => answer,
            Err(e) if Self::is_absence(&e) => return Ok(None),
            Err(e) => {
                // Stores answer ranges outside of an object in many ways, but all of them know its length.
                if range.is_some()
                    && let Ok(meta) = self.connection.once.head(&path).await
                {
                    check_extent(name, meta.size, extent)?;
                }
                return Err(self.trouble(&what(), e));
            }
        };
        // Before the first byte of the body is read.
        let wanted = check_extent(name, answer.meta.size, extent)?;
        if answer.range != wanted {
            return Err(Error::corrupt(format!("{self}: {name}: {wanted:?} was asked for and {:?} answered", answer.range)));
        }
        self.body(name, answer).await.map(Some)
    }

    /// The body of an answer, whole or not at all.
    pub(super) async fn body(&self, name: &str, answer: GetResult) -> Result<Bytes> {
        let length = answer.range.end - answer.range.start;
        let mut stream = answer.into_stream();
        let collect = async {
            let first = stream.try_next().await?.unwrap_or_default();
            if first.len() as u64 >= length {
                return Ok(first);
            }
            // No memory is set aside for the claimed length, which the server may have made up.
            let mut whole = BytesMut::from(first);
            while (whole.len() as u64) <= length
                && let Some(next) = stream.try_next().await?
            {
                whole.extend_from_slice(&next);
            }
            Ok(whole.freeze())
        };
        let limit = time_for(length, self.patience);
        let bytes = match tokio::time::timeout(limit, collect).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(e)) => return Err(self.trouble(&format!("{name} cannot be read"), e)),
            Err(_) => return Err(Error::unavailable(format!("{self}: {name}: {length} bytes did not come within {limit:?}"))),
        };
        if bytes.len() as u64 != length {
            return Err(Error::corrupt(format!("{self}: {name}: the answer has {} bytes instead of {length}, or more", bytes.len())));
        }
        Ok(bytes)
    }

    pub(super) async fn put_object(&self, name: &str, parts: &[Bytes]) -> Result<()> {
        let path = self.path(name)?;
        let total: usize = parts.iter().map(Bytes::len).sum();
        let sent = if total <= PART {
            self.connection.retrying.put(&path, payload(parts)).await.map(|_| ())
        } else {
            let size = PART.max(total.div_ceil(MOST_PARTS));
            let pieces = || stream::iter(pieces(parts, size)).map(|piece| Ok(payload(&piece)));
            match self.put_in_parts(&path, pieces()).await {
                // The answer to the last request may have been lost, and the store then does not know the upload any more.
                Err(_) => self.put_in_parts(&path, pieces()).await.map_err(PartsError::into_store),
                Ok(()) => Ok(()),
            }
        };
        sent.map_err(|e| self.trouble(&format!("{name} cannot be written"), e))
    }

    /// Writes an object from a source. At most five parts are in memory.
    pub(super) async fn put_object_from(&self, name: &str, source: &dyn ObjectSource) -> Result<()> {
        let size = source.size();
        let part = (PART as u64).max(size.div_ceil(MOST_PARTS as u64).next_multiple_of(PART_STEP));
        if size <= part {
            return self.put_object(name, &[source.read(0..size).await?]).await;
        }
        let path = self.path(name)?;
        let starts = (0..size.div_ceil(part)).map(|n| n * part);
        let pieces = || {
            stream::iter(starts.clone())
                .then(|start| async move { source.read(start..(start + part).min(size)).await.map(PutPayload::from_bytes) })
        };
        let sent = match self.put_in_parts(&path, pieces()).await {
            // The answer to the last request may have been lost, and the store then does not know the upload any more.
            Err(PartsError::Store(_)) => self.put_in_parts(&path, pieces()).await,
            done => done,
        };
        sent.map_err(|e| match e {
            PartsError::Source(e) => e,
            PartsError::Store(e) => self.trouble(&format!("{name} cannot be written"), e),
        })
    }

    async fn put_in_parts(&self, path: &Path, pieces: impl Stream<Item = Result<PutPayload>>) -> Result<(), PartsError> {
        let mut upload = self.connection.retrying.put_multipart(path).await?;
        let mut pieces = std::pin::pin!(pieces);
        let sent = async {
            let mut running = FuturesUnordered::new();
            while let Some(piece) = pieces.try_next().await.map_err(PartsError::Source)? {
                if running.len() == PARTS_AT_ONCE {
                    running.try_next().await?;
                }
                running.push(upload.put_part(piece));
            }
            Ok(running.try_collect::<()>().await?)
        };
        let done = match sent.await {
            Ok(()) => upload.complete().await.map(|_| ()).map_err(PartsError::Store),
            Err(e) => Err(e),
        };
        if done.is_err() {
            // What is left of it costs space until the store's own rules remove it.
            let _ignored = upload.abort().await;
        }
        done
    }

    /// Removes objects, many in one request where the store can. No request is repeated, and none is sent without a permit.
    pub(super) async fn delete_objects(&self, names: &[ObjectName], permit: &RemovalPermit) -> Vec<Result<()>> {
        self.delete_named(&names.iter().map(ObjectName::as_str).collect::<Vec<_>>(), permit).await
    }

    /// Removes what has these names.
    pub(super) async fn delete_named(&self, names: &[&str], permit: &RemovalPermit) -> Vec<Result<()>> {
        let mut removals = Removals::of(names.iter().map(|name| self.path(name)));
        removals.send(&self.connection.removing, permit).await;
        if removals.gone.is_empty() && removals.failed.as_ref().is_some_and(|e| !matches!(e, object_store::Error::PermissionDenied { .. }))
        {
            // Some servers do not know requests that remove many.
            removals.send(&self.connection.once, permit).await;
        }
        let trouble = removals.failed.map(|e| self.trouble("objects cannot be removed", e));
        let answer = |(path, name): (Result<Path>, &&str)| {
            if removals.gone.contains(&path?) {
                return Ok(());
            }
            permit.require(name)?;
            Err(trouble.as_ref().map_or_else(|| Error::unavailable(format!("{self}: a removal was not answered")), Error::copied))
        };
        removals.paths.into_iter().zip(names).map(answer).collect()
    }

    pub(super) fn list_objects<'a>(&'a self, prefix: &str) -> BoxStream<'a, Result<ObjectMeta>> {
        if self.place.scheme == StoreScheme::Http {
            let error = Error::unsupported(format!("{self} cannot be listed: a web server does not tell what it has; name the revision"));
            return futures::stream::iter([Err(error)]).boxed();
        }
        // The client lists folders; for a prefix that ends inside a name, the folder is listed and filtered.
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let folder = match (folder.is_empty(), self.place.prefix.is_empty()) {
            (true, true) => Ok(None),
            (true, false) => Path::parse(&self.place.prefix).map(Some),
            (false, _) => Path::parse(self.place.key(folder)).map(Some),
        };
        let folder = match folder {
            Ok(folder) => folder,
            Err(e) => {
                return futures::stream::iter([Err(Error::invalid(format!("{self}: {prefix} is not a prefix")).caused_by(e))]).boxed();
            }
        };
        let prefix = prefix.to_owned();
        let found = self.connection.retrying.list(folder.as_ref());
        found
            .map_err(move |e| self.trouble("it cannot be listed", e))
            .try_filter_map(move |meta| ready(Ok(self.named(&meta, &prefix))))
            .boxed()
    }

    /// What a listing says of an object of this repository whose name begins with `prefix`.
    fn named(&self, meta: &object_store::ObjectMeta, prefix: &str) -> Option<ObjectMeta> {
        let key = meta.location.as_ref();
        let name = if self.place.prefix.is_empty() { key } else { key.strip_prefix(&self.place.prefix)?.strip_prefix('/')? };
        let modified = Timestamp::from_micros(meta.last_modified.timestamp_micros());
        name.starts_with(prefix).then(|| ObjectMeta { name: name.to_owned(), size: meta.size, modified })
    }
}

/// Why an object was not written in parts.
enum PartsError {
    Source(Error),
    Store(object_store::Error),
}

impl PartsError {
    /// The error of an upload whose parts were in memory.
    fn into_store(self) -> object_store::Error {
        match self {
            Self::Store(e) => e,
            Self::Source(e) => object_store::Error::Generic { store: "memory", source: Box::new(e) },
        }
    }
}

impl From<object_store::Error> for PartsError {
    fn from(error: object_store::Error) -> Self {
        Self::Store(error)
    }
}

fn payload(parts: &[Bytes]) -> PutPayload {
    parts.iter().filter(|part| !part.is_empty()).cloned().collect()
}

/// Cuts `parts`, end to end, into pieces of `size` bytes and a last one of what is left. Copies nothing.
fn pieces(parts: &[Bytes], size: usize) -> Vec<Vec<Bytes>> {
    let mut pieces = vec![Vec::new()];
    let mut room = size;
    for part in parts {
        let mut part = part.clone();
        while !part.is_empty() {
            if room == 0 {
                pieces.push(Vec::new());
                room = size;
            }
            let taken = part.split_to(part.len().min(room));
            room -= taken.len();
            if let Some(piece) = pieces.last_mut() {
                piece.push(taken);
            }
        }
    }
    pieces
}

/// Objects that are being removed.
struct Removals {
    paths: Vec<Result<Path>>,
    gone: HashSet<Path>,
    /// Why the last that failed did.
    failed: Option<object_store::Error>,
}

impl Removals {
    fn of(paths: impl Iterator<Item = Result<Path>>) -> Self {
        Self { paths: paths.collect(), gone: HashSet::new(), failed: None }
    }

    /// Sends what is left to be removed.
    async fn send(&mut self, client: &Arc<dyn ObjectStore>, permit: &RemovalPermit) {
        let Self { paths, gone, failed } = self;
        let left: Vec<_> =
            paths.iter().filter_map(|path| path.as_ref().ok().filter(|path| !gone.contains(*path)).cloned().map(Ok)).collect();
        let sending = async {
            let mut answers = client.delete_stream(stream::iter(left).boxed());
            while let Some(answer) = answers.next().await {
                match answer {
                    Ok(path) => drop(gone.insert(path)),
                    Err(object_store::Error::NotFound { path, source }) => {
                        // The path is told as the store's key.
                        let absent = object_store::Error::NotFound { path: path.clone(), source };
                        match Path::parse(&path) {
                            Ok(path) if Cloud::is_absence(&absent) => drop(gone.insert(path)),
                            _ => *failed = Some(absent),
                        }
                    }
                    Err(e) => *failed = Some(e),
                }
            }
        };
        PERMIT.scope(permit.clone(), sending).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "aws")]
    use crate::storage::{CloudOptions, Credentials};

    /// A body without an end filled the memory: its length was compared with what was claimed when all of it had come.
    #[cfg(feature = "aws")]
    #[tokio::test]
    async fn a_body_is_read_no_further_than_it_claims_to_be_long() {
        let store = Cloud::open("s3://b/x", &CloudOptions::default().credentials(Credentials::Anonymous)).unwrap();
        let piece = Bytes::from_static(&[7; 1 << 10]);
        let endless = futures::stream::repeat_with(move || Ok(piece.clone())).boxed();
        let answer = GetResult {
            payload: object_store::GetResultPayload::Stream(endless),
            meta: object_store::ObjectMeta {
                location: Path::from("x/y"),
                last_modified: chrono::DateTime::UNIX_EPOCH,
                size: 1 << 20,
                e_tag: None,
                version: None,
            },
            range: 5..10_000,
            attributes: object_store::Attributes::new(),
            extensions: object_store::Extensions::default(),
        };
        assert_eq!(store.body("y", answer).await.unwrap_err().kind(), crate::ErrorKind::Corrupt);
    }

    #[test]
    fn pieces_are_the_parts_end_to_end() {
        let whole: Bytes = (0..=255u8).cycle().take(1000).collect();
        for cuts in [vec![0, 1000], vec![0, 1, 1, 7, 500, 1000], vec![0, 64, 128, 1000]] {
            let parts: Vec<_> = cuts.windows(2).map(|w| whole.slice(w[0]..w[1])).collect();
            for size in [1, 64, 333, 999, 1000, 5000] {
                let pieces = pieces(&parts, size);
                let lengths: Vec<usize> = pieces.iter().map(|p| p.iter().map(Bytes::len).sum()).collect();
                assert!(lengths[..lengths.len() - 1].iter().all(|l| *l == size), "all but the last are whole: {lengths:?}");
                assert!(lengths.iter().all(|l| (1..=size).contains(l)), "none is empty: {lengths:?}");
                assert_eq!(pieces.concat().concat(), whole);
            }
        }
    }
}
