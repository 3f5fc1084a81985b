//! `firn init`

use clap::Args;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use firnline::{CreateOptions, HashAlgorithm, Repository};

#[derive(Debug, Args)]
pub(super) struct Init {
    /// The hash of every id, for ever: sha2-256 or blake3
    #[arg(long, default_value = "sha2-256")]
    hash: HashAlgorithm,
}

impl Init {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let place = context.place_to_create();
        let options = CreateOptions::from(context.options()?).hash(self.hash);
        let repository = Repository::create_with(&place, options).await?;
        let main = repository.read("branch:main").await?;
        context.out.line(&main.id().to_string())?;
        context.out.note(&format!("made a repository at {place}, with an empty branch main"));
        Ok(Verdict::Fine)
    }
}
