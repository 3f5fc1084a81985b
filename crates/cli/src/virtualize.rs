//! `firn virtualize`

use std::collections::BTreeSet;
use std::path::{Path, absolute};

use clap::Args;

use super::args::{CommitArgs, Deletes, Done};
use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::count;
use firnline::{Error, Result, file_url};
use firnline_virtualize::{VirtualizeOptions, VirtualizeSummary, ZarrFormat, virtualize};

#[derive(Debug, Args)]
pub(super) struct Virtualize {
    /// NetCDF or HDF5 files, in the order in which they are joined: paths, which need no --allow, or URLs
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// Put the arrays below this prefix
    #[arg(long, default_value = "")]
    prefix: String,
    /// Join the files along this dimension
    #[arg(long, value_name = "DIM")]
    concat: Option<String>,
    /// Add the files to the arrays below the prefix, along the dimension of --concat; not with --on-conflict, which would mix the files of
    /// two
    /// writers
    #[arg(long, requires = "concat", conflicts_with = "on_conflict")]
    append: bool,
    /// The version of Zarr in which new arrays are described, 2 or 3
    #[arg(long, value_name = "VERSION", default_value_t = ZarrFormat::V3)]
    zarr_format: ZarrFormat,
    /// Copy variables of at most so many bytes into the repository instead of referring to them; coordinates of at most 64 MiB always are
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    inline_limit: u64,
    /// Take this group of the files, and the groups below it
    #[arg(long, value_name = "GROUP", default_value = "")]
    group: String,
    /// Leave out a variable or group, by its name or path; may be repeated
    #[arg(long, value_name = "NAME")]
    drop: Vec<String>,
    /// Cut variables that lie in one piece in each file into chunks of so many places along the dimension of --concat
    /// [default: as many as the first file has]
    #[arg(long, value_name = "N", requires = "concat", value_parser = clap::value_parser!(u64).range(1..))]
    rows: Option<u64>,
    #[command(flatten)]
    commit: CommitArgs,
}

impl Virtualize {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let local = self.files.iter().filter(|file| !file.contains("://")).map(|file| directory(file));
        // Each directory once: the files of a year lie in one.
        local.collect::<Result<BTreeSet<_>>>()?.into_iter().for_each(|place| context.also_allow(place));
        let repository = context.open_to_write().await?;
        let mut options = VirtualizeOptions::default().prefix(&self.prefix).group(&self.group).zarr_format(self.zarr_format);
        options.concat = self.concat;
        options.append = self.append;
        options.inline_limit = self.inline_limit;
        options.drop = self.drop.into_iter().collect();
        options.rows = self.rows;
        let session = self.commit.session(&repository).await?;
        let found = virtualize(&session, &self.files, &options).await?;
        for (what, names) in [
            ("attributes differ between files, and the first file's are kept", &found.other_attributes),
            ("attributes are left out, because the metadata of Zarr cannot hold them", &found.dropped_attributes),
            ("links are not followed", &found.links),
        ] {
            if !names.is_empty() {
                let shown: Vec<&str> = names.iter().take(8).map(String::as_str).collect();
                let more = if names.len() > shown.len() { format!(" and {} more", names.len() - shown.len()) } else { String::new() };
                context.out.say(&format!("{what}: {}{more}", shown.join(", ")));
            }
        }
        let verb = if options.append { "append" } else { "virtualize" };
        let message = format!("{verb} {}", count(found.files, "file"));
        self.commit.commit(context, session, Done { message, counts: counts(&found), deletes: Deletes::None }).await
    }
}

/// The entry that allows the directory in which a file lies, where links lead.
fn directory(file: &str) -> Result<String> {
    let path = absolute(Path::new(file)).map_err(|e| Error::invalid(format!("{file:?} is no path")).caused_by(e))?;
    let real = path.canonicalize().unwrap_or(path);
    file_url(real.parent().unwrap_or(Path::new("/"))).map(|url| format!("{url}/"))
}

fn counts(found: &VirtualizeSummary) -> String {
    let VirtualizeSummary { files, arrays, copied, references, bytes, .. } = found;
    format!(
        "{} as {}: {} to {}, {copied} copied",
        count(*files, "file"),
        count(*arrays, "array"),
        count(*references, "reference"),
        count(*bytes, "byte"),
    )
}
