//! The four jobs, on a repository in a local directory:
//!
//! 1. open a repository and commit from Rust,
//! 2. check out what it held at a time,
//! 3. list every external file that it depends on,
//! 4. export a version to a CAR file.
//!
//! Run it with `cargo run --example quickstart [DIRECTORY]`. It works in a new directory below the system's
//! place for temporary files unless one is named, which must be absent or empty, and leaves everything there to be
//! looked at. Every claim that it prints has been checked; it stops at the first that does not hold.

use std::error::Error;
use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;

use firnline::{
    Access, CheckoutOptions, Clock, CreateOptions, ErrorKind, ImportTarget, Key, OpenOptions, Repository, Snapshot, SystemClock, Timestamp,
    file_url,
};
use futures::TryStreamExt;

type Done<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Done {
    let place = working_directory()?;
    say(format!("working in {}", place.display()))?;

    // An external file: 24 fields of 4,000 bytes behind a header. It is dated yesterday, because a file that was written
    // within the last two seconds could be written again under the same date.
    fs::create_dir(place.join("archive"))?;
    let source = place.join("archive/air.2025.dat");
    fs::write(&source, archive())?;
    fs::File::options().write(true).open(&source)?.set_modified(yesterday())?;

    let repository = open(&place).await?;
    let (first, last) = commit(&repository, &source).await?;
    travel(&repository, &first, &last, &place).await?;
    depend(&last).await?;
    hand_over(&last, &place).await?;
    notice_a_change(&last, &source).await?;
    say(format!("\nall of it lies in {}; look around with: firn -R {} log", place.display(), place.join("repo").display()))
}

/// Job 1, first half: a repository. External files are denied unless their place is allowed by name.
async fn open(place: &Path) -> Done<Repository> {
    let repo = place.join("repo");
    let repo = repo.to_str().ok_or("the working directory is not UTF-8")?;
    let allowed = Access::parse([file_url(&place.join("archive"))?.as_str()])?;
    let options = OpenOptions::default().access(allowed);
    Repository::create_with(repo, CreateOptions::from(options.clone())).await?;
    Ok(Repository::open_with(repo, options).await?)
}

