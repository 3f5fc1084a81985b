//! Places on web servers and in object stores: one request a read, with its condition, and an answer that is checked.
//!
//! The condition is the recorded strong `ETag`, else the recorded date, else the moment of pinning; but servers ignore conditions, so
//! what counts is that `ETag`, date and length of the *same* answer are the recorded ones. A redirect is followed only to a place that
//! the reader allows too, with the credentials that the reader grants to that place; redirects of object stores are not followed. If
//! the recorded version of an object still exists, it is read. A locked digest is verified by one read of the whole file, and the
//! verdict is kept for as long as the process lives and the server tells the same of the file.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use quick_cache::sync::Cache;

use super::digest::{self, Digester, REMEMBERED};
use super::source::{ExternalPlace, ExternalSource};
use super::url::{self, UrlScheme};
use super::validator::{ExpectedFile, Stat};
use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind, Remedy, Result};
use crate::id::{Digest, HashAlgorithm};
use crate::storage::outside::{Answer, Bucket, Buckets, Condition, FileFacts, Unanswered, Web, What, time_for};

/// How many redirects are followed.
const HOPS: usize = 5;
/// How often a request without an answer is sent, and the pause before the second time; each further one is four times as long.
const ATTEMPTS: u32 = 3;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(400));
/// A part that ends at or before this offset is cut out of the whole file if the server does not support ranges.
const CUT_FROM_WHOLE: u64 = 16 << 20;

/// The key of a digest: the URL of the file, the options with its server, the facts that the server told, and the hash.
type WholeRead = (String, BTreeMap<String, String>, FileFacts, HashAlgorithm);

/// A part of a file, and what the file must be.
#[derive(Clone, Copy)]
struct RemotePart<'a> {
    place: &'a ExternalPlace,
    range: &'a Range<u64>,
    expected: &'a ExpectedFile,
    /// What the server told when the digest was verified.
    verified: Option<&'a FileFacts>,
}

/// Reads files of web servers and object stores.
#[derive(Debug, Clone)]
pub(crate) struct RemoteSource {
    web: Arc<Web>,
    buckets: Arc<Buckets>,
    patience: Duration,
    digests: Arc<Cache<WholeRead, Digest>>,
}

impl From<FileFacts> for Stat {
    fn from(facts: FileFacts) -> Self {
        let FileFacts { size, modified, etag, version } = facts;
        Self { size, modified, etag, version, digest: None, untouched_since: None }
    }
}

