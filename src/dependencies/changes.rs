//! What differs between the dependencies of two versions.

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};

use crate::error::Result;
use crate::format::{Container, FileKey, VirtualFile};
use crate::history::{Change, comparable, container_changes, map_changes};
use crate::map::{MapChange, Span};
use crate::snapshot::Snapshot;
use crate::virtuals::Validator;

/// A difference between the dependencies of an older and a newer version.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DependencyChange {
    /// The definition of a container. Its files may lie elsewhere now, although they are listed as equal.
    Container {
        /// Its name.
        name: String,
        /// Its definition in the older version.
        old: Option<Container>,
        /// Its definition in the newer one.
        new: Option<Container>,
    },
    /// A file that only one version depends on, of which they pinned different states, or on which more or less depends.
    File {
        /// Its name inside the repository.
        file: FileKey,
        /// Where it lies, by the newer version if that depends on it.
        url: String,
        /// What the older version knows of it; `None` when it does not depend on it. Never `None` together with `new`.
        old: Option<Box<VirtualFile>>,
        /// What the newer version knows of it.
        new: Option<Box<VirtualFile>>,
    },
}

impl DependencyChange {
    /// What happened: `added`, `removed`, `changed` (another state of the file is pinned, or the container is defined otherwise) or
    /// `counted` (only the number of references or their bytes differ).
    pub fn word(&self) -> &'static str {
        match self {
            Self::Container { old: None, .. } | Self::File { old: None, .. } => "added",
            Self::Container { new: None, .. } | Self::File { new: None, .. } => "removed",
            Self::File { old: Some(old), new: Some(new), .. } if Validator::of(old) == Validator::of(new) => "counted",
            Self::Container { .. } | Self::File { .. } => "changed",
        }
    }

    /// What differs, in words and separated by commas: `size 10 → 12, refs 3 → 4`. Empty for a side that does not exist.
    pub fn differences(&self) -> String {
        let one = |what: &str, was: &str, is: &str| (was != is).then(|| format!("{what} {was} → {is}"));
        let all: Vec<_> = match self {
            Self::Container { old: Some(old), new: Some(new), .. } => {
                let text = |pairs: &std::collections::BTreeMap<String, String>| {
                    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
                };
                [
                    one("template", &old.template, &new.template),
                    one("defaults", &text(&old.defaults), &text(&new.defaults)),
                    one("options", &text(&old.options), &text(&new.options)),
                ]
                .into_iter()
                .flatten()
                .collect()
            }
            Self::File { old: Some(old), new: Some(new), .. } => {
                let (was, is) = (Validator::of(old), Validator::of(new));
                let state = (was != is).then(|| was.differences(&is));
                let refs = one("refs", &old.refs.to_string(), &new.refs.to_string());
                let bytes = one("bytes", &old.bytes.to_string(), &new.bytes.to_string());
                [state, refs, bytes].into_iter().flatten().collect()
            }
            _ => Vec::new(),
        };
        all.join(", ")
    }
}

impl Snapshot {
    /// The changes that lead from the dependencies of this version to those of `newer`: containers by name, then files in the order of
    /// the files map.
    ///
    /// Reads the nodes of the files maps that only one of them has, and no leaf of a manifest. The versions may come from two
    /// repositories: `Unsupported` when those do not have the same hash. The stream does not borrow the snapshots and ends after an
    /// error.
    pub fn diff_dependencies(&self, newer: &Self) -> impl Stream<Item = Result<DependencyChange>> + Send + use<> {
        let sides = (self.clone(), newer.clone());
        let files = map_changes::<VirtualFile>(self, newer, |of| of.files, Span::all()).and_then(move |change| {
            let found = of_file(&sides.0, &sides.1, change);
            async move { found }
        });
        let containers =
            container_changes(&self.record().containers, &newer.record().containers).into_iter().filter_map(|change| match change {
                Change::Container { name, old, new } => Some(Ok(DependencyChange::Container { name, old, new })),
                _ => None,
            });
        let all = stream::iter(containers).chain(files);
        let judged = comparable(self, newer);
        stream::once(async move { judged.map(|()| all) }).try_flatten()
    }
}

fn of_file(older: &Snapshot, newer: &Snapshot, change: MapChange<VirtualFile>) -> Result<DependencyChange> {
    let MapChange { key, old, new } = change;
    let file = FileKey::from_map_key(&key)?;
    let side = if new.is_some() { newer } else { older };
    let url = file.url(&side.record().containers)?;
    Ok(DependencyChange::File { file, url, old: old.map(Box::new), new: new.map(Box::new) })
}
