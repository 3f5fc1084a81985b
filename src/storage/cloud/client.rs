//! Makes clients of object stores from a place, settings and credentials.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use url::Url;

use super::answers::{Answers, Connector, address_in, is_loopback};
use super::options::{CloudOptions, Credentials, Variables};
use super::place::{CloudPlace, StoreScheme};
#[cfg(feature = "aws")]
use super::providers::AmazonFromSet;
#[cfg(feature = "azure")]
use super::providers::AzureFromSet;
#[cfg(feature = "gcp")]
use super::providers::GoogleFromSet;
use super::providers::SetCredentials;
use crate::error::{Error, Result};

/// A bucket that can be asked.
#[derive(Clone)]
pub(crate) struct Connection {
    /// Sends failed requests again: for requests that may be sent twice.
    pub(crate) retrying: Arc<dyn ObjectStore>,
    /// Removes objects, many with one request where the protocol can; sends every request exactly once.
    pub(crate) removing: Arc<dyn ObjectStore>,
    /// Sends every request exactly once.
    pub(crate) once: Arc<dyn ObjectStore>,
    /// What was sent and answered, by both.
    pub(crate) answers: Arc<Answers>,
    /// The server, if it is not the vendor's own.
    pub(crate) endpoint: Option<String>,
}

impl fmt::Debug for Connection {
    /// Shows no clients: some print the credentials that they hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("answers", &self.answers).field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Makes a client for the bucket of `place`. Sends nothing.
///
/// `Unsupported` when this build lacks the protocol, `Denied` when credentials are needed and none are named.
pub(crate) fn connect(place: &CloudPlace, options: &CloudOptions) -> Result<Connection> {
    let vendor = Vendor::of(place.scheme);
    let endpoint = endpoint(place, &vendor, options)?;
    let access = match options.credentials {
        Some(named) => named,
        None => from_variables(&options.variables)?,
    };
    if access == Credentials::Named && options.named.is_none() && !vendor.names_credentials(&options.variables) {
        return Err(Error::denied(format!(
            "{place} needs credentials and none are named; set {}, or FIRN_CREDENTIALS to anonymous or machine",
            vendor.credentials_shown
        )));
    }
    let connector = Connector::new(endpoint.as_ref(), fetches_nothing(access, &vendor, options), options.patience, options.public_only)?;
    let connector = if place.scheme == StoreScheme::Http { connector.giving_up_early() } else { connector };
    let answers = connector.answers();
    let make = |retries: RetryConfig, removes_many: bool| {
        // The others need no setting for it.
        let _ = removes_many;
        let plan = ClientPlan {
            place,
            vendor: &vendor,
            variables: &options.variables,
            access,
            named: options.named.as_ref().map(|set| SetCredentials { set: set.clone(), patience: options.patience }),
            retries,
            #[cfg(feature = "aws")]
            removes_many,
            connector: connector.clone(),
        };
        match place.scheme {
            StoreScheme::S3 => s3(&plan),
            StoreScheme::Gs => gs(&plan),
            StoreScheme::Az => az(&plan, endpoint.as_ref()),
            StoreScheme::Http => web(&plan),
        }
    };
    let backoff = BackoffConfig { init_backoff: Duration::from_millis(50), max_backoff: Duration::from_secs(5), base: 2. };
    let retrying = RetryConfig { backoff, max_retries: 20, retry_timeout: options.retry_for };
    let once = RetryConfig { max_retries: 0, ..retrying.clone() };
    let (retrying, removing, once) = (make(retrying, false)?, make(once.clone(), true)?, make(once, false)?);
    Ok(Connection { retrying, removing, once, answers, endpoint: endpoint.map(String::from) })
}

/// Whether the client asks no other server than that of the bucket.
fn fetches_nothing(access: Credentials, vendor: &Vendor, options: &CloudOptions) -> bool {
    match (access, &options.named) {
        (Credentials::Anonymous, _) => true,
        // The client itself fetches tokens for the account of a service.
        (Credentials::Named, Some(named)) => !named.set.is_google_account(),
        (Credentials::Named, None) => vendor.fetches_nothing(&options.variables),
        (Credentials::Machine, _) => false,
    }
}

/// The address of the server that `options` name for `place`, if they name it by its address.
pub(crate) fn endpoint_address(place: &CloudPlace, options: &CloudOptions) -> Result<Option<std::net::IpAddr>> {
    let endpoint = endpoint(place, &Vendor::of(place.scheme), options)?;
    Ok(endpoint.as_ref().and_then(address_in))
}

/// What all builders are given.
#[cfg_attr(not(any(feature = "aws", feature = "azure", feature = "gcp")), expect(dead_code, reason = "a web server has no settings"))]
struct ClientPlan<'a> {
    place: &'a CloudPlace,
    vendor: &'a Vendor,
    variables: &'a Variables,
    access: Credentials,
    named: Option<SetCredentials>,
    retries: RetryConfig,
    /// Whether objects are removed many at a time.
    #[cfg(feature = "aws")]
    removes_many: bool,
    connector: Connector,
}

