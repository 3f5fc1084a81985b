//! What a failed request means.

use std::error::Error as StdError;

use object_store::client::{HttpError, HttpErrorKind};

use super::answers::NotConnected;
use super::place::StoreScheme;
use super::store::Cloud;
use crate::error::Error;

/// The facts of a failure besides its kind.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
pub(in crate::storage) struct Told {
    /// The answer's status, when the store answered.
    pub(in crate::storage) status: Option<u16>,
    /// Whether the answer says that the bucket itself does not exist.
    no_bucket: bool,
    /// Whether the answer says that the credentials have expired, as S3 does with a status that means something else.
    pub(in crate::storage) expired: bool,
    /// Whether the answer is a redirect without a target, as S3 sends for a bucket of another region.
    pub(in crate::storage) sent_on: bool,
    /// Whether no connection was made, so that nothing was sent.
    pub(in crate::storage) not_connected: bool,
}

/// How the client's own messages begin. It puts the URL of the request, in which every word may stand, into the messages
/// around them, so only the one that begins so is read.
const STATUS: &str = "Server returned non-2xx status code: ";
const SENT_ON: &str = "Received redirect without LOCATION";

impl Told {
    /// Reads it from what the client prints: it shows status and body of an answer, and has no other way to tell them.
    pub(in crate::storage) fn by(error: &object_store::Error) -> Self {
        let mut told = Self { status: None, no_bucket: false, expired: false, sent_on: false, not_connected: false };
        let mut next = Some(error as &(dyn StdError + 'static));
        while let Some(cause) = next {
            let text = cause.to_string();
            if let Some(answer) = text.strip_prefix(STATUS) {
                told.status = answer.get(..3).and_then(|status| status.parse().ok());
                told.expired = ["<Code>ExpiredToken", "<Code>TokenRefreshRequired"].iter().any(|code| answer.contains(code));
                told.no_bucket = ["NoSuchBucket", "ContainerNotFound"].iter().any(|code| answer.contains(code));
                return told;
            }
            told.sent_on |= text.starts_with(SENT_ON);
            told.not_connected |= cause.downcast_ref::<HttpError>().is_some_and(|e| matches!(e.kind(), HttpErrorKind::Connect));
            told.not_connected |= cause.is::<NotConnected>();
            next = cause.source();
        }
        told
    }
}

impl Cloud {
    /// Whether a failure says that an object is not there (and its bucket is).
    pub(super) fn is_absence(error: &object_store::Error) -> bool {
        let told = Told::by(error);
        // The client says so, too, of a web server that does not take such requests (405), which says nothing of the object.
        matches!(error, object_store::Error::NotFound { .. }) && !told.no_bucket && matches!(told.status, None | Some(404 | 410))
    }

    /// Says what went wrong when `what` (`x cannot be read`) was asked for.
    pub(super) fn trouble(&self, what: &str, error: object_store::Error) -> Error {
        let Told { status, no_bucket, sent_on, not_connected, expired: _ } = Told::by(&error);
        let message = match status {
            _ if no_bucket => {
                Error::not_found(format!("{self}: the bucket or container {} does not exist; make it first", self.place.bucket))
            }
            Some(401 | 403) => {
                let hint = match self.place.scheme {
                    StoreScheme::Http => "the server denies it",
                    _ => {
                        "the store denies it; check the credentials and what they allow (without the right to list, some stores deny also what does not exist)"
                    }
                };
                Error::denied(format!("{self}: {what}: {hint}"))
            }
            Some(301 | 302 | 303 | 307 | 308) => {
                let hint = match self.place.scheme {
                    StoreScheme::S3 => "the bucket lies in another region; set AWS_REGION",
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
            None if not_connected => Error::unavailable(format!("{self}: {what}: no connection to the store could be made")),
            None if sent_on => Error::invalid(format!("{self}: {what}: the bucket lies in another region; set AWS_REGION")),
            None => Error::unavailable(format!("{self}: {what}: the store gives no whole answer")),
        };
        message.caused_by(error)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    /// A message and what it came from.
    #[derive(Debug)]
    struct Said(&'static str, Option<Box<Self>>);

    impl fmt::Display for Said {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for Said {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    /// A bucket named `url-redirects` made every lost answer a definite refusal, and so a commit that had happened was
    /// reported as failed: the client's message names the URL, and the words were looked for in all of it.
    #[test]
    fn what_an_answer_says_is_not_read_out_of_a_url() {
        const AROUND: &str = "Error performing PUT https://h/url-redirects/NoSuchBucket/status code: 404 in 1ms - said";
        let of = |inner| {
            let source = Box::new(Said(AROUND, Some(Box::new(Said(inner, None)))));
            let told = Told::by(&object_store::Error::Generic { store: "S3", source });
            (told.status, told.no_bucket, told.sent_on)
        };
        assert_eq!(of("HTTP error: connection reset"), (None, false, false));
        assert_eq!(of("Received redirect without LOCATION, this normally indicates an incorrectly configured region"), (None, false, true));
        assert_eq!(of("Server returned non-2xx status code: 404 Not Found: <Code>NoSuchBucket</Code>"), (Some(404), true, false));
        assert_eq!(of("Server returned non-2xx status code: 503 Slow Down: "), (Some(503), false, false));
    }
}
