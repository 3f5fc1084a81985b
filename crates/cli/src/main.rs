//! The command `firn`: translates between a shell and the library, and decides nothing that the library could decide.
//!
//! - **Where**: `-R URL`, else `FIRN_REPO`, else the working directory or the nearest parent that holds `repo.json`.
//! - **Out**: what was asked for, and nothing else, on standard output. With `--json` rows are one object a line and
//!   documents one object; fields are only ever added. Verbs that write print one line: the id.
//! - **Err**: an error is `firn: <kind>: <message>` and one line `  because …` for each cause. With `--json` it is one
//!   object `{"error": {"kind", "message", "because", …}}` in one line instead; so is `{"resolved": …}`, which tells
//!   what a revision with `@TIME` became. Counts are printed when standard error is a terminal, or with `-v`.
//! - **Exit**: see `failure`. A closed pipe is no error.

mod apply;
mod args;
mod bisect;
mod blame;
mod branch;
mod car;
mod cat;
mod checkout;
mod cid;
mod completions;
mod container;
mod copy;
mod deps;
mod diff;
mod doctor;
mod expire;
mod failure;
mod gc;
mod history;
mod import;
mod init;
mod kerchunk;
mod locate;
mod log;
mod ls;
mod merge;
mod moves;
mod output;
mod parquet;
mod parts;
mod progress;
mod put;
mod refs;
mod reset;
mod rm;
mod settle;
mod show;
mod snapshots;
mod span;
mod squash;
mod stat;
mod stats;
mod sync;
mod tag;
mod undo;
mod unpinned;
mod value;
mod verify;
mod virtualize;
mod whole;
mod withdraw;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use args::Global;
use failure::{Interrupt, Stop, Verdict};
use locate::Context;

/// Versioned storage for chunked arrays.
#[derive(Debug, Parser)]
#[command(name = "firn", version, arg_required_else_help = true, after_help = REVISIONS, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

const REVISIONS: &str = "\
REV is a branch, a tag, a snapshot id or its first 13 characters, with ~N (N commits back) and @TIME (as it was then).
TIME is 2025-03-01, 2025-03-01T12:00:00Z, now, 36h or '2 days ago'. branch:x and tag:x where a name is both.

