//! `firn kerchunk import`

use std::path::PathBuf;

use clap::Args;
use firnline_kerchunk::{KerchunkImport, KerchunkSummary, import_references};

use super::super::args::{CommitArgs, Deletes, Done};
use super::super::failure::{Stop, Verdict};
use super::super::locate::Context;
use super::super::output::count;
use super::super::unpinned::UnpinnedPlaces;
use firnline::{Error, Prefix};

#[derive(Debug, Args)]
pub(super) struct ImportReferences {
    /// The reference set: a JSON file, or a directory of Parquet files with its .zmetadata
    #[arg(value_name = "FILE|DIR")]
    set: PathBuf,
    /// Put the keys below this prefix
    #[arg(long, default_value = "")]
    prefix: String,
    /// Commit references into files that do not exist, too; they are not pinned
    #[arg(long)]
    allow_missing: bool,
    /// Write the documents of Zarr without white space and in one spelling, so that the same references, as JSON and as Parquet, give the
    /// same manifest
    #[arg(long)]
    compact_metadata: bool,
    #[command(flatten)]
    commit: CommitArgs,
}

impl ImportReferences {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        if let Some(url) = self.set.to_str().filter(|set| set.contains("://") && !self.set.exists()) {
            return Err(
                Error::unsupported(format!("{url} is a URL; a reference set is read from local disk, so copy it there first")).into()
            );
        }
        let mut options = KerchunkImport::default().prefix(Prefix::new(&self.prefix)?);
        options.allow_missing = self.allow_missing;
        options.compact_metadata = self.compact_metadata;
        let repository = context.open_to_write().await?;
        let session = self.commit.session(&repository).await?;
        let found = import_references(&session, &self.set, &options).await?;
        UnpinnedPlaces::default().tell(context, &session)?;
        let message = format!("kerchunk import {}", self.set.display());
        let done = Done { message, counts: counts(&found), deletes: Deletes::None };
        self.commit.commit(context, session, done).await
    }
}

fn counts(found: &KerchunkSummary) -> String {
    let KerchunkSummary { references, values, missing, .. } = found;
    let missing = match missing {
        0 => String::new(),
        1 => ", 1 file that does not exist".to_owned(),
        n => format!(", {n} files that do not exist"),
    };
    format!("{} and {}{missing}", count(*references, "reference"), count(*values, "value"))
}
