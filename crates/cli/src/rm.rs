//! `firn rm`: all of it or nothing.

use clap::Args;

use super::args::{CommitArgs, Deletes, Done};
use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::count;
use firnline::{Error, Key, Prefix};

#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Keys to delete
    #[arg(value_name = "KEY", required_unless_present = "prefixes")]
    keys: Vec<String>,
    /// Delete all keys below this prefix; may be repeated
    #[arg(short = 'r', long = "prefix", value_name = "PREFIX")]
    prefixes: Vec<String>,
    #[command(flatten)]
    commit: CommitArgs,
}

impl Rm {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_write().await?;
        let session = self.commit.session(&repository).await?;
        let mut deleted = 0;
        for key in &self.keys {
            let key = Key::new(key.as_str())?;
            if !session.delete(&key).await? {
                return Err(Error::not_found(format!("{key} does not exist on {}", self.commit.branch)).into());
            }
            deleted += 1;
        }
        for prefix in &self.prefixes {
            let prefix = Prefix::new(prefix)?;
            let below = session.list(&prefix).await?.len() as u64;
            if below == 0 {
                return Err(Error::not_found(format!("nothing lies below {} on {}", prefix.as_str(), self.commit.branch)).into());
            }
            session.delete_prefix(&prefix);
            deleted += below;
        }
        let names = self.keys.iter().chain(&self.prefixes).cloned().collect::<Vec<_>>().join(" ");
        let done = Done { message: format!("rm {names}"), counts: format!("{} deleted", count(deleted, "key")), deletes: Deletes::Some };
        self.commit.commit(context, session, done).await
    }
}
