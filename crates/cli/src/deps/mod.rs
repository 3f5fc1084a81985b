//! `firn deps` and the verbs below it

mod list;
mod repin;

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
}

impl Deps {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        match self.verb {
            None => self.list.run(context).await,
            Some(DepsVerb::Repin(verb)) => verb.run(context).await,
        }
    }
}
