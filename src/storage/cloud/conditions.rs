//! Whether a store honours conditions on writes: found out once for a handle, before its first write.
//!
//! A store that ignores them and always answers with success would let two writers overwrite each other's commits. Only a trial shows
//! which stores do so. So a scratch register with a unique name is created twice, replaced with its present version and then with its
//! former one. The second and the last must be refused.

use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStoreExt as _;

use super::place::StoreScheme;
use super::store::Cloud;
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::storage::{Expected, RegisterName, Replaced, Version};

/// How often the check is begun anew when the store gives no answer.
const ATTEMPTS: u32 = 4;
/// The pauses between them.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));

/// How a store takes conditions, all of which it honours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Conditions {
    /// Whether it compares tags with the quotes that it sends them in.
    pub(super) quotes: bool,
}

/// What one attempt found out.
enum FoundConditions {
    /// All as it must be.
    Honoured(Conditions),
    /// The store cannot hold registers, for this reason.
    Not(&'static str),
}

impl Cloud {
    /// Tries all conditions at a scratch name, which is removed again. `Unsupported` when one of them is ignored.
    pub(super) async fn find_conditions(&self) -> Result<Conditions> {
        for attempt in 0.. {
            let name = RegisterName::scratch();
            let found = self.try_conditions(&name).await;
            // A name that is left over is harmless: nothing reads it.
            if let Ok(path) = self.path(name.as_str()) {
                let _ignored = tokio::time::timeout(self.register_deadline, self.connection.once.delete(&path)).await;
            }
            match found {
                Ok(FoundConditions::Honoured(conditions)) => return Ok(conditions),
                Ok(FoundConditions::Not(why)) => {
                    return Err(Error::unsupported(format!(
                        "{self} cannot be written to: its store {why}, so two writers could overwrite each other; it can be read"
                    )));
                }
                Err(e) if e.is_retryable() && attempt + 1 < ATTEMPTS => BACKOFF.wait(attempt).await,
                Err(e) => return Err(e.context("asking the store whether it honours conditions")),
            }
        }
        Err(Error::internal("an endless loop ended"))
    }

    async fn try_conditions(&self, name: &RegisterName) -> Result<FoundConditions> {
        let send = |expected, value: &'static [u8], quotes| self.try_condition(name, expected, value, quotes);
        let Some(first) = send(Expected::Absent, b"1", true).await? else {
            return Err(Error::unavailable(format!("{self}: {name} is new, and the store refuses to create it")));
        };
        if send(Expected::Absent, b"2", true).await?.is_some() {
            return Ok(FoundConditions::Not("creates what exists already (it ignores If-None-Match)"));
        }
        let forms: &[bool] = if self.place.scheme == StoreScheme::S3 { &[true, false] } else { &[true] };
        let present = Expected::Is(first);
        for quotes in forms.iter().copied() {
            let Some(second) = send(present.clone(), b"3", quotes).await? else { continue };
            let changed = Expected::Is(second) != present;
            let stale = send(present.clone(), b"4", quotes).await?;
            return Ok(match stale {
                None if changed => FoundConditions::Honoured(Conditions { quotes }),
                None => FoundConditions::Not("gives two values the same version"),
                Some(_) => FoundConditions::Not("replaces what has changed meanwhile (it ignores If-Match)"),
            });
        }
        Ok(FoundConditions::Not("refuses to replace what has not changed"))
    }

    /// The new version, or `None` when the condition did not hold.
    async fn try_condition(&self, name: &RegisterName, expected: Expected, value: &'static [u8], quotes: bool) -> Result<Option<Version>> {
        match self.replace_register(name.as_str(), &expected, Bytes::from_static(value), Conditions { quotes }).await {
            Replaced::Done(version) => Ok(Some(version)),
            Replaced::Refused => Ok(None),
            Replaced::Rejected(error) | Replaced::Unanswered(error) | Replaced::NotSent(error) => Err(error),
        }
    }
}
