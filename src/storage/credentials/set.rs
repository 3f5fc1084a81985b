//! Where credentials come from, and to which server they go.

use std::fmt;
#[cfg(feature = "remote")]
use std::hash::{Hash, Hasher};
use std::sync::Arc;
#[cfg(feature = "remote")]
use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(feature = "remote")]
use std::time::Duration;

use async_trait::async_trait;
#[cfg(feature = "remote")]
use tokio::sync::Mutex;
#[cfg(feature = "remote")]
use tokio::time::Instant;

use super::Credential;
#[cfg(feature = "remote")]
use super::CredentialForm;
#[cfg(feature = "remote")]
use crate::error::Error;
use crate::error::Result;
use crate::time::Timestamp;
#[cfg(feature = "remote")]
use crate::time::{Clock as _, SystemClock};

/// Credentials that expire are fetched anew this long before, or a tenth of their lifetime before, whichever is less. Refusals have them
/// fetched anew no more often than this.
#[cfg(feature = "remote")]
const MARGIN: Duration = Duration::from_mins(1);
/// A source that failed is left alone for so long, if the former credentials can be used meanwhile.
#[cfg(feature = "remote")]
const REST: Duration = Duration::from_secs(10);

/// Credentials, and how long they are good.
#[derive(Debug, Clone)]
pub struct IssuedCredentials {
    /// What requests carry.
    pub credential: Credential,
    /// When servers stop taking it; `None` where that is not known. Then it is fetched anew only after a server refused it.
    pub expires: Option<Timestamp>,
}

/// Gives out credentials that change while a process runs, such as tokens that expire.
#[async_trait]
pub trait CredentialSource: fmt::Debug + Send + Sync {
    /// Fetches credentials that are good now.
    ///
    /// Called when the first request needs them, shortly before they expire, and after a server refused them (401, 403), but for refusals
    /// at most once a minute; one call at a time, for whose result all other requests wait. An error is the error of the requests that
    /// wait, unless the former credentials have not expired yet and, if one server refused them, another request was let in with them: then
    /// they are used, and the source is called again 10 seconds later. Its message is shown, so it must hold no secret; so must `Debug` of
    /// the source. A call that takes longer than a third of the reader's patience is cancelled, which counts as an error. With a patience
    /// of
    /// less than 30 seconds it may take 10 seconds, but no more than half of the patience.
    async fn credentials(&self) -> Result<IssuedCredentials>;

    /// The kind of server that takes the credentials: `s3`, `gs`, `az` or `http`. `None` where that is known only once they are fetched.
    /// A source of a known kind is not called for a server of another kind.
    fn kind(&self) -> Option<&str> {
        None
    }
}

/// A source of credentials, and the server that they are for.
///
/// Cheap to clone; clones share what was fetched. Printing shows no secrets. Two sets are equal if one is a clone of the other.
#[derive(Clone)]
pub struct CredentialSet {
    from: Arc<SetSource>,
    settings: ServerSettings,
}

/// What a set says of the server that it is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct ServerSettings {
    /// The server, if it is not the vendor's own. The credentials are sent to no other.
    pub(crate) endpoint: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) account: Option<String>,
}

impl ServerSettings {
    /// Refuses what would make a client ask another server, or none; the error says what is wrong and repeats no value. A build that reads
    /// no servers finds only part of it.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        // Both become a label of the server's name, and not every word is a valid label (`xn--`).
        let is_label = |word: &String| is_word(word) && is_exact_url(&format!("https://{}.example", word.to_ascii_lowercase()));
        if !self.region.iter().chain(&self.account).all(is_label) {
            return Err("region or account is none: letters, digits and '-', as in the name of a host");
        }
        // The client appends the rest of the URL, which would otherwise become part of a query.
        let is_plain = |endpoint: &str| endpoint.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/[]".contains(&b));
        let is_server = |endpoint: &str| endpoint.starts_with("http://") || endpoint.starts_with("https://");
        match self.endpoint.as_deref() {
            Some(endpoint) if !(is_plain(endpoint) && is_server(endpoint) && is_exact_url(endpoint)) => {
                Err("endpoint is none; write https://HOST in lower case, without a query and without the usual port")
            }
            _ => Ok(()),
        }
    }
}

