//! The HTTP client of a store: sends requests, counts them, and notes the status and the date of answers.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use http_body::{Body, Frame};
use object_store::ClientOptions;
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService};

use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::storage::RemovalPermit;
use crate::storage::outside::address::{self, PublicOnly};
use crate::storage::outside::header;
use crate::storage::tls::{self, Certificates};
use crate::time::Timestamp;

/// How often connecting to a read-only server is tried.
const CONNECTS: u32 = 3;
/// The pauses between.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(400));
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// At most so many bytes are read of the body of an error; explanations of stores are shorter.
const EXPLANATION: usize = 64 << 10;
/// No page of a listing and no token is longer. The client keeps them in memory whole.
const LONGEST_PAGE: u64 = 64 << 20;

/// What has been sent, and what the store's clock showed when it last answered.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    requests: AtomicU64,
    dated: Mutex<Option<(Timestamp, Instant)>>,
}

impl Answers {
    /// How many requests have gone out, each attempt counted.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// What the store's clock shows now, to a second: its latest answer said so. `None` before the first that did.
    pub(crate) fn clock(&self) -> Option<Timestamp> {
        let dated = *self.dated.lock().unwrap_or_else(PoisonError::into_inner);
        dated.map(|(date, at)| date.plus(at.elapsed()))
    }

    fn note(&self, date: &str) {
        if let Some(date) = header::parse_date(date) {
            *self.dated.lock().unwrap_or_else(PoisonError::into_inner) = Some((date, Instant::now()));
        }
    }
}

/// Accompanies one request and notes the status of its answer. The client tells statuses only in the text of its errors, and whether a
/// commit happened must not be decided by such text.
#[derive(Debug, Clone, Default)]
pub(in crate::storage) struct AnswerStatus(Arc<NotedAnswer>);

#[derive(Debug, Default)]
struct NotedAnswer {
    status: AtomicU16,
    again: Mutex<Option<Duration>>,
}

impl AnswerStatus {
    /// The status of the last answer; `None` when there was none.
    pub(super) fn get(&self) -> Option<u16> {
        Some(self.0.status.load(Ordering::Relaxed)).filter(|status| *status != 0)
    }

    /// After how long the server said that it may be asked again, if it said so.
    pub(in crate::storage) fn again(&self) -> Option<Duration> {
        *self.0.again.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, response: &HttpResponse) {
        self.0.status.store(response.status().as_u16(), Ordering::Relaxed);
        let told = response.headers().get("retry-after").and_then(|value| value.to_str().ok()).and_then(header::retry_after);
        *self.0.again.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }
}

/// Makes the HTTP client of a store: one pool of connections, no redirects, every answer seen.
#[derive(Clone)]
pub(super) struct Connector {
    client: reqwest::Client,
    answers: Arc<Answers>,
    patience: Duration,
    /// Whether connecting is given up after a few attempts.
    gives_up_early: bool,
}

impl Connector {
    /// A client for `endpoint` and, unless `fetches_nothing`, for the servers from which credentials are fetched. A request without
    /// progress for `patience` is given up. With `public_only`, it connects to public addresses only.
    pub(super) fn new(endpoint: Option<&url::Url>, fetches_nothing: bool, patience: Duration, public_only: bool) -> Result<Self> {
        // Connections without TLS need no certificates, so those of the system are not loaded.
        let is_plain = endpoint.is_some_and(|endpoint| endpoint.scheme() == "http") && fetches_nothing;
        let mut client = reqwest::Client::builder()
            .user_agent(concat!("firnline/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .read_timeout(patience);
        if endpoint.is_some_and(is_loopback) {
            client = client.no_proxy();
        }
        if public_only {
            // A proxy would connect in our place, and to any address.
            client = client.no_proxy().dns_resolver(Arc::new(PublicOnly));
        }
        let client = client.tls_backend_preconfigured(tls::config(if is_plain { Certificates::Nothing } else { Certificates::System })?);
        let client = client.build().map_err(|e| Error::unsupported("no HTTP client can be made on this machine").caused_by(e))?;
        Ok(Self { client, answers: Arc::default(), patience, gives_up_early: false })
    }

    /// Gives up connecting after a few attempts within a second: for servers that are only read, where waiting longer saves no write.
    pub(super) const fn giving_up_early(mut self) -> Self {
        self.gives_up_early = true;
        self
    }

    pub(super) fn answers(&self) -> Arc<Answers> {
        Arc::clone(&self.answers)
    }
}

/// Whether a URL names this machine, without resolving a name.
pub(in crate::storage) fn is_loopback(url: &url::Url) -> bool {
    url.domain().is_some_and(|name| name.eq_ignore_ascii_case("localhost")) || address_in(url).is_some_and(|address| address.is_loopback())
}

/// The address in a URL that names one instead of a host.
pub(in crate::storage) fn address_in(url: &url::Url) -> Option<IpAddr> {
    match url.host()? {
        url::Host::Ipv4(address) => Some(address.into()),
        url::Host::Ipv6(address) => Some(address.into()),
        url::Host::Domain(_) => None,
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("answers", &self.answers).finish_non_exhaustive()
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Watched(self.clone())))
    }
}

