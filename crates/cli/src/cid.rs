//! `firn cid`

use clap::Args;
use serde::Serialize;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use super::output::Show;
use firnline::{Error, KeyOrPrefix};

#[derive(Debug, Args)]
pub(super) struct ContentId {
    /// The revision to read
    #[arg(value_name = "REV")]
    revision: String,
    /// A key or a prefix; a name that ends in / is always a prefix
    #[arg(value_name = "PREFIX|KEY", default_value = "")]
    name: String,
}

impl ContentId {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let repository = context.open_to_read().await?;
        let snapshot = context.snapshot(&repository, &self.revision).await?;
        let document = match snapshot.find_named(&self.name).await? {
            KeyOrPrefix::Prefix(prefix) => {
                let id = snapshot.content_id(&prefix).await?.to_string();
                CidDocument { what: "prefix", name: prefix.as_str().to_owned(), id }
            }
            KeyOrPrefix::Key(key) => {
                let id = snapshot.value_id(&key).await?;
                let id = id.ok_or_else(|| Error::not_found(format!("{key} does not exist in {}", self.revision)))?;
                CidDocument { what: "key", name: key.as_str().to_owned(), id: id.to_string() }
            }
        };
        context.out.show(&document)?;
        Ok(Verdict::Fine)
    }
}

#[derive(Debug, Serialize)]
struct CidDocument {
    /// `key` or `prefix`.
    what: &'static str,
    name: String,
    id: String,
}

impl Show for CidDocument {
    fn text(&self) -> String {
        self.id.clone()
    }
}