impl RemoteSource {
    /// Gives up on a server that keeps silent for `patience`.
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            web: Arc::new(Web::new(patience)),
            buckets: Arc::new(Buckets::new(patience)),
            patience,
            digests: Arc::new(Cache::new(REMEMBERED)),
        }
    }

    async fn ask(&self, place: &ExternalPlace, what: What<'_>, condition: &Condition) -> Result<Answer, Unanswered> {
        match self.ask_source(place, what, condition).await {
            // An answer to a condition that was not sent says nothing about the file.
            Err(Unanswered::Changed) if condition.etag.is_none() && condition.not_after.is_none() => {
                Err(Unanswered::Unable("the server answers 412 to a request without a condition".to_owned()))
            }
            other => other,
        }
    }

    async fn ask_source(&self, place: &ExternalPlace, what: What<'_>, condition: &Condition) -> Result<Answer, Unanswered> {
        let parts = url::parse(&place.url).map_err(Unanswered::Unasked)?;
        let name = match parts.scheme {
            UrlScheme::Http | UrlScheme::Https => return self.follow(place, what, condition).await,
            other => other.name().to_owned(),
        };
        let option = |name: &str| place.options.get(name).cloned();
        let account = option("account").filter(|_| parts.scheme == UrlScheme::Az);
        let (endpoint, region) = (option("endpoint"), option("region"));
        let bucket = Bucket { scheme: name, name: parts.authority.to_owned(), endpoint, region, account };
        let Some(grant) = place.access.granted(&place.url, bucket.server().as_deref()) else {
            return Err(Unanswered::Unasked(place.denied(None)));
        };
        let key = parts.path.strip_prefix('/').unwrap_or(parts.path);
        match self.buckets.ask(&bucket, key, what, condition, grant).await {
            Err(Unanswered::Forbidden(why)) => Err(Unanswered::Unasked(place.forbidden(&place.url, bucket.server().as_deref(), &why))),
            other => other,
        }
    }

    /// Sends the request to the place, and follows redirects to places that are allowed.
    async fn follow(&self, place: &ExternalPlace, what: What<'_>, condition: &Condition) -> Result<Answer, Unanswered> {
        let mut at = place.url.clone();
        for _ in 0..=HOPS {
            let Some(grant) = place.access.granted(&at, None) else {
                return Err(Unanswered::Unasked(if at == place.url { place.denied(None) } else { place.sent_on(&at) }));
            };
            match self.web.ask(&at, what, condition, grant).await {
                Err(Unanswered::Elsewhere(to)) if url::leads_away(to.split(['?', '#']).next().unwrap_or(&to)) => {
                    let why = "is sent on by its server to a URL with a . or .. segment, which may lead anywhere";
                    return Err(Unanswered::Unasked(Error::denied(place.says(why))));
                }
                Err(Unanswered::Elsewhere(to)) => at = to,
                Err(Unanswered::Forbidden(why)) => return Err(Unanswered::Unasked(place.forbidden(&at, None, &why))),
                other => return other,
            }
        }
        Err(Unanswered::Lost(Error::unavailable(format!("is sent on more than {HOPS} times"))))
    }

    /// Does `work` again when an answer is lost, as long as patience lasts.
    async fn patiently<T, F: Future<Output = Result<T, Unanswered>>>(&self, work: impl Fn() -> F) -> Result<T, Unanswered> {
        let begun = tokio::time::Instant::now();
        for failures in 0..ATTEMPTS - 1 {
            match work().await {
                Err(Unanswered::Lost(error)) if begun.elapsed() + BACKOFF.pause(failures) < self.patience => {
                    tracing::debug!(%error, "asking again");
                    BACKOFF.wait(failures).await;
                }
                other => return other,
            }
        }
        work().await
    }

    /// The facts about the recorded version, if the server still has it and this reader may name it; otherwise those about the file as
    /// it is now.
    async fn facts(&self, place: &ExternalPlace, version: Option<&String>) -> Result<FileFacts, Unanswered> {
        if version.is_some() {
            match self.facts_of(place, version).await {
                Err(Unanswered::Absent | Unanswered::Denied) => {}
                other => return other,
            }
        }
        self.facts_of(place, None).await
    }

    /// The facts that the server tells. A server that does not answer HEAD requests is asked for one byte.
    async fn facts_of(&self, place: &ExternalPlace, version: Option<&String>) -> Result<FileFacts, Unanswered> {
        let none = Condition { version: version.cloned(), ..Condition::default() };
        match self.patiently(|| self.ask(place, What::Facts, &none)).await {
            Ok(answer) => Ok(answer.facts),
            Err(Unanswered::Unable(_) | Unanswered::Denied | Unanswered::Short(_)) => {
                match self.patiently(|| self.ask(place, What::Part(&(0..1)), &none)).await {
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
        let condition = Condition { etag: facts.etag.clone(), not_after: facts.modified, version: facts.version.clone() };
        let whole = || async {
            let mut answer = self.ask(place, What::Whole, &condition).await?;
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
            self.in_time(size, reading).await
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

    /// Reads `range` from an answer that is about the recorded file.
    async fn part(&self, asked: RemotePart<'_>, condition: &Condition) -> Result<Bytes, Unanswered> {
        let RemotePart { place, range, expected, verified } = asked;
        let mut answer = self.ask(place, What::Part(range), condition).await?;
        let unasked = |error| Unanswered::Unasked(error);
        expected.compare(&answer.facts.clone().into()).map_err(|difference| unasked(place.differs(&difference)))?;
        if verified.is_some_and(|verified| !same(verified, &answer.facts)) {
            return Err(Unanswered::Changed);
        }
        if let Some(size) = answer.facts.size.filter(|size| *size < range.end) {
            return Err(Unanswered::Short(Some(size)));
        }
        let skipped = range.start.saturating_sub(answer.start);
        if skipped > 0 && range.end > CUT_FROM_WHOLE {
            return Err(Unanswered::Unable("its server answers without the range that was asked for".to_owned()));
        }
        let length = range.end - range.start;
        self.in_time(skipped + length, collect(&mut answer, skipped, length)).await
    }

    /// Waits for `length` bytes to be read, as long as a slow line needs for them: a server that sends a few bytes now and then could
    /// go on for ever.
    async fn in_time<T>(&self, length: u64, reading: impl Future<Output = Result<T, Unanswered>>) -> Result<T, Unanswered> {
        let limit = time_for(length, self.patience);
        let late = |_| Err(Unanswered::Lost(Error::unavailable(format!("does not give {length} bytes within {limit:?}"))));
        tokio::time::timeout(limit, reading).await.unwrap_or_else(late)
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

fn cut() -> Unanswered {
    Unanswered::Lost(Error::unavailable("was cut off before its end"))
}

/// The next `length` bytes of an answer after the first `skipped`.
async fn collect(answer: &mut Answer, mut skipped: u64, length: u64) -> Result<Bytes, Unanswered> {
    let too_long = || Unanswered::Lost(Error::unavailable(format!("has a range of {length} bytes, too long for memory")));
    let length = usize::try_from(length).map_err(|_| too_long())?;
    let mut found = Vec::new();
    found.try_reserve_exact(length).map_err(|_| too_long())?;
    while found.len() < length {
        let Some(piece) = answer.body.try_next().await? else { return Err(cut()) };
        let from = usize::try_from(skipped).unwrap_or(usize::MAX).min(piece.len());
        skipped -= from as u64;
        let wanted = piece.get(from..).unwrap_or_default();
        found.extend_from_slice(wanted.get(..length - found.len()).unwrap_or(wanted));
    }
    Ok(found.into())
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
        let answer = match self.patiently(|| self.part(asked, &condition)).await {
            // Some servers deny conditions that hold. So the file is looked up: if it is as recorded, it is read without the condition,
            // and the answer is compared with the record like any other.
            Err(Unanswered::Changed) if verified.is_none() => {
                self.verified(place, expected).await?;
                let same = Condition { version: condition.version.clone(), ..Condition::default() };
                self.patiently(|| self.part(asked, &same)).await
            }
            // The version does not exist any more, or this reader may not name it: read the file as it is now, if it is as recorded.
            Err(Unanswered::Absent | Unanswered::Denied) if condition.version.is_some() => {
                let now = Condition { version: None, ..condition };
                self.patiently(|| self.part(asked, &now)).await
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

impl ExternalPlace {
    /// The error for a request without an answer about the file.
    fn unanswered(&self, unanswered: Unanswered) -> Error {
        match unanswered {
            Unanswered::Absent => Error::not_found(self.says("does not exist")),
            Unanswered::Changed => {
                let error = Error::source_changed(self.says("changed since it was pinned: its server says that it is another one"));
                error.remedied_by(Remedy::Repin(url::shown_whole(&self.url)))
            }
            Unanswered::Short(size) => {
                let size = size.map_or_else(String::new, |size| format!(": it has {size} bytes"));
                Error::corrupt(self.says(format_args!("is cut short{size}")))
            }
            Unanswered::Denied => Error::denied(self.says("is denied by its server; it may want credentials")),
            Unanswered::Forbidden(why) => self.forbidden(&self.url, None, &why),
            Unanswered::Elsewhere(to) => self.sent_on(&to),
            Unanswered::Unable(why) => Error::unsupported(self.says(format_args!("cannot be read: {why}"))),
            Unanswered::Unasked(error) if error.kind() == ErrorKind::Denied || error.to_string().contains("://") => error,
            Unanswered::Unasked(error) | Unanswered::Lost(error) => {
                let remedy = error.remedy().cloned();
                Error::new(error.kind(), self.says(&error)).remedied_by(remedy).caused_by(error)
            }
        }
    }

    /// The refusal of a place to which an answer sent, and which the reader did not allow.
    fn sent_on(&self, to: &str) -> Error {
        let to = directory(to);
        let error = Error::denied(self.says(format_args!("is sent on to {to} by its server, which is not allowed")));
        error.remedied_by(Remedy::Allow(to))
    }

    /// The refusal of an address that is not public; `server` is the one that the snapshot chose.
    fn forbidden(&self, at: &str, server: Option<&str>, why: &str) -> Error {
        let at = directory(at);
        let server = server.map_or_else(String::new, |server| format!("+at:{}", url::shown_whole(server)));
        let error = Error::denied(self.says(format_args!("is not asked, because {why}")));
        error.remedied_by(Remedy::Allow(format!("{at}=private{server}")))
    }
}

/// The place to allow for a URL, as a message may show it.
fn directory(of: &str) -> String {
    let path = of.split(['?', '#']).next().unwrap_or(of);
    let end = path.rfind('/').map_or(0, |at| at + 1);
    url::shown_whole(path.get(..end).unwrap_or(path))
}
