//! Requests on their way to a store, and what its answers tell besides what was asked.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::DateTime;
use object_store::ClientOptions;
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService};

use crate::error::{Error, Result};
use crate::storage::outside::address::PublicOnly;
use crate::time::Timestamp;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

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
        if let Ok(date) = DateTime::parse_from_rfc2822(date) {
            let date = Timestamp::from_micros(date.timestamp_micros());
            *self.dated.lock().unwrap_or_else(PoisonError::into_inner) = Some((date, Instant::now()));
        }
    }
}

/// Makes the HTTP client of a store: one pool of connections, no redirects, every answer seen.
#[derive(Clone)]
pub(super) struct Connector {
    client: reqwest::Client,
    answers: Arc<Answers>,
}

impl Connector {
    /// A client for `endpoint` whose requests may stand still for `patience`, and go to public addresses only if told so.
    pub(super) fn new(endpoint: Option<&url::Url>, patience: Duration, public_only: bool) -> Result<Self> {
        // Only the first in a process counts; where an application has chosen a provider, that one stays.
        let _chosen_already = rustls::crypto::ring::default_provider().install_default();
        let mut client = reqwest::Client::builder()
            .user_agent(concat!("firnline/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .read_timeout(patience);
        if let Some(endpoint) = endpoint {
            if endpoint.scheme() == "http" {
                // Without encryption there is nothing to look up among the certificates of the system.
                client = client.tls_certs_only([]);
            }
            if is_loopback(endpoint) {
                client = client.no_proxy();
            }
        }
        if public_only {
            // A proxy would connect in our place, and to any address.
            client = client.no_proxy().dns_resolver(Arc::new(PublicOnly));
        }
        let client = client.build().map_err(|e| Error::unsupported("no HTTP client can be made on this machine").caused_by(e))?;
        Ok(Self { client, answers: Arc::default() })
    }

    pub(super) fn answers(&self) -> Arc<Answers> {
        Arc::clone(&self.answers)
    }
}

/// Whether a URL names this machine, without asking anybody.
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

/// The client, watched.
#[derive(Debug)]
struct Watched(Connector);

#[async_trait]
impl HttpService for Watched {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let Connector { client, answers } = &self.0;
        answers.requests.fetch_add(1, Ordering::Relaxed);
        let response = HttpService::call(client, request).await?;
        if let Some(date) = response.headers().get("date").and_then(|value| value.to_str().ok()) {
            answers.note(date);
        }
        Ok(response)
    }
}
