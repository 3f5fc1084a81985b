//! Whether new arrays can be put where they are to be.

use std::collections::BTreeSet;

use firnline::{Error, Key, Result, WriteSession};

use crate::{ZarrFormat, document, join};

/// `Invalid` when there is a node at one of the paths of arrays, or an array or a group of another version of Zarr above one or where a
/// group
/// of the file is put.
pub(crate) async fn check(
    session: &WriteSession,
    format: ZarrFormat,
    paths: impl Iterator<Item = String>,
    groups: impl Iterator<Item = String>,
) -> Result<()> {
    let mut above = BTreeSet::from([String::new()]);
    above.extend(groups);
    for path in paths {
        if let Some((found, _)) = node(session, &path).await? {
            let how = if found == format { "append to it (--append), or use" } else { "it is of another version of Zarr; use" };
            return Err(Error::invalid(format!("{path} exists in Zarr version {found}; {how} another prefix")));
        }
        above.extend(path.match_indices('/').filter_map(|(end, _)| path.get(..end)).map(str::to_owned));
    }
    for path in above {
        let Some((found, is_array)) = node(session, &path).await? else { continue };
        let shown = if path.is_empty() { "the root" } else { path.as_str() };
        if is_array {
            return Err(Error::invalid(format!("{shown} is an array, which nothing can lie in; use another prefix")));
        }
        if found != format {
            return Err(Error::invalid(format!(
                "{shown} is a group of Zarr version {found}, which holds nothing of version {format}; give --zarr-format {found}, or use another prefix"
            )));
        }
    }
    Ok(())
}

/// The version of the node at a path, and whether it is an array. Where nodes of both versions are, of version 3.
async fn node(session: &WriteSession, path: &str) -> Result<Option<(ZarrFormat, bool)>> {
    if let Some(bytes) = session.get(&Key::new(join(path, "zarr.json"))?).await? {
        let kind = document::object(&bytes).map_err(|e| e.context(path))?;
        return Ok(Some((ZarrFormat::V3, kind.get("node_type").and_then(|kind| kind.as_str()) == Some("array"))));
    }
    for (name, is_array) in [(".zarray", true), (".zgroup", false)] {
        if session.entry(&Key::new(join(path, name))?).await?.is_some() {
            return Ok(Some((ZarrFormat::V2, is_array)));
        }
    }
    Ok(None)
}
