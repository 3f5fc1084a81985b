//! How a repository is opened, from keyword arguments.

use std::collections::BTreeMap;

use firnline::storage::{CloudOptions, Credentials, LocalOptions, NetworkFileSystems};
use firnline::{Access, Allow, CreateOptions, Error, HashAlgorithm, OpenOptions, Rebind, Result};
use pyo3::prelude::*;

/// What the Python class says about opening; the keys of a dictionary. Without `variables` the environment of this process is read, as
/// the command `firn` reads it: credentials and settings of object stores, and the list of allowed places `FIRN_ALLOW`.
#[derive(Debug, Clone, FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct OpenArguments {
    allow: Vec<String>,
    rebind: Vec<(String, String, bool)>,
    cache_bytes: Option<u64>,
    staged_bytes: Option<usize>,
    upload_bytes: Option<u64>,
    scratch: Option<std::path::PathBuf>,
    read_only: bool,
    credentials: Option<String>,
    variables: Option<BTreeMap<String, String>>,
    network_file_systems: bool,
}

impl OpenArguments {
    /// The same for the engine.
    pub(crate) fn to_options(&self) -> Result<OpenOptions> {
        let mut allowed = self.allow.iter().map(|entry| entry.parse()).collect::<Result<Vec<Allow>>>()?;
        if self.variables.is_none() {
            allowed.extend(Access::parse_list(&std::env::var("FIRN_ALLOW").unwrap_or_default())?);
        }
        let mut access = Access::new(allowed);
        for (container, template, accept_unverified) in &self.rebind {
            access.rebind(container.clone(), Rebind { template: template.clone(), accept_unverified: *accept_unverified })?;
        }
        let mut options = OpenOptions::default().access(access).cloud(self.cloud()?);
        options.local = self.local();
        options.cache_bytes = self.cache_bytes.unwrap_or(options.cache_bytes);
        options.staged_bytes = self.staged_bytes.unwrap_or(options.staged_bytes);
        options.upload_bytes = self.upload_bytes.unwrap_or(options.upload_bytes);
        options.scratch.clone_from(&self.scratch);
        Ok(if self.read_only { options.read_only() } else { options })
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
        Ok(match self.credentials.as_deref() {
            None => cloud,
            Some("named") => cloud.credentials(Credentials::Named),
            Some("anonymous") => cloud.credentials(Credentials::Anonymous),
            Some("machine") => cloud.credentials(Credentials::Machine),
            Some(other) => {
                return Err(Error::invalid(format!("credentials {other:?} are not one of named, anonymous and machine")));
            }
        })
    }
}
