//! Where a bucket is, as a user writes it.

use std::fmt;

use crate::error::{Error, Result};

/// A protocol, by the scheme of its URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum StoreScheme {
    /// `s3:`
    S3,
    /// `gs:`
    Gs,
    /// `az:`
    Az,
    /// `http:` and `https:`
    Http,
}

/// A prefix in a bucket or container, or what lies below a URL of a web server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CloudPlace {
    pub(crate) scheme: StoreScheme,
    /// The bucket or container; for a web server the whole URL, exactly as it will be sent, without a slash at its end.
    pub(crate) bucket: String,
    /// What every key begins with, followed by a slash; empty for the whole bucket. Raw: `%20` are three characters.
    pub(crate) prefix: String,
}

impl CloudPlace {
    /// Reads what follows the scheme `scheme` (in lower case); `None` when that is no scheme of a store.
    pub(crate) fn parse(scheme: &str, rest: &str) -> Option<Result<Self>> {
        Some(match scheme {
            "s3" => in_bucket(StoreScheme::S3, scheme, rest),
            "gs" => in_bucket(StoreScheme::Gs, scheme, rest),
            "az" => in_bucket(StoreScheme::Az, scheme, rest),
            "http" | "https" => web(scheme, rest),
            _ => return None,
        })
    }

    /// The key of the object `name`.
    #[cfg(feature = "remote")]
    pub(crate) fn key(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) }
    }
}

fn in_bucket(kind: StoreScheme, scheme: &str, rest: &str) -> Result<CloudPlace> {
    let wrong = |why: &str| Error::invalid(format!("a place in a bucket is written {scheme}://BUCKET/PREFIX; {why}"));
    let rest = rest.strip_prefix("//").ok_or_else(|| wrong("two slashes follow the colon"))?;
    if rest.chars().any(char::is_control) {
        return Err(wrong("it has no control characters"));
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if bucket.is_empty() || !bucket.chars().all(plain) {
        return Err(wrong("the name of a bucket has letters, digits, '-', '.' and '_', and no user or port before or after it"));
    }
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(wrong("no part of the prefix is empty, '.' or '..'"));
    }
    Ok(CloudPlace { scheme: kind, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

fn web(scheme: &str, rest: &str) -> Result<CloudPlace> {
    // What the URL says may be secret, so no message repeats it.
    let wrong = |why: &str| Error::invalid(format!("a place on a web server is written {scheme}://HOST/PATH; {why}"));
    let rest = rest.strip_prefix("//").ok_or_else(|| wrong("two slashes follow the colon"))?;
    if rest.chars().any(|c| c.is_control() || c == ' ') {
        return Err(wrong("it has no spaces and no control characters"));
    }
    if rest.contains(['?', '#']) {
        return Err(wrong("it has no query and no fragment"));
    }
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || host.contains('@') {
        return Err(wrong("it has a host, and no user before it"));
    }
    let url = format!("{scheme}://{}", rest.trim_end_matches('/'));
    Ok(CloudPlace { scheme: StoreScheme::Http, bucket: url, prefix: String::new() })
}

impl fmt::Display for CloudPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            StoreScheme::S3 => "s3",
            StoreScheme::Gs => "gs",
            StoreScheme::Az => "az",
            StoreScheme::Http => return f.write_str(&self.bucket),
        };
        write!(f, "{scheme}://{}", self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}
