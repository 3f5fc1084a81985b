//! Moving a session onto the tip that its branch has now.

use super::nodes::{OurDocuments, Sides};
use super::settle::Wholes;
use super::{ConflictKind, Conflicts, OnConflict};
use crate::error::{Error, Result};
use crate::refs::{RefState, require_known_epoch};
use crate::session::{Snapshot, Staged, WriteSession};
use crate::zarr;

/// What became of an attempt to move a session.
#[derive(Debug)]
pub(crate) enum Rebased {
    /// It stands on the new tip; these conflicts were settled by the policy.
    Moved(Conflicts),
    /// It is as it was, because of these.
    Refused(Conflicts),
}

/// Makes `now` the base of `session` if both sides changed different things, or if `policy` settles what they changed
/// in common; else, and after an error, leaves the session as it was.
pub(crate) async fn rebase(session: &mut WriteSession, now: RefState, policy: OnConflict) -> Result<Rebased> {
    require_known_epoch(&session.branch, &now.record)?;
    let tip = now.record.tip.ok_or_else(|| Error::not_found(format!("{} was deleted while this commit was made", session.branch)))?;
    let repository = session.base.repository().clone();
    let commit = repository.objects().commit(&tip).await?;
    let tip = Snapshot::new(repository, tip, commit);

    let (mut found, wholes) = in_manifest(session, &tip, policy).await?;
    let mut settled = None;
    if !found.is_empty() {
        if policy == OnConflict::Refuse {
            found.extend(in_references(session, &session.staged, &tip).await?);
            return Ok(Rebased::Refused(found));
        }
        settled = Some(wholes.settled(policy, &session.staged, &session.base, &tip).await?);
    }
    let references = in_references(session, settled.as_ref().unwrap_or(&session.staged), &tip).await?;
    if !references.is_empty() {
        return Ok(Rebased::Refused(references));
    }
    if let Some(settled) = settled {
        session.staged = settled;
    }
    session.base = tip;
    session.state = now;
    session.naming = None;
    Ok(Rebased::Moved(found))
}

/// Keys and nodes that both sides changed, and where a policy must decide about more than a key.
async fn in_manifest(session: &WriteSession, tip: &Snapshot, policy: OnConflict) -> Result<(Conflicts, Wholes)> {
    let sides = Sides { staged: &session.staged, base: &session.base, tip };
    let (mut found, mut wholes, mut ours) = (Conflicts::default(), Wholes::default(), OurDocuments::default());
    let (base_manifest, tip_manifest) = (session.base.manifest(), tip.manifest());
    let mut theirs = base_manifest.diff(&tip_manifest).await?;
    let mut edits = session.staged.edits(None)?;
    while let Some(change) = theirs.next().await? {
        let is_conflict = found.key(&edits.look(&change.key)?, &change);
        if is_conflict && policy != OnConflict::Refuse {
            wholes.add_key(sides, &change).await?;
        }
        let mut nodes = ours.above(sides, &change).await?;
        if zarr::is_node_document(change.key.as_str()) {
            nodes.extend(sides.under_their_document(&change).await?);
        }
        for node in nodes {
            wholes.add(node.prefix);
            found.add(node.conflict.kind, node.conflict.name, node.conflict.why);
        }
    }
    if policy == OnConflict::Refuse {
        for key in found.shown_keys() {
            let why = sides.shard_of(&key).await?;
            found.add(ConflictKind::Key, key, why);
        }
    }
    Ok((found, wholes))
}

/// Containers and external files about which the sides disagree, if `staged` is what is staged.
async fn in_references(session: &WriteSession, staged: &Staged, tip: &Snapshot) -> Result<Conflicts> {
    let mut found = Conflicts::default();
    let (base_containers, tip_containers) = (&session.base.commit().containers, &tip.commit().containers);
    let in_use = staged.files_in_use()?;
    found.containers(staged, &in_use, base_containers, tip_containers);
    if !staged.containers().is_empty() {
        let (base_files, tip_files) = (session.base.file_map(), tip.file_map());
        let mut theirs = base_files.diff(&tip_files).await?;
        while let Some(change) = theirs.next().await? {
            found.redefined(staged, base_containers, &change);
        }
    }
    let files: Vec<_> = in_use.keys().map(|file| file.as_map_key().clone()).collect();
    let before = session.base.file_map().find_many(&files).await?;
    let after = tip.file_map().find_many(&files).await?;
    for (((file, ours), before), after) in in_use.iter().zip(&before).zip(&after) {
        found.file(&file.to_string(), &ours.validator, before.as_ref(), after.as_ref());
    }
    Ok(found)
}
