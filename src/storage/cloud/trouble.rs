//! What a failed request means.

use std::error::Error as StdError;

use super::place::Scheme;
use super::store::Cloud;
use crate::error::Error;

/// What is told of a failure besides its kind.
pub(in crate::storage) struct Told {
    /// The answer's status, when the store answered.
    pub(in crate::storage) status: Option<u16>,
    /// Whether the answer says that the bucket itself does not exist.
    no_bucket: bool,
}

impl Told {
    /// Reads it from what the client prints: it shows status and body of an answer, and has no other way to tell them.
    pub(in crate::storage) fn by(error: &object_store::Error) -> Self {
        let mut texts = vec![error.to_string()];
        let mut cause = StdError::source(error);
        while let Some(next) = cause {
            texts.push(next.to_string());
            cause = next.source();
        }
        let status = texts.iter().find_map(|text| {
            let (_, after) = text.split_once("status code: ")?;
            after.get(..3)?.parse().ok()
        });
        let no_bucket = texts.iter().any(|text| ["NoSuchBucket", "ContainerNotFound"].iter().any(|code| text.contains(code)));
        Self { status, no_bucket }
    }
}

impl Cloud {
    /// Whether a failure says that an object is not there (and its bucket is).
    pub(super) fn is_absence(error: &object_store::Error) -> bool {
        matches!(error, object_store::Error::NotFound { .. }) && !Told::by(error).no_bucket
    }

    /// Says what went wrong when `what` (`x cannot be read`) was asked for.
    pub(super) fn trouble(&self, what: &str, error: object_store::Error) -> Error {
        let Told { status, no_bucket } = Told::by(&error);
        let message = match status {
            _ if no_bucket => {
                Error::not_found(format!("{self}: the bucket or container {} does not exist; make it first", self.place.bucket))
            }
            Some(401 | 403) => {
                let hint = match self.place.scheme {
                    Scheme::Http => "the server denies it",
                    _ => {
                        "the store denies it; check the credentials and what they allow (without the right to list, some stores deny also what does not exist)"
                    }
                };
                Error::denied(format!("{self}: {what}: {hint}"))
            }
            Some(301 | 302 | 303 | 307 | 308) => {
                let hint = match self.place.scheme {
                    Scheme::S3 => "the bucket lies in another region; set AWS_REGION",
                    _ => "the answer sends elsewhere, which is not followed; name the final URL",
                };
                Error::invalid(format!("{self}: {what}: {hint}"))
            }
            Some(404) => Error::not_found(format!("{self}: {what}: it does not exist")),
            Some(416) => Error::corrupt(format!("{self}: {what}: it is shorter than that")),
            Some(400) => Error::invalid(format!("{self}: {what}: the store does not understand the request; check its settings")),
            Some(405 | 501) => Error::unsupported(format!("{self}: {what}: the store does not offer that")),
            Some(status) => Error::unavailable(format!("{self}: {what}: the store answers {status}")),
            None if matches!(error, object_store::Error::NotSupported { .. }) => {
                Error::unsupported(format!("{self}: {what}: the server answers without the range that was asked for"))
            }
            None if error.to_string().contains("redirect") => {
                Error::invalid(format!("{self}: {what}: the bucket lies in another region; set AWS_REGION"))
            }
            None => Error::unavailable(format!("{self}: {what}: the store gives no whole answer")),
        };
        message.caused_by(error)
    }
}