/// The variables of one vendor.
#[cfg_attr(not(any(feature = "aws", feature = "azure", feature = "gcp")), expect(dead_code, reason = "a web server has no settings"))]
struct Vendor {
    /// The first of these that is set names the server.
    endpoint: &'static [&'static str],
    allow_http: &'static str,
    settings: &'static [&'static str],
    credentials: &'static [&'static str],
    /// Sets of variables each of which is enough to sign a request; empty when requests are never signed.
    enough: &'static [&'static [&'static str]],
    /// How many of these sets, the first ones, sign requests by themselves; with the others credentials are fetched.
    fixed: usize,
    credentials_shown: &'static str,
}

impl Vendor {
    fn of(scheme: StoreScheme) -> Self {
        match scheme {
            StoreScheme::S3 => AMAZON,
            StoreScheme::Gs => GOOGLE,
            StoreScheme::Az => AZURE,
            StoreScheme::Http => WEB,
        }
    }

    fn names_credentials(&self, variables: &Variables) -> bool {
        self.enough.is_empty() || are_named(self.enough, variables)
    }

    /// Whether what is named signs requests without another server being asked for credentials.
    fn fetches_nothing(&self, variables: &Variables) -> bool {
        self.enough.is_empty() || are_named(self.enough.get(..self.fixed).unwrap_or_default(), variables)
    }
}

fn are_named(sets: &[&[&str]], variables: &Variables) -> bool {
    sets.iter().any(|all| all.iter().all(|name| variables.get(name).is_some()))
}

const AMAZON: Vendor = Vendor {
    endpoint: &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"],
    allow_http: "AWS_ALLOW_HTTP",
    settings: &[
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
        "AWS_SERVER_SIDE_ENCRYPTION",
        "AWS_SSE_KMS_KEY_ID",
        "AWS_SSE_BUCKET_KEY_ENABLED",
        "AWS_REQUEST_PAYER",
    ],
    credentials: &[
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ROLE_ARN",
        "AWS_ROLE_SESSION_NAME",
        "AWS_ENDPOINT_URL_STS",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    ],
    enough: &[
        &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
        &["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"],
        &["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"],
        &["AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"],
    ],
    fixed: 1,
    credentials_shown: "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
};

const AZURE: Vendor = Vendor {
    endpoint: &["AZURE_STORAGE_ENDPOINT"],
    allow_http: "AZURE_ALLOW_HTTP",
    settings: &["AZURE_STORAGE_ACCOUNT_NAME"],
    credentials: &[
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_TOKEN",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
        "AZURE_TENANT_ID",
        "AZURE_AUTHORITY_HOST",
        "AZURE_FEDERATED_TOKEN_FILE",
    ],
    enough: &[
        &["AZURE_STORAGE_ACCOUNT_KEY"],
        &["AZURE_STORAGE_SAS_TOKEN"],
        &["AZURE_STORAGE_TOKEN"],
        &["AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"],
        &["AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"],
    ],
    fixed: 3,
    credentials_shown: "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
};

const GOOGLE: Vendor = Vendor {
    endpoint: &["GOOGLE_BASE_URL"],
    allow_http: "GOOGLE_ALLOW_HTTP",
    settings: &["GOOGLE_BASE_URL"],
    credentials: &["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_BEARER_TOKEN"],
    enough: &[&["GOOGLE_BEARER_TOKEN"], &["GOOGLE_APPLICATION_CREDENTIALS"], &["GOOGLE_SERVICE_ACCOUNT"], &["GOOGLE_SERVICE_ACCOUNT_KEY"]],
    fixed: 1,
    credentials_shown: "GOOGLE_APPLICATION_CREDENTIALS",
};

/// A web server: the place is the endpoint, and requests carry no name.
const WEB: Vendor = Vendor { endpoint: &[], allow_http: "", settings: &[], credentials: &[], enough: &[], fixed: 0, credentials_shown: "" };

