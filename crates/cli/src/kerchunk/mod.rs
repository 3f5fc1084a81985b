//! `firn kerchunk` and the verbs below it

mod export;
mod import;

use clap::{Args, Subcommand};

use super::failure::{Stop, Verdict};
use super::locate::Context;

#[derive(Debug, Args)]
pub(super) struct Kerchunk {
    #[command(subcommand)]
    verb: KerchunkVerb,
}

#[derive(Debug, Subcommand)]
enum KerchunkVerb {
    /// Commit what a reference set of kerchunk refers to, without copying bytes.
    Import(import::ImportReferences),
    /// Write what a snapshot holds as a reference set of kerchunk: JSON, or a directory of Parquet files.
    Export(export::ExportReferences),
}

impl Kerchunk {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        match self.verb {
            KerchunkVerb::Import(verb) => verb.run(context).await,
            KerchunkVerb::Export(verb) => verb.run(context).await,
        }
    }
}
