//! The snapshot as it is stored: the commit in a `FlatBuffer`, and copies of the short roots of its maps.

use std::collections::BTreeMap;
use std::sync::Arc;

use flatbuffers::{FlatBufferBuilder, ForwardsUOffset, Vector, VerifierOptions, WIPOffset};

use super::{Commit, Container};
use crate::error::{Error, Result};
use crate::format::envelope::{self, Kind};
use crate::format::generated::snapshot as fb;
use crate::format::limits;
use crate::format::{Entry, HistoryEntry, Node, Value, VirtualFile};
use crate::id::{Digest, HashAlgorithm, NodeId, SnapshotId};
use crate::time::Timestamp;

/// The roots of a snapshot's maps, as far as its object carries copies of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Roots {
    /// The root of the manifest.
    pub manifest: Option<Arc<Node<Entry>>>,
    /// The root of the virtual-file manifest.
    pub files: Option<Arc<Node<VirtualFile>>>,
    /// The root of the history map.
    pub history: Option<Arc<Node<HistoryEntry>>>,
}

/// What a snapshot's object holds: the commit, and copies of roots that spare a reader a round trip.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SnapshotObject {
    /// The commit.
    pub commit: Commit,
    /// Copies, checked against the ids in the commit. Each root has its own object as well.
    pub roots: Roots,
}

type StoredPairs = BTreeMap<String, String>;
type PairList<'a> = Vector<'a, ForwardsUOffset<fb::Pair<'a>>>;

impl SnapshotObject {
    /// The object's bytes. A root whose canonical form has more than 4 KiB is left out.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let commit = &self.commit;
        let mut f = FlatBufferBuilder::with_capacity(4096 + commit.message.len());
        let containers: Vec<_> = commit.containers.iter().map(|c| write_container(&mut f, c)).collect();
        let places: Vec<_> = commit.places.iter().map(|place| f.create_string(place)).collect();
        let args = fb::SnapshotArgs {
            since: commit.since.map(Timestamp::micros),
            containers: Some(f.create_vector(&containers)),
            places: Some(f.create_vector(&places)),
            time: commit.time.micros(),
            message: Some(f.create_string(&commit.message)),
            author: commit.author.as_ref().map(|author| f.create_string(author)),
            meta: Some(write_pairs(&mut f, &commit.meta)),
            manifest_root: write_root(&mut f, self.roots.manifest.as_deref()),
            files_root: write_root(&mut f, self.roots.files.as_deref()),
            history_root: write_root(&mut f, self.roots.history.as_deref()),
        };
        let root = fb::Snapshot::create(&mut f, &args);
        f.finish(root, None);
        let maps = [&commit.manifest, &commit.files, &commit.history].map(NodeId::digest);
        let digests: Vec<_> = maps.into_iter().chain(commit.parents.iter().map(SnapshotId::digest)).flat_map(|d| *d.as_bytes()).collect();
        envelope::seal(Kind::Snapshot, &digests, f.finished_data())
    }

    /// Reads an object that was found under the name `expected` and checks that its content has that id.
    ///
    /// `Corrupt`, showing both ids, when it has another; `Unsupported` when a newer version wrote it.
    pub(crate) fn decode_verified(bytes: &[u8], expected: SnapshotId) -> Result<Self> {
        Self::decode(bytes, expected).map_err(|e| e.context(format_args!("snapshot {expected}")))
    }

    fn decode(bytes: &[u8], expected: SnapshotId) -> Result<Self> {
        let hash = expected.digest().hash();
        let opened = envelope::open(Kind::Snapshot, bytes)?;
        let options = VerifierOptions { max_tables: 1 + limits::CONTAINERS + limits::TEXTS, ..VerifierOptions::default() };
        let snapshot = fb::root_as_snapshot_with_opts(&options, &opened.body)
            .map_err(|e| Error::corrupt("its FlatBuffer is malformed").caused_by(e))?;
        let commit = read_commit(&snapshot, opened.digests()?, hash)?;
        super::check::commit(&commit, hash)?;
        let canonical = commit.canonical();
        super::check::length(canonical.len())?;
        let found = SnapshotId::of(hash, &canonical);
        if found != expected {
            return Err(Error::corrupt(format!("its content has the id {found}")));
        }
        let roots = Roots {
            manifest: read_root(snapshot.manifest_root(), commit.manifest)?,
            files: read_root(snapshot.files_root(), commit.files)?,
            history: read_root(snapshot.history_root(), commit.history)?,
        };
        Ok(Self { commit, roots })
    }
}

