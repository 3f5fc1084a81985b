//! `firn put`

use std::path::PathBuf;

use clap::Args;

use super::args::{CommitArgs, Deletes, Done};
use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::count;
use firnline::Key;

#[derive(Debug, Args)]
pub(super) struct Put {
    /// The file that holds the value; - is standard input
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
        let mut session = repository.write(&self.commit.branch).await?;
        let size = if self.file.as_os_str() == "-" {
            session.set_reader(&key, tokio::io::stdin()).await?
        } else {
            session.set_file(&key, self.file).await?
        };
        let done = Done { message: format!("put {key}"), counts: format!("{key}: {}", count(size, "byte")), deletes: Deletes::None };
        self.commit.commit(context, session, done).await
    }
}
