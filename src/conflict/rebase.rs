//! Moving a session onto the tip that its branch has now.

use std::sync::Mutex;

use super::detect::{Added, FileOnTip};
use super::nodes::{OurDocuments, SideWords, Sides};
use super::settle::Wholes;
use super::{ConflictKind, Conflicts, OnConflict, Policies};
use crate::error::{Error, Result};
use crate::format::{Container, Entry, FileKey};
use crate::refs::RefState;
use crate::session::{Lookup, Staged, WriteSession};
use crate::snapshot::Snapshot;
use crate::virtuals::Validator;
use crate::zarr;

/// The result of an attempt to move a session onto a new tip.
#[derive(Debug)]
pub(crate) enum Rebased {
    /// The session is based on the new tip. Policies settled these conflicts; the files among them are those into which the other side
    /// dropped the last reference, so that the pin that was staged by itself records nothing.
    Moved(Conflicts),
    /// The session is unchanged, because of these conflicts.
    Refused(Conflicts),
}

/// Makes `now` the base of `session` if there are no conflicts, or if `policies` settle all of them. Otherwise, and after an error, the
/// session is unchanged.
pub(crate) async fn rebase(session: &mut WriteSession, now: RefState, policies: &Policies) -> Result<Rebased> {
    let tip = now.record.tip.ok_or_else(|| Error::not_found(format!("{} was deleted while this commit was made", session.branch)))?;
    let repository = session.base.repository().clone();
    let commit = repository.objects().commit(&tip).await?;
    let tip = Snapshot::new(repository, tip, commit);

    let words = SideWords::of(session.applied.is_some());
    let (staged, base) = (&*session.staged.get_mut(), &session.base);
    let sides = Sides { staged, base, tip: &tip, words };
    let compared = match in_manifest(sides, policies).await {
        // The base of a session that was opened long ago may have expired.
        Err(error) => return Err(base.explained(error).await),
        compared => compared?,
    };
    let Compared { mut refused, mut found, wholes, mut added } = compared;
    if !refused.is_empty() {
        refused.extend(in_references(staged, base, &added, &tip).await?.found);
        return Ok(Rebased::Refused(refused));
    }
    let mut settled = if found.is_empty() { None } else { Some(wholes.settled(policies, staged, base, &tip, &mut added).await?) };
    let references = in_references(settled.as_mut().map_or(staged, |settled| settled.get_mut()), base, &added, &tip).await?;
    if !references.found.is_empty() {
        return Ok(Rebased::Refused(references.found));
    }
    if let Some(settled) = settled {
        session.staged = settled;
    }
    for container in references.back {
        session.staged.get_mut().set_container(container, &tip.record().containers);
    }
    for (file, validator) in references.joined {
        session.staged.get_mut().set_validator(&file, validator);
    }
    found.extend(references.dropped);
    session.base = tip;
    session.known.rebased();
    session.state = now;
    session.naming = Mutex::default();
    Ok(Rebased::Moved(found))
}

/// What a comparison of two manifests finds.
#[derive(Debug, Default)]
struct Compared {
    /// Keys and nodes in conflict that no policy settles.
    refused: Conflicts,
    /// Those that a policy settles.
    found: Conflicts,
    /// The prefixes and moves that must be settled as a whole.
    wholes: Wholes,
    /// The references that the other side added.
    added: Added,
}

