//! `firn container`

use clap::{Args, Subcommand};
use serde::Serialize;

use super::args::{CommitArgs, Deletes, Done, fields, key_value};
use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::{Show, count};
use super::show::ContainerRow;
use firnline::{Container, ContainerSuggestion, DependencyCounts, FilesRenamed};

#[derive(Debug, Args)]
pub(super) struct ContainerArgs {
    #[command(subcommand)]
    verb: ContainerVerb,
}

#[derive(Debug, Subcommand)]
enum ContainerVerb {
    /// List the containers of a snapshot, with what lies in each.
    List(ContainerList),
    /// Commit a container of a new name.
    Add(ContainerDefinition),
    /// Commit another definition of a container, whose files keep their URLs.
    Set(ContainerDefinition),
    /// Commit the removal of a container in which no file lies.
    Remove(ContainerRemoval),
    /// List templates that would make the names of many files short.
    Suggest(ContainerSuggest),
}

#[derive(Debug, Args)]
struct ContainerList {
    /// The revision to read
    #[arg(value_name = "REV", default_value = "main")]
    revision: String,
}

#[derive(Debug, Args)]
#[command(after_help = "\
TEMPLATE is a URL with {} or {name} for what differs from file to file, such as s3://era5/{year}/{}.nc. A new reference uses the
container whose template fits its URL and has the longest text before the first placeholder. Files keep the names they have, until
firn container suggest --apply gives them new ones.")]
struct ContainerDefinition {
    /// Its name, short: it is a part of the name of every file in it
    #[arg(value_name = "NAME")]
    name: String,
    #[arg(value_name = "TEMPLATE", help = "The URL of its files, with {} for what differs")]
    template: String,
    #[arg(long = "default", value_name = "KEY=VALUE", value_parser = key_value, help = "The text for the placeholder {KEY}; may be repeated")]
    defaults: Vec<(String, String)>,
    /// How its server is reached: endpoint, region, account; may be repeated
    #[arg(long = "option", value_name = "KEY=VALUE", value_parser = key_value)]
    options: Vec<(String, String)>,
    #[command(flatten)]
    commit: CommitArgs,
}

#[derive(Debug, Args)]
struct ContainerRemoval {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    commit: CommitArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Without --apply nothing is changed, and what would be is listed. With it the containers are added and every file gets the name that a
new reference to it would get, in one commit. No URL changes, and nothing that is recorded of a file.")]
struct ContainerSuggest {
    /// The revision to read [default: the branch committed to]
    #[arg(value_name = "REV", conflicts_with = "apply")]
    revision: Option<String>,
    /// Commit the containers that are listed, and rename the files
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    commit: CommitArgs,
}

impl ContainerArgs {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        match self.verb {
            ContainerVerb::List(verb) => verb.run(context).await,
            ContainerVerb::Add(verb) => verb.run(context, Definition::New).await,
            ContainerVerb::Set(verb) => verb.run(context, Definition::Another).await,
            ContainerVerb::Remove(verb) => verb.run(context).await,
            ContainerVerb::Suggest(verb) => verb.run(context).await,
        }
    }
}

impl ContainerList {
    async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_read().await?;
        let snapshot = context.snapshot(&repository, &self.revision).await?;
        let rows: Vec<_> = snapshot.container_uses().await?.into_iter().map(ContainerUseRow::of).collect();
        context.out.table(["NAME", "TEMPLATE", "FILES", "REFS", "BYTES", "SETTINGS"], &rows, |row| {
            let settings = row.container.defaults.iter().chain(&row.container.options).map(|(key, value)| format!("{key}={value}"));
            let counts = [row.files, row.refs, row.bytes].map(|n| n.to_string());
            let [files, refs, bytes] = counts;
            let ContainerRow { name, template, .. } = &row.container;
            [name.clone(), template.clone(), files, refs, bytes, settings.collect::<Vec<_>>().join(" ")]
        })?;
        Ok(Verdict::Fine)
    }
}

/// Whether a container of that name must exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Definition {
    New,
    Another,
}

