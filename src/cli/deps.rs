//! `firn deps`

use clap::Args;
use futures::TryStreamExt;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::Show;
use crate::session::Dependency;
use crate::text::hex;

#[derive(Debug, Args)]
pub(super) struct Deps {
    /// The snapshot
    #[arg(value_name = "REV", default_value = "main")]
    revision: String,
}

impl Deps {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_read().await?;
        let snapshot = context.snapshot(&repository, &self.revision).await?;
        let rows: Vec<Row> = snapshot.dependencies().map_ok(|found| Row::of(&found)).try_collect().await?;
        context.out.table(["FILE", "REFS", "BYTES", "SIZE", "MODIFIED", "PINNED", "RACY"], &rows, |row| {
            let known = |known: Option<String>| known.unwrap_or_else(|| "-".to_owned());
            let racy = if row.racy { "racy" } else { "" };
            let (refs, bytes, size) = (row.refs.to_string(), row.bytes.to_string(), known(row.size.map(|n| n.to_string())));
            [row.url.clone(), refs, bytes, size, known(row.modified.clone()), row.pinned_at.clone(), racy.to_owned()]
        })?;
        Ok(Verdict::Fine)
    }
}

/// An external file. What is not known of it is null.
#[derive(Debug, Serialize)]
struct Row {
    url: String,
    container: String,
    /// The arguments for the container's template.
    args: Vec<String>,
    /// How many keys point into it.
    refs: u64,
    /// The sum of the lengths they point at.
    bytes: u64,
    size: Option<u64>,
    modified: Option<String>,
    pinned_at: String,
    /// Whether it had changed so shortly before it was pinned that another change may not show in its date.
    racy: bool,
    etag: Option<String>,
    version: Option<String>,
    /// The multihash of the whole file, in hexadecimal.
    digest: Option<String>,
}

impl Row {
    fn of(found: &Dependency) -> Self {
        let Dependency { file, url, record } = found;
        Self {
            url: url.clone(),
            container: file.container().to_owned(),
            args: file.args().map(str::to_owned).collect(),
            refs: record.refs,
            bytes: record.bytes,
            size: record.size,
            modified: record.modified.map(|time| time.to_string()),
            pinned_at: record.pinned_at.to_string(),
            racy: record.is_racy(),
            etag: record.etag.as_deref().map(|etag| String::from_utf8_lossy(etag).into_owned()),
            version: record.version.clone(),
            digest: record.digest.as_deref().map(hex),
        }
    }
}

impl Show for Row {
    fn text(&self) -> String {
        self.url.clone()
    }
}
