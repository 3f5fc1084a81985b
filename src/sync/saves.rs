//! The branch of the target on which a run notes the chunks that have arrived.
//!
//! A writer relies only on chunks that a ref keeps, never on those that merely exist: one of those may be incomplete, not durable, or about
//! to be removed. So what has arrived is committed to a branch, under keys that are the ids of the chunks, and the next run takes it from
//! there.

use super::SyncRun;
use crate::chunk::Sized;
use crate::commit::{CommitOptions, ImportSaves, SavesBranch};
use crate::error::{ErrorKind, Result};
use crate::format::Entry;
use crate::key::{Key, Prefix};
use crate::refs::collection::{CondemnedRow, ListsSince, ObjectSet, row_of};
use crate::refs::{MAIN, Ref, RefKind, RefName};
use crate::session::WriteSession;
use crate::storage::layout::{ObjectKind, shard_of};
use futures::TryStreamExt as _;

/// How the branches begin.
const SAVES: &str = "pushing-";
/// Where the keys lie, beside those of the version on which the branch was made.
const FOLDER: &str = ".pushed/";
/// How many bytes of the ids of what earlier runs sent lie in memory.
const IN_MEMORY: usize = 16 << 20;

/// What has arrived.
pub(super) struct PushSaves<'a> {
    sync: SyncRun<'a>,
    branch: SavesBranch<'a>,
    /// The session of the branch; before anything was saved, of the branch on which it will be made.
    session: Option<WriteSession>,
    has_saved: bool,
    /// What earlier runs have saved.
    earlier: ObjectSet,
    /// What was sent and not saved.
    sent: Vec<Sized>,
    total: u64,
    is_overtaken: bool,
}

/// The row of a chunk in a set of objects.
pub(super) fn chunk_row((id, _): &Sized) -> CondemnedRow {
    row_of(ObjectKind::of_chunk(id.form()), id.digest())
}

impl<'a> PushSaves<'a> {
    pub(super) async fn begin(sync: SyncRun<'a>) -> Result<Self> {
        let from = sync.from.storage().to_string();
        let names: Vec<String> = sync.options.refs.iter().map(|names| names.target.to_string()).collect();
        let parts: Vec<&[u8]> = std::iter::once(&from).chain(&names).map(String::as_bytes).collect();
        let branch = SavesBranch::new(sync.to, SAVES, "another run", &parts)?;
        let session = branch.earlier().await?;
        let mut saves = Self {
            has_saved: session.is_some(),
            earlier: ObjectSet::new(IN_MEMORY, &sync.to.scratch()),
            sync,
            branch,
            session,
            sent: Vec::new(),
            total: 0,
            is_overtaken: false,
        };
        if saves.session.is_none()
            && let Some(branch) = saves.any_branch().await?
        {
            // Before anything is sent: a session knows only of what is sent after it was opened that no earlier collection removes it.
            saves.session = Some(saves.sync.to.write(branch.as_str()).await?);
        } else if let Some(session) = &saves.session {
            let mut keys = std::pin::pin!(session.base().list(&Prefix::new(FOLDER)?));
            while let Some((_, entry)) = keys.try_next().await? {
                if let Entry::Chunk { id, size } = entry {
                    saves.earlier.add(chunk_row(&(id, size)))?;
                }
            }
        }
        Ok(saves)
    }

    /// The last garbage collection of which a run knows that relies on what was saved.
    pub(super) fn known(&self) -> u64 {
        self.session.as_ref().map_or(u64::MAX, |session| session.known.get())
    }

    /// Takes the chunks that earlier runs sent out of `chunks`, and returns them.
    pub(super) fn take_known(&self, chunks: &mut Vec<Sized>) -> Result<Vec<Sized>> {
        if !self.has_saved {
            return Ok(Vec::new());
        }
        let mut by_shard = std::mem::take(chunks);
        by_shard.sort_by_key(|chunk| shard_of(chunk.0.digest().as_bytes()));
        let mut known = Vec::new();
        for of_shard in by_shard.chunk_by(|a, b| shard_of(a.0.digest().as_bytes()) == shard_of(b.0.digest().as_bytes())) {
            let Some(first) = of_shard.first() else { continue };
            let rows = self.earlier.read(shard_of(first.0.digest().as_bytes()))?;
            let (old, new): (Vec<_>, Vec<_>) = of_shard.iter().copied().partition(|chunk| rows.binary_search(&chunk_row(chunk)).is_ok());
            known.extend(old);
            chunks.extend(new);
        }
        Ok(known)
    }

    /// Notes chunks that have been sent, if there is a branch to note them on.
    pub(super) fn note(&mut self, chunks: &[Sized]) {
        if self.session.is_some() {
            self.sent.extend_from_slice(chunks);
        }
    }

    /// Whether a save failed because a garbage collection removes what had arrived: then everything has to be looked at again.
    pub(super) const fn is_overtaken(&self) -> bool {
        self.is_overtaken
    }

    /// Commits what was noted to the branch, which is made if need be.
    pub(super) async fn save(&mut self) -> Result<()> {
        // Without a branch there was none on which one could be made.
        let Some(session) = self.session.take() else { return Ok(()) };
        for (id, size) in self.sent.drain(..) {
            session.set_stored(&Key::new(format!("{FOLDER}{id}"))?, Entry::Chunk { id, size }).await?;
            self.total += 1;
        }
        let options = CommitOptions::from(format!("copy versions: {} chunks so far", self.total));
        let known = session.known.get();
        match self.branch.save(session, self.has_saved, options).await {
            Ok(next) => self.session = Some(next),
            Err(e) => {
                let state = self.sync.to.refs().collection().await?.state;
                let has_collected = !matches!(state.lists_since(known), ListsSince::These(lists) if lists.is_empty());
                self.is_overtaken = has_collected && e.kind() == ErrorKind::Conflict;
                return Err(e);
            }
        }
        self.has_saved = true;
        Ok(())
    }

    /// A branch of the target.
    async fn any_branch(&self) -> Result<Option<RefName>> {
        let refs = self.sync.to.refs();
        let (mut names, main) = (refs.names(RefKind::Branch).await?, RefName::new(MAIN)?);
        names.insert(0, main);
        for name in names {
            if refs.try_read(&Ref::branch(name.clone())).await?.is_some_and(|state| state.record.tip.is_some()) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// The branch, if it was made.
    pub(super) fn finish(self) -> Option<ImportSaves> {
        let session = self.session.filter(|_| self.has_saved)?;
        Some(ImportSaves { branch: self.branch.name().clone(), tip: session.base().id() })
    }
}
