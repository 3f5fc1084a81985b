//! `firn car export` and `firn car import`

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncWriteExt, BufReader, BufWriter};

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::count;
use firnline::{CarSummary, Error, ErrorKind, ImportOptions, ImportTarget, RefName, Result, Snapshot};

/// How much is read or written at once, in bytes.
const BUFFER: usize = 1 << 20;

#[derive(Debug, Args)]
pub(super) struct Car {
    #[command(subcommand)]
    verb: CarVerb,
}

#[derive(Debug, Subcommand)]
enum CarVerb {
    /// Write a version, with all its chunks, as a CAR file: the same bytes on every machine.
    Export(CarExport),
    /// Verify a version in a CAR file and point a branch or a tag at it.
    Import(CarImport),
}

#[derive(Debug, Args)]
struct CarExport {
    /// The revision to export
    #[arg(value_name = "REV")]
    revision: String,
    /// The file to make, which must not exist; - is standard output
    file: PathBuf,
}

#[derive(Debug, Args)]
struct CarImport {
    /// The file; - is standard input
    file: PathBuf,
    #[command(flatten)]
    target: Target,
    /// How many bytes the chunks of the version may have together [default: 16 times the length of the file, at least 256 MiB]
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<u64>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// The branch to make, or to point at the version
    #[arg(long)]
    branch: Option<RefName>,
    /// The tag to make
    #[arg(long)]
    tag: Option<RefName>,
}

impl Car {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        match self.verb {
            CarVerb::Export(export) => export.run(context).await,
            CarVerb::Import(import) => import.run(context).await,
        }
    }
}

impl CarExport {
    async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_read().await?;
        let snapshot = context.snapshot(&repository, &self.revision).await?;
        let written = if is_dash(&self.file) {
            snapshot.export_car(tokio::io::stdout()).await.map_err(|e| if is_closed_pipe(&e) { Stop::ClosedPipe } else { e.into() })?
        } else {
            let written = export_to(&snapshot, &self.file).await?;
            context.out.line(&snapshot.id().to_string())?;
            written
        };
        context.out.note(&format!("{} in {}", count(written.blocks, "block"), count(written.bytes, "byte")));
        Ok(Verdict::Fine)
    }
}

impl CarImport {
    async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let (target, named) = match (self.target.branch, self.target.tag) {
            (Some(branch), _) => (ImportTarget::Branch(branch.clone()), branch),
            (None, Some(tag)) => (ImportTarget::Tag(tag.clone()), tag),
            (None, None) => return Err(Error::internal("neither a branch nor a tag is named").into()),
        };
        let mut options = ImportOptions::default();
        options.max_bytes = self.max_bytes;
        let reader: Box<dyn AsyncRead + Unpin + Send> = if is_dash(&self.file) {
            Box::new(tokio::io::stdin())
        } else {
            let failed = |e| trouble(&self.file, "cannot be read", e);
            let file = File::open(&self.file).await.map_err(failed)?;
            let metadata = file.metadata().await.map_err(failed)?;
            // A pipe has no length.
            options.file_len = metadata.is_file().then_some(metadata.len());
            Box::new(file)
        };
        let repository = context.open_to_write().await?;
        let imported = repository.import_car_with(BufReader::with_capacity(BUFFER, reader), target, options).await?;
        context.out.line(&imported.id.to_string())?;
        context.out.note(&format!("{} in {}", count(imported.blocks, "block"), count(imported.bytes, "byte")));
        if imported.unlinked > 0 {
            context.out.say(&format!("left out {} that are not a part of the version", count(imported.unlinked, "block")));
        }
        if imported.is_shallow {
            context.out.note("what came before this version is not in this repository: its log ends with it");
        }
        if let Some(before) = imported.moved.from.filter(|before| *before != imported.id) {
            context.out.say(&format!("moved {named} from {before}; undo with: firn reset {named} {before}"));
        }
        Ok(Verdict::Fine)
    }
}

