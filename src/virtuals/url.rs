//! Which URLs may name an external file, and which parts are secret and must not be recorded.
//!
//! A URL is recorded exactly as it was given: nothing is decoded, folded or cleaned up, because two spellings that a
//! clean-up would merge may be two objects. What a client would silently change before sending it (`..`, a backslash,
//! a fragment) is refused instead, so that the place that is checked is the place that is read. The path of a `file:` URL
//! is percent-decoded when the file is opened ([`paths`]).

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::percent;
use crate::text::printable_line;

/// The schemes that a repository may point at. Builds without the feature of a scheme record it and cannot read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum UrlScheme {
    File,
    S3,
    Gs,
    Az,
    Http,
    Https,
}

impl UrlScheme {
    const ALL: [Self; 6] = [Self::File, Self::S3, Self::Gs, Self::Az, Self::Http, Self::Https];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::S3 => "s3",
            Self::Gs => "gs",
            Self::Az => "az",
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

impl fmt::Display for UrlScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The parts of a URL that [`parse`] found fit to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Url<'u> {
    pub(crate) scheme: UrlScheme,
    /// Host and port, or bucket; empty for `file:`.
    pub(crate) authority: &'u str,
    /// The rest, beginning with `/`: a raw path or key, or path and query as they are sent.
    pub(crate) path: &'u str,
}

/// Scheme and authority of a URL.
#[cfg(feature = "remote")]
pub(crate) fn authority(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url.get(host..).and_then(|rest| rest.find(['/', '?', '#'])).map_or(url.len(), |at| host + at);
    url.get(..end).unwrap_or(url)
}

/// At most this many characters of a URL are shown in a message.
const SHOWN: usize = 400;

/// `text` as a message may show it: bounded, escaped, without what follows `?` and without userinfo.
pub(crate) fn shown(text: &str) -> String {
    let whole = shown_whole(text);
    let cut = whole.char_indices().nth(SHOWN).and_then(|(at, _)| whole.get(..at));
    cut.map_or_else(|| whole.clone(), |cut| format!("{cut}…"))
}

/// The same in full, for a place that a user is to copy.
pub(crate) fn shown_whole(text: &str) -> String {
    // A `?` is a character of a path like any other; elsewhere secrets may follow it.
    let is_path = text.starts_with("file:///");
    let (before, more) = text.split_once('?').filter(|_| !is_path).map_or((text, ""), |(before, _)| (before, "…"));
    let clean = match before.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let host = authority.rsplit_once('@').map_or(Cow::Borrowed(authority), |(_, host)| Cow::Owned(format!("…@{host}")));
            format!("{scheme}://{host}{path}")
        }
        None => before.to_owned(),
    };
    printable_line(&clean).into_owned() + more
}

/// The paths that what follows `file://` in a URL may mean, the likelier first: percent-decoded, as every tool writes paths, and
/// taken literally, for a file whose name really has a `%20`. One path where both are the same.
pub(crate) fn paths(text: &str) -> impl Iterator<Item = PathBuf> {
    let decoded = percent::decoded(text);
    let is_literal = decoded.as_ref() == text.as_bytes();
    let decoded = Some(decoded).filter(|decoded| !is_literal && !decoded.contains(&0));
    let decoded = decoded.map(|decoded| PathBuf::from(OsString::from_vec(decoded.into_owned())));
    decoded.into_iter().chain(Some(PathBuf::from(text)))
}

/// Whether `url` is `place` or lies below it, by whole segments; the paths of `file:` URLs are compared decoded.
pub(crate) fn is_at_or_below(url: &str, place: &str) -> bool {
    if let (Some(url), Some(place)) = (url.strip_prefix("file://"), place.strip_prefix("file://")) {
        return paths(place).any(|place| paths(url).any(|path| path.starts_with(&place)));
    }
    let rest = url.strip_prefix(place.strip_suffix('/').unwrap_or(place));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Reads a URL that names a file; what cannot be recorded is `Invalid`, with what to write instead.
pub(crate) fn parse(url: &str) -> Result<Url<'_>> {
    let wrong = |why: &str| Error::invalid(format!("url {} {why}", shown(url)));
    // Nearly all URLs are ASCII, where this is a scan of bytes.
    let control = if url.is_ascii() { url.bytes().any(|b| b.is_ascii_control()) } else { url.chars().any(char::is_control) };
    if control {
        return Err(wrong("has a control character"));
    }
    let (scheme, rest) = split_scheme(url)?;
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    if authority.contains('@') {
        return Err(wrong("holds a user name or password; leave it out, and give it when reading"));
    }
    let parts = Url { scheme, authority, path };
    if scheme == UrlScheme::File {
        check_file(parts).map_err(|why| wrong(&why))?;
        return Ok(parts);
    }
    if authority.is_empty() || !authority.chars().all(|c| c.is_alphanumeric() || "._-:[]".contains(c)) {
        return Err(wrong(if scheme.is_http() { "has no host name" } else { "has no bucket name" }));
    }
    check_remote(parts).map_err(|why| wrong(&why))?;
    Ok(parts)
}

fn split_scheme(url: &str) -> Result<(UrlScheme, &str)> {
    let wrong = |why: String| Error::invalid(format!("{} {why}", shown(url)));
    if url.starts_with('/') {
        return Err(wrong(format!("is a path, not a url; write file://{}", shown(url))));
    }
    if let Some(rest) = url.strip_prefix("file:").filter(|rest| !rest.starts_with("//")) {
        let path = rest.trim_start_matches('/');
        return Err(wrong(format!("is not an absolute file url; write file:///{}", shown(path))));
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(wrong("is not a url; write file:/// and the absolute path, or s3://bucket/key".to_owned()));
    };
    match UrlScheme::ALL.into_iter().find(|known| known.name() == scheme) {
        Some(scheme) => Ok((scheme, rest)),
        None => Err(wrong("has an unknown scheme; use file, s3, gs, az, http or https, in lower case".to_owned())),
    }
}

