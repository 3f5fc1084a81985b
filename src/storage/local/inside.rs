//! Directories that belong to a repository and to nothing else.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::storage::layout;

/// Refuses a directory in one of the folders in which a repository keeps its objects and refs: what is put there would be taken for them.
/// `directory` need not exist. Other directories below a repository are nobody's.
pub(crate) fn require_outside(directory: &Path) -> Result<()> {
    let Some(real) = resolved(directory) else { return Ok(()) };
    for root in real.ancestors().skip(1) {
        let below = real.strip_prefix(root).ok().and_then(|path| path.components().next());
        let Some(folder) = below.and_then(|part| part.as_os_str().to_str()).filter(|name| layout::FOLDERS.contains(name)) else { continue };
        if root.join("repo.json").is_file() && (root.join("snapshots").is_dir() || root.join("refs").is_dir()) {
            return Err(Error::invalid(format!(
                "{} lies in {folder} of the repository {}, which holds nothing else; choose another place",
                directory.display(),
                root.display()
            )));
        }
    }
    Ok(())
}

/// Refuses a path that is a symbolic link to something that does not exist: no directory can be made under its name.
pub(crate) fn require_no_dangling_link(path: &Path) -> Result<()> {
    let path = Path::new(path.as_os_str().to_str().map_or(path.as_os_str(), |text| text.trim_end_matches('/').as_ref()));
    match std::fs::read_link(path) {
        Ok(target) if !path.exists() => Err(Error::invalid(format!(
            "{} is a symbolic link to {}, which does not exist; make that directory, or remove the link",
            path.display(),
            target.display()
        ))),
        _ => Ok(()),
    }
}

/// The path without symbolic links, as far as it exists; `None` if the system does not tell.
fn resolved(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    let existing = absolute.ancestors().find(|path| path.exists())?;
    Some(existing.canonicalize().ok()?.join(absolute.strip_prefix(existing).ok()?))
}
