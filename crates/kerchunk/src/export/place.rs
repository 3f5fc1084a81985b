//! External files as `fsspec` names them.

use std::collections::BTreeMap;
use std::sync::Arc;

use firnline::{Container, Entry, Error, ErrorKind, FileKey, Result, file_path};

/// The names of external files for readers of reference sets. Neighbouring entries mostly lie in one file, which is named once.
#[derive(Debug)]
pub(super) struct Places {
    containers: Vec<Container>,
    last: Option<(FileKey, Arc<str>)>,
    /// The options of containers that were used, as notes.
    notes: BTreeMap<String, String>,
}

impl Places {
    pub(super) fn new(containers: &[Container]) -> Self {
        Self { containers: containers.to_vec(), last: None, notes: BTreeMap::new() }
    }

    /// The name of a file. `Unsupported` if a path is not UTF-8, which JSON cannot hold.
    pub(super) fn of(&mut self, file: &FileKey) -> Result<Arc<str>> {
        if let Some((_, place)) = self.last.as_ref().filter(|(last, _)| last == file) {
            return Ok(Arc::clone(place));
        }
        let place: Arc<str> = place(&file.url(&self.containers)?)?.into();
        self.note(file.container());
        self.last = Some((file.clone(), Arc::clone(&place)));
        Ok(place)
    }

    /// What a reader has to give its client, because a reference has no room for it.
    fn note(&mut self, container: &str) {
        if self.notes.contains_key(container) {
            return;
        }
        let Some(Container { name, options, .. }) = self.containers.iter().find(|c| c.name == container) else { return };
        let options: Vec<_> = options.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let note = if options.is_empty() {
            String::new()
        } else {
            format!("container {name} has the options {}; give them to fsspec as storage options", options.join(", "))
        };
        self.notes.insert(container.to_owned(), note);
    }

    pub(super) fn into_notes(self) -> impl Iterator<Item = String> {
        self.notes.into_values().filter(|note| !note.is_empty())
    }
}

/// A URL as `fsspec` takes it. It decodes no path, so a `file:` URL becomes the bare path; and as a bare path it is found by a reader that
/// opened the set for another protocol, too. All others are written alike.
fn place(url: &str) -> Result<String> {
    if !url.starts_with("file:") {
        return Ok(url.to_owned());
    }
    let path = file_path(url)?;
    path.into_os_string()
        .into_string()
        .map_err(|path| Error::new(ErrorKind::Unsupported, format!("{} is not UTF-8, so no reference can name it", path.display())))
}

/// Where a virtual value lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ByteRange {
    pub(super) place: Arc<str>,
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl ByteRange {
    /// The range of a virtual entry.
    pub(super) fn of(entry: &Entry, places: &mut Places) -> Result<Self> {
        match entry {
            Entry::Virtual { file, offset, length } => Ok(Self { place: places.of(file)?, offset: *offset, length: *length }),
            Entry::Inline(_) | Entry::Chunk { .. } => Err(Error::internal("a stored value has no place outside")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_bare_path_and_everything_else_stays() {
        for (url, name) in [
            ("file:///data/a.nc", "/data/a.nc"),
            ("file:///my%20data/100%25.nc", "/my data/100%.nc"),
            ("file:///data/%C3%BC.nc", "/data/ü.nc"),
            ("s3://bucket/a%20b c.nc", "s3://bucket/a%20b c.nc"),
            ("gs://bucket/a.nc", "gs://bucket/a.nc"),
            ("az://container/a.nc", "az://container/a.nc"),
            ("https://example.org/a%20b?x=1", "https://example.org/a%20b?x=1"),
        ] {
            assert_eq!(place(url).unwrap(), name);
        }
        assert_eq!(place("file:///data/%ff.nc").unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