Exit status: 0 ok, 1 found something, 2 usage, 3 not found, 4 conflict, 5 denied, 6 source changed, 7 corrupt,
8 unavailable, 9 invalid, 10 unsupported, 11 outcome unknown, 12 expired, 70 internal, 130 interrupted,
143 terminated.";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a repository, with an empty branch main.
    Init(init::Init),
    /// Make a repository with everything that another one holds.
    Clone(sync::Clone),
    /// Copy branches and tags to another repository, with what it lacks behind them.
    Push(sync::Push),
    /// Copy branches and tags from another repository, with what is lacking here behind them.
    Pull(sync::Pull),
    /// Commit every file of a directory or of a place in a bucket, such as a Zarr store.
    Import(import::Import),
    /// Commit what a reference set of kerchunk refers to, or write one.
    Kerchunk(kerchunk::Kerchunk),
    /// Commit virtual Zarr arrays of NetCDF and HDF5 files, whose data stays where it is.
    Virtualize(virtualize::Virtualize),
    /// Commit many changes at once, read as JSON lines from standard input.
    Apply(apply::Apply),
    /// Commit one value.
    Put(put::Put),
    /// Commit the removal of keys.
    Rm(rm::Rm),
    /// Print a value.
    Cat(cat::Cat),
    /// List keys.
    Ls(ls::Ls),
    /// Write a snapshot into a directory.
    Checkout(checkout::Checkout),
    /// List commits, latest first.
    Log(log::Log),
    /// Show everything that a commit says.
    Show(show::ShowCommit),
    /// List what differs between two snapshots, or between a snapshot and a directory.
    Diff(diff::Diff),
    /// List the commits that changed a key, latest first.
    History(history::History),
    /// Tell which commit last changed each array, or each key.
    Blame(blame::Blame),
    /// Search for the first version that is bad, by trying the middle of a line again and again.
    Bisect(bisect::Bisect),
    /// Show where the value of a key comes from.
    Stat(stat::Stat),
    /// Count what a snapshot is made of.
    Stats(stats::Stats),
    /// Print the content id of what lies under a name, the same under any name.
    Cid(cid::ContentId),
    /// Commit a copy of a key or of everything below a prefix, from any revision, without copying bytes.
    Cp(copy::Cp),
    /// Commit another name for a key or for everything below a prefix, without copying bytes.
    Mv(copy::Mv),
    /// List, make or delete branches.
    Branch(branch::Branch),
    /// List, make or delete tags.
    Tag(tag::Tag),
    /// Commit the changes of another branch, or of any revision, together with those of a branch.
    Merge(merge::Merge),
    /// Commit what another commit changed.
    CherryPick(merge::CherryPick),
    /// Commit the opposite of what a commit changed.
    Revert(merge::Revert),
    /// Make one commit of the latest ones of a branch.
    Squash(squash::Squash),
    /// Take back what happened to a branch last.
    Undo(undo::Undo),
    /// Take back an undo.
    Redo(undo::Redo),
    /// Point a branch at another snapshot.
    Reset(reset::Reset),
    /// List what happened to a branch besides commits.
    Moves(moves::Moves),
    /// List the snapshots of a branch that can be read, latest first, also when the branch is damaged.
    Snapshots(snapshots::Snapshots),
    /// List the external files that a snapshot depends on; check, lock and repin them.
    Deps(deps::Deps),
    /// List, define or suggest containers: templates by which external files are named.
    Container(container::ContainerArgs),
    /// Read again and check everything that a snapshot holds.
    Verify(verify::Verify),
    /// Give up the data of old versions; their ids, dates and messages remain.
    Expire(expire::Expire),
    /// Tell everybody who reads a version why it should not be used.
    Withdraw(withdraw::Withdraw),
    /// Remove what no branch and no tag leads to, while others read and write.
    Gc(gc::Gc),
    /// Try out what a place does that a repository relies on.
    Doctor(doctor::Doctor),
    /// Find out whether a commit whose outcome was unknown happened.
    Settle(settle::Settle),
    /// Write a version into a CAR file, or take one from it.
    Car(car::Car),
    /// Print a script that completes the command line of a shell.
    Completions(completions::Completions),
}

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            // Nothing can be done if even this cannot be written.
            let _ = writeln!(std::io::stderr(), "firn: unavailable: the operating system gives no threads: {e}");
            return ExitCode::from(8);
        }
    };
    let (status, end) = runtime.block_on(run(std::env::args_os()));
    match end {
        // A read of standard input that nobody waits for must not hold up the end.
        End::AtOnce => runtime.shutdown_background(),
        End::Tidy => runtime.shutdown_timeout(TIDYING),
    }
    status
}

/// How long the removal of an interrupted checkout may take.
const TIDYING: Duration = Duration::from_secs(10);

/// How the process ends.
enum End {
    /// Whatever threads are still doing.
    AtOnce,
    /// When threads have removed what an interrupted checkout wrote.
    Tidy,
}

/// Runs one command line, `args` beginning with the name of the program, and returns its exit status.
///
/// Needs a tokio runtime that can block. Everything is written to the standard streams of the process.
async fn run(args: impl IntoIterator<Item = OsString>) -> (ExitCode, End) {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        // Usage errors, and also `--help` and `--version`, which are none.
        Err(told) => return (failure::usage(&told), End::AtOnce),
    };
    let end = if matches!(cli.verb, Verb::Checkout(_)) { End::Tidy } else { End::AtOnce };
    let mut context = Context::new(cli.global);
    let under_way = context.under_way();
    let outcome = tokio::select! {
        done = dispatch(cli.verb, &mut context) => done,
        signal = told_to_end() => Err(Stop::Interrupted(signal, under_way.left())),
    };
    let outcome = context.out.finish(outcome);
    (failure::exit(&outcome, context.out.format()), end)
}

