//! `firn deps`

use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::Show;
use crate::session::Dependency;
use crate::text::hex;
use crate::virtuals::FileState;

#[derive(Debug, Args)]
pub(super) struct Deps {
    /// The snapshot
    #[arg(value_name = "REV", default_value = "main")]
    revision: String,
    /// Ask every file whether it is what was pinned; exit with 1 if one is not, or cannot be asked
    #[arg(long)]
    check: bool,
}

/// How many files are asked at once.
const ASKED: usize = 16;

impl Deps {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_read().await?;
        let snapshot = context.snapshot(&repository, &self.revision).await?;
        let found: Vec<Dependency> = snapshot.dependencies().try_collect().await?;
        let mut rows: Vec<Row> = found.iter().map(Row::of).collect();
        let mut verdict = Verdict::Fine;
        if self.check {
            let states = stream::iter(&found).map(|file| snapshot.check_dependency(file)).buffered(ASKED);
            for (row, state) in rows.iter_mut().zip(states.try_collect::<Vec<_>>().await?) {
                if state != FileState::Unchanged {
                    verdict = Verdict::Found;
                }
                row.detail = Some(state.message().to_owned()).filter(|detail| !detail.is_empty());
                row.state = Some(state.word());
            }
        }
        context.out.table(["FILE", "REFS", "BYTES", "SIZE", "MODIFIED", "PINNED", "STATE"], &rows, |row| {
            let known = |known: Option<String>| known.unwrap_or_else(|| "-".to_owned());
            let racy = if row.racy { "racy" } else { "" };
            let state = [row.state.unwrap_or(racy), row.detail.as_deref().unwrap_or_default()].join(" ");
            let (refs, bytes, size) = (row.refs.to_string(), row.bytes.to_string(), known(row.size.map(|n| n.to_string())));
            [row.url.clone(), refs, bytes, size, known(row.modified.clone()), row.pinned_at.clone(), state.trim().to_owned()]
        })?;
        Ok(verdict)
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
    /// With `--check`: `unchanged`, `changed`, `missing`, `corrupt`, `denied`, `unreachable` or `unverifiable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// With `--check`: what differs, or why the file could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
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
            state: None,
            detail: None,
        }
    }
}

impl Show for Row {
    fn text(&self) -> String {
        self.url.clone()
    }
}
