//! Requests to object stores: S3 and compatible stores, Google Cloud Storage, Azure Blob.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};

use super::{Answer, Condition, FileFacts, Grant, Granted, Unanswered, What, address, header};
use crate::error::{Error, Result};
use crate::storage::cloud::answers::AnswerStatus;
use crate::storage::cloud::client;
use crate::storage::cloud::place::CloudPlace;
use crate::storage::cloud::trouble::Told;
use crate::storage::credentials::ServerSettings;
use crate::storage::{CloudOptions, Credentials, Variables};
use crate::time::Timestamp;

/// A bucket, and its server if that is not the one of the reader's own settings.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Bucket {
    /// `s3`, `gs` or `az`.
    pub(crate) scheme: String,
    pub(crate) name: String,
    /// What a snapshot says of its server, which gets the reader's credentials only if the reader named it too.
    pub(crate) settings: ServerSettings,
}

/// Object stores, connected to when they are first asked.
pub(crate) struct Buckets {
    patience: Duration,
    /// How the repository itself is reached.
    repository: CloudOptions,
    connected: Mutex<HashMap<(Bucket, Grant), Arc<dyn ObjectStore>>>,
}

impl fmt::Debug for Buckets {
    /// Shows no clients: what they print is not ours.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Bucket {
    /// The server that the snapshot chose, if it chose one.
    pub(crate) fn server(&self) -> Option<String> {
        self.settings.server(&self.scheme)
    }
}

impl Buckets {
    /// Gives up on a store that keeps silent for `patience`.
    pub(crate) fn new(patience: Duration, repository: CloudOptions) -> Self {
        Self { patience, repository, connected: Mutex::default() }
    }

    /// Asks for the object `key`, which is raw: nothing in it is decoded.
    pub(crate) async fn ask(
        &self,
        bucket: &Bucket,
        key: &str,
        what: What<'_>,
        condition: &Condition,
        grant: &Grant,
    ) -> Result<Answer, Unanswered> {
        let path = Path::parse(key).ok().filter(|path| path.as_ref() == key);
        let path =
            path.ok_or_else(|| Unanswered::Unasked(Error::unsupported("has a key with empty segments, which this build cannot ask for")))?;
        let store = self.connected(bucket, grant)?;
        let mut options = GetOptions { version: condition.version.clone(), head: what == What::Facts, ..GetOptions::default() };
        match &condition.etag {
            Some(etag) => options.if_match = Some(format!("\"{}\"", String::from_utf8_lossy(etag))),
            None => options.if_unmodified_since = condition.not_after.and_then(|date| DateTime::from_timestamp_micros(date.micros())),
        }
        if let What::Part(range) = what {
            options.range = Some(GetRange::Bounded(range.clone()));
        }
        let status = AnswerStatus::default();
        options.extensions.insert(status.clone());
        let found = store.get_opts(&path, options).await.map_err(|e| unanswered(e, status.again()))?;
        let facts = FileFacts {
            size: Some(found.meta.size),
            modified: Some(Timestamp::from_micros(found.meta.last_modified.timestamp_micros())),
            etag: found.meta.e_tag.as_ref().and_then(|etag| header::strong_etag(etag.as_bytes())),
            version: found.meta.version.clone(),
        };
        let start = found.range.start;
        let body = if what == What::Facts { stream::empty().boxed() } else { found.into_stream().map_err(|e| unanswered(e, None)).boxed() };
        Ok(Answer { facts, start, body, permit: None })
    }

    fn connected(&self, bucket: &Bucket, grant: &Grant) -> Result<Arc<dyn ObjectStore>, Unanswered> {
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        let known = (bucket.clone(), grant.clone());
        if let Some(store) = connected.get(&known) {
            return Ok(Arc::clone(store));
        }
        let settings = bucket.settings.or(&grant.settings);
        settings.check().map_err(|why| {
            let whose = if bucket.settings.check().is_err() { "a container" } else { "credentials" };
            Unanswered::Unasked(Error::invalid(format!("has {whose} whose {why}")))
        })?;
        let place = CloudPlace::parse(&bucket.scheme, &format!("//{}", bucket.name)).transpose().map_err(Unanswered::Unasked)?;
        let place = place.ok_or_else(|| Unanswered::Unasked(Error::internal("no bucket has this scheme")))?;
        let options = self.options(bucket, grant, &settings);
        if !grant.private {
            address::require_public(client::endpoint_address(&place, &options).map_err(Unanswered::Unasked)?)?;
        }
        let store = client::connect(&place, &options).map_err(Unanswered::Unasked)?.once;
        connected.insert(known, Arc::clone(&store));
        Ok(store)
    }