/// Whether a client would ask for this URL as it is written, but for `/` at its end.
fn is_exact_url(url: &str) -> bool {
    #[cfg(feature = "remote")]
    return url::Url::parse(url).is_ok_and(|parsed| parsed.as_str().trim_end_matches('/') == url.trim_end_matches('/'));
    #[cfg(not(feature = "remote"))]
    return !url.contains("://xn--") && url.split('/').nth(2).is_some_and(|host| !host.is_empty() && host == host.to_ascii_lowercase());
}

#[cfg(feature = "remote")]
impl ServerSettings {
    /// The server for places of this scheme, if it is named: by itself, or by its account (`az`).
    pub(crate) fn server(&self, scheme: &str) -> Option<String> {
        let account = self.account.as_ref().filter(|_| scheme == "az");
        self.endpoint.clone().or_else(|| account.map(|account| format!("https://{account}.blob.core.windows.net")))
    }

    /// These settings, and for what they do not say those of `others`.
    pub(crate) fn or(&self, others: &Self) -> Self {
        let or = |ours: &Option<String>, theirs: &Option<String>| ours.as_ref().or(theirs.as_ref()).cloned();
        Self {
            endpoint: or(&self.endpoint, &others.endpoint),
            region: or(&self.region, &others.region),
            account: or(&self.account, &others.account),
        }
    }
}

#[derive(Debug)]
enum SetSource {
    Environment,
    Anonymous,
    Repository,
    #[cfg_attr(not(feature = "remote"), expect(dead_code, reason = "this build reads no place that takes credentials"))]
    Fixed(Credential),
    #[cfg_attr(not(feature = "remote"), expect(dead_code, reason = "this build reads no place that takes credentials"))]
    Fetched(FetchedCredentials),
}

/// What kind of set it is, for those who grant it.
#[cfg(feature = "remote")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetKind {
    Environment,
    Anonymous,
    Repository,
    Given,
}

#[cfg_attr(not(feature = "remote"), expect(dead_code, reason = "this build reads no place that takes credentials"))]
#[derive(Debug)]
struct FetchedCredentials {
    source: Arc<dyn CredentialSource>,
    #[cfg(feature = "remote")]
    held: Mutex<Option<HeldCredentials>>,
    /// How often credentials were fetched: the number of those that are held. Read without waiting for a source that is being asked.
    #[cfg(feature = "remote")]
    fetched: AtomicU64,
    /// The number of the latest credentials for which a request was let in.
    #[cfg(feature = "remote")]
    accepted: AtomicU64,
}

#[cfg(feature = "remote")]
#[derive(Debug)]
struct HeldCredentials {
    issued: IssuedCredentials,
    at: Timestamp,
    is_refused: bool,
    /// When credentials were last fetched because the former ones were refused.
    after_refusal: Option<Instant>,
    /// When the source last failed to give newer ones.
    failed: Option<Instant>,
}

impl CredentialSet {
    fn of(from: SetSource) -> Self {
        Self { from: Arc::new(from), settings: ServerSettings::default() }
    }

    /// The credentials that the environment variables of this process name, as by the word `env` of an
    /// [`Allow`](crate::Allow) entry.
    pub fn environment() -> Self {
        Self::of(SetSource::Environment)
    }

    /// No credentials.
    pub fn anonymous() -> Self {
        Self::of(SetSource::Anonymous)
    }

    /// The credentials with which the repository itself is reached ([`OpenOptions::cloud`](crate::OpenOptions::cloud)).
    pub fn repository() -> Self {
        Self::of(SetSource::Repository)
    }

    /// Credentials that do not change.
    pub fn fixed(credential: Credential) -> Self {
        Self::of(SetSource::Fixed(credential))
    }

    /// Credentials that `source` gives out when they are needed.
    pub fn fetched(source: Arc<dyn CredentialSource>) -> Self {
        Self::of(SetSource::Fetched(FetchedCredentials {
            source,
            #[cfg(feature = "remote")]
            held: Mutex::new(None),
            #[cfg(feature = "remote")]
            fetched: AtomicU64::new(0),
            #[cfg(feature = "remote")]
            accepted: AtomicU64::new(0),
        }))
    }

