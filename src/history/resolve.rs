//! From a revision to a snapshot.

use std::sync::Arc;

use futures::TryStreamExt;

use super::as_of::{AsOf, as_of};
use super::revision::{Base, Revision, RevisionStep};
use crate::error::{Error, Result};
use crate::format::Commit;
use crate::handle::Repository;
use crate::id::{SnapshotId, parse_cid};
use crate::refs::{Ref, RefKind, RefName, RefRecord, absent, is_like_an_id, is_lost_main, unreadable, unreadable_tip};
use crate::snapshot::Snapshot;
use crate::storage::layout;
use crate::time::{Timestamp, parse_time};

/// How many characters of a CID are the same for all snapshots of one hash: `bafyrei`.
const COMMON: usize = 7;
/// How many characters beyond those name a snapshot by the beginning of its CID.
const DISTINCT: usize = 6;

/// What a revision turned out to mean.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Resolved {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its commit.
    pub commit: Arc<Commit>,
    /// Whether the answer is final: resolving the revision again for the same moment always gives this snapshot. `None` when it names
    /// no time.
    pub is_final: Option<bool>,
}

/// Where the steps of a revision have led so far.
#[expect(clippy::large_enum_variant, reason = "one for each revision that is resolved, and none is kept")]
enum ResolvedPlace {
    Ref(Ref, RefRecord),
    Snapshot(SnapshotId),
}

impl ResolvedPlace {
    fn tip(&self) -> Result<SnapshotId> {
        match self {
            Self::Ref(name, record) => record.tip.ok_or_else(|| absent(name, Some(record))),
            Self::Snapshot(id) => Ok(*id),
        }
    }
}

impl Repository {
    /// Opens the snapshot that `revision` means, for reading: `repo.read("main@2025-03-01")`.
    pub async fn read(&self, revision: &str) -> Result<Snapshot> {
        self.read_revision(&revision.parse()?).await
    }

    /// Opens the snapshot that a parsed revision means.
    ///
    /// `Expired`, saying when, by whom, why, and which later version is kept, when its data was given up.
    pub async fn read_revision(&self, revision: &Revision) -> Result<Snapshot> {
        // In parallel, so that to look costs a request but no round trip.
        let resolving = async {
            let (place, is_final) = self.follow(revision).await?;
            Ok((self.load_place(&place, is_final).await?, matches!(place, ResolvedPlace::Ref(..))))
        };
        let ((resolved, is_shown), retention) = futures::try_join!(resolving, self.retention_to_read())?;
        // What a branch or a tag shows is kept, whatever is on record.
        if !is_shown {
            self.require_unexpired(resolved.id, &resolved.commit, &retention).await?;
        }
        Ok(self.noted(resolved.id, resolved.commit, &retention))
    }

    /// Opens the snapshot that a parsed revision means for what its record and its history tell: [`record`](Snapshot::record),
    /// [`log`](Snapshot::log), common ancestors. Also if its data has expired; to read that then is `Expired`, or gives what is still there.
    pub async fn read_record(&self, revision: &Revision) -> Result<Snapshot> {
        let (resolved, retention) = futures::try_join!(self.resolve(revision), self.retention_to_read())?;
        Ok(self.noted(resolved.id, resolved.commit, &retention))
    }

    /// Finds the snapshot that `revision` means.
    ///
    /// `NotFound` when there is none, `Invalid` when a name is both a branch and a tag, or the beginning of a CID
    /// fits more than one snapshot.
    pub async fn resolve(&self, revision: &Revision) -> Result<Resolved> {
        let (place, is_final) = self.follow(revision).await?;
        self.load_place(&place, is_final).await
    }

    /// Where a revision leads, and whether that is final.
    async fn follow(&self, revision: &Revision) -> Result<(ResolvedPlace, Option<bool>)> {
        let mut place = self.locate(&revision.base).await?;
        // A CID always names the same snapshot. A ref does not, nor does a step back from a ref.
        let mut stands = matches!(place, ResolvedPlace::Snapshot(_));
        let mut is_final = None;
        for step in &revision.steps {
            let id = match step {
                RevisionStep::Back(n) => self.load_place(&place, None).await?.line(self.objects()).back(*n).await?,
                RevisionStep::At(time) => {
                    let now = self.clock().now();
                    let answer = self.at(&place, parse_time(time, now)?, now).await?;
                    stands = answer.is_final && (stands || matches!(place, ResolvedPlace::Ref(..)));
                    is_final = Some(stands);
                    answer.id
                }
            };
            place = ResolvedPlace::Snapshot(id);
        }
        Ok((place, is_final))
    }

    async fn load_place(&self, place: &ResolvedPlace, is_final: Option<bool>) -> Result<Resolved> {
        let loaded = self.load(place.tip()?, is_final).await;
        match place {
            ResolvedPlace::Ref(name, _) => loaded.map_err(|e| unreadable_tip(name, e)),
            ResolvedPlace::Snapshot(_) => loaded,
        }
    }

