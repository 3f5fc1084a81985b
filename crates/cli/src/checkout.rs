//! `firn checkout`

use std::path::PathBuf;

use clap::Args;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::count;
use firnline::{CheckoutOptions, Prefix};

#[derive(Debug, Args)]
pub(super) struct Checkout {
    /// The snapshot
    #[arg(value_name = "REV")]
    revision: String,
    /// The directory to write into: absent, or empty (it then keeps its mode and owner)
    directory: PathBuf,
    /// Write only keys below this prefix; file names do not include it
    #[arg(long, default_value = "")]
    prefix: String,
}

impl Checkout {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let options = CheckoutOptions::default().prefix(Prefix::new(&self.prefix)?);
        let repository = context.open_to_read().await?;
        let snapshot = context.snapshot(&repository, &self.revision).await?;
        let written = snapshot.checkout(self.directory, &options).await?;
        // It made something, though no commit: the id says of what.
        context.out.line(&snapshot.id().to_string())?;
        context.out.note(&format!("{} with {}", count(written.files, "file"), count(written.bytes, "byte")));
        Ok(Verdict::Fine)
    }
}
