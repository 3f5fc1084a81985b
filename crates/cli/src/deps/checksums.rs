//! `firn deps checksums`

use std::path::Path;

use clap::Args;
use futures::TryStreamExt;

use crate::failure::{Stop, Verdict};
use crate::locate::Context;
use crate::output::{count, quoted};
use firnline::{Error, Result, file_url};

/// How many files without a line are named.
const SHOWN: u64 = 8;

#[derive(Debug, Args)]
pub(super) struct DepsChecksums {
    /// The revision to read
    #[arg(value_name = "REV", default_value = "main")]
    revision: String,
    /// Name the files as they are seen from there [default: local files by their absolute paths]
    #[arg(long, value_name = "DIR|URL")]
    relative_to: Option<String>,
}

impl DepsChecksums {
    pub(super) async fn run(self, context: &mut Context) -> Result<Verdict, Stop> {
        let from = self.relative_to.as_deref().map(place).transpose()?;
        let repository = context.open_to_read().await?;
        let snapshot = context.snapshot(&repository, &self.revision).await?;
        let mut files = std::pin::pin!(snapshot.dependencies());
        let mut left_out = 0;
        while let Some(file) = files.try_next().await? {
            match file.checksum_line(from.as_deref()) {
                Ok(line) => context.out.bytes(&line)?,
                Err(why) => {
                    left_out += 1;
                    if left_out <= SHOWN {
                        context.out.say(&format!("{} has no line: {}", quoted(&file.url), why.word()));
                    }
                }
            }
        }
        if left_out > SHOWN {
            context.out.say(&format!("{} more have no line", count(left_out - SHOWN, "file")));
        }
        Ok(if left_out == 0 { Verdict::Fine } else { Verdict::Found })
    }
}

/// The URL of a place that may be given as a path.
fn place(text: &str) -> Result<String> {
    if text.contains("://") {
        return Ok(text.to_owned());
    }
    let path = std::path::absolute(Path::new(text)).map_err(|e| Error::invalid(format!("{text} is no path")).caused_by(e))?;
    file_url(&path)
}
