//! `firn deps` and the verbs below it

mod by;
mod changes;
mod check;
mod checksums;
mod ever;
mod list;
mod lock;
mod relocate;
mod repin;
mod rows;
mod users;
mod vendor;

use clap::{Args, Subcommand};

use super::failure::{Stop, Verdict};
use super::locate::Context;
use firnline::Error;

#[derive(Debug, Args)]
pub(super) struct Deps {
    #[command(flatten)]
    list: list::DepsList,
    #[command(subcommand)]
    verb: Option<DepsVerb>,
}

#[derive(Debug, Subcommand)]
enum DepsVerb {
    /// Ask every external file whether it is what was recorded; exit with 1 if one is not, or cannot be asked.
    Check(check::DepsCheck),
    /// List what differs between the external files of two revisions; exit with 1 if something does.
    Diff(changes::DepsDiff),
    /// List the branches and tags that use a file, or files below a URL; exit with 1 if one does.
    WhoUses(users::WhoUses),
    /// Commit digests of external files, so that every change of their bytes is noticed.
    Lock(lock::DepsLock),
    /// Print the locked digests as a list for sha256sum -c; exit with 1 if a file has no line in it.
    Checksums(checksums::DepsChecksums),
    /// Commit the state in which external files are now, in place of what is recorded of them.
    Repin(repin::Repin),
    /// Commit another place for external files, after an archive has moved; each file is looked up there.
    Move(relocate::MoveFiles),
    /// Commit the bytes of virtual values in place of the references, so that their files are no longer needed.
    Vendor(vendor::Vendor),
}

impl Deps {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        // Not left to the parser, for which options of all verbs, such as --allow, would be in the way as well.
        if self.verb.is_some() && !self.list.is_plain() {
            return Err(Error::invalid("a revision and options of the list cannot stand before a command of deps").into());
        }
        match self.verb {
            None => self.list.run(context).await,
            Some(DepsVerb::Check(verb)) => verb.run(context).await,
            Some(DepsVerb::Diff(verb)) => verb.run(context).await,
            Some(DepsVerb::WhoUses(verb)) => verb.run(context).await,
            Some(DepsVerb::Lock(verb)) => verb.run(context).await,
            Some(DepsVerb::Checksums(verb)) => verb.run(context).await,
            Some(DepsVerb::Repin(verb)) => verb.run(context).await,
            Some(DepsVerb::Move(verb)) => verb.run(context).await,
            Some(DepsVerb::Vendor(verb)) => verb.run(context).await,
        }
    }
}
