//! `firn cat`

use clap::Args;
use futures::TryStreamExt;

use super::failure::{Stop, Verdict};
use super::locate::Context;
use firnline::{Entry, Error, Key};

#[derive(Debug, Args)]
pub(super) struct Cat {
    /// The revision to read
    #[arg(value_name = "REV")]
    revision: String,
    /// The key of the value
    key: String,
    /// Skip this many bytes
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    offset: u64,
    /// Print at most this many bytes [default: to the end]
    #[arg(long, value_name = "BYTES")]
    length: Option<u64>,
}

impl Cat {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let key = Key::new(self.key)?;
        let repository = context.open_to_read().await?;
        let snapshot = context.snapshot(&repository, &self.revision).await?;
        let size = snapshot.entry(&key).await?.as_ref().map(Entry::size);
        let size = size.ok_or_else(|| Error::not_found(format!("{key} does not exist in {}", self.revision)))?;
        let end = self.length.map_or(size, |length| self.offset.saturating_add(length));
        let mut pieces = std::pin::pin!(snapshot.stream(&key, Some(self.offset..end)).await?);
        while let Some(bytes) = pieces.try_next().await? {
            context.out.bytes(&bytes)?;
        }
        Ok(Verdict::Fine)
    }
}
