//! `firn import`

use std::env;
use std::path::{Path, PathBuf};

use clap::Args;

use super::args::{CommitArgs, Deletes, Done};
use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::count;
use firnline::storage::CloudOptions;
use firnline::{ImportCache, ImportSource, ImportSteps, Prefix, SteppedImport, TreeOptions, TreeSummary};

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The directory to import, or a place in a bucket (s3://, gs://, az://); the path of a file below it becomes its key
    #[arg(value_name = "PLACE")]
    source: PathBuf,
    /// Put the keys below this prefix
    #[arg(long, default_value = "")]
    prefix: String,
    /// Delete keys below the prefix for which the directory has no file
    #[arg(long)]
    mirror: bool,
    /// Read every file, even if its size, dates and inode, or its entity tag, say that it is unchanged since the last import
    #[arg(long)]
    checksum: bool,
    /// Save what is stored on a branch of its own each time so many bytes have been imported, so that the same command goes on from
    /// there if it is stopped
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 30, value_parser = clap::value_parser!(u64).range(1..))]
    save_every: u64,
    #[command(flatten)]
    commit: CommitArgs,
}

impl Import {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_write().await?;
        let mut options = TreeOptions::default().prefix(Prefix::new(&self.prefix)?);
        if self.mirror {
            options = options.mirror();
        }
        if self.commit.dry_run {
            options = options.dry_run();
        }
        if self.checksum {
            options = options.checksum();
        }
        options.cache = cache();
        // Before anything is stored.
        drop(self.commit.session(&repository).await?);
        let source = match self.source.to_str() {
            Some(place) => ImportSource::open(place, &CloudOptions::from_environment())?,
            // Only a path can have such a name.
            None => ImportSource::directory(self.source),
        };
        let steps = ImportSteps::default().bytes(self.save_every);
        let import = repository.import_in_steps(&self.commit.branch, &source, &options, steps).await?;
        let SteppedImport { session, summary: found, saves } = import;
        if found.empty_directories > 0 {
            context.out.say(&format!("{} not stored: only files are", empty(found.empty_directories)));
        }
        let done =
            Done { message: format!("import {source}"), counts: counts(&found), deletes: Deletes::any(found.deleted + found.changed) };
        let is_dry = self.commit.dry_run;
        let verdict = self.commit.commit(context, session, done).await?;
        if let Some(saves) = saves
            && let Err(e) = repository.delete_saves(&saves).await
        {
            context.out.note(&format!("branch {}, on which the import saved what it stored, was not deleted: {e}", saves.branch));
        }
        if let (Some(cache), false) = (&options.cache, is_dry)
            && let Err(e) = cache.keep().await
        {
            context.out.note(&format!("the next import will read every file again: {e}"));
        }
        Ok(verdict)
    }
}

/// Where users keep what can be made again.
fn cache() -> Option<ImportCache> {
    // A relative path there is to be ignored, by the specification of the variable.
    let named = |variable, below: &str| env::var_os(variable).map(|path| Path::new(&path).join(below)).filter(|path| path.is_absolute());
    let place = named("XDG_CACHE_HOME", "firn").or_else(|| named("HOME", ".cache/firn"))?;
    Some(ImportCache::new(place.join("import")))
}

fn empty(n: u64) -> String {
    if n == 1 { "1 empty directory is".to_owned() } else { format!("{n} empty directories are") }
}

fn counts(found: &TreeSummary) -> String {
    let TreeSummary { files, bytes, added, changed, deleted, skipped, .. } = found;
    let skipped = if *skipped > 0 { format!(", {skipped} unchanged and not read") } else { String::new() };
    format!("{} with {}: {added} added, {changed} changed, {deleted} deleted{skipped}", count(*files, "file"), count(*bytes, "byte"))
}
