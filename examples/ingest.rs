//! A small ingest job, as another crate would write it against the public API:
//!
//! 1. commit an array with native chunks, whose metadata another writer changes meanwhile: the commit fails with
//!    `Conflict`, and is made again on the new tip,
//! 2. add a second array that points into a file in an archive, with a time limit on its publication,
//! 3. settle what the time limit left open,
//! 4. tag the result, read it by time, list its external files and export it to a CAR file.
//!
//! Run it with `cargo run --example ingest`. Everything is made in a new directory below the system's directory for
//! temporary files, and removed at the end.

use std::error::Error;
use std::io::{Write, stdout};
use std::path::Path;
use std::time::Duration;

use firnline::{
    Access, CommitOptions, CreateOptions, ErrorKind, Key, OpenOptions, Prefix, Repository, Settlement, Snapshot, TagOptions, WriteSession,
    file_url,
};
use futures::TryStreamExt;

type Done<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Chunks of each array.
const CHUNKS: u64 = 12;
/// Bytes of each chunk: 40 × 50 values of two bytes.
const CHUNK_BYTES: u64 = 4_000;
/// The header of the file in the archive, in bytes.
const HEADER: u64 = 128;

#[tokio::main]
async fn main() -> Done {
    let place = std::env::temp_dir().join(format!("firnline-ingest-{}", std::process::id()));
    let done = ingest(&place).await;
    std::fs::remove_dir_all(&place)?;
    done
}

async fn ingest(place: &Path) -> Done {
    let (repository, archive) = open(place).await?;
    let native = commit_native(&repository).await?;
    say(&format!("native chunks committed as {}", native.id()))?;
    let both = commit_virtual(&repository, &archive).await?;
    say(&format!("virtual chunks committed as {}", both.id()))?;
    hand_over(&repository, &native, &both, place).await
}

/// Makes the repository, and the archive that its virtual chunks lie in.
async fn open(place: &Path) -> Done<(Repository, String)> {
    let archive = place.join("archive");
    std::fs::create_dir_all(&archive)?;
    let file = archive.join("salinity.dat");
    let mut bytes = vec![0; usize::try_from(HEADER)?];
    bytes.extend((0..CHUNKS).flat_map(chunk));
    std::fs::write(&file, bytes)?;
    // A file that was written a moment ago could change again under the same date, so the library would not rely on it.
    let hour_ago = std::fs::metadata(&file)?.modified()? - Duration::from_hours(1);
    std::fs::File::options().write(true).open(&file)?.set_modified(hour_ago)?;

    let access = Access::parse([file_url(&archive)?.as_str()])?;
    let options = OpenOptions::from_environment().access(access);
    let repository = place.join("repository");
    let repository = repository.to_str().ok_or("the directory is not UTF-8")?;
    let repository = Repository::create_with(repository, CreateOptions::from(options)).await?;
    Ok((repository, file_url(&file)?))
}

/// Commits the native array. Another writer changes the metadata of the same array between `write` and `commit`.
async fn commit_native(repository: &Repository) -> Done<Snapshot> {
    let mut session = repository.write("main").await?;
    stage_array(&mut session, "temperature").await?;
    for n in 0..CHUNKS {
        session.set(&cell("temperature", n)?, chunk(n)).await?;
    }

    let other = repository.write("main").await?;
    other.set(&Key::new("temperature/zarr.json")?, metadata().replace("\"int16\"", "\"uint16\"")).await?;
    other.commit(CommitOptions::from("declare the array").author("somebody else")).await?;

    let Err(failed) = session.commit("ingest temperature").await else { return Err("the conflict was not noticed".into()) };
    if failed.kind() != ErrorKind::Conflict {
        return Err(failed);
    }
    for conflict in failed.conflicts() {
        say(&format!("conflict, as expected: {conflict}"))?;
    }
    // Our metadata wins: it is staged again on the new tip, and so are the chunks, which are stored already.
    let mut session = repository.write("main").await?;
    stage_array(&mut session, "temperature").await?;
    for n in 0..CHUNKS {
        session.set(&cell("temperature", n)?, chunk(n)).await?;
    }
    Ok(session.commit(CommitOptions::from("ingest temperature").author("ingest").meta("source", "model run 7")).await?)
}

