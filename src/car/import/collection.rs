//! The garbage collections that begin while a version is imported.

use std::sync::Arc;

use super::blocks::CarVersion;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Entry, HistoryEntry, Node, VirtualFile};
use crate::handle::Repository;
use crate::history::{Kept, KeptPart};
use crate::id::{NodeId, SnapshotId};
use crate::map::Walk;
use crate::objects::CachedValue;
use crate::refs::Vouched;
use crate::refs::collection::{GcState, ListsSince, ObjectSet, row_of};
use crate::storage::layout::ObjectKind;
use crate::time::Timestamp;

/// How many bytes of the ids of what an import wrote lie in memory.
const IN_MEMORY: usize = 8 << 20;

/// What an imported version leads to.
#[derive(Debug)]
pub(super) struct Links {
    /// The last collection of which the import knows.
    pub(super) known: u64,
    /// The parents that refs keep, and that the version leads to.
    pub(super) parents: Vec<(SnapshotId, Timestamp)>,
    /// Whether it leads to its history map.
    pub(super) has_history: bool,
    /// Whether it has a marker.
    pub(super) is_marked: bool,
}

impl Repository {
    /// Whether a ref can be pointed at the version without a collection removing a part of it, `state` having been read before.
    ///
    /// `Conflict` when a collection that began after the import removes what the import has written or was about to rely on.
    pub(super) async fn vouch_for_import(&self, version: &CarVersion, links: &Links, state: GcState) -> Result<Vouched> {
        let conflict =
            || Error::conflict("a garbage collection that began during the import removes parts of the version; import it again");
        for (id, time) in &links.parents {
            match self.kept_safely(*id, *time, KeptPart::Record, &state).await? {
                (Kept::Yes, Vouched::Safe) => {}
                (Kept::Yes, Vouched::Wait) => return Ok(Vouched::Wait),
                (Kept::No, _) => return Err(conflict()),
                (Kept::Unknown, _) => {
                    return Err(Error::corrupt(format!(
                        "a branch or a tag cannot be read, so that it is not known whether snapshot {id}, the parent, is kept; look with: firn verify"
                    )));
                }
            }
        }
        if matches!(state.lists_since(links.known), ListsSince::These(lists) if lists.is_empty()) {
            return Ok(Vouched::Safe);
        }
        let written = self.written(version, links).await.map_err(|e| match e.kind() {
            ErrorKind::Corrupt | ErrorKind::NotFound => conflict().caused_by(e),
            _ => e,
        })?;
        let condemned = self.refs().condemned(&state, links.known, &written).await?;
        if condemned.is_none() { Ok(Vouched::Safe) } else { Err(conflict()) }
    }

    /// Everything that the import has written and the version leads to.
    async fn written(&self, version: &CarVersion, links: &Links) -> Result<ObjectSet> {
        let mut written = ObjectSet::new(IN_MEMORY, &self.scratch());
        let digest = version.id.digest();
        written.add(row_of(ObjectKind::Snapshot, digest))?;
        if links.is_marked {
            written.add(row_of(ObjectKind::Shallow, digest))?;
        }
        let commit = &version.commit;
        self.add_nodes::<VirtualFile>(commit.files, &mut written, |_| Vec::new()).await?;
        if links.has_history {
            self.add_nodes::<HistoryEntry>(commit.history, &mut written, |_| Vec::new()).await?;
        }
        let chunk = |entry: &Entry| match entry {
            Entry::Chunk { id, .. } => vec![row_of(ObjectKind::of_chunk(id.form()), id.digest())],
            Entry::Inline(_) | Entry::Virtual { .. } => Vec::new(),
        };
        self.add_nodes::<Entry>(commit.manifest, &mut written, chunk).await?;
        Ok(written)
    }

    /// Adds the nodes of a map, and what `named` finds in its values.
    async fn add_nodes<V: CachedValue>(&self, root: NodeId, written: &mut ObjectSet, named: impl Fn(&V) -> Vec<[u8; 33]>) -> Result<()> {
        let mut walk = Walk::<V, _>::shared(Arc::new(self.objects().clone()), root).eager();
        while let Some(visit) = walk.next().await {
            written.add(row_of(ObjectKind::of_nodes(V::KIND), visit.id.digest()))?;
            if let Node::Leaf(leaf) = &*visit.node? {
                leaf.entries.iter().flat_map(|(_, value)| named(value)).try_for_each(|row| written.add(row))?;
            }
        }
        Ok(())
    }
}
