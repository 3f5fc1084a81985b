//! Branches on which long operations save what they have stored, so that one that was stopped goes on where it was.
//!
//! A writer may only rely on chunks that a ref keeps, so what such an operation has stored so far is committed, to a branch of its own.
//! At the end its changes are staged in one session of the target branch, and readers of that branch see one commit.

use super::CommitOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::handle::Repository;
use crate::id::SnapshotId;
use crate::refs::{MoveOp, RefName};
use crate::session::WriteSession;

/// How many hexadecimal digits tell the branches of one kind apart.
const HASH: usize = 16;

/// How often an import, or the copying of virtual values, saves what it has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportSteps {
    /// After how many bytes. Default: 16 GiB. An operation that is stopped reads at most about so much again.
    pub bytes: u64,
    /// After how many keys. Default: 1,000,000.
    pub keys: u64,
}

impl Default for ImportSteps {
    fn default() -> Self {
        Self { bytes: 16 << 30, keys: 1_000_000 }
    }
}

impl ImportSteps {
    /// Saves after so many bytes, at least one.
    #[must_use]
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes.max(1);
        self
    }

    /// Saves after so many keys, at least one.
    #[must_use]
    pub fn keys(mut self, keys: u64) -> Self {
        self.keys = keys.max(1);
        self
    }
}

/// What an import, or the copying of virtual values, saved on a branch of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportSaves {
    /// The branch.
    pub branch: RefName,
    /// What this operation saved last there.
    pub tip: SnapshotId,
}

impl Repository {
    /// Deletes the branch on which an operation saved what it stored, unless another one has saved there since. Does nothing if it is
    /// deleted already. Cancelled as [`delete_branch`](Self::delete_branch) is.
    pub async fn delete_saves(&self, saves: &ImportSaves) -> Result<()> {
        match self.delete_branch_at(&saves.branch, saves.tip).await {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

/// The branch on which one operation saves what it has stored.
#[derive(Debug)]
pub(crate) struct SavesBranch<'r> {
    repository: &'r Repository,
    name: RefName,
    /// The operation in a word, with its article: `another import`.
    another: &'static str,
}

impl<'r> SavesBranch<'r> {
    /// The branch for an operation that is told from others by `parts`: the same each time it is started.
    pub(crate) fn new(repository: &'r Repository, prefix: &str, another: &'static str, parts: &[&[u8]]) -> Result<Self> {
        let mut hash = blake3::Hasher::new();
        for part in parts {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let hex = hash.finalize().to_hex();
        let name = RefName::new(&format!("{prefix}{}", hex.get(..HASH).unwrap_or_default()))?;
        Ok(Self { repository, name, another })
    }

    /// Whether a branch has the name of one on which an operation saves.
    pub(crate) fn is_one(name: &RefName) -> bool {
        let Some((kind, hash)) = name.as_str().rsplit_once('-') else { return false };
        let is_hash = hash.len() == HASH && hash.bytes().all(|letter| letter.is_ascii_digit() || (b'a'..=b'f').contains(&letter));
        is_hash && ["importing", "vendoring", "pushing"].contains(&kind)
    }

    /// The name of the branch.
    pub(crate) const fn name(&self) -> &RefName {
        &self.name
    }

    /// The session in which an operation that was stopped goes on.
    pub(crate) async fn earlier(&self) -> Result<Option<WriteSession>> {
        match self.repository.write(self.name.as_str()).await {
            Ok(session) => Ok(Some(session)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Whether the branch still shows the snapshot on which it was made: the operation was stopped before it had saved anything.
    pub(crate) fn is_just_made(session: &WriteSession) -> bool {
        let last = session.state.record.moves.last();
        last.is_some_and(|last| last.op == MoveOp::Create && last.to == Some(session.base().id()))
    }

    /// Commits what is staged to the branch, which is made if nothing was saved yet, and opens a session for what follows.
    pub(crate) async fn save(&self, session: WriteSession, has_saved: bool, options: CommitOptions) -> Result<WriteSession> {
        let session = if has_saved { session } else { self.onto_saves(session).await? };
        let base = session.base().id();
        let saved = session.commit(options).await.map_err(|failed| failed.into_error().context(format!("branch {}", self.name)))?;
        let next = self.repository.write(self.name.as_str()).await?;
        if saved.record().parents.first() != Some(&base) || next.base().id() != saved.id() {
            return Err(self.shared());
        }
        Ok(next)
    }

    /// Makes the branch, and turns a session of the target branch into one of it.
    async fn onto_saves(&self, session: WriteSession) -> Result<WriteSession> {
        self.repository.create_branch(&self.name, session.base()).await?;
        let WriteSession { branch, base, state, known, .. } = self.repository.write(self.name.as_str()).await?;
        session.known.lower(known.get());
        if base.id() == session.base().id() { Ok(WriteSession { branch, state, ..session }) } else { Err(self.shared()) }
    }

    fn shared(&self) -> Error {
        Error::conflict(format!("{} saves to branch {} at the same time", self.another, self.name))
    }
}