/// Commits the virtual array. Publishing has a time limit; what is left open then is settled by the snapshot's id.
async fn commit_virtual(repository: &Repository, archive: &str) -> Done<Snapshot> {
    let mut session = repository.write("main").await?;
    stage_array(&mut session, "salinity").await?;
    for n in 0..CHUNKS {
        let start = HEADER + n * CHUNK_BYTES;
        session.set_virtual(&cell("salinity", n)?, archive, start..start + CHUNK_BYTES).await?;
    }
    // A session reads what it has staged, ranges and children included.
    let staged = session.get_range(&cell("salinity", 3)?, 0..8).await?;
    check("a staged virtual chunk reads as the bytes of its file", staged.as_deref() == chunk(3).get(..8))?;
    check("two arrays are below the root", session.children(&Prefix::all()).await?.len() == 2)?;

    let branch = session.branch().clone();
    let prepared = session.prepare("ingest salinity").await?;
    // The handle tells what became of the publication, whatever becomes of the future.
    let handle = prepared.handle();
    match tokio::time::timeout(LIMIT, prepared.publish()).await {
        Ok(published) => return Ok(published?.snapshot),
        Err(_) => say("the time limit passed")?,
    }
    match handle.pending() {
        // No request was sent, so nothing was published: a real job would run again.
        None => Err("the commit was not sent in time".into()),
        Some(pending) => match repository.settle(&branch, pending.id).await? {
            Settlement::Committed => Ok(repository.read(&pending.id.to_string()).await?),
            Settlement::Lost => Err("the commit did not happen".into()),
        },
    }
}

/// How long a publication may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Tags the result, reads both versions by time, lists the external files and writes a CAR file.
async fn hand_over(repository: &Repository, native: &Snapshot, both: &Snapshot, place: &Path) -> Done {
    let tag = "ingest/2025-03".parse()?;
    repository.create_tag(&tag, both, TagOptions::from("the first month").author("ingest")).await?;
    check("the tag leads to the snapshot", repository.read(tag.as_ref()).await?.id() == both.id())?;

    let then = repository.read(&format!("main@{}", native.record().time)).await?;
    check("main at the time of the first commit is the first commit", then.id() == native.id())?;
    check("it has no salinity yet", !then.has_below(&Prefix::new("salinity")?).await?)?;

    // The stream keeps what it needs, so a task of its own may read it.
    let files = tokio::spawn(both.dependencies().try_collect::<Vec<_>>()).await??;
    for file in &files {
        say(&format!("depends on {}: {} references to {} bytes", file.url, file.record.refs, file.record.bytes))?;
    }
    check("one external file", files.iter().map(|file| file.record.refs).eq([CHUNKS]))?;

    let car = place.join("ingest.car");
    let written = both.export_car(tokio::fs::File::create(&car).await?).await?;
    say(&format!("exported {} blocks, {} bytes", written.blocks, written.bytes))?;
    check("the file has the length that was told", std::fs::metadata(&car)?.len() == written.bytes)
}

async fn stage_array(session: &mut WriteSession, array: &str) -> Done {
    session.set(&Key::new(format!("{array}/zarr.json"))?, metadata()).await?;
    Ok(())
}

/// The Zarr metadata of an array of 12 × 40 × 50 values.
fn metadata() -> String {
    r#"{"zarr_format":3,"node_type":"array","shape":[12,40,50],"data_type":"int16",
"chunk_grid":{"name":"regular","configuration":{"chunk_shape":[1,40,50]}},
"chunk_key_encoding":{"name":"default","configuration":{"separator":"/"}},
"fill_value":0,"codecs":[{"name":"bytes","configuration":{"endian":"little"}}]}"#
        .to_owned()
}

fn cell(array: &str, n: u64) -> firnline::Result<Key> {
    Key::new(format!("{array}/c/{n}/0/0"))
}

/// The bytes of the chunk `n`.
fn chunk(n: u64) -> Vec<u8> {
    (0..CHUNK_BYTES / 2).flat_map(|i| u16::try_from((i * 31 + n * 977) % 30_000).unwrap_or_default().to_le_bytes()).collect()
}

fn say(text: &str) -> Done {
    Ok(writeln!(stdout(), "{text}")?)
}

/// Prints a claim that holds; one that does not is an error.
fn check(claim: &str, holds: bool) -> Done {
    if holds { say(&format!("✓ {claim}")) } else { Err(format!("this does not hold: {claim}").into()) }
}
