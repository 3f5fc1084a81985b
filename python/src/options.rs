//! How a repository is opened, from keyword arguments.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use firnline::storage::{CloudOptions, Credentials, LocalOptions, NetworkFileSystems};
use firnline::{Access, Allow, CreateOptions, Error, HashAlgorithm, OpenOptions, Rebind, Result};
use pyo3::prelude::*;

use crate::credentials::NativeCredentials;
use crate::progress::ReportsOfCalls;

/// What the Python class says about opening; the keys of a dictionary. Without `variables` the environment of this process is read, as
/// the command `firn` reads it: credentials and settings of object stores, allowed places and moved containers (`FIRN_ALLOW`,
/// `FIRN_REBIND`), and the configuration file of the user.
#[derive(Debug, FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct OpenArguments {
    allow: Vec<String>,
    rebind: Vec<(String, String, bool)>,
    cache_bytes: Option<u64>,
    staged_bytes: Option<usize>,
    upload_bytes: Option<u64>,
    scratch: Option<PathBuf>,
    read_only: bool,
    credentials: Vec<(String, Py<NativeCredentials>)>,
    config: Option<Configuration>,
    gap_bytes: Option<u64>,
    longest_bytes: Option<u64>,
    requests_per_host: Option<usize>,
    patience: Option<f64>,
    storage_credentials: Option<String>,
    variables: Option<BTreeMap<String, String>>,
    network_file_systems: bool,
    /// Whether credentials that an allowed place names must be defined. Those of another process may not have come along.
    names_all: bool,
}

/// Which configuration file is read.
#[derive(Debug, FromPyObject)]
pub(crate) enum Configuration {
    /// That of the user, or none.
    OfUser(bool),
    File(PathBuf),
}

/// The value of a variable of the environment; empty if it is not set.
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

impl OpenArguments {
    /// The same for the engine.
    pub(crate) fn to_options(&self) -> Result<OpenOptions> {
        let mut options = OpenOptions::default().access(self.access()?).cloud(self.cloud()?).progress(Arc::new(ReportsOfCalls));
        options.local = self.local();
        options.cache_bytes = self.cache_bytes.unwrap_or(options.cache_bytes);
        options.staged_bytes = self.staged_bytes.unwrap_or(options.staged_bytes);
        options.upload_bytes = self.upload_bytes.unwrap_or(options.upload_bytes);
        options.scratch.clone_from(&self.scratch);
        Ok(if self.read_only { options.read_only() } else { options })
    }

    /// What may be read beside the repository, and how: by the configuration file, by the environment, and by the arguments, of which later
    /// ones
    /// decide.
    fn access(&self) -> Result<Access> {
        let mut access = match &self.config {
            Some(Configuration::File(file)) => Access::from_file(file)?,
            Some(Configuration::OfUser(true)) => Access::from_configuration()?,
            None if self.variables.is_none() => Access::from_configuration()?,
            Some(Configuration::OfUser(false)) | None => Access::default(),
        };
        if self.variables.is_none() {
            access.allow(Access::parse_list(&variable("FIRN_ALLOW"))?);
            for (container, to) in Rebind::parse_list(&variable("FIRN_REBIND"))? {
                access.rebind(container, to)?;
            }
        }
        access.allow(self.allow.iter().map(|entry| entry.parse()).collect::<Result<Vec<Allow>>>()?);
        for (name, credentials) in &self.credentials {
            let set = credentials.get().set().map_err(|e| e.context(format!("credentials {name:?}")))?;
            access.credentials(name.clone(), set)?;
        }
        for (container, template, accept_unverified) in &self.rebind {
            access.rebind(container.clone(), Rebind { template: template.clone(), accept_unverified: *accept_unverified })?;
        }
        if self.names_all {
            access.check()?;
        }
        self.reading(access)
    }

    /// How files are asked for.
    fn reading(&self, mut access: Access) -> Result<Access> {
        if self.longest_bytes == Some(0) || self.requests_per_host == Some(0) {
            return Err(Error::invalid("longest_bytes and requests_per_host are at least 1"));
        }
        if let Some(seconds) = self.patience {
            let patience = Duration::try_from_secs_f64(seconds).ok().filter(|patience| !patience.is_zero());
            access =
                access.patience(patience.ok_or_else(|| Error::invalid(format!("patience {seconds} is not a number of seconds above 0")))?);
        }
        access = self.gap_bytes.into_iter().fold(access, Access::gap);
        access = self.longest_bytes.into_iter().fold(access, Access::longest);
        Ok(self.requests_per_host.into_iter().fold(access, Access::per_host))
    }

    /// The same for a new repository.
    pub(crate) fn to_create(&self, hash: &str) -> Result<CreateOptions> {
        Ok(CreateOptions::from(self.to_options()?).hash(hash.parse::<HashAlgorithm>()?))
    }

    fn local(&self) -> LocalOptions {
        LocalOptions::default().network(if self.network_file_systems { NetworkFileSystems::Trust } else { NetworkFileSystems::Refuse })
    }

    fn cloud(&self) -> Result<CloudOptions> {
        let cloud = match &self.variables {
            Some(variables) => CloudOptions::default().variables(variables.clone()),
            None => CloudOptions::from_environment(),
        };
        Ok(match self.storage_credentials.as_deref() {
            None => cloud,
            Some("named") => cloud.credentials(Credentials::Named),
            Some("anonymous") => cloud.credentials(Credentials::Anonymous),
            Some("machine") => cloud.credentials(Credentials::Machine),
            Some(other) => {
                return Err(Error::invalid(format!("storage_credentials {other:?} are not one of named, anonymous and machine")));
            }
        })
    }
}