async fn in_manifest(sides: Sides<'_>, policies: &Policies) -> Result<Compared> {
    let Sides { staged, base, tip, .. } = sides;
    let (mut compared, mut ours) = (Compared::default(), OurDocuments::default());
    let (base_containers, tip_containers) = (&base.record().containers, &tip.record().containers);
    let (base_manifest, tip_manifest) = (base.manifest(), tip.manifest());
    let mut theirs = base_manifest.diff(&tip_manifest).await?;
    let mut edits = staged.layers().edits(None)?;
    while let Some(change) = theirs.next().await? {
        let policy = policies.of(change.key.as_str());
        let ours_now = edits.look(&change.key)?;
        let is_conflict = if policy == OnConflict::Refuse { &mut compared.refused } else { &mut compared.found }.key(&ours_now, &change);
        let stays = ours_now == Lookup::Untouched || (is_conflict && policy == OnConflict::Theirs);
        if let Some(file) = change.new.as_ref().and_then(Entry::file).filter(|_| stays) {
            compared.added.see(staged, base_containers, tip_containers, file);
        }
        if stays {
            compared.added.see_renamed(staged, &change);
        }
        if is_conflict && policy != OnConflict::Refuse {
            compared.wholes.add_key(sides, policies, &ours_now, &change, &mut compared.refused).await?;
        }
        let mut nodes = ours.above(sides, &ours_now, &change).await?;
        if zarr::is_node_document(change.key.as_str()) {
            nodes.extend(sides.under_their_document(&ours_now, &change).await?);
        }
        for node in nodes {
            let policy = policies.of(node.prefix.as_str());
            let found = if policy == OnConflict::Refuse { &mut compared.refused } else { &mut compared.found };
            found.add(node.conflict.kind, node.conflict.name, node.conflict.why);
            compared.wholes.add(node.prefix, policy);
        }
    }
    for key in compared.refused.shown_keys() {
        let why = sides.shard_of(&key).await?;
        compared.refused.add(ConflictKind::Key, key, why);
    }
    Ok(compared)
}

/// What becomes of staged containers and files.
#[derive(Debug, Default)]
struct ReferencesOnTip {
    found: Conflicts,
    /// Automatic containers that the other side dropped and in which staged references lie.
    back: Vec<Container>,
    /// What is known of files of which both sides recorded something.
    joined: Vec<(FileKey, Validator)>,
    /// Files that were pinned anew, and into which no reference is left.
    dropped: Conflicts,
}

/// The containers and external files in conflict, with `staged` as the changes of this side.
async fn in_references(staged: &Staged, base: &Snapshot, added: &Added, tip: &Snapshot) -> Result<ReferencesOnTip> {
    let ReferencesOnTip { mut found, mut joined, mut dropped, .. } = ReferencesOnTip::default();
    let (base_containers, tip_containers) = (&base.record().containers, &tip.record().containers);
    let in_use = staged.files_in_use()?;
    let back = found.containers(staged, &in_use, base_containers, tip_containers);
    for name in added.redefined.iter().chain(&added.removed) {
        found.add(ConflictKind::Container, name.clone(), None);
    }
    for file in &added.left {
        let why = "the other side added a reference into it, in the place from which all files are moved".to_owned();
        found.add(ConflictKind::File, file.to_string(), Some(why));
    }
    let files: Vec<_> = in_use.keys().map(|file| file.as_map_key().clone()).collect();
    let before = base.file_map().find_many(&files).await?;
    let after = tip.file_map().find_many(&files).await?;
    for (((file, ours), before), after) in in_use.iter().zip(&before).zip(&after) {
        match found.file(file, *ours, added, before.as_ref(), after.as_ref()) {
            FileOnTip::Staged => {}
            FileOnTip::Joined(validator) => joined.push(((*file).clone(), validator)),
            FileOnTip::Dropped => dropped.add(ConflictKind::File, file.to_string(), Some("no reference into it is left".to_owned())),
        }
    }
    let relied = staged.relied();
    let files: Vec<_> = relied.keys().map(|file| file.as_map_key().clone()).collect();
    let before = base.file_map().find_many(&files).await?;
    let after = tip.file_map().find_many(&files).await?;
    for (((file, relied), before), after) in relied.iter().zip(&before).zip(&after) {
        found.relied(file, *relied, added, before.as_ref(), after.as_ref());
    }
    Ok(ReferencesOnTip { found, back, joined, dropped })
}
