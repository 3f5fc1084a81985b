//! The garbage collections that a session has not seen: nothing is published that one of them removes.

use std::collections::BTreeMap;

use futures::StreamExt as _;

use super::CommitOptions;
use super::prepare::Written;
use crate::chunk::object_len;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Entry;
use crate::history::{Kept, KeptPart};
use crate::id::ChunkId;
use crate::refs::collection::rules::{GcRule, holds};
use crate::refs::collection::{AfterLook, CollectionWait, Condemned, GcState, ObjectSet, looked, must_look, row_of};
use crate::refs::{READS, Vouched};
use crate::session::WriteSession;
use crate::snapshot::Snapshot;
use crate::storage::layout::ObjectKind;

/// How many bytes of the ids of what a commit touched lie in memory.
const IN_MEMORY: usize = 8 << 20;

/// A snapshot that was written and that no ref keeps yet.
#[derive(Debug)]
pub(crate) struct WrittenAlone {
    pub(crate) snapshot: Snapshot,
    /// The last collection of which its writer knows.
    pub(super) known: u64,
    /// What it leads to and the tip that it replaces may not.
    pub(super) touched: ObjectSet,
}

impl WrittenAlone {
    /// Whether a ref can be pointed at it without a collection removing a part of it, `state` having been read before. `Conflict` when a
    /// collection that began meanwhile removes what was written.
    pub(crate) async fn vouch(&self, state: &GcState) -> Result<Vouched> {
        let refs = self.snapshot.repository().refs();
        if refs.condemned(state, self.known, &self.touched).await?.is_none() {
            return Ok(Vouched::Safe);
        }
        let id = self.snapshot.id();
        Err(Error::conflict(format!("a garbage collection that began meanwhile removes parts of snapshot {id}; run this again")))
    }
}

impl WriteSession {
    /// The snapshot to send now. Nothing that it touches is removed by a collection before the branch keeps it, and nothing was; `None`
    /// when there is nothing to commit any more.
    ///
    /// Asks nothing if no collection has raised the branch since the session was opened. Otherwise looks for what the commit touches in
    /// the lists of the collections since. If something is there, waits until the collection under way has ended, and writes everything
    /// again. `Conflict` when the bytes of a condemned chunk are gone, or more than may be held; the session is as it was.
    pub(super) async fn cleared(&mut self, written: Written, options: &CommitOptions) -> Result<Option<Written>> {
        let (mut written, mut waiting) = (written, CollectionWait::new());
        while must_look(self.state.record.epoch, self.known.get()) {
            let refs = self.base.repository().refs().clone();
            let state = refs.collection_after(self.state.record.epoch).await?.state;
            let touched = self.touched()?;
            let condemned = refs.condemned(&state, self.known.get(), &touched).await?;
            let others = self.vouch_for_other_parents(&state).await?;
            let next = looked(&state, !condemned.is_none(), others);
            if let AfterLook::Clear { known } = next {
                self.known.raise(known);
                break;
            }
            self.rescue(&condemned).await?;
            let AfterLook::WriteAgain { known } = next else {
                tracing::info!(branch = %self.branch, epoch = state.epoch, "waiting for a garbage collection");
                waiting.pause(&refs, &state).await?;
                continue;
            };
            // What is written after the state was read is seen by every later collection, or that makes the replace fail. Only when all of
            // it is written does the session know of the collection: after an error the next commit looks again.
            for chunk in self.rescued.values().cloned().collect::<Vec<_>>() {
                self.upload_chunk(chunk, None).await?;
            }
            let again = self.write_snapshot(options).await?;
            self.rescued.clear();
            let Some(again) = again else { return Ok(None) };
            self.known.raise(known);
            written = again;
        }
        // It may have waited for long. Of one that is stamped anew only the snapshot is written again, under a name that is new.
        self.current(written).await.map(Some)
    }

    /// Whether what the further parents of a merge lead to stays until the branch keeps it, `state` having been read before.
    async fn vouch_for_other_parents(&self, state: &GcState) -> Result<Vouched> {
        let parents = self.applied.iter().flat_map(|applied| &applied.parents);
        for parent in parents.filter(|_| holds(GcRule::OtherParents)) {
            let id = parent.id();
            match self.base.repository().kept_safely(id, parent.record().time, KeptPart::Record, state).await? {
                (Kept::Yes, Vouched::Safe) => {}
                (Kept::Yes, Vouched::Wait) => return Ok(Vouched::Wait),
                (Kept::No | Kept::Unknown, _) => {
                    return Err(Error::conflict(format!(
                        "snapshot {id}, which is merged, is known to be kept by no branch or tag any more, and a garbage collection may have \
                         removed parts of it; everything staged is still here"
                    )));
                }
            }
        }
        Ok(Vouched::Safe)
    }

    /// Everything that the prepared snapshot leads to and the tip that it replaces may not: the chunks among the staged changes, and the
    /// nodes and the snapshot that the last draft has written. Everything else is a part of that tip, or of the further parents of a merge.
    pub(super) fn touched(&self) -> Result<ObjectSet> {
        let mut touched = ObjectSet::new(IN_MEMORY, &self.base.repository().scratch());
        for (kind, digest) in self.uploads.drafted() {
            touched.add(row_of(kind, &digest))?;
        }
        if holds(GcRule::CountChunks) {
            self.each_chunk(|id, _| touched.add(row_of(ObjectKind::of_chunk(id.form()), id.digest())))?;
        }
        Ok(touched)
    }

    fn each_chunk(&self, mut see: impl FnMut(ChunkId, u64) -> Result<()>) -> Result<()> {
        let staged = self.staged.lock();
        let mut edits = staged.layers().edits(None)?;
        while let Some((_, entry)) = edits.next()? {
            if let Some(Entry::Chunk { id, size }) = entry {
                see(id, size)?;
            }
        }
        Ok(())
    }

    /// Reads back the condemned chunks that are staged, and holds them until they were written again, also after an error.
    async fn rescue(&mut self, condemned: &Condemned) -> Result<()> {
        let mut lost = BTreeMap::new();
        let (mut bytes, most) = (0_u64, self.base.repository().options().upload_bytes);
        let older = |why: String| {
            Error::conflict(format!(
                "the session is older than a garbage collection, which removes chunks that are staged on {}: {why}; everything staged is \
                 still here: stage these values again, or begin a new session",
                self.branch
            ))
        };
        self.each_chunk(|id, size| {
            if condemned.holds(&row_of(ObjectKind::of_chunk(id.form()), id.digest())) && lost.insert(id, size).is_none() {
                bytes = bytes.saturating_add(object_len(size));
                if bytes > most {
                    return Err(older(format!("they have more than the {most} bytes that may be held to write them again")));
                }
            }
            Ok(())
        })?;
        lost.retain(|id, _| !self.rescued.contains_key(id));
        let chunks = self.base.repository().chunks();
        let reads = lost.into_iter().map(|(id, size)| async move {
            let read = chunks.read(&id, size).await.map_err(|e| match e.kind() {
                ErrorKind::NotFound | ErrorKind::Corrupt => older(format!("chunk {id} is gone")).caused_by(e),
                _ => e,
            })?;
            Ok::<_, Error>((id, chunks.hash(read).await?))
        });
        let mut reads = futures::stream::iter(reads).buffer_unordered(READS);
        // The others are held although one is gone: the next commit may find them gone, too.
        let mut worst = Ok(());
        while let Some(read) = reads.next().await {
            match read {
                Ok((id, chunk)) => drop(self.rescued.insert(id, chunk)),
                Err(e) => worst = Err(e),
            }
        }
        worst
    }
}
