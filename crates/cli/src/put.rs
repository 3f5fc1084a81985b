//! `firn put`

use std::path::PathBuf;

use clap::Args;
use tokio::io::AsyncRead;

use super::args::{CommitArgs, Deletes, Done};
use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::count;
use firnline::{Error, Key};

#[derive(Debug, Args)]
pub(super) struct Put {
    /// The file, pipe or device that holds the value; - is standard input
    file: PathBuf,
    /// The key to store it under
    key: String,
    #[command(flatten)]
    commit: CommitArgs,
}

impl Put {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let key = Key::new(self.key)?;
        let repository = context.open_to_write().await?;
        let session = self.commit.session(&repository).await?;
        let before = session.entry(&key).await?.map(|entry| entry.size());
        let is_stdin = self.file.as_os_str() == "-";
        let size = match (self.commit.dry_run, is_stdin) {
            (true, true) => length(tokio::io::stdin()).await?,
            (true, false) => {
                let file = tokio::fs::File::open(&self.file).await;
                length(file.map_err(|e| unreadable(&self.file.display().to_string(), e))?).await?
            }
            (false, true) => session.set_reader(&key, tokio::io::stdin()).await?,
            (false, false) => session.set_file(&key, self.file).await?,
        };
        let over = before.map(|before| format!(", in place of {}", count(before, "byte"))).unwrap_or_default();
        let counts = format!("{key}: {}{over}", count(size, "byte"));
        self.commit
            .commit(context, session, Done { message: format!("put {key}"), counts, deletes: Deletes::any(before.is_some().into()) })
            .await
    }
}

/// How many bytes a value has, which is read and not stored.
async fn length(mut value: impl AsyncRead + Unpin) -> Result<u64, Error> {
    tokio::io::copy(&mut value, &mut tokio::io::sink()).await.map_err(|e| unreadable("the value", e))
}

fn unreadable(what: &str, e: std::io::Error) -> Error {
    let message = format!("{what} cannot be read");
    let error = match e.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(message),
        std::io::ErrorKind::IsADirectory => Error::invalid(message),
        _ => Error::unavailable(message),
    };
    error.caused_by(e)
}
