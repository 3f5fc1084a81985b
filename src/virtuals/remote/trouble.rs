//! What is said of a place whose server gave no answer about the file.

use super::super::source::ExternalPlace;
use super::super::url;
use super::ask::bucket_of;
use crate::error::{Error, Remedy};
use crate::storage::outside::Unanswered;
use crate::text::printable_line;

impl ExternalPlace {
    /// The error for a request without an answer about the file.
    pub(super) fn unanswered(&self, unanswered: Unanswered) -> Error {
        match unanswered {
            Unanswered::Absent => Error::not_found(self.says("does not exist")),
            Unanswered::Changed => {
                let error = Error::source_changed(self.says("changed since it was pinned: its server says that it is another one"));
                error.remedied_by(Remedy::Repin(url::shown_whole(&self.url)))
            }
            Unanswered::Short(size) => {
                let size = size.map_or_else(String::new, |size| format!(": it has {size} bytes"));
                Error::corrupt(self.says(format_args!("is cut short{size}")))
            }
            Unanswered::Denied(at) => self.refused(at.as_deref()),
            Unanswered::Forbidden(why) => self.forbidden(&self.url, None, &why),
            Unanswered::Elsewhere(to) => self.sent_on(&to),
            Unanswered::Unable(why) => Error::unsupported(self.says(format_args!("cannot be read: {why}"))),
            // Most of these name the file already.
            Unanswered::Unasked(error) if error.to_string().contains("://") => error,
            Unanswered::Unasked(error) | Unanswered::Lost(error) | Unanswered::Busy(error, _) => {
                let remedy = error.remedy().cloned();
                Error::new(error.kind(), self.says(&error)).remedied_by(remedy).caused_by(error)
            }
        }
    }

    /// The refusal by a server: that of the place, or the one at the URL to which that sent.
    fn refused(&self, at: Option<&str>) -> Error {
        let bucket = bucket_of(self).ok().flatten();
        let server = bucket.and_then(|(bucket, _)| bucket.server()).filter(|_| at.is_none());
        let (what, entry) = self.access.refused(at.unwrap_or(&self.url), server.as_deref());
        let sent_on = at.map_or_else(String::new, |at| format!("is sent on to {}, and there ", directory(at)));
        Error::denied(self.says(format_args!("{sent_on}{what}"))).remedied_by(entry.map(Remedy::Allow))
    }

    /// The refusal of a bucket that the reader allowed at other servers than the one that the snapshot names, if it names one.
    pub(super) fn at_another(&self, server: Option<&str>) -> Error {
        let allowed = self.access.servers_allowed(&self.url);
        let container = printable_line(&self.container);
        let Some(server) = server.map(url::shown_whole) else {
            let what = "names no server: the option endpoint of a container does";
            return Error::denied(self.says(format_args!("is allowed at {allowed} only, and container {container} {what}")));
        };
        let error = Error::denied(self.says(format_args!("is allowed at {allowed} only, and container {container} names {server}")));
        error.remedied_by(Remedy::Allow(format!("{}=at:{server}", directory(&self.url))))
    }

    /// The refusal of a place to which an answer sent, and which the reader did not allow.
    pub(super) fn sent_on(&self, to: &str) -> Error {
        let to = directory(to);
        let error = Error::denied(self.says(format_args!("is sent on to {to} by its server, which is not allowed")));
        error.remedied_by(Remedy::Allow(to))
    }

    /// The refusal of an address that is not public; `server` is the one that the snapshot chose.
    pub(super) fn forbidden(&self, at: &str, server: Option<&str>, why: &str) -> Error {
        let at = directory(at);
        let server = server.map_or_else(String::new, |server| format!("+at:{}", url::shown_whole(server)));
        let error = Error::denied(self.says(format_args!("is not asked, because {why}")));
        error.remedied_by(Remedy::Allow(format!("{at}=private{server}")))
    }
}

/// The place to allow for a URL, as a message may show it.
fn directory(of: &str) -> String {
    let path = of.split(['?', '#']).next().unwrap_or(of);
    let end = path.rfind('/').map_or(0, |at| at + 1);
    url::shown_whole(path.get(..end).unwrap_or(path))
}