fn check_file(url: Url<'_>) -> Result<(), String> {
    if !url.authority.is_empty() {
        return Err("names a host; write file:/// and the absolute path".to_owned());
    }
    let Some(path) = url.path.strip_prefix('/').filter(|path| !path.is_empty()) else {
        return Err("names no file; write file:/// and the absolute path".to_owned());
    };
    if path.ends_with('/') {
        return Err("ends in /, so it names a directory; name a file".to_owned());
    }
    let decoded = percent::decoded_text(path);
    match path.split('/').chain(decoded.split('/')).find(|segment| matches!(*segment, "" | "." | "..")) {
        Some(segment) => Err(format!("has the segment {segment:?}; write the absolute path without it")),
        None => Ok(()),
    }
}

fn check_remote(url: Url<'_>) -> Result<(), String> {
    let Some(key) = url.path.strip_prefix('/') else {
        return Err("ends after its authority; a / must follow".to_owned());
    };
    let (path, query) = key.split_once('?').map_or((key, None), |(path, query)| (path, Some(query)));
    if let Some(name) = query.and_then(secret_parameter) {
        return Err(format!("is signed or holds a secret ({}); leave it out, and give it when reading", shown(&name)));
    }
    let leads_away = if url.scheme.is_http() { leads_away(path) } else { path.split('/').any(is_dot_segment) };
    if leads_away {
        return Err("has a . or .. segment; write the path without it".to_owned());
    }
    if url.scheme.is_http() {
        // Clients drop a fragment, take a backslash for a slash, and escape a space: none is sent as it is written.
        return match key.chars().find(|c| matches!(c, '#' | '\\' | ' ')) {
            Some(c) => Err(format!("has {c:?}, which is never sent as it is; write %{:02X}", u32::from(c))),
            None => Ok(()),
        };
    }
    if key.is_empty() { Err("names no object; a key must follow".to_owned()) } else { Ok(()) }
}

/// `.` or `..`, also where a dot is written `%2e`, which clients resolve all the same.
fn is_dot_segment(segment: &str) -> bool {
    // Most segments are told by their first byte.
    segment.starts_with(['.', '%']) && segment.len() <= 6 && matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")
}

/// Whether the path of a URL of a web server may lead out of where it begins to lie: servers may take `%2f` and `%5c` for
/// what they stand for before they resolve dot segments.
pub(crate) fn leads_away(path: &str) -> bool {
    let is_separator = |c| matches!(c, '/' | '\\');
    let dots = |path: &str| path.split(is_separator).any(is_dot_segment);
    if path.contains('%') { dots(&path.to_ascii_lowercase().replace("%2f", "/").replace("%5c", "/")) } else { dots(path) }
}

/// Whether a name says that its value is a secret, or half of one.
///
/// Words are compared without regard to case and separators, so `AWS_SECRET_ACCESS_KEY`, `awsSecretAccessKey` and
/// `aws-secret-access-key` are one. `skip_signature` and its like say that there is none.
pub(crate) fn is_secret_name(name: &str) -> bool {
    const ANYWHERE: [&str; 14] = [
        "secret",
        "token",
        "passw",
        "passphrase",
        "signature",
        "credential",
        "authorization",
        "bearer",
        "cookie",
        "privatekey",
        "accesskey",
        "accountkey",
        "apikey",
        "sharedkey",
    ];
    const WORDS: [&str; 12] =
        ["key", "keys", "sig", "sas", "pwd", "pass", "auth", "login", "username", "jwt", "googleaccessid", "accessid"];
    let mut words = vec![String::new()];
    let mut lower_before = false;
    for c in name.chars() {
        if (!c.is_alphanumeric() || (c.is_uppercase() && lower_before)) && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        lower_before = c.is_lowercase();
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
    }
    let joined = words.concat();
    if matches!(joined.as_str(), "skipsignature" | "awsskipsignature" | "googleskipsignature" | "azureskipsignature") {
        return false;
    }
    ANYWHERE.iter().any(|part| joined.contains(part))
        || words.iter().any(|word| WORDS.contains(&word.as_str()))
        || WORDS.contains(&joined.as_str())
}

/// The first secret-looking name among `name=value` pairs parted by `&`, `;`, `?` or `#`.
pub(crate) fn secret_parameter(text: &str) -> Option<String> {
    text.split(['&', ';', '?', '#']).find_map(|pair| {
        let name = percent::decoded_text(pair.split_once('=').map_or(pair, |(name, _)| name).trim());
        (pair.contains('=') && is_secret_name(&name)).then(|| name.into_owned())
    })
}

/// What is secret in a free text (the value of an option or a default), in words.
pub(crate) fn secret_in_value(text: &str) -> Option<&'static str> {
    let userinfo = |rest: &str| rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@'));
    if text.match_indices("://").any(|(at, found)| text.get(at + found.len()..).is_some_and(userinfo)) {
        return Some("a user name or password");
    }
    if secret_parameter(text).is_some() {
        return Some("a signature or secret");
    }
    let access_key_id = |word: &str| {
        word.len() == 20
            && (word.starts_with("AKIA") || word.starts_with("ASIA"))
            && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    if text.split(|c: char| !c.is_ascii_alphanumeric()).any(access_key_id) || text.contains("PRIVATE KEY-----") {
        return Some("a key");
    }
    None
}
