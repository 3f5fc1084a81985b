//! A value that cannot be read is an error of the read of an array. It is never taken for an absent chunk, which reads as the fill
//! value.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use firnline::storage::fault::{Call, Fault, Faulty, Operation};
use firnline::storage::{Local, LocalOptions};
use firnline::{Access, Clock as _, CreateOptions, ErrorKind, Key, OpenOptions, Repository, SystemClock, WriteSession};
use zarrs::array::{Array, ArrayBuilder, ArraySubset, data_type};
use zarrs_firnline::{AsyncFirnlineStore, FirnlineStore};

use crate::support::{Done, kind};

/// Bytes of one chunk: too many to be stored inline.
const CHUNK: usize = 4096;

/// A repository on local disk with two arrays of one chunk: `native` holds its bytes, `outside` points into a file. Both exist twice:
/// the second time as an array with shards of four inner chunks.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    async fn new() -> Done<Self> {
        let place = Self { directory: tempfile::tempdir()? };
        fs::create_dir(place.outside())?;
        let access = Access::parse([firnline::file_url(&place.outside())?.as_str()])?;
        let options = CreateOptions::from(OpenOptions::default().access(access));
        let repository = Repository::create_with(&place.repo()?, options).await?;
        place.fill(repository.write("main").await?).await?;
        Ok(place)
    }

    async fn fill(&self, session: WriteSession) -> Done {
        let store = Arc::new(AsyncFirnlineStore::new(session));
        for (name, is_sharded) in [("whole", false), ("sharded", true)] {
            let mut builder = ArrayBuilder::new(vec![CHUNK as u64], vec![CHUNK as u64], data_type::uint8(), 99u8);
            if is_sharded {
                builder.subchunk_shape(vec![CHUNK as u64 / 4]);
            }
            let native = builder.build(store.clone(), &format!("/native/{name}"))?;
            native.async_store_metadata().await?;
            native.async_store_chunk(&[0], vec![7u8; CHUNK]).await?;
            builder.build(store.clone(), &format!("/outside/{name}"))?.async_store_metadata().await?;
            // The same bytes, in a file that is too old to be changed within the resolution of its date.
            let bytes = store.source().get(&Key::new(format!("native/{name}/c/0"))?).await?.ok_or("it was stored")?;
            let file = self.outside().join(name);
            fs::write(&file, &bytes)?;
            fs::File::options().write(true).open(&file)?.set_modified(yesterday())?;
            let (url, size) = (firnline::file_url(&file)?, bytes.len() as u64);
            store.source().set_virtual(&Key::new(format!("outside/{name}/c/0"))?, &url, 0..size).await?;
        }
        store.into_session()?.commit("four arrays").await?;
        Ok(())
    }

    fn outside(&self) -> PathBuf {
        self.directory.path().join("outside")
    }

    fn repo(&self) -> Done<String> {
        Ok(self.directory.path().join("repo").to_str().ok_or("not UTF-8")?.to_owned())
    }

    fn allowing(&self) -> Done<OpenOptions> {
        Ok(OpenOptions::default().access(Access::parse([firnline::file_url(&self.outside())?.as_str()])?))
    }

    /// The files of all chunks.
    fn chunks(&self) -> Done<Vec<PathBuf>> {
        let mut found = Vec::new();
        for folder in fs::read_dir(Path::new(&self.repo()?).join("chunks"))? {
            for file in fs::read_dir(folder?.path())? {
                found.push(file?.path());
            }
        }
        Ok(found)
    }
}

fn yesterday() -> std::time::SystemTime {
    let now = Duration::from_micros(u64::try_from(SystemClock.now().micros()).unwrap());
    std::time::UNIX_EPOCH + now - Duration::from_hours(24)
}

