//! Imports that save what they have stored as they go, so that one that was stopped goes on where it was.
//!
//! A writer may only rely on chunks that a ref keeps, so what an import has stored so far is committed, to a branch of its own. At the
//! end its changes are staged in one session of the target branch, and readers of that branch see one commit.

use std::future::ready;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};

use super::cache::CacheRows;
use super::import::{Effect, Import, Leftovers, TreeOptions, TreeSummary};
use super::source::{ImportSource, Incoming};
use crate::commit::{ImportSaves, ImportSteps, SavesBranch};
use crate::error::Result;
use crate::handle::Repository;
use crate::session::WriteSession;
use crate::snapshot::Snapshot;

/// How the branches begin on which imports save what they have stored.
const SAVES: &str = "importing-";
/// How many keys are compared with the target branch at a time.
const COMPARED: usize = 4096;

/// An import whose values are stored and staged.
#[derive(Debug)]
pub struct SteppedImport {
    /// The session of the target branch, to be committed. It was opened before the first value was read.
    pub session: WriteSession,
    /// What was found.
    pub summary: TreeSummary,
    /// Where the import saved what it stored, if it did: to be [deleted](Repository::delete_saves) after the commit.
    pub saves: Option<ImportSaves>,
}

impl Repository {
    /// Imports like [`WriteSession::import`] into a session of `branch`, which the caller commits, and saves what is stored on a
    /// branch of its own after each of `steps`.
    ///
    /// If an import was stopped, the same call goes on where it was: what that one had saved, and [`TreeOptions::cache`] remembers,
    /// is not read again. Without a cache everything is read again. Only keys that this call finds are staged. An import that is smaller
    /// than a step saves nothing. A dry run saves nothing either, and stages nothing.
    ///
    /// `NotFound` if there is no such branch; `Conflict` if another import saves to the same branch meanwhile, which one of the same place
    /// to the same branch and prefix does. After any error, or if the future is dropped, `branch` is as it was.
    pub async fn import_in_steps(
        &self,
        branch: &str,
        source: &ImportSource,
        options: &TreeOptions,
        steps: ImportSteps,
    ) -> Result<SteppedImport> {
        if options.effect == Effect::Count {
            let session = self.dry_run(branch).await?;
            let summary = session.import(source, options).await?;
            return Ok(SteppedImport { session, summary, saves: None });
        }
        let parts = [&source.identity().unwrap_or_default(), branch.as_bytes(), options.prefix.as_str().as_bytes()];
        let saves = SavesBranch::new(self, SAVES, "another import", &parts)?;
        let run = SteppedRun { repository: self, branch, source, options, steps, saves };
        Box::pin(run.import()).await
    }
}

/// An import under way.
struct SteppedRun<'a> {
    repository: &'a Repository,
    /// Where its changes are staged in the end.
    branch: &'a str,
    source: &'a ImportSource,
    options: &'a TreeOptions,
    steps: ImportSteps,
    /// Where it saves what it stored.
    saves: SavesBranch<'a>,
}

impl SteppedRun<'_> {
    async fn import(&self) -> Result<SteppedImport> {
        let known = self.options.known(self.source).await?;
        let target = self.repository.write(self.branch).await?;
        let (found, end) = self.source.find(self.options.prefix.clone());
        let (mut found, mut import) = (found.peekable(), Import::noting_keys());
        let (mut session, mut has_saved) = match self.saves.earlier().await? {
            Some(earlier) => (earlier, true),
            None => (self.repository.write(self.branch).await?, false),
        };
        loop {
            self.import_step(&session, &mut found, &known, &mut import).await?;
            let is_over = Pin::new(&mut found).peek().await.is_none();
            if !session.is_unchanged() && (has_saved || !is_over) {
                session = self.save(session, has_saved, &known, &import).await?;
                has_saved = true;
            }
            if is_over {
                break;
            }
        }
        import.counts.empty_directories += end.await?;
        let saves = has_saved.then(|| ImportSaves { branch: self.saves.name().clone(), tip: session.base().id() });
        if has_saved {
            target.known.lower(session.known.get());
            Box::pin(self.stage_saved(&target, session.base(), &mut import)).await?;
            session = target;
        }
        if self.options.leftovers == Leftovers::Delete {
            import.counts.deleted = session.delete_others(&import.seen, self.options).await?;
        }
        if let Some(cache) = &self.options.cache {
            cache.learn(self.source.clone(), import.learned).await?;
        }
        Ok(SteppedImport { session, summary: import.counts, saves })
    }

    /// Imports what comes next, up to the length of a step.
    async fn import_step(
        &self,
        session: &WriteSession,
        found: &mut (impl Stream<Item = Result<Incoming>> + Send + Unpin),
        known: &Arc<CacheRows>,
        import: &mut Import,
    ) -> Result<()> {
        let ImportSteps { bytes: mut bytes_left, keys: mut keys_left } = self.steps;
        let step = stream::poll_fn(move |context| {
            if bytes_left == 0 || keys_left == 0 {
                return Poll::Ready(None);
            }
            let next = found.poll_next_unpin(context);
            if let Poll::Ready(Some(Ok(next))) = &next {
                bytes_left = bytes_left.saturating_sub(next.size().max(1));
                keys_left -= 1;
            }
            next
        });
        session.import_found(step, known, self.options, import).await
    }

    /// Commits what is staged to the branch for it, which is made if need be, and opens a session for what follows.
    async fn save(&self, session: WriteSession, has_saved: bool, known: &CacheRows, import: &Import) -> Result<WriteSession> {
        let message = format!("import {}: {} files so far", self.source, import.counts.files);
        let next = self.saves.save(session, has_saved, message.into()).await?;
        if let Some(cache) = &self.options.cache {
            // What this import has not come to yet stays known.
            let mut rows = known.clone();
            rows.extend(import.learned.iter().map(|(name, row)| (name.clone(), row.clone())));
            cache.learn(self.source.clone(), rows).await?;
            cache.keep().await?;
        }
        Ok(next)
    }

    /// Stages in `target` the values of all keys that this import found, and counts them. All of them are in `saved`: they were saved
    /// now, or are known to be what was saved before.
    async fn stage_saved(&self, target: &WriteSession, saved: &Snapshot, import: &mut Import) -> Result<()> {
        (import.counts.added, import.counts.changed) = (0, 0);
        let (seen, counts) = (&import.seen, &mut import.counts);
        let found = saved.list(&self.options.prefix).try_filter(|(key, _)| ready(seen.contains(key)));
        let mut batches = pin!(found.try_chunks(COMPARED));
        while let Some(batch) = batches.try_next().await.map_err(|e| e.1)? {
            let keys: Vec<_> = batch.iter().map(|(key, _)| key.clone()).collect();
            let before = target.entries(&keys).await?;
            for ((key, entry), before) in batch.into_iter().zip(before) {
                counts.added += u64::from(before.is_none());
                counts.changed += u64::from(before.as_ref().is_some_and(|before| *before != entry));
                if before.as_ref() != Some(&entry) {
                    // The branch of the saves, which was read from its ref, keeps the chunk.
                    target.set_stored(&key, entry).await?;
                }
            }
        }
        Ok(())
    }
}
