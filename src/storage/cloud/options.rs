//! How object stores are reached.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Variables that begin so are kept: those of the vendors' own tools, and ours.
const KEPT: &[&str] = &["AWS_", "AZURE_", "GOOGLE_", "FIRN_"];

/// Which credentials requests carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Credentials {
    /// The credentials that the variables of the store's vendor name; `Denied` if they name none. Credentials are not searched for
    /// elsewhere: not in a home directory, and not at the instance metadata service.
    #[default]
    Named,
    /// Requests are not signed.
    Anonymous,
    /// The credentials of the variables; if they name none, those of the instance metadata service.
    Machine,
}

/// Settings and secrets by the names under which the vendors' own tools read them from the environment. Printing shows
/// names only.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Those of this process, as they are now. Empty ones and those that are not UTF-8 are left out.
    pub fn of_process() -> Self {
        let all = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        all.filter(|(name, _)| KEPT.iter().any(|prefix| name.starts_with(prefix))).collect()
    }

    /// The value of a variable that is set and not empty.
    #[cfg(feature = "remote")]
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

#[cfg(feature = "remote")]
impl Variables {
    /// These variables, with others that replace or join them.
    pub(crate) fn with(mut self, others: impl IntoIterator<Item = (String, String)>) -> Self {
        self.0.extend(others.into_iter().filter(|(_, value)| !value.is_empty()));
        self
    }

    /// These variables except one.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        Self(pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// How a store behind a URL is reached.
///
/// The default knows no settings and no credentials, and reads no environment variable; [`from_environment`](Self::from_environment)
/// takes these from the variables of this process:
///
/// | variable | what it says |
/// |---|---|
/// | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` | keys for `s3:` |
/// | `AWS_WEB_IDENTITY_TOKEN_FILE` with `AWS_ROLE_ARN`, and `AWS_ROLE_SESSION_NAME` and `AWS_ENDPOINT_URL_STS` where these are set; `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`; `AWS_CONTAINER_CREDENTIALS_FULL_URI` with `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE` | where keys for `s3:` are fetched |
/// | `AWS_REGION` or `AWS_DEFAULT_REGION` | the region of the bucket; `us-east-1` |
/// | `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` | another server that speaks S3 |
/// | `AWS_VIRTUAL_HOSTED_STYLE_REQUEST` | `true`: the bucket is a part of the host |
/// | `AWS_SERVER_SIDE_ENCRYPTION`, `AWS_SSE_KMS_KEY_ID`, `AWS_SSE_BUCKET_KEY_ENABLED`, `AWS_REQUEST_PAYER` | as for Amazon's own tools |
/// | `AZURE_STORAGE_ACCOUNT_NAME` | the account whose containers `az:` names |
/// | `AZURE_STORAGE_ACCOUNT_KEY` or `AZURE_STORAGE_SAS_TOKEN` or `AZURE_STORAGE_TOKEN` | its key, a signature, a bearer token |
/// | `AZURE_CLIENT_ID`, `AZURE_TENANT_ID` with `AZURE_CLIENT_SECRET` or `AZURE_FEDERATED_TOKEN_FILE` | an application |
/// | `AZURE_AUTHORITY_HOST` | the server that gives tokens to an application |
/// | `AZURE_STORAGE_ENDPOINT` | another server, with the account as the first part of its path (Azurite: `http://127.0.0.1:10000/devstoreaccount1`) |
/// | `GOOGLE_APPLICATION_CREDENTIALS`, `GOOGLE_SERVICE_ACCOUNT` (files), `GOOGLE_SERVICE_ACCOUNT_KEY` (JSON), `GOOGLE_BEARER_TOKEN` | keys for `gs:` |
/// | `GOOGLE_BASE_URL` | another server that speaks Google's XML API |
/// | `AWS_ALLOW_HTTP`, `AZURE_ALLOW_HTTP`, `GOOGLE_ALLOW_HTTP` | `true`: an endpoint without encryption that is not this machine |
/// | `FIRN_CREDENTIALS` | `named`, `anonymous` or `machine`: see [`Credentials`] |
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CloudOptions {
    /// Settings and credentials. Default: none.
    pub variables: Variables,
    /// Which credentials requests carry. Default: what `FIRN_CREDENTIALS` in the variables says, else [`Credentials::Named`].
    pub credentials: Option<Credentials>,
    /// How long a request may wait for an answer, or its body stand still, before it is given up. An upload counts as
    /// waiting: a part of 8 MiB must get through in this time. Default: 60 s.
    pub patience: Duration,
    /// How long requests that may be sent twice are sent again after failures, with growing pauses. Default: 60 s.
    pub retry_for: Duration,
    /// How long reading a register may take with all retries, and replacing one (which is sent once) without. Default: 20 s.
    pub register_deadline: Duration,
    /// Connect to public addresses only: for places that a snapshot names.
    #[cfg_attr(not(feature = "remote"), expect(dead_code, reason = "connections are made by builds with object stores"))]
    pub(crate) public_only: bool,
    /// The set from which requests take their credentials, in place of the variables.
    #[cfg(feature = "remote")]
    pub(crate) named: Option<crate::storage::credentials::NamedSet>,
}

impl Default for CloudOptions {
    fn default() -> Self {
        Self {
            variables: Variables::default(),
            credentials: None,
            patience: Duration::from_mins(1),
            retry_for: Duration::from_mins(1),
            register_deadline: Duration::from_secs(20),
            public_only: false,
            #[cfg(feature = "remote")]
            named: None,
        }
    }
}

impl CloudOptions {
    /// The default with the settings and credentials that the environment variables of this process name, as they are now.
    pub fn from_environment() -> Self {
        Self { variables: Variables::of_process(), ..Self::default() }
    }

    /// Takes settings and credentials from `variables` instead.
    #[must_use]
    pub fn variables(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.variables = variables.into_iter().collect();
        self
    }

    /// Sets [`credentials`](Self::credentials).
    #[must_use]
    pub const fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Gives up on every request after `patience`, and does not send it again later than that: for tests of bad networks.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self.retry_for = patience;
        self.register_deadline = patience;
        self
    }
}
