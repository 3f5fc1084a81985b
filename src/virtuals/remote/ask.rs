//! Asking the server of a place: one request, once more where credentials had expired, and again where an answer was lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::super::source::ExternalPlace;
use super::super::url::{self, UrlScheme};
use super::RemoteSource;
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::storage::credentials::ServerSettings;
use crate::storage::outside::{Answer, Bucket, Condition, Grant, Unanswered, What};

/// How many redirects are followed.
const HOPS: usize = 5;
/// How often a request is sent at most whose answer was lost. A server that says it is busy is asked for as long as patience lasts.
const ATTEMPTS: u32 = 3;
/// The pauses between.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// The bucket of a place, with what its container says of it; `None` for places on web servers.
pub(super) fn bucket_of(place: &ExternalPlace) -> Result<Option<(Bucket, &str)>> {
    let parts = url::parse(&place.url)?;
    if matches!(parts.scheme, UrlScheme::Http | UrlScheme::Https) {
        return Ok(None);
    }
    // Some snapshots hold empty options, which say nothing.
    let option = |name: &str| place.options.get(name).filter(|value| !value.is_empty()).cloned();
    let account = option("account").filter(|_| parts.scheme == UrlScheme::Az);
    let settings = ServerSettings { endpoint: option("endpoint"), region: option("region"), account };
    let bucket = Bucket { scheme: parts.scheme.name().to_owned(), name: parts.authority.to_owned(), settings };
    Ok(Some((bucket, parts.path.strip_prefix('/').unwrap_or(parts.path))))
}

/// What the reader grants to requests for a URL; errors name the place.
fn granted(place: &ExternalPlace, url: &str, server: Option<&str>) -> Result<Option<Grant>, Unanswered> {
    place.access.granted(url, server).map_err(|e| Unanswered::Unasked(Error::new(e.kind(), place.says(e))))
}

/// When a request with its repetitions is given up. The time for which it waited to be sent does not count, because other requests took
/// that; nor does the reading of what was answered, which has a limit of its own.
#[derive(Debug, Clone)]
pub(super) struct AskDeadline {
    begun: Instant,
    patience: Duration,
    /// What does not count, in microseconds.
    left_out: Arc<AtomicU64>,
}

impl AskDeadline {
    fn after(patience: Duration) -> Self {
        Self { begun: Instant::now(), patience, left_out: Arc::default() }
    }

    /// Leaves out what `waiting` takes.
    pub(super) async fn without<T>(&self, waiting: impl Future<Output = T>) -> T {
        let from = Instant::now();
        let done = waiting.await;
        self.left_out.fetch_add(u64::try_from(from.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        done
    }

    /// How much time is left.
    fn left(&self) -> Duration {
        let left_out = Duration::from_micros(self.left_out.load(Ordering::Relaxed));
        self.patience.saturating_sub(self.begun.elapsed().saturating_sub(left_out))
    }

    /// Gives up `asking` when no time is left.
    async fn bounds(&self, asking: impl Future<Output = Result<Answer, Unanswered>>) -> Result<Answer, Unanswered> {
        let late = |_| Err(Unanswered::Lost(Error::unavailable(format!("does not answer within {:?}", self.patience))));
        tokio::time::timeout(self.left(), asking).await.unwrap_or_else(late)
    }
}

/// What is asked of a place, under which condition, and until when.
#[derive(Clone, Copy)]
struct Question<'a> {
    what: What<'a>,
    condition: &'a Condition,
    deadline: &'a AskDeadline,
}

impl RemoteSource {
    /// Asks once, and waits for the beginning of the answer until the deadline.
    pub(super) async fn ask(
        &self,
        place: &ExternalPlace,
        what: What<'_>,
        condition: &Condition,
        deadline: &AskDeadline,
    ) -> Result<Answer, Unanswered> {
        let question = Question { what, condition, deadline };
        let asked = match bucket_of(place).map_err(Unanswered::Unasked)? {
            Some((bucket, key)) => self.ask_bucket(place, &bucket, key, question).await,
            None => self.follow(place, question).await,
        };
        match asked {
            // An answer to a condition that was not sent says nothing about the file.
            Err(Unanswered::Changed) if condition.etag.is_none() && condition.not_after.is_none() => {
                Err(Unanswered::Unable("the server answers 412 to a request without a condition".to_owned()))
            }
            other => other,
        }
    }

