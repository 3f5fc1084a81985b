//! The servers that tests talk to, each test below a prefix of its own.

use std::fmt;
use std::sync::Arc;

use firnline::storage::{Cloud, CloudOptions};

use super::endpoints::{BUCKET, azurite_variables, endpoint, s3_variables};
use super::server::{Dialect, Server};

/// A prefix that nobody else uses, on some server.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) variables: Vec<(String, String)>,
    /// Runs as long as the place is used.
    pub(crate) server: Option<Arc<Server>>,
}

impl Place {
    /// Ceph's gateway, at the endpoint that `FIRN_TEST_S3_CEPH` names.
    pub(crate) fn ceph(test: &str) -> Option<Self> {
        Some(Self::s3(&endpoint(test, "FIRN_TEST_S3_CEPH")?, None))
    }

    /// moto, at the endpoint that `FIRN_TEST_S3_MOTO` names.
    pub(crate) fn moto(test: &str) -> Option<Self> {
        Some(Self::s3(&endpoint(test, "FIRN_TEST_S3_MOTO")?, None))
    }

    /// Azurite, at the endpoint that `FIRN_TEST_AZURITE` names.
    pub(crate) fn azurite(test: &str) -> Option<Self> {
        Some(Self::new("az", azurite_variables(&endpoint(test, "FIRN_TEST_AZURITE")?), None))
    }

    /// Our own server, speaking Google's XML.
    pub(crate) fn our_gcs() -> Self {
        let server = Server::start(Dialect::Gcs);
        let variables = [("GOOGLE_BASE_URL", server.endpoint()), ("GOOGLE_BEARER_TOKEN", "nobody checks it".to_owned())];
        Self::new("gs", variables.map(|(name, value)| (name.to_owned(), value)).into(), Some(Arc::new(server)))
    }

    /// Our own server, speaking S3.
    pub(crate) fn our_s3() -> Self {
        let server = Server::start(Dialect::S3);
        Self::s3(&server.endpoint(), Some(Arc::new(server)))
    }

    pub(crate) fn s3(endpoint: &str, server: Option<Arc<Server>>) -> Self {
        Self::new("s3", s3_variables(endpoint), server)
    }

    fn new(scheme: &str, variables: Vec<(String, String)>, server: Option<Arc<Server>>) -> Self {
        let unique = rand::random::<u64>();
        Self { url: format!("{scheme}://{BUCKET}/tests/{unique:016x}"), variables, server }
    }

    pub(crate) fn options(&self) -> CloudOptions {
        CloudOptions::default().variables(self.variables.clone())
    }

    /// A new handle on it.
    pub(crate) fn open(&self) -> Cloud {
        Cloud::open(&self.url, &self.options()).expect("the place is well named")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}
