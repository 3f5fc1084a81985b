//! How a command ends: its exit status, and what it says when it fails.
//!
//! | status | meaning | status | meaning |
//! |---|---|---|---|
//! | 0 | done; also when the reader of a pipe went away | 7 | corrupt |
//! | 1 | found something: findings of `verify`, a commit that `settle` found lost | 8 | unavailable |
//! | 2 | usage | 9 | invalid |
//! | 3 | not found | 10 | unsupported |
//! | 4 | conflict | 11 | outcome unknown |
//! | 5 | denied | 12 | expired |
//! | 6 | source changed | 70 | internal |
//! | | | 130, 143 | interrupted by Ctrl-C, by `kill` |

use std::process::ExitCode;

use serde::Serialize;

use super::output::{Format, complain, complain_json};
use firnline::{CommitError, Error, ErrorDetail, ErrorKind, Pending, Remedy, printable_line};

/// How a command that did what it was asked ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing more to say.
    Fine,
    /// It looked for something and found it.
    Found,
}

/// Why a command ended before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The library, or the command itself, says why.
    Failed(Error),
    /// A commit did not happen, or nobody knows whether it did.
    Commit(Box<CommitError>),
    /// Whoever read standard output has enough.
    ClosedPipe,
    /// By the user.
    Interrupted(Interrupt, LeftBehind),
}

/// What a command that was interrupted leaves behind.
#[derive(Debug)]
pub(super) enum LeftBehind {
    /// Nothing that the user has to know of.
    Nothing,
    /// A commit that may have been published all the same.
    Commit(Pending),
    /// A garbage collection that the next one has to end.
    Collection,
}

/// What told a command to end before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// SIGINT.
    CtrlC,
    /// SIGTERM, as `kill` and schedulers send it.
    Kill,
}

impl Interrupt {
    /// The exit status by which shells tell of a program that the signal ended: 128 and its number.
    const fn status(self) -> u8 {
        match self {
            Self::CtrlC => 130,
            Self::Kill => 143,
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Box<CommitError>> for Stop {
    fn from(error: Box<CommitError>) -> Self {
        Self::Commit(error)
    }
}

const USAGE: u8 = 2;
const INTERNAL: u8 = 70;
/// How many of the files that were refused are told.
const FILES: usize = 20;
/// How many conflicts are told.
const CONFLICTS: usize = 50;
/// What to do about a collection that was not ended.
const GOES_ON: &str = "the next collection goes on with it: firn gc";

const fn status(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::NotFound => 3,
        ErrorKind::Conflict => 4,
        ErrorKind::Denied => 5,
        ErrorKind::SourceChanged => 6,
        ErrorKind::Corrupt => 7,
        ErrorKind::Unavailable | ErrorKind::NoPermission | ErrorKind::StorageFull | ErrorKind::Locked => 8,
        ErrorKind::Invalid => 9,
        ErrorKind::Unsupported => 10,
        ErrorKind::OutcomeUnknown => 11,
        ErrorKind::Expired => 12,
        // A kind that this command does not know yet is treated as an internal error.
        _ => INTERNAL,
    }
}

/// Says what has to be said and gives the exit status.
pub(super) fn exit(outcome: &Result<Verdict, Stop>, format: Format) -> ExitCode {
    let (error, commit) = match outcome {
        Ok(Verdict::Fine) | Err(Stop::ClosedPipe) => return ExitCode::SUCCESS,
        Ok(Verdict::Found) => return ExitCode::from(1),
        Err(Stop::Interrupted(signal, left)) => {
            tell_interrupted(left, format);
            return ExitCode::from(signal.status());
        }
        Err(Stop::Failed(error)) => (error, None),
        Err(Stop::Commit(failed)) => (failed.error(), Some(failed)),
    };
    let message = advised(error);
    let because = causes(error);
    let help = remedies(error, commit.and_then(|failed| failed.pending()));
    match format {
        Format::Text => {
            complain(&format!("firn: {}: {}", error.kind().word(), printable_line(&message)));
            for cause in because {
                complain(&format!("  because {}", printable_line(&cause)));
            }
            for step in help {
                complain(&format!("  {}", printable_line(&step)));
            }
        }
        Format::Json => {
            let mut conflicts: Vec<_> = commit.map_or(&[][..], |failed| failed.conflicts()).iter().map(ToString::to_string).collect();
            if let Some(ErrorDetail::MergeConflicts { named, .. }) = error.detail() {
                conflicts.clone_from(named);
            }
            let pending = commit.and_then(|failed| failed.pending()).map(PendingRow::of);
            complain_json(&FailureReport {
                error: Told { kind: error.kind().word(), message: &message, because, help, conflicts, pending },
            });
        }
    }
    ExitCode::from(status(error.kind()))
}

/// What the parser of the command line has to say: help on standard output, or what is wrong on standard error.
pub(super) fn usage(told: &clap::Error) -> ExitCode {
    // Nothing can be done about a stream that cannot be written.
    let _ = told.print();
    ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(USAGE))
}

/// The message of an error, and the option or command that helps where the library knows a remedy.
pub(super) fn advised(error: &Error) -> String {
    with_advice(error.to_string(), error)
}

/// The same in one line with what led to the error.
pub(super) fn explained(error: &Error) -> String {
    let said = std::iter::once(error.to_string()).chain(causes(error)).collect::<Vec<_>>();
    with_advice(said.join(": "), error)
}

fn with_advice(said: String, error: &Error) -> String {
    match error.remedy() {
        Some(Remedy::Allow(entry)) => format!("{said}; add --allow {entry}"),
        Some(Remedy::Repin(url)) => format!("{said}; if the file as it is now is meant, pin it anew with: firn deps repin {url}"),
        Some(Remedy::Rebind(text)) => format!("{said}; to accept its bytes all the same, write --rebind {text}"),
        _ => said,
    }
}

/// What led to an error, each cause once: many errors print their cause as a part of themselves.
fn causes(error: &Error) -> Vec<String> {
    let mut said = vec![error.to_string()];
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let text = next.to_string();
        if !said.iter().any(|earlier| earlier.contains(&text)) {
            said.push(text);
        }
        cause = next.source();
    }
    said.remove(0);
    said
}