    async fn ask_bucket(&self, place: &ExternalPlace, bucket: &Bucket, key: &str, asked: Question<'_>) -> Result<Answer, Unanswered> {
        let Question { what, condition, deadline } = asked;
        let server = bucket.server();
        let granted = granted(place, &place.url, server.as_deref())?;
        let Some(grant) = granted else {
            return Err(Unanswered::Unasked(place.at_another(server.as_deref())));
        };
        let host = server
            .clone()
            .or_else(|| grant.settings.server(&bucket.scheme))
            .unwrap_or_else(|| format!("{}://{}", bucket.scheme, bucket.name));
        match self.let_in(&grant, &host, deadline, || self.buckets.ask(bucket, key, what, condition, &grant)).await {
            Err(Unanswered::Forbidden(why)) => Err(Unanswered::Unasked(place.forbidden(&place.url, server.as_deref(), &why))),
            other => other,
        }
    }

    /// Sends the request to the place, and follows redirects to places that are allowed.
    async fn follow(&self, place: &ExternalPlace, asked: Question<'_>) -> Result<Answer, Unanswered> {
        let Question { what, condition, deadline } = asked;
        let mut at = place.url.clone();
        for _ in 0..=HOPS {
            let granted = granted(place, &at, None)?;
            let Some(grant) = granted else {
                return Err(Unanswered::Unasked(if at == place.url { place.denied(None) } else { place.sent_on(&at) }));
            };
            match self.let_in(&grant, url::authority(&at), deadline, || self.web.ask(&at, what, condition, &grant)).await {
                Err(Unanswered::Elsewhere(to)) if url::leads_away(to.split(['?', '#']).next().unwrap_or(&to)) => {
                    let why = "is sent on by its server to a URL with a . or .. segment, which may lead anywhere";
                    return Err(Unanswered::Unasked(Error::denied(place.says(why))));
                }
                Err(Unanswered::Elsewhere(to)) => at = to,
                Err(Unanswered::Forbidden(why)) => return Err(Unanswered::Unasked(place.forbidden(&at, None, &why))),
                Err(Unanswered::Denied(_)) if at != place.url => return Err(Unanswered::Denied(Some(at))),
                other => return other,
            }
        }
        Err(Unanswered::Lost(Error::unavailable(format!("is sent on more than {HOPS} times"))))
    }

    /// Sends one request to `host`, when no more than the reader allows are under way there. If it is refused and its credentials can be
    /// fetched anew, that is done and the request is sent once more.
    async fn let_in<F: Future<Output = Result<Answer, Unanswered>>>(
        &self,
        grant: &Grant,
        host: &str,
        deadline: &AskDeadline,
        request: impl Fn() -> F,
    ) -> Result<Answer, Unanswered> {
        let permit = deadline.without(self.hosts.enter(host)).await?;
        let asking = async {
            let Some(named) = grant.credentials.set() else { return request().await };
            // What the request carries is of this number or a later one, and of none if it is the first to fetch.
            let mut number = named.number();
            let mut answer = request().await;
            if matches!(answer, Err(Unanswered::Denied(_))) && named.refused(number).await {
                number = named.number();
                answer = request().await;
            }
            if matches!(answer, Ok(_) | Err(Unanswered::Absent | Unanswered::Changed | Unanswered::Short(_))) {
                named.accepted(number.max(1));
            }
            answer
        };
        deadline.bounds(asking).await.map(|answer| Answer { permit: Some(permit), ..answer })
    }

    /// Does `work` again when an answer is lost or the server is busy, with growing pauses, as long as patience lasts.
    pub(super) async fn patiently<T, F: Future<Output = Result<T, Unanswered>>>(
        &self,
        work: impl Fn(AskDeadline) -> F,
    ) -> Result<T, Unanswered> {
        let deadline = AskDeadline::after(self.patience);
        let mut failures = 0;
        loop {
            let pause = BACKOFF.uneven_pause(failures);
            let (error, pause) = match work(deadline.clone()).await {
                Err(Unanswered::Lost(error)) if failures + 1 < ATTEMPTS => (error, pause),
                Err(Unanswered::Busy(error, told)) => (error, told.map_or(pause, |told| told.max(pause))),
                other => return other,
            };
            if pause >= deadline.left() {
                return Err(Unanswered::Lost(error));
            }
            tracing::debug!(%error, ?pause, "asking again");
            tokio::time::sleep(pause).await;
            failures += 1;
        }
    }
}
