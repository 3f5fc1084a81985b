//! What the engine says of files over many versions, against counting anew.

use std::collections::{BTreeMap, BTreeSet};

use firnline::{RefKind, Snapshot, SnapshotId};
use futures::TryStreamExt;

use super::history::{BRANCHES, FILES, History};
use super::oracle::{Value, dependencies};

impl History<'_> {
    /// Every file that a version or one behind it has used: first and last version, how many, and what the last one counts.
    pub(crate) async fn check_file_history(&self, snapshot: &Snapshot) {
        let mut want: BTreeMap<String, (SnapshotId, SnapshotId, u64, (u64, u64))> = BTreeMap::new();
        let mut versions: Vec<_> = self.commits[&snapshot.id()].behind.iter().collect();
        versions.sort_by_key(|id| (self.commits[id].time, **id));
        for id in &versions {
            for (url, counts) in dependencies(&self.commits[id].tree) {
                let known = want.entry(url).or_insert((**id, **id, 0, counts));
                (known.1, known.2, known.3) = (**id, known.2 + 1, counts);
            }
        }
        let (known, found) = snapshot.dependency_history().await.unwrap();
        assert_eq!((known.versions, known.since), (versions.len() as u64, None), "seed {}", self.seed);
        let found: BTreeMap<_, _> = found
            .map_ok(|of| (of.url, (of.first.id, of.last.id, of.versions, (of.record.refs, of.record.bytes))))
            .try_collect()
            .await
            .unwrap();
        assert_eq!(found, want, "seed {}: the files of {} and before", self.seed, snapshot.id());
    }

    /// Counts by container and by array add up to those by file, and those by array equal a recount.
    pub(crate) async fn check_totals(&self, snapshot: &Snapshot) {
        let tree = &self.commits[&snapshot.id()].tree;
        let by_file = dependencies(tree);
        let sums = (by_file.len() as u64, by_file.values().map(|(refs, _)| refs).sum(), by_file.values().map(|(_, bytes)| bytes).sum());
        let containers = snapshot.container_uses().await.unwrap();
        let counts = containers.iter().map(|(_, counts)| *counts);
        let total = counts.fold((0, 0, 0), |(files, refs, bytes), of| (files + of.files, refs + of.refs, bytes + of.bytes));
        assert_eq!(total, sums, "seed {}: by container", self.seed);
        for found in snapshot.dependencies_by_array().await.unwrap() {
            let below = found.group.prefix().as_str();
            let is_array = matches!(found.group, firnline::Group::Array(_));
            let keys = tree.iter().filter(|(key, _)| key.starts_with(below) && (is_array || !key[below.len()..].contains('/')));
            let mut files = BTreeSet::new();
            let (mut refs, mut bytes) = (0, 0);
            for (_, value) in keys {
                if let Value::Virtual { url, length, .. } = value {
                    files.insert(url);
                    (refs, bytes) = (refs + 1, bytes + length);
                }
            }
            let told = (found.counts.files, found.counts.refs, found.counts.bytes);
            assert_eq!(told, (files.len() as u64, refs, bytes), "seed {}: {below}", self.seed);
        }
    }

    /// Who uses each file, and each directory of them: the branches, and every version that any of them has shown.
    pub(crate) async fn check_users(&self) {
        let shown: BTreeSet<SnapshotId> = self.branches.iter().flat_map(|of| of.events.iter().filter_map(|(_, tip)| *tip)).collect();
        let versions: BTreeSet<SnapshotId> = shown.iter().flat_map(|tip| self.commits[tip].behind.iter().copied()).collect();
        for place in FILES.iter().copied().chain(["file:///data", "file:///data/", "file:///", "file:///dat", "s3://data/one.nc"]) {
            let is_there = |url: &str| url == place || url.starts_with(&format!("{}/", place.trim_end_matches('/')));
            let counted = |id: &SnapshotId| {
                let files = dependencies(&self.commits[id].tree).into_iter().filter(|(url, _)| is_there(url));
                files.fold((0, 0, 0), |(files, refs, bytes), (_, (r, b))| (files + 1, refs + r, bytes + b))
            };
            let used = self.repositories[0].who_uses(place, true).await.unwrap();
            let found: BTreeMap<_, _> = used.versions.iter().map(|v| (v.at.id, (v.counts.files, v.counts.refs, v.counts.bytes))).collect();
            let want: BTreeMap<_, _> = versions.iter().map(|id| (*id, counted(id))).filter(|(_, counts)| counts.0 > 0).collect();
            assert_eq!(found, want, "seed {}: versions that use {place}", self.seed);
            assert_eq!(used.asked_versions, versions.len() as u64, "seed {}", self.seed);
            assert!(used.versions.is_sorted_by(|a, b| a.at.time >= b.at.time), "seed {}: latest first", self.seed);

            let tips = |name: usize| self.branches[name].now().map(|tip| (BRANCHES[name].to_owned(), counted(&tip)));
            let want: BTreeMap<_, _> = (0..BRANCHES.len()).filter_map(tips).filter(|(_, counts)| counts.0 > 0).collect();
            let told = |of: &firnline::RefUse| {
                assert_eq!(of.reference.kind, RefKind::Branch);
                (of.reference.name.to_string(), (of.counts.files, of.counts.refs, of.counts.bytes))
            };
            let found: BTreeMap<_, _> = used.refs.iter().map(told).collect();
            assert_eq!(found, want, "seed {}: branches that use {place}", self.seed);
            assert_eq!(self.repositories[0].who_uses(place, false).await.unwrap().refs, used.refs);

            let mut want = BTreeSet::new();
            for (at, name) in BRANCHES.iter().enumerate() {
                let Some(tip) = self.branches[at].now() else { continue };
                for (key, value) in &self.commits[&tip].tree {
                    if let Value::Virtual { url, offset, length } = value
                        && is_there(url)
                    {
                        want.insert((key.clone(), url.clone(), *offset, *length, (*name).to_owned()));
                    }
                }
            }
            let keys: Vec<_> = self.repositories[0].keys_using(place).await.unwrap().try_collect().await.unwrap();
            let rows = keys.iter().flat_map(|of| {
                of.refs.iter().map(|r| (of.key.as_str().to_owned(), of.url.clone(), of.offset, of.length, r.name.to_string()))
            });
            assert_eq!(rows.collect::<BTreeSet<_>>(), want, "seed {}: keys that use {place}", self.seed);
        }
    }

    /// The difference between the dependencies of two versions, applied to the older, gives the newer.
    pub(crate) async fn check_file_changes(&self, older: &Snapshot, newer: &Snapshot) {
        let mut files = dependencies(&self.commits[&older.id()].tree);
        let changes: Vec<_> = older.diff_dependencies(newer).try_collect().await.unwrap();
        for change in &changes {
            if let firnline::DependencyChange::File { url, old, new, .. } = change {
                let counts = |record: &Option<Box<firnline::VirtualFile>>| record.as_ref().map(|record| (record.refs, record.bytes));
                assert_eq!(files.get(url).copied(), counts(old), "seed {}: {url}", self.seed);
                match counts(new) {
                    Some(counts) => drop(files.insert(url.clone(), counts)),
                    None => drop(files.remove(url)),
                }
                assert!(old != new && (old.is_none() || new.is_none() || !change.differences().is_empty()), "seed {}", self.seed);
            }
        }
        assert_eq!(files, dependencies(&self.commits[&newer.id()].tree), "seed {}: what differs", self.seed);
    }
}