fn write_container<'f>(f: &mut FlatBufferBuilder<'f>, container: &Container) -> WIPOffset<fb::Container<'f>> {
    let args = fb::ContainerArgs {
        name: Some(f.create_string(&container.name)),
        template: Some(f.create_string(&container.template)),
        defaults: Some(write_pairs(f, &container.defaults)),
        options: Some(write_pairs(f, &container.options)),
    };
    fb::Container::create(f, &args)
}

fn write_pairs<'f>(f: &mut FlatBufferBuilder<'f>, pairs: &StoredPairs) -> WIPOffset<PairList<'f>> {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| {
            let args = fb::PairArgs { name: Some(f.create_string(name)), value: Some(f.create_string(value)) };
            fb::Pair::create(f, &args)
        })
        .collect();
    f.create_vector(&pairs)
}

fn write_root<'f, V: Value>(f: &mut FlatBufferBuilder<'f>, root: Option<&Node<V>>) -> Option<WIPOffset<Vector<'f, u8>>> {
    let canonical = root?.canonical();
    (canonical.len() <= limits::ROOT_COPY).then(|| f.create_vector(&canonical))
}

fn read_commit(snapshot: &fb::Snapshot<'_>, digests: &[[u8; 32]], hash: HashAlgorithm) -> Result<Commit> {
    let Some((&[manifest, files, history], parents)) = digests.split_first_chunk::<3>() else {
        return Err(Error::corrupt("it names no maps"));
    };
    let node = |bytes| NodeId::from_digest(Digest::new(hash, bytes));
    let count = |len: Option<usize>, most: usize, what: &str| match len.unwrap_or(0) {
        len if len > most => Err(Error::corrupt(format!("there are {len} {what}; at most {most} are allowed"))),
        _ => Ok(()),
    };
    count(snapshot.containers().map(|c| c.len()), limits::CONTAINERS, "containers")?;
    count(snapshot.places().map(|p| p.len()), limits::PLACES, "places")?;
    let mut budget = Budget { bytes: limits::COMMIT, texts: limits::TEXTS + limits::PLACES };
    let containers = snapshot.containers().into_iter().flatten().map(|c| {
        Ok(Container {
            name: budget.take(c.name())?,
            template: budget.take(c.template())?,
            defaults: read_pairs(c.defaults(), &mut budget)?,
            options: read_pairs(c.options(), &mut budget)?,
        })
    });
    Ok(Commit {
        manifest: node(manifest),
        files: node(files),
        history: node(history),
        parents: parents.iter().map(|bytes| SnapshotId::from_digest(Digest::new(hash, *bytes))).collect(),
        since: snapshot.since().map(Timestamp::from_micros),
        containers: containers.collect::<Result<_>>()?,
        places: snapshot.places().into_iter().flatten().map(|place| budget.take(place)).collect::<Result<_>>()?,
        time: Timestamp::from_micros(snapshot.time()),
        message: budget.take(snapshot.message().unwrap_or_default())?,
        author: snapshot.author().map(|author| budget.take(author)).transpose()?,
        meta: read_pairs(snapshot.meta(), &mut budget)?,
    })
}

/// How much text may still be copied out. The offsets of a `FlatBuffer` may all point at one string, so a short object can
/// describe a long commit.
struct Budget {
    bytes: usize,
    texts: usize,
}

impl Budget {
    fn take(&mut self, text: &str) -> Result<String> {
        let too_much = || Error::corrupt("its texts are more than a commit can hold");
        self.bytes = self.bytes.checked_sub(text.len()).ok_or_else(too_much)?;
        self.texts = self.texts.checked_sub(1).ok_or_else(too_much)?;
        Ok(text.to_owned())
    }
}

fn read_pairs(pairs: Option<PairList<'_>>, budget: &mut Budget) -> Result<StoredPairs> {
    let mut read = StoredPairs::new();
    for pair in pairs.into_iter().flatten() {
        if read.insert(budget.take(pair.name())?, budget.take(pair.value())?).is_some() {
            return Err(Error::corrupt("a name appears twice in a list of pairs"));
        }
    }
    Ok(read)
}

fn read_root<V: Value>(copy: Option<Vector<'_, u8>>, expected: NodeId) -> Result<Option<Arc<Node<V>>>> {
    let Some(copy) = copy else { return Ok(None) };
    let bytes = copy.bytes();
    if bytes.len() > limits::ROOT_COPY {
        return Err(Error::corrupt(format!("its copy of the {} root has {} bytes", V::KIND, bytes.len())));
    }
    let hash = expected.digest().hash();
    let found = NodeId::of(hash, bytes);
    if found != expected {
        return Err(Error::corrupt(format!("its copy of the {} root {expected} has the id {found}", V::KIND)));
    }
    Node::decode_canonical(bytes, hash).map(|root| Some(Arc::new(root)))
}
