//! `firn deps vendor`

use clap::Args;

use crate::args::{CommitArgs, Deletes, Done};
use crate::failure::{Stop, Verdict};
use crate::locate::Context;
use crate::output::count;
use firnline::{ImportSteps, Prefix, VendorOptions, VendorSummary, Vendored};

#[derive(Debug, Args)]
#[command(after_help = "\
Values are read and verified as by any other verb, so their places must be allowed. If the command is stopped, the same command goes
on where it was. Older versions still hold the references.")]
pub(super) struct Vendor {
    /// Copy only values of keys below this prefix
    #[arg(long, default_value = "")]
    prefix: String,
    /// Copy only values in files of this container
    #[arg(long, value_name = "NAME")]
    container: Option<String>,
    /// Save what is copied on a branch of its own each time so many bytes have been read, so that the same command goes on from there if
    /// it is stopped
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 30, value_parser = clap::value_parser!(u64).range(1..))]
    save_every: u64,
    #[command(flatten)]
    commit: CommitArgs,
}

impl Vendor {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_write().await?;
        let mut options = VendorOptions::default().prefix(Prefix::new(&self.prefix)?).steps(ImportSteps::default().bytes(self.save_every));
        options.container = self.container;
        // Before anything is read.
        let session = self.commit.session(&repository).await?;
        if self.commit.dry_run {
            let VendorSummary { keys, bytes, .. } = session.base().count_virtual(&options).await?;
            let counts = format!("{} with {} copied", count(keys, "value"), count(bytes, "byte"));
            return self.commit.commit(context, session, Done { message: String::new(), counts, deletes: Deletes::None }).await;
        }
        drop(session);
        let Vendored { session, summary, saves } = repository.vendor(&self.commit.branch, &options).await?;
        let VendorSummary { keys, bytes, reused, bytes_read, .. } = summary;
        let again = if reused > 0 { format!(", {} of them by an earlier run", count(reused, "value")) } else { String::new() };
        let counts = format!("{} with {} copied{again}; {} read", count(keys, "value"), count(bytes, "byte"), count(bytes_read, "byte"));
        let done = Done { message: format!("deps vendor: {}", count(keys, "value")), counts, deletes: Deletes::Some };
        let verdict = self.commit.commit(context, session, done).await?;
        if let Some(saves) = saves
            && let Err(e) = repository.delete_saves(&saves).await
        {
            context.out.note(&format!("branch {}, on which the copies were saved, was not deleted: {e}", saves.branch));
        }
        Ok(verdict)
    }
}