impl ContainerDefinition {
    async fn run(self, context: &mut Context, definition: Definition) -> Result<Verdict, Stop> {
        let repository = context.open_to_write().await?;
        let session = self.commit.session(&repository).await?;
        let mut container = Container::new(&self.name, &self.template);
        container.defaults = fields("--default", self.defaults)?;
        container.options = fields("--option", self.options)?;
        let (verb, done) = match definition {
            Definition::New => {
                session.add_container(container)?;
                ("add", "added")
            }
            Definition::Another => {
                session.change_container(container).await?;
                ("set", "set")
            }
        };
        let counts = format!("container {} {done}: {}", self.name, self.template);
        let done = Done { message: format!("container {verb} {} {}", self.name, self.template), counts, deletes: Deletes::None };
        self.commit.commit(context, session, done).await
    }
}

impl ContainerRemoval {
    async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_write().await?;
        let session = self.commit.session(&repository).await?;
        session.remove_container(&self.name).await?;
        let counts = format!("container {} removed", self.name);
        let done = Done { message: format!("container remove {}", self.name), counts, deletes: Deletes::Some };
        self.commit.commit(context, session, done).await
    }
}

impl ContainerSuggest {
    async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        if !self.apply {
            let repository = context.open_to_read().await?;
            let revision = self.revision.as_deref().unwrap_or(&self.commit.branch);
            let snapshot = context.snapshot(&repository, revision).await?;
            let rows: Vec<_> = snapshot.suggest_containers().await?.into_iter().map(SuggestionRow::of).collect();
            if rows.is_empty() {
                context.out.note("no template would make names much shorter");
            }
            context.out.table(["NAME", "TEMPLATE", "FILES", "REFS", "BYTES SAVED", ""], &rows, |row| {
                let ContainerRow { name, template, .. } = &row.container;
                let counts = [row.files.to_string(), row.refs.to_string(), row.bytes_saved.to_string()];
                let [files, refs, bytes] = counts;
                [name.clone(), template.clone(), files, refs, bytes, if row.is_new { "" } else { "exists" }.to_owned()]
            })?;
            return Ok(Verdict::Fine);
        }
        let repository = context.open_to_write().await?;
        let session = self.commit.session(&repository).await?;
        let suggested = session.base().suggest_containers().await?;
        let containers: Vec<_> = suggested.iter().map(|row| row.container.clone()).collect();
        let FilesRenamed { files, refs, leaves, bytes_saved, .. } = session.rename_files(&containers).await?;
        let new = suggested.iter().filter(|row| row.is_new).count() as u64;
        let counts = format!(
            "{} added, {} renamed, names {} shorter, {} with {} rewritten",
            count(new, "container"),
            count(files, "file"),
            count(bytes_saved.unsigned_abs(), "byte"),
            leaves_of(leaves),
            count(refs, "reference")
        );
        let done = Done { message: "container suggest --apply".to_owned(), counts, deletes: Deletes::None };
        self.commit.commit(context, session, done).await
    }
}

/// Leaves with their count: `1 leaf`, `2 leaves`.
pub(super) fn leaves_of(n: u64) -> String {
    if n == 1 { "1 leaf".to_owned() } else { format!("{n} leaves") }
}

/// A container, and what lies in it.
#[derive(Debug, Serialize)]
struct ContainerUseRow {
    #[serde(flatten)]
    container: ContainerRow,
    files: u64,
    refs: u64,
    bytes: u64,
}

impl ContainerUseRow {
    fn of((container, used): (Container, DependencyCounts)) -> Self {
        let DependencyCounts { files, refs, bytes, .. } = used;
        Self { container: ContainerRow::of(&container), files, refs, bytes }
    }
}

impl Show for ContainerUseRow {
    fn text(&self) -> String {
        self.container.name.clone()
    }
}

/// A container that would make names shorter.
#[derive(Debug, Serialize)]
struct SuggestionRow {
    #[serde(flatten)]
    container: ContainerRow,
    /// Whether it would have to be added.
    is_new: bool,
    files: u64,
    refs: u64,
    bytes_saved: i64,
}

impl SuggestionRow {
    fn of(suggestion: ContainerSuggestion) -> Self {
        let ContainerSuggestion { container, is_new, files, refs, bytes_saved, .. } = suggestion;
        Self { container: ContainerRow::of(&container), is_new, files, refs, bytes_saved }
    }
}

impl Show for SuggestionRow {
    fn text(&self) -> String {
        self.container.name.clone()
    }
}
