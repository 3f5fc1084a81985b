//! `firn car export` and `firn car import`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncWriteExt, BufReader, BufWriter};

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::count;
use super::whole::{WholeFile, is_closed_pipe, is_dash, trouble};
use firnline::{CarSummary, Error, Existing, ImportOptions, ImportTarget, RefName, Result, Snapshot};

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

/// Writes a file that has its name when it is complete. What exists is never overwritten; a pipe or a device is written to as it is.
async fn export_to(snapshot: &Snapshot, file: &Path) -> Result<CarSummary> {
    let (whole, made) = WholeFile::create(file, Existing::Refuse)?;
    let mut out = BufWriter::with_capacity(BUFFER, File::from_std(made));
    let written = snapshot.export_car(&mut out).await?;
    out.flush().await.map_err(|e| trouble(file, "cannot be written", e))?;
    whole.finish(&out.into_inner().into_std().await)?;
    Ok(written)
}
