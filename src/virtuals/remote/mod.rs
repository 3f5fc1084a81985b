//! Places on web servers and in object stores: one request a read, with its condition, and an answer that is checked.
//!
//! The condition is the recorded strong `ETag`, else the recorded date, else the moment of pinning; but servers ignore conditions, so
//! what counts is that `ETag`, date and length of the *same* answer are the recorded ones. A redirect is followed only to a place that
//! the reader allows too, with the credentials that the reader grants to that place; redirects of object stores are not followed. If
//! the recorded version of an object still exists, it is read. A locked digest is verified by one read of the whole file, and the
//! verdict is kept for as long as the process lives and the server tells the same of the file.

mod ask;
mod hosts;
mod parts;
mod trouble;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use quick_cache::sync::Cache;

use super::access::Access;
use super::digest::{self, Digester, REMEMBERED};
use super::source::{ExternalPlace, ExternalSource};
use super::validator::{ExpectedFile, Stat};
use crate::error::{Error, Result};
use crate::id::{Digest, HashAlgorithm};
use crate::storage::CloudOptions;
use crate::storage::outside::{Buckets, Condition, FileFacts, Unanswered, Web, What};
use ask::AskDeadline;
use hosts::Hosts;
use parts::{RemotePart, cut};

/// A request is given up in favour of another after a third of the patience, but not before this.
const SILENCE: Duration = Duration::from_secs(10);

/// The key of a digest: the URL of the file, the options with its server, the facts that the server told, and the hash.
type WholeRead = (String, BTreeMap<String, String>, FileFacts, HashAlgorithm);

/// Reads files of web servers and object stores.
#[derive(Debug, Clone)]
pub(crate) struct RemoteSource {
    web: Arc<Web>,
    buckets: Arc<Buckets>,
    hosts: Arc<Hosts>,
    patience: Duration,
    /// The longest range of one request.
    longest: u64,
    digests: Arc<Cache<WholeRead, Digest>>,
}

impl From<FileFacts> for Stat {
    fn from(facts: FileFacts) -> Self {
        let FileFacts { size, modified, etag, version } = facts;
        Self { size, modified, etag, version, digest: None, untouched_since: None }
    }
}

impl RemoteSource {
    /// Asks as `access` says; `repository` is how the repository itself is reached.
    pub(crate) fn new(access: &Access, repository: CloudOptions) -> Self {
        let (patience, longest, per_host) = access.limits();
        // Less than the patience, so that a request can be sent again, or go on with former credentials when their source keeps silent.
        let silence = (patience / 2).min(SILENCE.max(patience / 3));
        Self {
            web: Arc::new(Web::new(silence)),
            buckets: Arc::new(Buckets::new(silence, repository)),
            hosts: Arc::new(Hosts::new(per_host)),
            patience,
            longest,
            digests: Arc::new(Cache::new(REMEMBERED)),
        }
    }

    /// The facts about the recorded version, if the server still has it and this reader may name it; otherwise those about the file as
    /// it is now.
    async fn facts(&self, place: &ExternalPlace, version: Option<&String>) -> Result<FileFacts, Unanswered> {
        if version.is_some() {
            match self.facts_of(place, version).await {
                Err(Unanswered::Absent | Unanswered::Denied(_)) => {}
                other => return other,
            }
        }
        self.facts_of(place, None).await
    }

    /// The facts that the server tells. A server that does not answer HEAD requests is asked for one byte.
    async fn facts_of(&self, place: &ExternalPlace, version: Option<&String>) -> Result<FileFacts, Unanswered> {
        let none = &Condition { version: version.cloned(), ..Condition::default() };
        match self.patiently(|deadline| async move { self.ask(place, What::Facts, none, &deadline).await }).await {
            Ok(answer) => Ok(answer.facts),
            Err(Unanswered::Unable(_) | Unanswered::Denied(_) | Unanswered::Short(_)) => {
                match self.patiently(|deadline| async move { self.ask(place, What::Part(&(0..1)), none, &deadline).await }).await {
                    Ok(answer) => Ok(answer.facts),
                    Err(Unanswered::Short(Some(0))) => Ok(FileFacts { size: Some(0), ..FileFacts::default() }),
                    Err(other) => Err(other),
                }
            }
            Err(other) => Err(other),
        }
    }

    /// The digest of the whole file of which the server tells `facts`.
    async fn digest(&self, place: &ExternalPlace, facts: &FileFacts, hash: HashAlgorithm) -> Result<Digest> {
        if facts.etag.is_none() && facts.modified.is_none() {
            return Err(Error::unsupported(place.says("cannot be verified: its server tells neither a strong etag nor a date")));
        }
        let Some(size) = facts.size else {
            return Err(Error::unsupported(place.says("cannot be verified: its server does not tell its size")));
        };
        let key = (place.url.clone(), place.options.clone(), facts.clone(), hash);
        // Readers that need the digest at the same time wait for the first of them; if that one fails, the next one reads.
        self.digests.get_or_insert_async(&key, self.hash_whole(place, facts, size, hash)).await
    }

