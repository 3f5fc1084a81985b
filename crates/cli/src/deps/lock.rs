//! `firn deps lock`

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use tokio::io::AsyncReadExt;

use crate::args::{CommitArgs, Deletes, Done};
use crate::failure::{Stop, Verdict};
use crate::locate::Context;
use crate::output::{Show, count};
use firnline::{ChecksumList, Error, ErrorKind, HashAlgorithm, LockOptions};

/// How many names of a list are named in text.
const SHOWN: usize = 8;

#[derive(Debug, Args)]
pub(super) struct DepsLock {
    /// The files, each a URL, or the URL of a directory above them [default: all that the branch depends on]
    #[arg(value_name = "URL|PREFIX")]
    places: Vec<String>,
    /// Take the digests from a list, and read no file: of sha256sum, a script for wget or a map file of ESGF; - is standard input
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The hash of digests that are made, and of a list that does not name it: sha2-256 or blake3
    #[arg(long, default_value = "sha2-256")]
    hash: HashAlgorithm,
    #[command(flatten)]
    commit: CommitArgs,
}

impl DepsLock {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let mut options = LockOptions::default();
        options.places.clone_from(&self.places);
        options.hash = self.hash;
        if let Some(file) = &self.from {
            options.list = Some(read_list(file, self.hash).await?);
        }
        let unusable = options.list.as_ref().map(|list| list.unusable.clone()).unwrap_or_default();
        let repository = context.open_to_write().await?;
        let session = self.commit.session(&repository).await?;
        let locked = session.lock(options).await?;
        for (why, names) in [("ambiguous", &locked.ambiguous), ("unmatched", &locked.unmatched), ("unusable", &unusable)] {
            tell(context, why, names);
        }
        let (files, already) = (count(locked.files.len() as u64, "file"), locked.already);
        let counts = if already > 0 { format!("{files} locked, {already} before") } else { format!("{files} locked") };
        let done = Done { message: format!("lock {files}"), counts, deletes: Deletes::None };
        self.commit.commit(context, session, done).await
    }
}

/// Reads a list of checksums; errors name the file.
async fn read_list(file: &PathBuf, hash: HashAlgorithm) -> Result<ChecksumList, Error> {
    let mut bytes = Vec::new();
    let read = if file.as_os_str() == "-" {
        tokio::io::stdin().read_to_end(&mut bytes).await.map(drop)
    } else {
        tokio::fs::read(file).await.map(|read| bytes = read)
    };
    let shown = file.display();
    let kind = |e: &std::io::Error| if e.kind() == std::io::ErrorKind::NotFound { ErrorKind::NotFound } else { ErrorKind::of_system(e) };
    read.map_err(|e| Error::new(kind(&e), format!("{shown} cannot be read")).caused_by(e))?;
    let text = String::from_utf8(bytes).map_err(|_| Error::invalid(format!("{shown} is not UTF-8")))?;
    ChecksumList::parse(&text, hash).map_err(|e| e.context(shown))
}

/// Says which names of the list locked nothing.
fn tell(context: &Context, why: &'static str, names: &[String]) {
    let is_json = context.out.format() == crate::output::Format::Json;
    let shown = if is_json { names.len() } else { SHOWN };
    for name in names.iter().take(shown) {
        context.out.say_item(&NotLockedRow { not_locked: NotLocked { name: name.clone(), why } });
    }
    if names.len() > shown {
        context.out.say(&format!("{} more of the list: {why}", names.len() - shown));
    }
}

#[derive(Serialize)]
struct NotLockedRow {
    not_locked: NotLocked,
}

/// A name of a list that locked no file.
#[derive(Serialize)]
struct NotLocked {
    name: String,
    /// `ambiguous`, `unmatched` or `unusable`.
    why: &'static str,
}

impl Show for NotLockedRow {
    fn text(&self) -> String {
        let NotLocked { name, why } = &self.not_locked;
        let why = match *why {
            "ambiguous" => "it fits several files, or has several digests in the list",
            "unmatched" => "the branch depends on no such file",
            _ => "its hash is neither sha2-256 nor blake3",
        };
        format!("{name} of the list locks nothing: {why}")
    }
}