/// Says what the command has left behind, if anything.
fn tell_interrupted(left: &LeftBehind, format: Format) {
    let (message, help, pending) = match left {
        LeftBehind::Nothing => return,
        LeftBehind::Commit(pending) => {
            let message = format!("a commit to branch {} was sent when the command was interrupted", pending.branch);
            (message, settled_by(pending), Some(pending))
        }
        LeftBehind::Collection => {
            ("the garbage collection is unfinished; nothing that is needed was removed".to_owned(), GOES_ON.to_owned(), None)
        }
    };
    match format {
        Format::Text => {
            complain(&format!("firn: interrupted: {message}"));
            complain(&format!("  {help}"));
        }
        Format::Json => {
            let (because, conflicts, pending) = (Vec::new(), Vec::new(), pending.map(PendingRow::of));
            let told = Told { kind: "interrupted", message: &message, because, help: vec![help], conflicts, pending };
            complain_json(&FailureReport { error: told });
        }
    }
}

fn settled_by(pending: &Pending) -> String {
    format!("whether it was committed is told by: firn settle {} {}", pending.branch, pending.id)
}

/// What to do next, in terms of this command: the library does not know its verbs.
fn remedies(error: &Error, pending: Option<&Pending>) -> Vec<String> {
    if let Some(pending) = pending {
        return vec![settled_by(pending)];
    }
    match error.detail() {
        Some(ErrorDetail::NoRepository) => vec!["make one with: firn init".to_owned()],
        Some(ErrorDetail::LostConfig { hash }) => {
            let hash = hash.unwrap_or("sha2-256");
            let config = format!(r#"{{"readme": "", "format": 1, "hash": "{hash}", "created": "1970-01-01T00:00:00Z"}}"#);
            vec![format!("without a copy of repo.json, write it with this content: {config}")]
        }
        Some(ErrorDetail::LostMain) => {
            let finish = "if the creation of the repository was interrupted, finish it with: firn init";
            let mut help = if error.kind() == ErrorKind::Conflict { Vec::new() } else { vec![finish.to_owned()] };
            help.push("snapshots that can be read are listed by: firn snapshots main".to_owned());
            help.push("the branch is made again at one of them by: firn branch main SNAPSHOT".to_owned());
            help
        }
        Some(ErrorDetail::NoRef { reference, existed }) => absent(reference, *existed),
        Some(ErrorDetail::BlockedRef { reference }) => {
            let (kind, name) = reference.split_once(' ').unwrap_or(("branch", reference));
            let shown = if kind == "tag" { format!("tag:{name}") } else { name.to_owned() };
            vec![
                format!("snapshots that can be read are listed by: firn snapshots {shown}"),
                format!("once nothing has the place of its record, the {kind} is made again by: firn {kind} {name} SNAPSHOT"),
            ]
        }
        Some(ErrorDetail::UnreadableRef { reference }) => match reference.split_once(' ') {
            Some(("tag", name)) => vec![
                format!("snapshots that can be read are listed by: firn snapshots tag:{name}"),
                format!("the tag is deleted by: firn tag -d {name}"),
            ],
            Some((_, name)) => vec![
                format!("snapshots that can be read are listed by: firn snapshots {name}"),
                format!("the branch is pointed at one of them by: firn reset {name} SNAPSHOT"),
            ],
            None => Vec::new(),
        },
        Some(ErrorDetail::FutureBranch { branch }) => {
            vec![format!("if this machine's clock is right, go on from before with: firn reset {branch} branch:{branch}@now")]
        }
        Some(ErrorDetail::FilesRefused { files }) => refused(files),
        Some(ErrorDetail::MergeConflicts { named, more }) => conflicting(named, *more),
        Some(ErrorDetail::UnfinishedCollection) => vec![GOES_ON.to_owned()],
        Some(ErrorDetail::FutureSnapshot { id }) => vec![format!("the last snapshot from before is: {id}@now")],
        _ => Vec::new(),
    }
}

/// What is wrong with each of the files that were refused, but the first, which the message names.
fn refused(files: &[String]) -> Vec<String> {
    let shown = files.iter().take(FILES).skip(1).cloned();
    let more = files.len().saturating_sub(FILES);
    let more = (more > 0).then(|| format!("and {more} more"));
    shown.chain(more).collect()
}

/// What both sides of a merge changed, one a line, and how to settle it: nothing settles containers and files, as the message says.
fn conflicting(named: &[String], unnamed: usize) -> Vec<String> {
    let more = named.len().saturating_sub(CONFLICTS) + unnamed;
    let shown = named.iter().take(CONFLICTS).map(|name| format!("conflict: {name}"));
    let listed = if unnamed > 0 { format!("the first {}", named.len()) } else { "all".to_owned() };
    let more = (more > 0).then(|| format!("and {more} more; {listed} with --json"));
    let is_settled = !named.iter().any(|name| name.starts_with("container ") || name.starts_with("file "));
    let next = is_settled.then(|| "settle them with --ours PREFIX, --theirs PREFIX, or --on-conflict ours or theirs for all".to_owned());
    shown.chain(more).chain(next).collect()
}

/// What to do about a branch or a tag that does not exist.
fn absent(reference: &str, existed: bool) -> Vec<String> {
    let Some((kind, name)) = reference.split_once(' ') else { return Vec::new() };
    let shown = if kind == "tag" { format!("tag:{name}") } else { name.to_owned() };
    if existed {
        return vec![
            format!("it was deleted; the snapshots that it showed are listed by: firn snapshots {shown}"),
            format!("it is made again at one of them by: firn {kind} {name} SNAPSHOT"),
        ];
    }
    let plural = if kind == "tag" { "tags" } else { "branches" };
    vec![format!("{plural} are listed by: firn {kind}"), format!("a {kind} is made by: firn {kind} {name} [REV]")]
}

#[derive(Serialize)]
struct FailureReport<'a> {
    error: Told<'a>,
}

