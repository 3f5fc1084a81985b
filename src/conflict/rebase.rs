//! Moving a session onto the tip that its branch has now.

use super::Conflicts;
use crate::error::{Error, Result};
use crate::refs::{RefState, require_known_epoch};
use crate::session::{Snapshot, WriteSession};

/// Makes `now` the base of `session` if both sides changed different things; else leaves the session as it was and
/// says what they changed in common.
pub(crate) async fn rebase(session: &mut WriteSession, now: RefState) -> Result<Conflicts> {
    require_known_epoch(&session.branch, &now.record)?;
    let tip = now.record.tip.ok_or_else(|| Error::not_found(format!("{} was deleted while this commit was made", session.branch)))?;
    let repository = session.base.repository().clone();
    let objects = repository.objects();
    let commit = objects.commit(&tip).await?;
    let tip = Snapshot::new(repository.clone(), tip, commit);

    let mut found = Conflicts::default();
    let (base_manifest, tip_manifest) = (session.base.manifest(), tip.manifest());
    let mut theirs = base_manifest.diff(&tip_manifest).await?;
    let mut ours = session.staged.edits(None)?;
    while let Some(change) = theirs.next().await? {
        found.key(&ours.look(&change.key)?, &change);
    }
    drop((theirs, ours));
    let staged = session.staged.files_in_use()?;
    found.containers(&session.staged, &staged, &session.base.commit().containers, &tip.commit().containers);
    if !session.staged.containers().is_empty() {
        let (base_files, tip_files) = (session.base.file_map(), tip.file_map());
        let mut theirs = base_files.diff(&tip_files).await?;
        while let Some(change) = theirs.next().await? {
            found.redefined(&session.staged, &session.base.commit().containers, &change);
        }
    }
    let files: Vec<_> = staged.keys().map(|file| file.as_map_key().clone()).collect();
    let before = session.base.file_map().find_many(&files).await?;
    let after = tip.file_map().find_many(&files).await?;
    for (((file, ours), before), after) in staged.iter().zip(&before).zip(&after) {
        found.file(&file.to_string(), &ours.validator, before.as_ref(), after.as_ref());
    }
    if found.is_empty() {
        session.base = tip;
        session.state = now;
        session.naming = None;
    }
    Ok(found)
}
