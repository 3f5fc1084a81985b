//! `firn deps move`

use clap::Args;
use serde::Serialize;

use crate::args::{CommitArgs, Deletes, Done, fields, key_value};
use crate::container::leaves_of;
use crate::failure::{Stop, Verdict};
use crate::locate::Context;
use crate::output::{Show, count};
use firnline::{Container, RelocateOptions, Relocated, RelocatedFile};

#[derive(Debug, Args)]
#[command(after_help = "\
Every file is looked up in its new place and compared with what is recorded of it: its size, and with --digest its locked digest. All
files are moved, or none. What the new place tells of them is recorded in the same commit. A container whose template begins with OLD gets
one that begins with NEW, and no reference is rewritten; other files get other names. Older versions stay as they are: read them with the
container rebound to the new place.")]
pub(super) struct MoveFiles {
    /// Where the files were: a URL, or the URL of a directory above them
    #[arg(value_name = "OLD")]
    from: String,
    /// Where they are now
    #[arg(value_name = "NEW")]
    to: String,
    /// Read the files of which a digest is locked, and compare them by it [default: readers verify it]
    #[arg(long)]
    digest: bool,
    /// Take also files of which neither size nor digest can be compared, and files that cannot be pinned in the new place
    #[arg(long)]
    accept_unverified: bool,
    /// How the server of the new place is reached: endpoint, region, account; in place of all options that a container at the old place
    /// has;
    /// may be repeated [default: those that it has, and none where the scheme is another]
    #[arg(long = "option", value_name = "KEY=VALUE", value_parser = key_value)]
    options: Vec<(String, String)>,
    #[command(flatten)]
    commit: CommitArgs,
}

impl MoveFiles {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_write().await?;
        let session = self.commit.session(&repository).await?;
        let mut options = RelocateOptions::default();
        if self.digest {
            options = options.digests();
        }
        if self.accept_unverified {
            options = options.accept_unverified();
        }
        if !self.options.is_empty() {
            options = options.container_options(fields("--option", self.options)?);
        }
        let Relocated { files, containers, refs, leaves, .. } = session.relocate(&self.from, &self.to, options).await?;
        for container in &containers {
            context.out.say_item(&ReboundRow::of(container));
        }
        if self.commit.dry_run {
            for file in &files {
                context.out.show(&MovedRow::of(file))?;
            }
        }
        let counts =
            format!("{} moved, {} with {} rewritten", count(files.len() as u64, "file"), leaves_of(leaves), count(refs, "reference"));
        let message = format!("deps move {} {}\n\n{counts}", self.from, self.to);
        let done = Done { message, counts, deletes: Deletes::Some };
        self.commit.commit(context, session, done).await
    }
}

#[derive(Serialize)]
struct ReboundRow<'a> {
    container: Rebound<'a>,
}

/// A container with another template.
#[derive(Serialize)]
struct Rebound<'a> {
    name: &'a str,
    template: &'a str,
}

impl<'a> ReboundRow<'a> {
    fn of(container: &'a Container) -> Self {
        Self { container: Rebound { name: &container.name, template: &container.template } }
    }
}

impl Show for ReboundRow<'_> {
    fn text(&self) -> String {
        format!("container {} is {} from now on", self.container.name, self.container.template)
    }
}

/// A file that would be moved.
#[derive(Serialize)]
struct MovedRow<'a> {
    from: &'a str,
    to: &'a str,
    /// What differs, in words.
    detail: String,
}

impl<'a> MovedRow<'a> {
    fn of(file: &'a RelocatedFile) -> Self {
        Self { from: &file.from, to: &file.to, detail: file.differences() }
    }
}

impl Show for MovedRow<'_> {
    fn text(&self) -> String {
        format!("{} → {}: {}", self.from, self.to, self.detail)
    }
}