tokio::task_local! {
    /// Requests of this task are sent only as long as this is valid. It is looked at after they were signed: a server refuses signatures
    /// that are older than a quarter of an hour.
    pub(super) static PERMIT: RemovalPermit;
}

/// The client, with checks around it. The client above it sets memory aside for whatever length an answer announces, reads errors to
/// their end, and panics where a URL cannot be asked, so such answers and URLs are kept from it.
#[derive(Debug)]
struct Watched(Connector);

#[async_trait]
impl HttpService for Watched {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let Connector { answers, patience, .. } = &self.0;
        url::Url::parse(&request.uri().to_string()).map_err(|e| HttpError::new(HttpErrorKind::Unknown, e))?;
        let limit = if is_for_an_object(&request) { u64::MAX } else { LONGEST_PAGE };
        let told = request.extensions().get::<AnswerStatus>().cloned();
        let response = self.0.send(request).await.map_err(final_refusal)?;
        if let Some(status) = told {
            status.note(&response);
        }
        if let Some(date) = response.headers().get("date").and_then(|value| value.to_str().ok()) {
            answers.note(date);
        }
        let range = response.headers().get("content-range").and_then(|value| value.to_str().ok());
        if response.status().as_u16() == 206 && range.is_some_and(|range| header::content_range(range).is_none()) {
            return Err(HttpError::new(HttpErrorKind::Decode, Unfit("a Content-Range that cannot be read")));
        }
        let is_success = response.status().is_success();
        let (parts, body) = response.into_parts();
        let body = if is_success { HttpResponseBody::new(Bounded { body, left: limit }) } else { explanation(body, *patience).await };
        Ok(HttpResponse::from_parts(parts, body))
    }
}

impl Connector {
    /// Sends a request. If no connection was made, sends it again a few times where the connector gives up early.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        for failures in 0..CONNECTS {
            if !PERMIT.try_with(RemovalPermit::is_valid).unwrap_or(true) {
                return Err(HttpError::new(HttpErrorKind::Unknown, Unfit("nothing: the permit to remove objects has ended")));
            }
            self.answers.requests.fetch_add(1, Ordering::Relaxed);
            match HttpService::call(&self.client, request.clone()).await {
                Err(e) if self.gives_up_early && matches!(e.kind(), HttpErrorKind::Connect) && address::refusal(&e).is_none() => {
                    if failures + 1 == CONNECTS {
                        return Err(HttpError::new(HttpErrorKind::Unknown, NotConnected(e)));
                    }
                    RECONNECT.wait(failures).await;
                }
                answer => return answer,
            }
        }
        Err(HttpError::new(HttpErrorKind::Unknown, Unfit("nothing, for nothing was asked")))
    }
}

/// No attempt to connect to the server succeeded.
#[derive(Debug)]
pub(super) struct NotConnected(HttpError);

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no connection after {CONNECTS} attempts: {}", self.0)
    }
}

impl std::error::Error for NotConnected {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// A forbidden address stays forbidden. Without this the client would take it for a failed connection and try again.
fn final_refusal(error: HttpError) -> HttpError {
    if address::refusal(&error).is_some() { HttpError::new(HttpErrorKind::Unknown, error) } else { error }
}

/// Whether the answer's body is an object, which is handed on as it comes, and not read into memory by the client.
fn is_for_an_object(request: &HttpRequest) -> bool {
    let is_listing = |query: &str| query.split('&').any(|pair| matches!(pair, "list-type=2" | "comp=list"));
    request.method() == "GET" && !request.uri().query().is_some_and(is_listing)
}

/// The beginning of the body of an error, as far as it arrives in time. Bytes that are not UTF-8 are replaced.
async fn explanation(body: HttpResponseBody, patience: Duration) -> HttpResponseBody {
    let (mut said, mut stream) = (Vec::new(), body.bytes_stream());
    let reading = async {
        while let Some(Ok(piece)) = stream.next().await {
            said.extend_from_slice(piece.get(..EXPLANATION - said.len()).unwrap_or(&piece));
            if said.len() == EXPLANATION {
                break;
            }
        }
    };
    // The status has arrived, and is enough without the explanation.
    let _late = tokio::time::timeout(patience, reading).await;
    String::from_utf8_lossy(&said).into_owned().into()
}

/// A body that does not announce its length, for which memory would be set aside, and ends in an error past a limit.
#[derive(Debug)]
struct Bounded {
    body: HttpResponseBody,
    left: u64,
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match self.left.checked_sub(length) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Decode, Unfit("more than any page has"))))),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// An answer that is not handed on.
#[derive(Debug)]
struct Unfit(&'static str);

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer holds {}", self.0)
    }
}

impl std::error::Error for Unfit {}
