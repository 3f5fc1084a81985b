//! `firn deps`

use clap::{Args, ValueEnum};
use futures::TryStreamExt;
use serde::Serialize;

use super::rows::{ListFormat, ListPrinter, ListRow};
use super::{by, ever};
use crate::failure::{Stop, Verdict};
use crate::locate::Context;
use crate::output::Show;
use crate::parquet::{Cell, CellKind};
use crate::value::Pin;
use firnline::{Dependency, Error, FileKey, Validator, VirtualFile};

#[derive(Debug, Args)]
pub(super) struct DepsList {
    #[arg(value_name = "REV", help = "The revision to read; branch:NAME for a branch that is called like a command [default: main]")]
    revision: Option<String>,
    /// What is listed and counted; array reads every leaf of the manifest [default: file]
    #[arg(long, value_name = "WHAT")]
    by: Option<By>,
    /// List every file that this version or one before it depends on, with the first and the last of them
    #[arg(long)]
    all_history: bool,
    /// List the places that this line has ever pointed at, from one object
    #[arg(long, conflicts_with_all = ["by", "all_history"])]
    places: bool,
    #[command(flatten)]
    format: ListFormat,
}

/// What a list of dependencies has a row for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// Each external file
    File,
    /// Each container
    Container,
    /// Each Zarr array, and each directory outside of arrays
    Array,
}

impl DepsList {
    /// Whether nothing of it was given.
    pub(super) fn is_plain(&self) -> bool {
        let Self { revision, by, all_history, places, format } = self;
        revision.is_none() && by.is_none() && !all_history && !places && format.is_plain()
    }

    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let by = self.by.unwrap_or(By::File);
        if self.all_history && by != By::File {
            return Err(Error::invalid("--all-history lists files; give it without --by").into());
        }
        let repository = context.open_to_read().await?;
        let snapshot = context.snapshot(&repository, self.revision.as_deref().unwrap_or("main")).await?;
        match (by, self.places, self.all_history) {
            (_, true, _) => {
                let mut list = ListPrinter::begin::<PlaceRow>(&self.format, &mut context.out)?;
                for place in &snapshot.record().places {
                    list.push(&mut context.out, &PlaceRow { place: place.clone() })?;
                }
                list.end(&mut context.out)?;
            }
            (_, _, true) => ever::list(&snapshot, &self.format, context).await?,
            (By::Container, ..) => by::containers(&snapshot, &self.format, context).await?,
            (By::Array, ..) => by::arrays(&snapshot, &self.format, context).await?,
            (By::File, ..) => {
                let mut list = ListPrinter::begin::<DependencyRow>(&self.format, &mut context.out)?;
                let mut files = std::pin::pin!(snapshot.dependencies());
                while let Some(file) = files.try_next().await? {
                    list.push(&mut context.out, &DependencyRow::of(file))?;
                }
                list.end(&mut context.out)?;
            }
        }
        Ok(Verdict::Fine)
    }
}

/// A place that a line has pointed at.
#[derive(Debug, Serialize)]
struct PlaceRow {
    place: String,
}

impl Show for PlaceRow {
    fn text(&self) -> String {
        self.place.clone()
    }
}

impl ListRow<1, 1> for PlaceRow {
    const COLUMNS: [(&'static str, CellKind); 1] = [("place", CellKind::Text)];
    const HEAD: [&'static str; 1] = ["PLACE"];

    fn cells(&self) -> [Cell; 1] {
        [Cell::Text(Some(self.place.clone()))]
    }

    fn texts(&self) -> [String; 1] {
        [self.place.clone()]
    }
}

/// An external file. What is not known of it is null.
#[derive(Debug, Serialize)]
pub(super) struct DependencyRow {
    pub(super) url: String,
    pub(super) container: String,
    /// The arguments for the container's template.
    pub(super) args: Vec<String>,
    /// How many keys point into it.
    pub(super) refs: u64,
    /// The sum of the lengths they point at.
    pub(super) bytes: u64,
    #[serde(flatten)]
    pub(super) pin: Pin,
    #[serde(skip)]
    pub(super) validator: Validator,
}

/// What the columns of an external file are called.
pub(super) const FILE_COLUMNS: [(&str, CellKind); 13] = [
    ("url", CellKind::Text),
    ("container", CellKind::Text),
    ("args", CellKind::Text),
    ("refs", CellKind::Number),
    ("bytes", CellKind::Number),
    ("size", CellKind::Number),
    ("modified", CellKind::Time),
    ("pinned_at", CellKind::Time),
    ("pinned", CellKind::Flag),
    ("racy", CellKind::Flag),
    ("etag", CellKind::Text),
    ("version", CellKind::Text),
    ("digest", CellKind::Text),
];

impl DependencyRow {
    pub(super) fn of(found: Dependency) -> Self {
        Self::new(found.url, &found.file, &found.record)
    }

    pub(super) fn new(url: String, file: &FileKey, record: &VirtualFile) -> Self {
        let validator = Validator::of(record);
        Self {
            url,
            container: file.container().to_owned(),
            args: file.args().map(str::to_owned).collect(),
            refs: record.refs,
            bytes: record.bytes,
            pin: Pin::of(validator.clone()),
            validator,
        }
    }

    /// What is known without asking the file: `unpinned`, `racy` or nothing.
    fn known_state(&self) -> &'static str {
        match self.pin {
            Pin { pinned: false, .. } => "unpinned",
            Pin { racy: true, .. } => "racy",
            _ => "",
        }
    }
}

impl Show for DependencyRow {
    fn text(&self) -> String {
        self.url.clone()
    }
}

impl ListRow<13, 7> for DependencyRow {
    const COLUMNS: [(&'static str, CellKind); 13] = FILE_COLUMNS;
    const HEAD: [&'static str; 7] = ["FILE", "REFS", "BYTES", "SIZE", "MODIFIED", "PINNED", "STATE"];

    fn cells(&self) -> [Cell; 13] {
        let text = |text: &str| Cell::Text(Some(text.to_owned()));
        [
            text(&self.url),
            text(&self.container),
            // One cell, in the order of the template.
            text(&serde_json::Value::from(self.args.clone()).to_string()),
            Cell::Number(Some(self.refs)),
            Cell::Number(Some(self.bytes)),
            Cell::Number(self.validator.size),
            Cell::Time(self.validator.modified),
            Cell::Time(Some(self.validator.pinned_at)),
            Cell::Flag(Some(self.pin.pinned)),
            Cell::Flag(Some(self.pin.racy)),
            Cell::Text(self.pin.etag.clone()),
            Cell::Text(self.pin.version.clone()),
            Cell::Text(self.pin.digest.clone()),
        ]
    }

    fn texts(&self) -> [String; 7] {
        let known = |known: Option<String>| known.unwrap_or_else(|| "-".to_owned());
        let (refs, bytes, size) = (self.refs.to_string(), self.bytes.to_string(), known(self.pin.size.map(|n| n.to_string())));
        let (modified, pinned) = (known(self.pin.modified.clone()), self.pin.pinned_at.clone());
        [self.url.clone(), refs, bytes, size, modified, pinned, self.known_state().to_owned()]
    }
}