fn from_variables(variables: &Variables) -> Result<Credentials> {
    match variables.get("FIRN_CREDENTIALS") {
        None | Some("named") => Ok(Credentials::Named),
        Some("anonymous") => Ok(Credentials::Anonymous),
        Some("machine") => Ok(Credentials::Machine),
        Some(_) => Err(Error::invalid("FIRN_CREDENTIALS must be named, anonymous or machine")),
    }
}

/// The server that is named instead of the vendor's own; for a web server, the place itself.
fn endpoint(place: &CloudPlace, vendor: &Vendor, options: &CloudOptions) -> Result<Option<Url>> {
    let variables = &options.variables;
    if place.scheme == StoreScheme::Http {
        let url = Url::parse(&place.bucket);
        return url.map(Some).map_err(|e| Error::invalid("a place on a web server is not a valid URL").caused_by(e));
    }
    let Some((name, text)) = vendor.endpoint.iter().find_map(|name| Some((name, variables.get(name)?))) else { return Ok(None) };
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    // Keys are appended to it, so it may have no query and no fragment.
    let url = url.filter(|url| url.query().is_none() && url.fragment().is_none());
    let url = url.ok_or_else(|| Error::invalid(format!("{name} is not the URL of a server")))?;
    if url.scheme() == "http" && !is_loopback(&url) && variables.get(vendor.allow_http) != Some("true") {
        if let Some(named) = &options.named {
            return Err(Error::denied(format!(
                "credentials {} are for a server without encryption, to which they are not sent; write https",
                named.name
            )));
        }
        return Err(Error::denied(format!(
            "{name} names a server that is reached without encryption; write https, or set {} to true",
            vendor.allow_http
        )));
    }
    Ok(Some(url))
}

/// Turns the set variables of a vendor into settings of a builder, each by its own name in lower case.
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
fn apply<B, K: std::str::FromStr<Err = object_store::Error>>(
    plan: &ClientPlan<'_>,
    builder: B,
    set: impl Fn(B, K, &str) -> B,
) -> Result<B> {
    let credentials = if plan.access == Credentials::Anonymous { &[][..] } else { plan.vendor.credentials };
    plan.vendor.settings.iter().chain(credentials).try_fold(builder, |builder, name| {
        let Some(value) = plan.variables.get(name) else { return Ok(builder) };
        let key = name.to_ascii_lowercase().parse().map_err(|e| Error::internal(format!("{name} is not a setting")).caused_by(e))?;
        Ok(set(builder, key, value))
    })
}

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "http"))]
fn built<S: ObjectStore>(plan: &ClientPlan<'_>, store: object_store::Result<S>) -> Result<Arc<dyn ObjectStore>> {
    let store = store.map_err(|e| Error::invalid(format!("{} cannot be reached as its settings say", plan.place)).caused_by(e))?;
    Ok(Arc::new(store))
}

#[cfg(not(all(feature = "aws", feature = "azure", feature = "gcp", feature = "http")))]
fn lacking(scheme: &str, feature: &str) -> Error {
    Error::unsupported(format!("{scheme}:// is not supported by this build; build it with the feature {feature}"))
}

#[cfg(feature = "aws")]
fn s3(plan: &ClientPlan<'_>) -> Result<Arc<dyn ObjectStore>> {
    use object_store::aws::{AmazonS3Builder, AwsCredential};
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&plan.place.bucket)
        .with_disable_bulk_delete(!plan.removes_many)
        .with_retry(plan.retries.clone())
        .with_http_connector(plan.connector.clone());
    builder = apply(plan, builder, |b, key, value| b.with_config(key, value))?;
    if plan.access == Credentials::Anonymous {
        // A provider besides the flag, so that no server is asked for credentials that are then not used.
        let empty = AwsCredential { key_id: String::new(), secret_key: String::new(), token: None };
        let empty = object_store::StaticCredentialProvider::new(empty);
        builder = builder.with_skip_signature(true).with_credentials(Arc::new(empty));
    }
    if let Some(named) = &plan.named {
        builder = builder.with_credentials(Arc::new(AmazonFromSet(named.clone())));
    }
    built(plan, builder.build())
}

#[cfg(not(feature = "aws"))]
fn s3(_plan: &ClientPlan<'_>) -> Result<Arc<dyn ObjectStore>> {
    Err(lacking("s3", "aws"))
}