/// Waits until Ctrl-C or `kill` tells the process to end; for ever where that cannot be watched.
///
/// Not when a terminal is closed: a signal handler would undo what `nohup` does.
async fn told_to_end() -> Interrupt {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => Interrupt::CtrlC,
        _ = terminate.recv() => Interrupt::Kill,
    }
}

async fn dispatch(verb: Verb, context: &mut Context) -> Result<Verdict, Stop> {
    // Each is boxed, so that the largest does not set the size of them all.
    match verb {
        Verb::Init(verb) => Box::pin(verb.run(context)).await,
        Verb::Clone(verb) => Box::pin(verb.run(context)).await,
        Verb::Push(verb) => Box::pin(verb.run(context)).await,
        Verb::Pull(verb) => Box::pin(verb.run(context)).await,
        Verb::Import(verb) => Box::pin(verb.run(context)).await,
        Verb::Kerchunk(verb) => Box::pin(verb.run(context)).await,
        Verb::Virtualize(verb) => Box::pin(verb.run(context)).await,
        Verb::Apply(verb) => Box::pin(verb.run(context)).await,
        Verb::Put(verb) => Box::pin(verb.run(context)).await,
        Verb::Rm(verb) => Box::pin(verb.run(context)).await,
        Verb::Cat(verb) => Box::pin(verb.run(context)).await,
        Verb::Ls(verb) => Box::pin(verb.run(context)).await,
        Verb::Checkout(verb) => Box::pin(verb.run(context)).await,
        Verb::Log(verb) => Box::pin(verb.run(context)).await,
        Verb::Show(verb) => Box::pin(verb.run(context)).await,
        Verb::Diff(verb) => Box::pin(verb.run(context)).await,
        Verb::History(verb) => Box::pin(verb.run(context)).await,
        Verb::Blame(verb) => Box::pin(verb.run(context)).await,
        Verb::Bisect(verb) => Box::pin(verb.run(context)).await,
        Verb::Stat(verb) => Box::pin(verb.run(context)).await,
        Verb::Stats(verb) => Box::pin(verb.run(context)).await,
        Verb::Cid(verb) => Box::pin(verb.run(context)).await,
        Verb::Cp(verb) => Box::pin(verb.run(context)).await,
        Verb::Mv(verb) => Box::pin(verb.run(context)).await,
        Verb::Branch(verb) => Box::pin(verb.run(context)).await,
        Verb::Tag(verb) => Box::pin(verb.run(context)).await,
        Verb::Merge(verb) => Box::pin(verb.run(context)).await,
        Verb::CherryPick(verb) => Box::pin(verb.run(context)).await,
        Verb::Revert(verb) => Box::pin(verb.run(context)).await,
        Verb::Squash(verb) => Box::pin(verb.run(context)).await,
        Verb::Undo(verb) => Box::pin(verb.run(context)).await,
        Verb::Redo(verb) => Box::pin(verb.run(context)).await,
        Verb::Reset(verb) => Box::pin(verb.run(context)).await,
        Verb::Moves(verb) => Box::pin(verb.run(context)).await,
        Verb::Snapshots(verb) => Box::pin(verb.run(context)).await,
        Verb::Deps(verb) => Box::pin(verb.run(context)).await,
        Verb::Container(verb) => Box::pin(verb.run(context)).await,
        Verb::Verify(verb) => Box::pin(verb.run(context)).await,
        Verb::Expire(verb) => Box::pin(verb.run(context)).await,
        Verb::Withdraw(verb) => Box::pin(verb.run(context)).await,
        Verb::Gc(verb) => Box::pin(verb.run(context)).await,
        Verb::Doctor(verb) => Box::pin(verb.run(context)).await,
        Verb::Settle(verb) => Box::pin(verb.run(context)).await,
        Verb::Car(verb) => Box::pin(verb.run(context)).await,
        Verb::Completions(verb) => verb.run(context),
    }
}