/// Writes beside `file` and renames, so that a file of this name is whole. What exists is never overwritten; a pipe or
/// a device is written to as it is.
async fn export_to(snapshot: &Snapshot, file: &Path) -> Result<CarSummary> {
    let is_special = match tokio::fs::metadata(file).await {
        Ok(metadata) if metadata.is_file() || metadata.is_dir() => {
            return Err(Error::invalid(format!("{} exists already; an export never overwrites", file.display())));
        }
        Ok(_) => true,
        Err(_) => false,
    };
    if is_special {
        let out = File::options().write(true).open(file).await.map_err(|e| trouble(file, "cannot be written", e))?;
        return snapshot.export_car(BufWriter::with_capacity(BUFFER, out)).await;
    }
    let name = file.file_name().ok_or_else(|| Error::invalid(format!("{} names no file", file.display())))?;
    let temporary = file.with_file_name(format!(".{}.firn-{}", name.to_string_lossy(), std::process::id()));
    let made = File::options().write(true).create_new(true).open(&temporary).await.map_err(|e| trouble(file, "cannot be made", e))?;
    // From here on the file is this export's own: one that was there before is never removed.
    let cleanup = Cleanup(temporary);
    let mut out = BufWriter::with_capacity(BUFFER, made);
    let written = snapshot.export_car(&mut out).await?;
    let failed = |e| trouble(file, "cannot be written", e);
    out.flush().await.map_err(failed)?;
    out.get_ref().sync_all().await.map_err(failed)?;
    give_name(&cleanup.0, file).await.map_err(failed)?;
    Ok(written)
}

/// Gives the file at `temporary` the name `file`, which does not exist. A link, unlike a rename, never replaces a file that was
/// made meanwhile. Where the file system has no links, as on many USB disks, an empty file takes the name first.
async fn give_name(temporary: &Path, file: &Path) -> io::Result<()> {
    match tokio::fs::hard_link(temporary, file).await {
        Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => {}
        done => return done,
    }
    take_name(temporary, file).await
}

/// Does so where the file system has no links.
async fn take_name(temporary: &Path, file: &Path) -> io::Result<()> {
    File::options().write(true).create_new(true).open(file).await?;
    let renamed = tokio::fs::rename(temporary, file).await;
    if renamed.is_err() {
        let _ = tokio::fs::remove_file(file).await;
    }
    renamed
}

/// Removes a file when dropped.
struct Cleanup(PathBuf);

impl Drop for Cleanup {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn is_dash(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// Whether an error came from a pipe whose reader went away.
fn is_closed_pipe(error: &Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        if next.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
            return true;
        }
        cause = next.source();
    }
    false
}

fn trouble(file: &Path, what: &str, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::Invalid,
        _ => ErrorKind::of_system(&error),
    };
    Error::new(kind, format!("{} {what}", file.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_taken_without_links() {
        let directory = tempfile::tempdir().unwrap();
        let (temporary, file) = (directory.path().join(".v.car"), directory.path().join("v.car"));
        std::fs::write(&temporary, "new").unwrap();
        std::fs::write(&file, "mine").unwrap();
        assert_eq!(take_name(&temporary, &file).await.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((std::fs::read(&temporary).unwrap(), std::fs::read(&file).unwrap()), (b"new".to_vec(), b"mine".to_vec()));
        std::fs::remove_file(&file).unwrap();
        take_name(&temporary, &file).await.unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert!(!temporary.exists());
    }

    /// No file system links a directory, so one stands here for a file where there are no links. It cannot replace the empty file
    /// that holds the name, which must not stay behind.
    #[tokio::test]
    async fn an_empty_file_that_held_the_name_does_not_stay() {
        let directory = tempfile::tempdir().unwrap();
        let (temporary, file) = (directory.path().join("unlinkable"), directory.path().join("v.car"));
        std::fs::create_dir(&temporary).unwrap();
        let error = give_name(&temporary, &file).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory, "the rename came after the link: {error}");
        assert!(!file.exists() && temporary.is_dir());
    }
}