    /// Names the server that the credentials are for: `https://s3.example.org`, or a URL below which they are sent (`http`). They are
    /// never sent to another one. Without it they go to the vendor's own server, and of a web server to whatever place names the set.
    #[must_use]
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.settings.endpoint = Some(url.into());
        self
    }

    /// Names the region of buckets whose container names none (`s3`).
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.settings.region = Some(region.into());
        self
    }

    /// Names the account of places whose container names none (`az`). The credentials are sent to the server of no other account.
    #[must_use]
    pub fn account(mut self, account: impl Into<String>) -> Self {
        self.settings.account = Some(account.into());
        self
    }

    pub(crate) const fn settings(&self) -> &ServerSettings {
        &self.settings
    }
}

impl PartialEq for CredentialSet {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.from, &other.from) && self.settings == other.settings
    }
}

impl Eq for CredentialSet {}

impl fmt::Debug for CredentialSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, settings: ServerSettings { endpoint, region, account } } = self;
        // One with a password or a signature is refused later, by those to whom the set is given.
        let endpoint = endpoint.as_deref().map(|url| if url.contains(['@', '?']) { "…" } else { url });
        let mut out = f.debug_struct("CredentialSet");
        out.field("from", from).field("endpoint", &endpoint).field("region", region).field("account", account).finish()
    }
}

/// A set under the name by which places refer to it.
#[cfg(feature = "remote")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedSet {
    pub(crate) name: Arc<str>,
    pub(crate) set: CredentialSet,
}

#[cfg(feature = "remote")]
impl Hash for NamedSet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        Arc::as_ptr(&self.set.from).hash(state);
    }
}

#[cfg(feature = "remote")]
impl CredentialSet {
    pub(crate) fn kind(&self) -> SetKind {
        match *self.from {
            SetSource::Environment => SetKind::Environment,
            SetSource::Anonymous => SetKind::Anonymous,
            SetSource::Repository => SetKind::Repository,
            SetSource::Fixed(_) | SetSource::Fetched(_) => SetKind::Given,
        }
    }

    /// The kind of server that takes the credentials, as far as that is known before they are fetched.
    pub(crate) fn takes(&self) -> Option<&str> {
        match &*self.from {
            SetSource::Fixed(credential) => Some(credential.kind()),
            SetSource::Fetched(fetched) => fetched.source.kind(),
            SetSource::Environment | SetSource::Anonymous | SetSource::Repository => None,
        }
    }

    /// Whether the set is a service account, for which clients fetch tokens.
    pub(crate) fn is_google_account(&self) -> bool {
        matches!(&*self.from, SetSource::Fixed(Credential(CredentialForm::GoogleAccount(_))))
    }

    /// The credentials, if they do not change.
    #[cfg(feature = "gcp")]
    pub(crate) fn unchanging(&self) -> Option<&Credential> {
        match &*self.from {
            SetSource::Fixed(credential) => Some(credential),
            _ => None,
        }
    }

    /// The server for places of this scheme that the set names, if it names one.
    pub(crate) fn server(&self, scheme: &str) -> Option<String> {
        self.settings.server(scheme)
    }
}

#[cfg(feature = "remote")]
impl NamedSet {
    /// The credentials for a server of `kind`, fetched if there are none or they expire soon. `Invalid` if they are for another kind of
    /// server, `Unavailable` if the source does not give them within `patience`.
    pub(crate) async fn current(&self, kind: &str, patience: Duration) -> Result<Credential> {
        let credential = match &*self.set.from {
            SetSource::Fixed(credential) => credential.clone(),
            SetSource::Fetched(fetched) => {
                let current = fetched.current(patience).await;
                current.map_err(|e| e.context(format!("credentials {}", self.name)))?
            }
            _ => return Err(Error::internal(format!("credentials {} hold nothing that could be sent", self.name))),
        };
        if credential.kind() == kind {
            return Ok(credential);
        }
        Err(Error::invalid(format!("credentials {} are of kind {}, and this place takes {kind}", self.name, credential.kind())))
    }

