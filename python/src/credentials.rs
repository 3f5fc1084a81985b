//! Credentials for external files, as Python gives them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use firnline::storage::{Credential, CredentialCommand, CredentialSet, CredentialSource, IssuedCredentials, Secret};
use firnline::{Access, Error, Result, Timestamp};
use pyo3::prelude::*;
use tokio::task::JoinHandle;

use crate::failure::OrRaise as _;
use crate::runtime::OfProcess;

/// Where credentials come from. Nothing in it is printed.
enum Origin {
    Environment,
    Anonymous,
    Repository,
    /// The set of this name in the user's configuration file, or in the file that is named.
    Profile(String, Option<PathBuf>),
    Fixed(Credential),
    Command(String, String, Vec<String>),
    /// Gives `(kind, fields, expires)`; the kind of server, where it is known before.
    Callback(Option<String>, Arc<Py<PyAny>>),
}

/// A set of credentials, and the server they are for.
#[pyclass(frozen, module = "firnline._firnline")]
pub(crate) struct NativeCredentials {
    origin: Origin,
    endpoint: Option<String>,
    region: Option<String>,
    account: Option<String>,
    /// The engine's set, which holds what was fetched. A process that was forked makes one of its own.
    made: Mutex<Option<OfProcess<CredentialSet>>>,
}

impl NativeCredentials {
    /// The set of the engine: the same one for all repositories of this process.
    pub(crate) fn set(&self) -> Result<CredentialSet> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = made.as_ref().and_then(OfProcess::get) {
            return Ok(set.clone());
        }
        let mut set = match &self.origin {
            Origin::Environment => CredentialSet::environment(),
            Origin::Anonymous => CredentialSet::anonymous(),
            Origin::Repository => CredentialSet::repository(),
            Origin::Profile(name, file) => {
                let access = file.as_ref().map_or_else(Access::from_configuration, |file| Access::from_file(file))?;
                let missing = || Error::not_found(format!("the configuration file defines no credentials {name:?}"));
                access.credential_set(name).cloned().ok_or_else(missing)?
            }
            Origin::Fixed(credential) => CredentialSet::fixed(credential.clone()),
            Origin::Command(kind, program, arguments) => {
                CredentialSet::fetched(Arc::new(CredentialCommand::new(kind, program, arguments.iter().cloned())))
            }
            Origin::Callback(kind, function) => CredentialSet::fetched(Arc::new(Callback {
                kind: kind.clone(),
                function: function.clone(),
                running: tokio::sync::Mutex::default(),
            })),
        };
        set = self.endpoint.iter().cloned().fold(set, CredentialSet::endpoint);
        set = self.region.iter().cloned().fold(set, CredentialSet::region);
        set = self.account.iter().cloned().fold(set, CredentialSet::account);
        *made = Some(OfProcess::new(set.clone()));
        Ok(set)
    }
}

fn credential(kind: &str, fields: BTreeMap<String, String>) -> Result<Credential> {
    Credential::from_fields(kind, &fields.into_iter().map(|(name, value)| (name, Secret::new(value))).collect())
}

#[pymethods]
impl NativeCredentials {
    /// Makes a set: `origin` is the kind of it, with what belongs to that kind.
    #[new]
    #[expect(clippy::too_many_arguments, reason = "as Python passes them")]
    fn new(
        py: Python<'_>,
        origin: &str,
        kind: String,
        fields: BTreeMap<String, String>,
        command: Vec<String>,
        callback: Option<Py<PyAny>>,
        endpoint: Option<String>,
        region: Option<String>,
        account: Option<String>,
    ) -> PyResult<Self> {
        let from = match (origin, callback) {
            ("environment", _) => Ok(Origin::Environment),
            ("anonymous", _) => Ok(Origin::Anonymous),
            ("repository", _) => Ok(Origin::Repository),
            ("profile", _) => Ok(Origin::Profile(kind.clone(), command.into_iter().next().map(PathBuf::from))),
            ("fixed", _) => credential(&kind, fields).map(Origin::Fixed),
            ("callback", Some(callback)) => Ok(Origin::Callback(Some(kind.clone()).filter(|kind| !kind.is_empty()), Arc::new(callback))),
            ("command", _) => match command.split_first() {
                Some((program, arguments)) => Ok(Origin::Command(kind.clone(), program.clone(), arguments.to_vec())),
                None => Err(Error::invalid("the command is empty; name a program")),
            },
            _ => Err(Error::internal("no such origin of credentials")),
        };
        let made = Self { origin: from.or_raise(py)?, endpoint, region, account, made: Mutex::default() };
        if made.endpoint.is_some() || made.region.is_some() || made.account.is_some() {
            // Refused here and not when a repository is opened, so that no object exists that holds a secret where none belongs.
            let name = if kind.is_empty() { origin } else { &kind };
            made.set().and_then(|set| Access::default().credentials(name, set)).or_raise(py)?;
        }
        Ok(made)
    }
}

impl fmt::Debug for NativeCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeCredentials").finish_non_exhaustive()
    }
}

/// A function of Python that gives credentials.
struct Callback {
    kind: Option<String>,
    function: Arc<Py<PyAny>>,
    /// The call that is under way. A thread cannot be stopped: when the reader's patience is over, the call goes on, and whoever asks next
    /// gets its answer.
    running: tokio::sync::Mutex<Option<JoinHandle<Option<Result<IssuedCredentials>>>>>,
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[async_trait]
impl CredentialSource for Callback {
    async fn credentials(&self) -> Result<IssuedCredentials> {
        let mut running = self.running.lock().await;
        // On a thread that may block: the function may take its time, or run an event loop.
        let begin = || {
            let function = self.function.clone();
            tokio::task::spawn_blocking(move || Python::try_attach(|py| ask(py, &function)))
        };
        let asked = running.get_or_insert_with(begin).await;
        *running = None;
        let asked = asked.map_err(|e| Error::internal("the callback for credentials did not end").caused_by(e))?;
        asked.unwrap_or_else(|| Err(Error::unavailable("the interpreter is ending, and gives no credentials")))
    }

    fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }
}

/// Calls the function. What it raises is shown by its type and its message.
fn ask(py: Python<'_>, callback: &Py<PyAny>) -> Result<IssuedCredentials> {
    type Answer = (String, BTreeMap<String, String>, Option<i64>);
    let answer = callback.call0(py).and_then(|answer| answer.extract::<Answer>(py));
    let (kind, fields, expires) = answer.map_err(|raised| {
        let kind = raised.get_type(py).name().map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
        Error::unavailable(format!("the callback for credentials raised {kind}: {}", raised.value(py)))
    })?;
    Ok(IssuedCredentials { credential: credential(&kind, fields)?, expires: expires.map(Timestamp::from_micros) })
}
