//! `firn deps` and the verbs below it

mod list;
mod relocate;
mod repin;
mod vendor;

use clap::{Args, Subcommand};

use super::failure::{Stop, Verdict};
use super::locate::Context;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Deps {
    #[command(flatten)]
    list: list::DepsList,
    #[command(subcommand)]
    verb: Option<DepsVerb>,
}

#[derive(Debug, Subcommand)]
enum DepsVerb {
    /// Commit the state in which external files are now, in place of what is recorded of them.
    Repin(repin::Repin),
    /// Commit another place for external files, after an archive has moved; each file is looked up there.
    Move(relocate::MoveFiles),
    /// Commit the bytes of virtual values in place of the references, so that their files are no longer needed.
    Vendor(vendor::Vendor),
}

impl Deps {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        match self.verb {
            None => self.list.run(context).await,
            Some(DepsVerb::Repin(verb)) => verb.run(context).await,
            Some(DepsVerb::Move(verb)) => verb.run(context).await,
            Some(DepsVerb::Vendor(verb)) => verb.run(context).await,
        }
    }
}