/// Job 1, second half: two commits. Returns the snapshots that they made.
async fn commit(repository: &Repository, source: &Path) -> Done<(Snapshot, Snapshot)> {
    say("\n1. commit from Rust")?;
    let session = repository.write("main").await?;
    session.set(&key("air/zarr.json")?, r#"{"zarr_format":3,"node_type":"group"}"#).await?;
    for chunk in 0..8_u8 {
        session.set(&key(&format!("air/model/c/{chunk}"))?, field(chunk)).await?;
    }
    let first = session.commit("model output").await?;
    say(format!("   {}  {}  native chunks", first.id(), first.record().time))?;

    let session = repository.write("main").await?;
    let url = file_url(source)?;
    for step in 0..24_u64 {
        // The value of the key is a range of the file: nothing is copied.
        session.set_virtual(&key(&format!("air/observed/c/{step}"))?, &url, 100 + step * 4000..100 + (step + 1) * 4000).await?;
    }
    session.set(&key("air/model/c/0")?, field(100)).await?;
    let last = session.commit("observations, and a corrected first chunk").await?;
    say(format!("   {}  {}  virtual chunks", last.id(), last.record().time))?;

    let read = last.get(&key("air/observed/c/7")?).await?.ok_or("the chunk is not there")?;
    prove("a virtual chunk reads as the bytes of its file", read == archive().get(28_100..32_100).unwrap_or_default())?;
    Ok((first, last))
}

/// Job 2: what `main` showed at a time, to the microsecond, as a directory.
async fn travel(repository: &Repository, first: &Snapshot, last: &Snapshot, place: &Path) -> Done {
    say("\n2. check out by time")?;
    let at = |time: Timestamp| async move { repository.read(&format!("main@{time}")).await };
    let time = last.record().time;
    prove("main@TIME of a commit is that commit", at(time).await?.id() == last.id())?;
    let before = at(Timestamp::from_micros(time.micros() - 1)).await?;
    prove("one microsecond earlier it is the one before", before.id() == first.id())?;
    let written = before.checkout(place.join("as-it-was"), &CheckoutOptions::default()).await?;
    say(format!("   main@{time} less 1 µs is {}: {} files, {} bytes in as-it-was/", before.id(), written.files, written.bytes))?;
    prove("the checkout holds the chunk before it was corrected", fs::read(place.join("as-it-was/air/model/c/0"))? == field(0))?;
    let early = at(Timestamp::from_micros(0)).await;
    prove("before main was made there is nothing, and no guess", early.is_err_and(|e| e.kind() == ErrorKind::NotFound))
}

/// Job 3: every external file, from a map of its own: the cost depends on the files, not on the references.
async fn depend(last: &Snapshot) -> Done {
    say("\n3. external dependencies")?;
    let dependencies: Vec<_> = last.dependencies().try_collect().await?;
    for dependency in &dependencies {
        let record = &dependency.record;
        say(format!("   {}: {} references to {} bytes, pinned {}", dependency.url, record.refs, record.bytes, record.pinned_at))?;
    }
    let counted: Vec<_> = dependencies.iter().map(|d| (d.record.refs, d.record.bytes, d.record.size)).collect();
    prove("there is one file, with 24 references to 96,000 bytes", counted == [(24, 96_000, Some(96_100))])
}

/// Job 4: a version as a CAR file, and back into an empty repository of somebody else.
async fn hand_over(last: &Snapshot, place: &Path) -> Done {
    say("\n4. export to CAR")?;
    let path = place.join("version.car");
    let written = last.export_car(tokio::fs::File::create(&path).await?).await?;
    say(format!("   {}: root {}, {} blocks, {} bytes", path.display(), written.root, written.blocks, written.bytes))?;
    prove("the root of the file is the snapshot", written.root == last.id())?;

    let theirs = place.join("theirs");
    let theirs = Repository::create(theirs.to_str().ok_or("the working directory is not UTF-8")?).await?;
    let target = ImportTarget::Tag("received".parse()?);
    let imported = theirs.import_car(tokio::fs::File::open(&path).await?, target).await?;
    prove("imported into an empty repository it has the same id", imported.id == last.id())?;
    let received = theirs.read("received").await?;
    prove("and a native chunk the same bytes", received.get(&key("air/model/c/0")?).await?.is_some_and(|bytes| bytes == field(100)))?;
    let denied = received.get(&key("air/observed/c/7")?).await;
    prove("their reader has not allowed our archive, and is told so", denied.is_err_and(|e| e.kind() == ErrorKind::Denied))?;
    let mut again = Vec::new();
    received.export_car(&mut again).await?;
    prove("exported from there it is the same file, byte for byte", again == fs::read(&path)?)?;

    let mut damaged = again;
    if let Some(byte) = damaged.last_mut() {
        *byte ^= 1;
    }
    let refused = theirs.import_car(damaged.as_slice(), ImportTarget::Tag("damaged".parse()?)).await;
    prove("one flipped bit and it is refused", refused.is_err_and(|e| e.kind() == ErrorKind::Corrupt))
}

/// A file that changes after it was committed is an error, never other data.
async fn notice_a_change(last: &Snapshot, source: &Path) -> Done {
    say("\n5. a source that changes")?;
    let mut bytes = archive();
    bytes.reverse();
    fs::write(source, bytes)?;
    match last.get(&key("air/observed/c/7")?).await {
        Ok(_) => Err("the change was not noticed".into()),
        Err(error) => {
            say(format!("   {error}"))?;
            prove("a changed file is told, not served", error.kind() == ErrorKind::SourceChanged)
        }
    }
}

fn working_directory() -> Done<PathBuf> {
    let place = match std::env::args_os().nth(1) {
        Some(named) => PathBuf::from(named),
        None => std::env::temp_dir().join(format!("firnline-quickstart-{}", SystemClock.now().micros())),
    };
    fs::create_dir_all(&place)?;
    if fs::read_dir(&place)?.next().is_some() {
        return Err(format!("{} is not empty", place.display()).into());
    }
    Ok(place.canonicalize()?)
}

fn yesterday() -> std::time::SystemTime {
    let micros = SystemClock.now().minus(Duration::from_hours(24)).micros();
    std::time::UNIX_EPOCH + Duration::from_micros(micros.unsigned_abs())
}

/// A header of 100 bytes and 24 fields of 4,000.
fn archive() -> Vec<u8> {
    let header = std::iter::repeat_n(b'#', 100);
    header.chain((0..24).flat_map(|n| field(n).into_iter().take(4000))).collect()
}

/// 20,000 bytes that differ from field to field.
fn field(n: u8) -> Vec<u8> {
    (0..20_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0].wrapping_add(n)).collect()
}

fn key(text: &str) -> firnline::Result<Key> {
    Key::new(text)
}

fn say(text: impl AsRef<str>) -> Done {
    Ok(writeln!(stdout(), "{}", text.as_ref())?)
}

/// Prints a claim that holds; one that does not is an error.
fn prove(claim: &str, holds: bool) -> Done {
    if holds { say(format!("   ✓ {claim}")) } else { Err(format!("this does not hold: {claim}").into()) }
}