    /// Reads the whole file of which the server tells `facts`, and hashes it.
    async fn hash_whole(&self, place: &ExternalPlace, facts: &FileFacts, size: u64, hash: HashAlgorithm) -> Result<Digest> {
        let condition = &Condition { etag: facts.etag.clone(), not_after: facts.modified, version: facts.version.clone() };
        let whole = |deadline: AskDeadline| async move {
            let mut answer = self.ask(place, What::Whole, condition, &deadline).await?;
            if !same(&answer.facts, facts) {
                return Err(Unanswered::Changed);
            }
            let reading = async {
                let (mut digester, mut length) = (Digester::new(hash), 0);
                while let Some(piece) = answer.body.try_next().await? {
                    digester.update(&piece);
                    length += piece.len() as u64;
                    if length > size {
                        return Err(Unanswered::Changed);
                    }
                }
                if length == size { Ok(digester.finish()) } else { Err(cut()) }
            };
            self.in_time(&deadline, size, reading).await
        };
        self.patiently(whole).await.map_err(|e| place.unanswered(e))
    }

    /// Looks up the facts about the file, compares them with the record as far as both tell, and verifies a locked digest.
    async fn verified(&self, place: &ExternalPlace, expected: &ExpectedFile) -> Result<FileFacts> {
        let version = expected.condition().version;
        let facts = self.facts(place, version.as_ref()).await.map_err(|e| place.unanswered(e))?;
        expected.contradicted(&facts.clone().into()).map_err(|difference| place.differs(&difference))?;
        if let Some(locked) = &expected.digest {
            let found = self.digest(place, &facts, locked.hash()).await?;
            digest::require(place, &found, locked)?;
        }
        Ok(facts)
    }
}

/// Whether two answers are about one state of a file, as far as both tell.
fn same(a: &FileFacts, b: &FileFacts) -> bool {
    fn differ<T: PartialEq>(a: Option<&T>, b: Option<&T>) -> bool {
        a.zip(b).is_some_and(|(a, b)| a != b)
    }
    !differ(a.size.as_ref(), b.size.as_ref())
        && a.modified == b.modified
        && a.etag == b.etag
        && !differ(a.version.as_ref(), b.version.as_ref())
}

#[async_trait]
impl ExternalSource for RemoteSource {
    async fn lookup(&self, place: &ExternalPlace, digest: Option<HashAlgorithm>) -> Result<Option<Stat>> {
        let facts = match self.facts(place, None).await {
            Ok(facts) => facts,
            Err(Unanswered::Absent) => return Ok(None),
            // Nothing is recorded yet that the file could be shorter than.
            Err(Unanswered::Short(_)) => {
                let why = "has no first byte: its server answers 416 when asked for it, so the file is empty or cannot be read in parts";
                return Err(Error::invalid(place.says(why)));
            }
            Err(other) => return Err(place.unanswered(other)),
        };
        let digest = match digest {
            Some(hash) => Some(self.digest(place, &facts, hash).await?),
            None => None,
        };
        Ok(Some(Stat { digest, ..facts.into() }))
    }

    async fn check(&self, place: &ExternalPlace, expected: &ExpectedFile) -> Result<()> {
        let facts = self.verified(place, expected).await?;
        expected.compare(&facts.into()).map_err(|difference| place.differs(&difference))
    }

    async fn read(&self, place: &ExternalPlace, range: Range<u64>, expected: &ExpectedFile) -> Result<Bytes> {
        if range.is_empty() {
            return self.check(place, expected).await.map(|()| Bytes::new());
        }
        let mut condition = expected.condition();
        let mut verified = None;
        if expected.digest.is_some() {
            let facts = self.verified(place, expected).await?;
            condition = Condition { etag: facts.etag.clone(), not_after: facts.modified, version: facts.version.clone() };
            verified = Some(facts);
        }
        let asked = RemotePart { place, range: &range, expected, verified: verified.as_ref() };
        let answer = match self.range(asked, &condition).await {
            // Some servers deny conditions that hold. So the file is looked up: if it is as recorded, it is read without the condition,
            // and the answer is compared with the record like any other.
            Err(Unanswered::Changed) if verified.is_none() => {
                self.verified(place, expected).await?;
                let same = Condition { version: condition.version.clone(), ..Condition::default() };
                self.range(asked, &same).await
            }
            // The version does not exist any more, or this reader may not name it: read the file as it is now, if it is as recorded.
            Err(Unanswered::Absent | Unanswered::Denied(_)) if condition.version.is_some() => {
                let now = Condition { version: None, ..condition };
                self.range(asked, &now).await
            }
            other => other,
        };
        answer.map_err(|e| match e {
            Unanswered::Short(Some(size)) => match expected.contradicted(&Stat { size: Some(size), ..Stat::default() }) {
                Err(difference) => place.differs(&difference),
                Ok(()) => place.too_short(&range, Some(size)),
            },
            Unanswered::Short(None) => place.too_short(&range, None),
            other => place.unanswered(other),
        })
    }
}
