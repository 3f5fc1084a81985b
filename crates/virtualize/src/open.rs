//! Opens a file and has it parsed on a thread that may block.

use std::path::{Component, Path, absolute};
use std::sync::Arc;

use firnline::{Error, ExternalFile, Result, WriteSession, file_url};
use tokio::runtime::Handle;

use crate::model::Parsed;
use crate::parse::{self, Wanted};
use crate::source::FileBytes;

/// A file in one state, and what it holds.
pub(crate) struct OpenedFile {
    pub(crate) file: Arc<ExternalFile>,
    pub(crate) parsed: Parsed,
}

/// The URL of a file that is named by its URL or by its path on this machine.
pub(crate) fn url(file: &str) -> Result<String> {
    if file.contains("://") {
        return Ok(file.to_owned());
    }
    let mut path = absolute(Path::new(file)).map_err(|e| Error::invalid(format!("{file:?} is no path: {e}")))?;
    // A link may lead elsewhere than `..` seems to, so only the disk knows where that is.
    if path.components().any(|part| part == Component::ParentDir) {
        path = path.canonicalize().map_err(|e| Error::not_found(format!("{file} cannot be found: {e}")))?;
    }
    file_url(&path)
}

/// Opens and parses one file.
pub(crate) async fn open(session: &WriteSession, url: &str, wanted: &Wanted) -> Result<OpenedFile> {
    let file = Arc::new(session.external_file(url).await?);
    let (bytes, wanted) = (FileBytes::new(Arc::clone(&file), Handle::current()), wanted.clone());
    let parsed = tokio::task::spawn_blocking(move || parse::parse(&bytes, &wanted)).await;
    match parsed {
        Ok(parsed) => Ok(OpenedFile { file, parsed: parsed? }),
        Err(e) if e.is_panic() => Err(Error::corrupt(format!("{url}: its parser gave up on bytes that no such file has"))),
        Err(e) => Err(Error::unavailable(format!("{url}: the runtime ended before the file was parsed")).caused_by(e)),
    }
}
