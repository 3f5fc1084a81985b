//! The handle on an object store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use tokio::sync::OnceCell;

use super::client::{Connection, connect};
use super::conditions::Conditions;
use super::options::CloudOptions;
use super::place::{CloudPlace, StoreScheme};
use crate::error::{Error, Result};
use crate::storage::url::split_scheme;
use crate::storage::{
    Collecting, Expected, Extent, ObjectMeta, ObjectName, ObjectSource, RegisterName, RemovalPermit, Replaced, Storage, Versioned,
};
use crate::time::Timestamp;

/// How old the signature of a request may be that a store still carries out.
const LATE: Duration = Duration::from_mins(15);
/// What is added for clocks that differ, and for requests that wait inside a store.
const MARGIN: Duration = Duration::from_mins(5);

/// A store behind a URL. A clone is the same handle.
#[derive(Clone)]
pub struct Cloud {
    pub(super) place: Arc<CloudPlace>,
    pub(super) connection: Connection,
    pub(super) register_deadline: Duration,
    pub(super) patience: Duration,
    pub(super) retry_for: Duration,
    /// The conditions that the store was found to honour; found at the first write.
    pub(super) conditions: Arc<OnceCell<Conditions>>,
}

impl Cloud {
    /// A handle on `s3://BUCKET/PREFIX`, `gs://…`, `az://…` or, read-only, `http(s)://…`. Sends nothing: what is wrong with
    /// a bucket or its credentials shows at the first request.
    ///
    /// `Unsupported` when this build lacks the scheme, `Denied` when credentials are needed and none are named,
    /// `Invalid` when the place or a setting cannot be parsed.
    pub fn open(place: &str, options: &CloudOptions) -> Result<Self> {
        let parsed = split_scheme(place).and_then(|(scheme, rest)| CloudPlace::parse(&scheme.to_ascii_lowercase(), rest));
        let place =
            parsed.ok_or_else(|| Error::invalid("an object store is named by a URL that begins s3:, gs:, az:, http: or https:"))??;
        Self::at(place, options)
    }

    pub(crate) fn at(place: CloudPlace, options: &CloudOptions) -> Result<Self> {
        let connection = connect(&place, options)?;
        Ok(Self {
            place: Arc::new(place),
            connection,
            register_deadline: options.register_deadline,
            patience: options.patience,
            retry_for: options.retry_for,
            conditions: Arc::default(),
        })
    }

    /// How many requests this handle has sent, each attempt counted.
    pub fn requests(&self) -> u64 {
        self.connection.answers.requests()
    }

    /// The key of an object or register.
    pub(super) fn path(&self, name: &str) -> Result<Path> {
        Path::parse(self.place.key(name)).map_err(|e| Error::invalid(format!("{self}: {name} makes no key")).caused_by(e))
    }

    /// Refuses to write where that cannot be done safely, before anything is sent that others could see.
    pub(super) async fn conditions(&self) -> Result<&Conditions> {
        if self.place.scheme == StoreScheme::Http {
            return Err(Error::unsupported(format!("{self} is read-only: a web server takes no conditional writes")));
        }
        self.conditions.get_or_try_init(|| self.find_conditions()).await
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cloud").field("place", &self.place).field("conditions", &self.conditions).finish_non_exhaustive()
    }
}

#[async_trait]
impl Storage for Cloud {
    async fn get(&self, name: &ObjectName, extent: Extent) -> Result<Option<Bytes>> {
        self.get_object(name.as_str(), extent).await
    }

    async fn put(&self, name: &ObjectName, parts: &[Bytes]) -> Result<()> {
        self.conditions().await?;
        self.put_object(name.as_str(), parts).await
    }

    async fn put_from(&self, name: &ObjectName, source: &dyn ObjectSource) -> Result<()> {
        self.conditions().await?;
        self.put_object_from(name.as_str(), source).await
    }

    async fn barrier(&self) -> Result<()> {
        Ok(())
    }

    fn list<'a>(&'a self, prefix: &str) -> BoxStream<'a, Result<ObjectMeta>> {
        self.list_objects(prefix)
    }

    async fn load(&self, name: &RegisterName) -> Result<Option<Versioned>> {
        self.load_register(name.as_str()).await
    }

    async fn replace(&self, name: &RegisterName, expected: &Expected, value: Bytes) -> Replaced {
        match self.conditions().await {
            Ok(conditions) => self.replace_register(name.as_str(), expected, value, *conditions).await,
            Err(error) => Replaced::NotSent(error),
        }
    }

    async fn delete_many(&self, names: &[ObjectName], permit: &RemovalPermit) -> Vec<Result<()>> {
        match self.conditions().await {
            Ok(_) => self.delete_objects(names, permit).await,
            Err(error) => names.iter().map(|_| Err(error.copied())).collect(),
        }
    }

    async fn collecting(&self) -> Result<Collecting> {
        self.conditions().await?;
        Ok(Collecting::by_lease(LATE.max(self.retry_for.saturating_add(self.patience)).saturating_add(MARGIN)))
    }

    fn clock(&self) -> Option<Timestamp> {
        self.connection.answers.clock()
    }
}