    async fn load(&self, id: SnapshotId, is_final: Option<bool>) -> Result<Resolved> {
        let commit = self.objects().commit(&id).await?;
        Ok(Resolved { id, commit, is_final })
    }

    /// The snapshot that `branch` showed at `time`; [`AsOf::is_final`] says whether the answer can still change.
    pub async fn as_of(&self, branch: &RefName, time: Timestamp) -> Result<AsOf> {
        let name = Ref::branch(branch.clone());
        let place = self.locate_ref(&name).await?;
        self.at(&place, time, self.clock().now()).await
    }

    async fn at(&self, place: &ResolvedPlace, time: Timestamp, now: Timestamp) -> Result<AsOf> {
        let (id, is_final) = match place {
            ResolvedPlace::Ref(name, record) if name.kind == RefKind::Branch => {
                return as_of(self.refs(), self.objects(), name, record, time, now).await;
            }
            // For a tag, the line of its snapshot is searched. The tag may be deleted and made again elsewhere, so its answers are not
            // final; those of a CID are.
            ResolvedPlace::Ref(name, record) => (record.tip.ok_or_else(|| absent(name, Some(record)))?, false),
            ResolvedPlace::Snapshot(id) => (*id, true),
        };
        let end = self.load(id, None).await?;
        match end.line(self.objects()).floor(time).await? {
            Some((_, id)) => Ok(AsOf { id, is_final }),
            None => Err(Error::not_found(format!("the line of snapshot {id} began after {time}"))),
        }
    }

    async fn locate(&self, base: &Base) -> Result<ResolvedPlace> {
        match base {
            Base::Snapshot(id) => Ok(ResolvedPlace::Snapshot(*id)),
            Base::Branch(name) => self.locate_ref(&Ref::branch(name.clone())).await,
            Base::Tag(name) => self.locate_ref(&Ref::tag(name.clone())).await,
            Base::Name(text) => self.locate_name(text).await,
        }
    }

    /// Finds a ref that exists or existed: what it showed earlier can be asked even after it was deleted.
    async fn locate_ref(&self, name: &Ref) -> Result<ResolvedPlace> {
        match self.refs().try_read(name).await.map_err(|e| unreadable(name, e))? {
            Some(state) if state.record.tip.is_some() || !state.record.moves.is_empty() => {
                Ok(ResolvedPlace::Ref(name.clone(), state.record))
            }
            state => Err(absent(name, state.as_ref().map(|state| &state.record))),
        }
    }

    async fn locate_name(&self, text: &str) -> Result<ResolvedPlace> {
        // Text like this is never taken for a ref, so no ref can change the meaning of an abbreviated id.
        if is_like_an_id(text) {
            return self.locate_prefix(text).await;
        }
        if let Ok(name) = RefName::new(text) {
            let (branch, tag) = (Ref::branch(name.clone()), Ref::tag(name));
            let read = async |name: &Ref| self.refs().try_read(name).await.map_err(|e| unreadable(name, e));
            let (as_branch, as_tag) = futures::try_join!(read(&branch), read(&tag))?;
            let live = |s: &Option<crate::refs::RefState>| s.as_ref().is_some_and(|s| s.record.tip.is_some());
            match (as_branch, as_tag) {
                (b, t) if live(&b) && live(&t) => {
                    return Err(Error::invalid(format!("{text} is both a branch and a tag; write branch:{text} or tag:{text}")));
                }
                (_, Some(t)) if t.record.tip.is_some() => return Ok(ResolvedPlace::Ref(tag, t.record)),
                (Some(b), _) if !b.record.moves.is_empty() => return Ok(ResolvedPlace::Ref(branch, b.record)),
                (b, _) if is_lost_main(&branch, b.as_ref().map(|b| &b.record)) => return Err(absent(&branch, None)),
                _ => {}
            }
        }
        self.locate_prefix(text).await
    }

    /// The one snapshot whose CID begins with `text`.
    async fn locate_prefix(&self, text: &str) -> Result<ResolvedPlace> {
        let typed = text;
        let text = text.to_ascii_lowercase();
        let long_enough = text.len() >= COMMON + DISTINCT && text.bytes().all(|b| b.is_ascii_alphanumeric());
        let Some(shard) = text.get(8..10).filter(|_| long_enough) else {
            return Err(Error::not_found(format!("this repository has no branch, tag or snapshot {typed:?}")));
        };
        let folder = format!("{}{shard}/", layout::SNAPSHOTS);
        let listed: Vec<_> = self.storage().list(&format!("{folder}{text}")).try_collect().await?;
        let found: Vec<_> = listed.iter().filter_map(|meta| meta.name.strip_prefix(&folder)).collect();
        match found.as_slice() {
            [] => Err(Error::not_found(format!(
                "no snapshot of this repository begins with {typed}; a branch or tag of that name is written branch:{typed} or tag:{typed}"
            ))),
            [one] => Ok(ResolvedPlace::Snapshot(SnapshotId::from_cid(&parse_cid(one)?)?)),
            [first, second, ..] => {
                Err(Error::invalid(format!("{typed} is the beginning of several snapshots, such as {first} and {second}")))
            }
        }
    }
}