    /// The number of the credentials that a request sent now would carry.
    pub(crate) fn number(&self) -> u64 {
        match &*self.set.from {
            SetSource::Fetched(fetched) => fetched.fetched.load(Ordering::Relaxed),
            _ => 0,
        }
    }

    /// A server let a request in that carried credentials of this number or an earlier one.
    pub(crate) fn accepted(&self, number: u64) {
        if let SetSource::Fetched(fetched) = &*self.set.from {
            fetched.accepted.fetch_max(number, Ordering::Relaxed);
        }
    }

    /// A server refused a request that carried credentials of this number: the next request fetches new ones. `false` where that is of no
    /// use: they do not change, or they were fetched a moment ago because the former ones were refused. Then the refusal is more likely
    /// about what was asked for than about the credentials.
    pub(crate) async fn refused(&self, number: u64) -> bool {
        let SetSource::Fetched(fetched) = &*self.set.from else { return false };
        let mut held = fetched.held.lock().await;
        let Some(held) = held.as_mut() else { return true };
        if fetched.fetched.load(Ordering::Relaxed) != number.max(1) || held.is_refused {
            return !held.is_resting();
        }
        held.is_refused = held.after_refusal.is_none_or(|at| at.elapsed() >= MARGIN);
        held.is_refused
    }
}

#[cfg(feature = "remote")]
impl FetchedCredentials {
    /// Whether a request was let in with the credentials that are held.
    fn is_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed) >= self.fetched.load(Ordering::Relaxed)
    }

    async fn current(&self, patience: Duration) -> Result<Credential> {
        // Held while the source is asked, so that it is asked once however many requests need it.
        let late = |_| Error::unavailable(format!("their source does not answer within {patience:?}"));
        let mut held = tokio::time::timeout(patience, self.held.lock()).await.map_err(late)?;
        if let Some(held) = held.as_ref().filter(|held| held.is_to_be_used(SystemClock.now(), self.is_accepted())) {
            return Ok(held.issued.credential.clone());
        }
        let issued = tokio::time::timeout(patience, self.source.credentials()).await;
        match issued.unwrap_or_else(|elapsed| Err(late(elapsed))) {
            Ok(issued) => {
                let (credential, at) = (issued.credential.clone(), SystemClock.now());
                let after_refusal = held.as_ref().and_then(|held| if held.is_refused { Some(Instant::now()) } else { held.after_refusal });
                *held = Some(HeldCredentials { issued, at, is_refused: false, after_refusal, failed: None });
                self.fetched.fetch_add(1, Ordering::Relaxed);
                Ok(credential)
            }
            Err(error) => match held.as_mut().filter(|held| held.is_good(SystemClock.now(), self.is_accepted())) {
                Some(held) => {
                    tracing::debug!(%error, "credentials cannot be fetched anew, and the former ones are used");
                    held.failed = Some(Instant::now());
                    Ok(held.issued.credential.clone())
                }
                None => Err(error),
            },
        }
    }
}

#[cfg(feature = "remote")]
impl HeldCredentials {
    /// Whether requests carry these: they need not be fetched anew, or their source failed a moment ago and they may still be taken.
    fn is_to_be_used(&self, now: Timestamp, is_accepted: bool) -> bool {
        let margin = |expires: Timestamp| (expires.since(self.at) / 10).min(MARGIN);
        let is_fresh = !self.is_refused && self.issued.expires.is_none_or(|expires| now.plus(margin(expires)) < expires);
        is_fresh || self.is_resting() && self.is_good(now, is_accepted)
    }

    /// Whether the source failed a moment ago, and is not asked again yet.
    fn is_resting(&self) -> bool {
        self.failed.is_some_and(|failed| failed.elapsed() < REST)
    }

    /// Whether servers may still take them: of those that one server refused, if a request was let in with them.
    fn is_good(&self, now: Timestamp, is_accepted: bool) -> bool {
        (!self.is_refused || is_accepted) && self.issued.expires.is_none_or(|expires| now < expires)
    }
}