#[cfg(feature = "gcp")]
fn gs(plan: &ClientPlan<'_>) -> Result<Arc<dyn ObjectStore>> {
    use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&plan.place.bucket)
        .with_retry(plan.retries.clone())
        .with_http_connector(plan.connector.clone());
    builder = apply(plan, builder, |b, key, value| b.with_config(key, value))?;
    if plan.access == Credentials::Anonymous {
        let empty = object_store::StaticCredentialProvider::new(GcpCredential { bearer: String::new() });
        builder = builder.with_skip_signature(true).with_credentials(Arc::new(empty));
    }
    if let Some(named) = &plan.named {
        builder = match named.google_account() {
            // The client itself makes tokens of it.
            Some(key) => builder.with_service_account_key(key),
            None => builder.with_credentials(Arc::new(GoogleFromSet(named.clone()))),
        };
    }
    built(plan, builder.build())
}

#[cfg(not(feature = "gcp"))]
fn gs(_plan: &ClientPlan<'_>) -> Result<Arc<dyn ObjectStore>> {
    Err(lacking("gs", "gcp"))
}

#[cfg(feature = "azure")]
fn az(plan: &ClientPlan<'_>, endpoint: Option<&Url>) -> Result<Arc<dyn ObjectStore>> {
    use object_store::azure::{AzureCredential, MicrosoftAzureBuilder};
    if plan.variables.get("AZURE_STORAGE_ACCOUNT_NAME").is_none() {
        return Err(Error::invalid(format!("{} does not say whose container it is; set AZURE_STORAGE_ACCOUNT_NAME", plan.place)));
    }
    let mut builder = MicrosoftAzureBuilder::new()
        .with_container_name(&plan.place.bucket)
        .with_retry(plan.retries.clone())
        .with_http_connector(plan.connector.clone());
    builder = apply(plan, builder, |b, key, value| b.with_config(key, value))?;
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/').to_owned());
    }
    if plan.access == Credentials::Anonymous {
        let empty = object_store::StaticCredentialProvider::new(AzureCredential::BearerToken(String::new()));
        builder = builder.with_skip_signature(true).with_credentials(Arc::new(empty));
    }
    if let Some(named) = &plan.named {
        builder = builder.with_credentials(Arc::new(AzureFromSet(named.clone())));
    }
    built(plan, builder.build())
}

#[cfg(not(feature = "azure"))]
fn az(_plan: &ClientPlan<'_>, _endpoint: Option<&Url>) -> Result<Arc<dyn ObjectStore>> {
    Err(lacking("az", "azure"))
}

#[cfg(feature = "http")]
fn web(plan: &ClientPlan<'_>) -> Result<Arc<dyn ObjectStore>> {
    let builder = object_store::http::HttpBuilder::new()
        .with_url(&plan.place.bucket)
        .with_retry(plan.retries.clone())
        .with_http_connector(plan.connector.clone());
    built(plan, builder.build())
}

#[cfg(not(feature = "http"))]
fn web(_plan: &ClientPlan<'_>) -> Result<Arc<dyn ObjectStore>> {
    Err(lacking("http", "http"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::credentials::{Credential, CredentialSet, NamedSet, Secret};

    /// A server without encryption was asked by a client that trusts no certificate, which then could not fetch the
    /// credentials either.
    #[test]
    fn credentials_that_are_fetched_are_told_from_those_that_are_there() {
        let fetches_nothing = |vendor: &Vendor, named: &[&str]| {
            vendor.fetches_nothing(&named.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect())
        };
        assert!(fetches_nothing(&AMAZON, &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]));
        assert!(!fetches_nothing(&AMAZON, &["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"]));
        assert!(!fetches_nothing(&AMAZON, &["AWS_ACCESS_KEY_ID"]));
        assert!(fetches_nothing(&AZURE, &["AZURE_STORAGE_TOKEN"]));
        assert!(!fetches_nothing(&AZURE, &["AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"]));
        assert!(fetches_nothing(&GOOGLE, &["GOOGLE_BEARER_TOKEN"]));
        assert!(!fetches_nothing(&GOOGLE, &["GOOGLE_SERVICE_ACCOUNT"]));
        assert!(fetches_nothing(&WEB, &[]));
    }

    /// A set was always taken for credentials that are there.
    #[test]
    fn a_service_account_is_told_from_a_token() {
        for (field, expected) in [("token", true), ("service_account_key", false)] {
            let fields = [(field.to_owned(), Secret::new("x"))].into();
            let set = CredentialSet::fixed(Credential::from_fields("gs", &fields).unwrap());
            let options = CloudOptions { named: Some(NamedSet { name: "a".into(), set }), ..CloudOptions::default() };
            assert_eq!(super::fetches_nothing(Credentials::Named, &GOOGLE, &options), expected, "{field}");
        }
    }
}
