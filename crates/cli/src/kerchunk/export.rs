//! `firn kerchunk export`

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;
use firnline_kerchunk::{ExportOptions, ExportSummary, V3Metadata, export_json, export_parquet};
use tokio::fs::File;

use super::super::failure::{Stop, Verdict};
use super::super::locate::Context;
use super::super::output::count;
use super::super::whole::{WholeFile, is_closed_pipe, is_dash};
use firnline::{Error, Existing, Prefix, Result, Snapshot};

#[derive(Debug, Args)]
pub(super) struct ExportReferences {
    /// The revision to export
    #[arg(value_name = "REV")]
    revision: String,
    /// The file to make, or with --parquet the directory, which must be absent or empty; - is standard output
    out: PathBuf,
    /// Write a directory of Parquet files instead of JSON
    #[arg(long)]
    parquet: bool,
    /// Write only keys below this prefix; the keys of the set do not include it
    #[arg(long, default_value = "")]
    prefix: String,
    /// Write chunks that the repository itself stores into the set, up to this length; longer ones are refused
    #[arg(long, value_name = "BYTES", default_value_t = ExportOptions::default().inline_limit)]
    inline_limit: u64,
    /// With --parquet: how many references one file holds
    #[arg(long, value_name = "COUNT", default_value_t = ExportOptions::default().record_size, requires = "parquet")]
    record_size: NonZeroU32,
    /// Leave Zarr v3 metadata and the names of its chunks as they are, instead of writing them as Zarr v2
    #[arg(long, conflicts_with = "parquet")]
    keep_v3: bool,
    /// Replace the file, or with --parquet the reference set, that has this name
    #[arg(long)]
    overwrite: bool,
}

impl ExportReferences {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let mut options = ExportOptions::default().inline_limit(self.inline_limit).record_size(self.record_size);
        options.prefix = Prefix::new(&self.prefix)?;
        options.v3_metadata = if self.keep_v3 { V3Metadata::Keep } else { V3Metadata::Convert };
        let repository = context.open_to_read().await?;
        let snapshot = context.snapshot(&repository, &self.revision).await?;
        let written = match (self.parquet, is_dash(&self.out)) {
            (true, true) => return Err(Error::invalid("a set of Parquet files is a directory, which standard output cannot hold").into()),
            (true, false) => export_parquet(&snapshot, &options, &self.out, self.existing()).await?,
            (false, true) => export_json(&snapshot, &options, &mut tokio::io::stdout())
                .await
                .map_err(|e| if is_closed_pipe(&e) { Stop::ClosedPipe } else { e.into() })?,
            (false, false) => self.write_file(&snapshot, &options).await?,
        };
        if !is_dash(&self.out) {
            context.out.line(&snapshot.id().to_string())?;
        }
        context.out.note(&counts(&written));
        written.notes.iter().for_each(|note| context.out.say(note));
        Ok(Verdict::Fine)
    }

    fn existing(&self) -> Existing {
        if self.overwrite { Existing::Replace } else { Existing::Refuse }
    }

    async fn write_file(&self, snapshot: &Snapshot, options: &ExportOptions) -> Result<ExportSummary> {
        let (whole, made) = WholeFile::create(&self.out, self.existing())?;
        let mut out = File::from_std(made);
        let written = export_json(snapshot, options, &mut out).await?;
        whole.finish(&out.into_std().await)?;
        Ok(written)
    }
}

fn counts(written: &ExportSummary) -> String {
    let ExportSummary { references, values, value_bytes, stored_chunks, .. } = written;
    let stored = if *stored_chunks > 0 { format!(", {stored_chunks} of them stored chunks") } else { String::new() };
    format!("{} and {} with {}{stored}", count(*references, "reference"), count(*values, "value"), count(*value_bytes, "byte"))
}