/// Reads both arrays below `group` in every way, synchronously and not, and returns all outcomes.
async fn read_all(repository: Repository, group: &'static str) -> Done<Vec<Result<Vec<u8>, Box<dyn Error + Send + Sync>>>> {
    let snapshot = repository.read("main").await?;
    let part = ArraySubset::new_with_start_shape(vec![10], vec![10])?;
    let mut outcomes = Vec::new();
    for name in ["whole", "sharded"] {
        let path = format!("/{group}/{name}");
        let array = Array::async_open(Arc::new(AsyncFirnlineStore::new(snapshot.clone())), &path).await?;
        outcomes.push(array.async_retrieve_array_subset(&array.subset_all()).await.map_err(Into::into));
        outcomes.push(array.async_retrieve_array_subset(&part).await.map_err(Into::into));
        outcomes.push(array.async_retrieve_chunk(&[0]).await.map_err(Into::into));
        let (snapshot, part, runtime) = (snapshot.clone(), part.clone(), tokio::runtime::Handle::current());
        let read = tokio::task::spawn_blocking(move || {
            let array = Array::open(Arc::new(FirnlineStore::new(snapshot, runtime)), &path).map_err(|e| e.to_string())?;
            let read = |subset: &ArraySubset| array.retrieve_array_subset(subset).map_err(Into::into);
            Ok::<_, String>([read(&array.subset_all()), read(&part), array.retrieve_chunk(&[0]).map_err(Into::into)])
        });
        outcomes.extend(read.await??);
    }
    Ok(outcomes)
}

/// Every read fails, with an error of this kind behind the error of zarrs.
async fn all_fail(repository: Repository, group: &'static str, wanted: ErrorKind) -> Done {
    let outcomes = read_all(repository, group).await?;
    assert_eq!(outcomes.len(), 12);
    for outcome in outcomes {
        let failed = outcome.expect_err("it was read, or filled");
        assert_eq!(kind(&*failed), Some(wanted), "{failed}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_intact_is_read() -> Done {
    let place = Place::new().await?;
    for group in ["native", "outside"] {
        for outcome in read_all(Repository::open_with(&place.repo()?, place.allowing()?).await?, group).await? {
            let values = outcome.expect("it is intact");
            assert!(!values.is_empty() && values.iter().all(|value| *value == 7));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_file_is_an_error() -> Done {
    let place = Place::new().await?;
    for name in ["whole", "sharded"] {
        let file = place.outside().join(name);
        let mut bytes = fs::read(&file)?;
        bytes[0] = 8;
        fs::write(&file, bytes)?;
    }
    all_fail(Repository::open_with(&place.repo()?, place.allowing()?).await?, "outside", ErrorKind::SourceChanged).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_file_is_an_error() -> Done {
    let place = Place::new().await?;
    fs::remove_dir_all(place.outside())?;
    fs::create_dir(place.outside())?;
    all_fail(Repository::open_with(&place.repo()?, place.allowing()?).await?, "outside", ErrorKind::NotFound).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_place_is_an_error() -> Done {
    let place = Place::new().await?;
    all_fail(Repository::open_with(&place.repo()?, OpenOptions::default()).await?, "outside", ErrorKind::Denied).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_chunk_is_an_error() -> Done {
    let place = Place::new().await?;
    let chunks = place.chunks()?;
    assert_eq!(chunks.len(), 2);
    for file in chunks {
        let mut bytes = fs::read(&file)?;
        bytes[20] ^= 1;
        fs::write(&file, bytes)?;
    }
    all_fail(Repository::open(&place.repo()?).await?, "native", ErrorKind::Corrupt).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_chunk_object_is_an_error() -> Done {
    let place = Place::new().await?;
    for file in place.chunks()? {
        fs::remove_file(file)?;
    }
    all_fail(Repository::open(&place.repo()?).await?, "native", ErrorKind::NotFound).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_cannot_be_reached_is_an_error() -> Done {
    let place = Place::new().await?;
    let no_chunks = |call: &Call<'_>| match call.operation {
        Operation::Get if call.name.starts_with("chunks/") => Fault::Before,
        _ => Fault::None,
    };
    let storage = Arc::new(Faulty::new(Arc::new(Local::open(&place.repo()?, LocalOptions::default())?), no_chunks));
    all_fail(Repository::open_storage(storage, OpenOptions::default().without_pauses()).await?, "native", ErrorKind::Unavailable).await
}
