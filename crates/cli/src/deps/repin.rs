//! `firn deps repin`

use clap::Args;
use serde::Serialize;

use crate::args::{CommitArgs, Deletes, Done};
use crate::failure::{Stop, Verdict};
use crate::locate::Context;
use crate::output::{Show, count};
use firnline::Repinned;

#[derive(Debug, Args)]
pub(super) struct Repin {
    /// The files: each a URL, or the URL of a directory above them
    #[arg(value_name = "URL|PREFIX", required_unless_present = "all")]
    places: Vec<String>,
    /// All files of the branch
    #[arg(long, conflicts_with = "places")]
    all: bool,
    #[command(flatten)]
    commit: CommitArgs,
}

impl Repin {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_write().await?;
        let session = self.commit.session(&repository).await?;
        let places: Vec<_> = self.places.iter().map(String::as_str).collect();
        let repinned = if self.all { session.repin_all().await? } else { session.repin(&places).await? };
        for file in &repinned {
            context.out.say_item(&RepinnedRow::of(file));
        }
        let counts = format!("{} repinned", count(repinned.len() as u64, "file"));
        let named = if self.all { "--all".to_owned() } else { self.places.join(" ") };
        let done = Done { message: format!("repin {named}"), counts, deletes: Deletes::None };
        self.commit.commit(context, session, done).await
    }
}

#[derive(Serialize)]
struct RepinnedRow {
    repinned: RepinnedFile,
}

/// A file that is pinned anew.
#[derive(Serialize)]
struct RepinnedFile {
    url: String,
    /// What differs, in words.
    detail: String,
}

impl RepinnedRow {
    fn of(file: &Repinned) -> Self {
        Self { repinned: RepinnedFile { url: file.url.clone(), detail: file.differences() } }
    }
}

impl Show for RepinnedRow {
    fn text(&self) -> String {
        format!("{}: {}", self.repinned.url, self.repinned.detail)
    }
}
