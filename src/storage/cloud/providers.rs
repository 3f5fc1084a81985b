//! Credentials of a set, as the clients of object stores ask for them before each request.

use std::fmt;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
use std::sync::Arc;
use std::time::Duration;

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
use async_trait::async_trait;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
use object_store::{CredentialProvider, Result};

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
use crate::error::Error;
use crate::storage::credentials::NamedSet;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
use crate::storage::credentials::{Credential, CredentialForm};

/// A set, and how long its source may take.
#[derive(Clone)]
pub(super) struct SetCredentials {
    pub(super) set: NamedSet,
    #[cfg_attr(
        not(any(feature = "aws", feature = "azure", feature = "gcp")),
        expect(dead_code, reason = "the credentials of web servers are not asked for in this way")
    )]
    pub(super) patience: Duration,
}

impl fmt::Debug for SetCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SetCredentials({})", self.set.name)
    }
}

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
/// An error of ours as the client hands it back, so that it can be told from the client's own.
fn refused(error: Error) -> object_store::Error {
    object_store::Error::Generic { store: "credentials", source: Box::new(error) }
}

#[cfg(any(feature = "aws", feature = "azure", feature = "gcp"))]
impl SetCredentials {
    async fn current(&self, kind: &str) -> Result<Credential> {
        self.set.current(kind, self.patience).await.map_err(refused)
    }

    /// The error for a form that the client does not take from a source.
    fn unfit(&self, why: &str) -> object_store::Error {
        refused(Error::invalid(format!("credentials {}: {why}", self.set.name)))
    }

    /// The document of a service account, which the client takes only at its making.
    #[cfg(feature = "gcp")]
    pub(super) fn google_account(&self) -> Option<&str> {
        match &self.set.set.unchanging()?.0 {
            CredentialForm::GoogleAccount(key) => Some(key.reveal()),
            _ => None,
        }
    }
}

/// Keys of Amazon.
#[cfg(feature = "aws")]
#[derive(Debug)]
pub(super) struct AmazonFromSet(pub(super) SetCredentials);

#[cfg(feature = "aws")]
#[async_trait]
impl CredentialProvider for AmazonFromSet {
    type Credential = object_store::aws::AwsCredential;

    async fn get_credential(&self) -> Result<Arc<Self::Credential>> {
        let CredentialForm::Aws { id, secret, token } = self.0.current("s3").await?.0 else { return Err(self.0.unfit("they are no keys")) };
        let token = token.map(|token| token.reveal().to_owned());
        Ok(Arc::new(object_store::aws::AwsCredential { key_id: id, secret_key: secret.reveal().to_owned(), token }))
    }
}

/// Tokens of Google.
#[cfg(feature = "gcp")]
#[derive(Debug)]
pub(super) struct GoogleFromSet(pub(super) SetCredentials);

#[cfg(feature = "gcp")]
#[async_trait]
impl CredentialProvider for GoogleFromSet {
    type Credential = object_store::gcp::GcpCredential;

    async fn get_credential(&self) -> Result<Arc<Self::Credential>> {
        match self.0.current("gs").await?.0 {
            CredentialForm::GoogleToken(token) => Ok(Arc::new(object_store::gcp::GcpCredential { bearer: token.reveal().to_owned() })),
            _ => Err(self.0.unfit("a service account is not taken from a source; let the source give its token")),
        }
    }
}

/// Keys, signatures and tokens of Azure.
#[cfg(feature = "azure")]
#[derive(Debug)]
pub(super) struct AzureFromSet(pub(super) SetCredentials);

#[cfg(feature = "azure")]
#[async_trait]
impl CredentialProvider for AzureFromSet {
    type Credential = object_store::azure::AzureCredential;

    async fn get_credential(&self) -> Result<Arc<Self::Credential>> {
        use object_store::azure::{AzureAccessKey, AzureCredential};
        Ok(Arc::new(match self.0.current("az").await?.0 {
            // The client's own error would repeat a part of the key.
            CredentialForm::AzureKey(key) => AzureCredential::AccessKey(
                AzureAccessKey::try_new(key.reveal()).map_err(|_| self.0.unfit("the account key is not base64"))?,
            ),
            CredentialForm::AzureSas(sas) => {
                let pairs = url::form_urlencoded::parse(sas.reveal().trim_start_matches('?').as_bytes());
                AzureCredential::SASToken(pairs.into_owned().collect())
            }
            CredentialForm::AzureToken(token) => AzureCredential::BearerToken(token.reveal().to_owned()),
            _ => return Err(self.0.unfit("they are no keys of an account")),
        }))
    }
}