#[derive(Serialize)]
struct Told<'a> {
    kind: &'a str,
    message: &'a str,
    because: Vec<String>,
    /// What to do next, as command lines with a word before each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    help: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conflicts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<PendingRow>,
}

/// A commit that may have happened.
#[derive(Serialize)]
struct PendingRow {
    branch: String,
    id: String,
    time: String,
    expected: u64,
}

impl PendingRow {
    fn of(pending: &Pending) -> Self {
        let Pending { branch, id, time, expected, .. } = pending;
        Self { branch: branch.to_string(), id: id.to_string(), time: time.to_string(), expected: *expected }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_its_error_repeats_is_said_once() {
        let root = std::io::Error::other("the disk is full");
        let inner = Error::unavailable("chunk x cannot be written: the disk is full").caused_by(root);
        let outer = Error::unavailable("chunk x cannot be written").caused_by(inner);
        assert_eq!(causes(&outer), ["chunk x cannot be written: the disk is full"]);
        assert_eq!(causes(&Error::invalid("x")), [""; 0]);
    }

    #[test]
    fn the_help_for_conflicts_promises_no_more_than_there_is() {
        let keys: Vec<String> = (0..200).map(|n| format!("k/{n}")).collect();
        let told = conflicting(&keys, 0).join("\n");
        assert!(told.contains("more; all with --json") && told.contains("--ours PREFIX"), "{told}");
        assert!(conflicting(&keys, 5).join("\n").contains("more; the first 200 with --json"));
        for name in ["container nemo", "file nemo:1.nc"] {
            let named = ["k".to_owned(), name.to_owned()];
            assert_eq!(conflicting(&named, 0), ["conflict: k".to_owned(), format!("conflict: {name}")], "no policy settles it");
        }
    }
}