    fn options(&self, bucket: &Bucket, grant: &Grant, settings: &ServerSettings) -> CloudOptions {
        let has_server = settings.server(&bucket.scheme).is_some();
        let ServerSettings { endpoint, region, account } = settings.clone();
        let named = match bucket.scheme.as_str() {
            "s3" => [("AWS_ENDPOINT_URL_S3", endpoint), ("AWS_REGION", region)],
            "gs" => [("GOOGLE_BASE_URL", endpoint), ("GOOGLE_BASE_URL", None)],
            _ => [("AZURE_STORAGE_ENDPOINT", endpoint), ("AZURE_STORAGE_ACCOUNT_NAME", account)],
        };
        let named = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let (variables, credentials) = match &grant.credentials {
            Granted::Nothing => (Variables::of_process(), Some(Credentials::Anonymous)),
            Granted::Environment => (Variables::of_process(), Some(Credentials::Named)),
            Granted::Repository => (self.repository.variables.clone(), self.repository.credentials),
            // Nothing of the environment, which may name a server that this set is not for.
            Granted::Set(_) => (Variables::default(), Some(Credentials::Named)),
        };
        // What the environment says of its own server says nothing of another one, which a container or a set names.
        let of_server = if has_server { &["AZURE_STORAGE_ENDPOINT", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST"][..] } else { &[] };
        let variables = of_server.iter().fold(variables, |variables, name| variables.without(name));
        let options = CloudOptions { variables: variables.with(named), public_only: !grant.private, ..CloudOptions::default() };
        CloudOptions { credentials, named: grant.credentials.set().cloned(), ..options.patience(self.patience) }
    }
}

/// The error of this crate among the causes of a client's: credentials could not be had.
fn ours(error: &object_store::Error) -> Option<Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        if let Some(ours) = next.downcast_ref::<Error>() {
            return Some(Error::new(ours.kind(), format!("cannot be asked: {ours}")));
        }
        cause = next.source();
    }
    None
}

/// What a redirect from a store means.
const REGION: &str = "its store sends elsewhere: the bucket lies in another region, which its container should name";

fn unanswered(error: object_store::Error, again: Option<Duration>) -> Unanswered {
    use object_store::Error as E;
    if let Some(refusal) = address::refusal(&error) {
        return refusal;
    }
    if let Some(ours) = ours(&error) {
        return Unanswered::Unasked(ours);
    }
    let told = Told::by(&error);
    match (&error, told.status) {
        (E::NotFound { .. }, _) => Unanswered::Absent,
        (E::Precondition { .. }, _) => Unanswered::Changed,
        (E::PermissionDenied { .. } | E::Unauthenticated { .. }, _) | (_, Some(401 | 403)) => Unanswered::Denied(None),
        (_, Some(400)) if told.expired => Unanswered::Denied(None),
        (_, Some(416)) => Unanswered::Short(None),
        (_, Some(301 | 302 | 303 | 307 | 308)) => Unanswered::Unable(REGION.to_owned()),
        (_, None) if told.sent_on => Unanswered::Unable(REGION.to_owned()),
        (_, Some(status @ (400 | 405 | 501))) => Unanswered::Unable(format!("the store answers {status}")),
        (E::NotSupported { .. } | E::NotImplemented { .. }, _) => {
            Unanswered::Unable("the store answers without the range that was asked for".to_owned())
        }
        (_, Some(status @ (429 | 503))) => Unanswered::busy(status, again),
        // The explanation of a store may repeat what was sent to it.
        (_, Some(status)) => Unanswered::Lost(Error::unavailable(format!("the store answers {status}"))),
        (_, None) => Unanswered::Lost(Error::unavailable("gives no whole answer").caused_by(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another account was asked at the endpoint of the environment, and another endpoint under names of buckets as hosts.
    #[test]
    fn the_environment_says_nothing_of_servers_that_are_not_its_own() {
        let variables = [
            ("AZURE_STORAGE_ENDPOINT", "https://corp.example/acct"),
            ("AZURE_STORAGE_ACCOUNT_NAME", "acct"),
            ("AWS_ENDPOINT_URL_S3", "https://mine.s3.example"),
            ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true"),
        ];
        let cloud = CloudOptions::default().variables(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let buckets = Buckets::new(Duration::from_secs(1), cloud);
        let grant = Grant { credentials: Granted::Repository, ..Grant::default() };
        let shown = |scheme: &str, endpoint: Option<&str>, account: Option<&str>| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            let settings = ServerSettings { endpoint: owned(endpoint), region: None, account: owned(account) };
            let bucket = Bucket { scheme: scheme.to_owned(), name: "b".to_owned(), settings: settings.clone() };
            let options = buckets.options(&bucket, &grant, &settings);
            let names = ["AZURE_STORAGE_ENDPOINT", "AZURE_STORAGE_ACCOUNT_NAME", "AWS_ENDPOINT_URL_S3", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST"];
            names.map(|name| options.variables.get(name).map(str::to_owned)).map(Option::unwrap_or_default)
        };
        let [_, _, endpoint, is_virtual] = shown("s3", None, None);
        assert_eq!((endpoint.as_str(), is_virtual.as_str()), ("https://mine.s3.example", "true"));
        let [_, _, endpoint, is_virtual] = shown("s3", Some("https://minio.example"), None);
        assert_eq!((endpoint.as_str(), is_virtual.as_str()), ("https://minio.example", ""));
        let [endpoint, account, ..] = shown("az", None, None);
        assert_eq!((endpoint.as_str(), account.as_str()), ("https://corp.example/acct", "acct"));
        let [endpoint, account, ..] = shown("az", None, Some("other"));
        assert_eq!((endpoint.as_str(), account.as_str()), ("", "other"));
    }
}
