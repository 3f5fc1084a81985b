//! Reading and replacing registers.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, UpdateVersion};

use super::answers::AnswerStatus;
use super::conditions::Conditions;
use super::place::StoreScheme;
use super::store::Cloud;
use super::trouble::Told;
use crate::error::{Error, Result};
use crate::storage::{Expected, Replaced, Version, Versioned};

/// The largest register in bytes; refs have some kilobytes. Keeps a damaged store from filling memory.
const LARGEST: u64 = 16 << 20;

impl Cloud {
    pub(super) async fn load_register(&self, name: &str) -> Result<Option<Versioned>> {
        let path = self.path(name)?;
        let load = async {
            let answer = match self.connection.retrying.get(&path).await {
                Ok(answer) => answer,
                Err(e) if Self::is_absence(&e) => return Ok(None),
                Err(e) => return Err(self.trouble(&format!("{name} cannot be read"), e)),
            };
            if answer.meta.size > LARGEST {
                return Err(Error::corrupt(format!("{self}: {name} has more than {LARGEST} bytes, which no register has")));
            }
            let (tag, generation) = (answer.meta.e_tag.clone(), answer.meta.version.clone());
            let value = self.body(name, answer).await?;
            let version = match self.version(tag, generation) {
                Some(version) => version,
                // A server that names no versions is only read, where a value can stand for itself.
                None if self.place.scheme == StoreScheme::Http => Version(value.clone()),
                None => return Err(self.unversioned(name)),
            };
            Ok(Some(Versioned { value, version }))
        };
        let late = |_| Err(Error::unavailable(format!("{self}: {name} cannot be read: no answer within {:?}", self.register_deadline)));
        tokio::time::timeout(self.register_deadline, load).await.unwrap_or_else(late)
    }

    /// Sends one conditional PUT, once.
    pub(super) async fn replace_register(&self, name: &str, expected: &Expected, value: Bytes, conditions: Conditions) -> Replaced {
        let (path, mode) = match self.replacement(name, expected, conditions) {
            Ok(request) => request,
            Err(error) => return Replaced::NotSent(error),
        };
        let status = AnswerStatus::default();
        let mut options = PutOptions { mode, ..PutOptions::default() };
        options.extensions.insert(status.clone());
        let put = self.connection.once.put_opts(&path, PutPayload::from_bytes(value), options);
        let Ok(answer) = tokio::time::timeout(self.register_deadline, put).await else {
            let error = format!("{self}: {name}: no answer to its replacement within {:?}", self.register_deadline);
            return Replaced::Unanswered(Error::unavailable(error));
        };
        match answer {
            Ok(done) => match self.version(done.e_tag, done.version) {
                Some(version) => Replaced::Done(version),
                None => Replaced::Unanswered(self.unversioned(name)),
            },
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } | StoreError::NotModified { .. }) => Replaced::Refused,
            // What does not exist does not have the version that was expected.
            Err(e) if Self::is_absence(&e) && matches!(expected, Expected::Is(_)) => Replaced::Refused,
            Err(e) => self.not_replaced(name, status.get(), e),
        }
    }

    /// What a conditional PUT consists of, besides its body.
    fn replacement(&self, name: &str, expected: &Expected, conditions: Conditions) -> Result<(Path, PutMode)> {
        let mode = match expected {
            Expected::Absent => PutMode::Create,
            Expected::Is(version) => PutMode::Update(self.condition(name, version, conditions)?),
        };
        Ok((self.path(name)?, mode))
    }

    /// What a failure other than an unmet condition says about a PUT, by the status of its answer.
    fn not_replaced(&self, name: &str, status: Option<u16>, error: StoreError) -> Replaced {
        let what = format!("{name} cannot be replaced");
        if status.is_none() && Told::by(&error).not_connected {
            return Replaced::NotSent(self.trouble(&what, error));
        }
        match status {
            // A server that is overloaded, or that asks another one, may have passed the request on before it answered.
            Some(408 | 425 | 429 | 500 | 502..=599) => Replaced::Unanswered(self.trouble(&what, error)),
            Some(_) => Replaced::Rejected(self.trouble(&what, error)),
            // Without an answer, no kind of failure shows that the request was not applied.
            None => {
                let error = Error::unavailable(format!("{self}: {name}: its replacement was given no whole answer")).caused_by(error);
                Replaced::Unanswered(error)
            }
        }
    }

    /// The version that a store's answer names: the generation if the store has them, else the tag; without quotes, which only some
    /// stores expect.
    fn version(&self, tag: Option<String>, generation: Option<String>) -> Option<Version> {
        let text = match self.place.scheme {
            StoreScheme::Gs => generation?,
            StoreScheme::S3 => tag?.trim_matches('"').to_owned(),
            StoreScheme::Az | StoreScheme::Http => tag?,
        };
        (!text.is_empty()).then(|| Version(text.into()))
    }

    fn condition(&self, name: &str, version: &Version, conditions: Conditions) -> Result<UpdateVersion> {
        let text = std::str::from_utf8(&version.0);
        let text = text.map_err(|e| Error::invalid(format!("{self}: {name}: the version of another store")).caused_by(e))?;
        Ok(match self.place.scheme {
            StoreScheme::Gs => UpdateVersion { e_tag: None, version: Some(text.to_owned()) },
            StoreScheme::S3 if conditions.quotes => UpdateVersion { e_tag: Some(format!("\"{text}\"")), version: None },
            StoreScheme::S3 | StoreScheme::Az | StoreScheme::Http => UpdateVersion { e_tag: Some(text.to_owned()), version: None },
        })
    }

    /// An answer that does not say which value it speaks of: whether a write happened is open.
    fn unversioned(&self, name: &str) -> Error {
        Error::unavailable(format!("{self}: {name}: the store does not say which version it has"))
    }
}
