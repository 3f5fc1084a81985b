//! What a valid container is, and the containers that are made automatically.
//!
//! A container whose name holds `://` is *automatic*: its name is `scheme://authority` and its template that name and
//! `/{}`. Such names are reserved for that meaning, so an automatic container can never stand in the way of another.

use std::collections::BTreeMap;

use super::template::Template;
use super::url::{self, Url, UrlScheme};
use crate::error::{Error, Result};
use crate::format::{Container, FileKey, limits};
use crate::storage::credentials::ServerSettings;
use crate::text::shown;

/// The longest name of a container, a default or an option, in bytes.
const MAX_NAME: usize = limits::NAME;
/// The longest template, and the longest value of a default or option, in bytes.
const MAX_TEXT: usize = limits::TEMPLATE;
/// The most defaults, and the most options, that a container may have.
const MAX_PAIRS: usize = 64;

impl Container {
    /// A container without defaults and options, which are fields. [`check`](Self::check) tells whether it is valid;
    /// [`WriteSession::set_container`](crate::WriteSession::set_container) checks it too.
    pub fn new(name: impl Into<String>, template: impl Into<String>) -> Self {
        Self { name: name.into(), template: template.into(), defaults: BTreeMap::new(), options: BTreeMap::new() }
    }

    /// Checks everything that a container must be before it is recorded; the error (`Invalid`) names it.
    ///
    /// Refused are names that are empty, longer than 256 bytes, with control characters or white space at an end; templates that do not
    /// begin with a known scheme, or could not give a valid URL; options `endpoint`, `region` and `account` of a bucket with which no
    /// server
    /// could be asked; and anything that looks like a secret, because everyone who can read the repository can read its containers.
    pub fn check(&self) -> Result<()> {
        self.parsed()?;
        // Not a part of reading the container: snapshots that hold such options are read except for its files.
        if ["s3://", "gs://", "az://"].iter().any(|scheme| self.template.starts_with(scheme)) {
            let option = |name: &str| self.options.get(name).cloned();
            let settings = ServerSettings { endpoint: option("endpoint"), region: option("region"), account: option("account") };
            settings.check().map_err(|why| Error::invalid(format!("container {:?}: the {why}", self.name)))?;
        }
        Ok(())
    }

    /// The template with its defaults written out: the place as it is listed among the places of a line. Fails like
    /// [`check`](Self::check).
    pub fn place(&self) -> Result<String> {
        Ok(self.parsed()?.written_out())
    }

    /// Whether the container was made for a URL that no other one matched.
    pub fn is_automatic(&self) -> bool {
        self.name.contains("://")
    }

    /// The container for a URL that no other matches.
    pub(crate) fn automatic(url: Url<'_>) -> Self {
        let name = format!("{}://{}", url.scheme, url.authority);
        Self { template: format!("{name}/{{}}"), name, defaults: BTreeMap::new(), options: BTreeMap::new() }
    }

    /// How the keys in the files map begin of all files in this container whose URLs begin with `beginning`; `None` when it has no
    /// such files. `Corrupt` when the container cannot have been recorded.
    pub(crate) fn keys_beginning(&self, beginning: &str) -> Result<Option<String>> {
        let template = self.parsed().map_err(|e| Error::corrupt(format!("container {:?} is not valid", self.name)).caused_by(e))?;
        Ok(template.args_beginning(beginning).map(|args| FileKey::beginning(&self.name, template.arity() > 0, &args)))
    }

    /// Checks the container and reads its template.
    pub(crate) fn parsed(&self) -> Result<Template> {
        check_name(&self.name)?;
        let wrong = |why: String| Error::invalid(format!("container {:?} {why}", self.name));
        check_pairs("default", &self.defaults).map_err(wrong)?;
        check_pairs("option", &self.options).map_err(wrong)?;
        if self.is_automatic() && (self.template.strip_suffix("/{}") != Some(self.name.as_str()) || !self.defaults.is_empty()) {
            return Err(wrong("has a name with ://, whose template must be that name and /{}; choose another name".to_owned()));
        }
        parse_template(&self.template, &self.defaults).map_err(|e| e.context(format!("container {:?}", self.name)))
    }
}

/// Reads and checks a template by itself, as a container or a rebinding has one.
pub(crate) fn parse_template(text: &str, defaults: &BTreeMap<String, String>) -> Result<Template> {
    let wrong = |why: &str| Error::invalid(format!("template {} {why}", url::shown(text)));
    if text.is_empty() {
        return Err(Error::invalid("template is empty; write a url with {} for what differs from file to file"));
    }
    if text.len() > MAX_TEXT {
        return Err(wrong(&format!("is {} bytes long; at most {MAX_TEXT} are allowed", text.len())));
    }
    let template = Template::parse(text, defaults).map_err(|why| wrong(&why))?;
    // `key` is the usual word for the name of an object, so it is not taken for a secret.
    if let Some(name) = template.names().find(|name| *name != "key" && url::is_secret_name(name)) {
        return Err(wrong(&format!("has the placeholder {{{name}}}, which looks like a secret; secrets are given when reading")));
    }
    if !template.literal_prefix().contains("://") {
        return Err(wrong("must begin with its scheme, as in s3://bucket/{} or file:///data/{}"));
    }
    // A template must give valid URLs. This tries it with arguments that are valid everywhere.
    let sample = template.render(&vec!["x"; template.arity()]).unwrap_or_default();
    let parsed = url::parse(&sample).map_err(|e| e.context(format!("template {}", url::shown(text))))?;
    if parsed.scheme == UrlScheme::File && !template.literal_prefix().starts_with("file:///") {
        return Err(wrong("must begin with file:/// and an absolute path"));
    }
    Ok(template)
}

fn check_name(name: &str) -> Result<()> {
    let shown = shown(name);
    let wrong = |why: String| Err(Error::invalid(format!("container name {shown:?} {why}")));
    if name.is_empty() {
        return wrong("is empty".to_owned());
    }
    if name.len() > MAX_NAME {
        return wrong(format!("is {} bytes long; at most {MAX_NAME} are allowed", name.len()));
    }
    if name.chars().any(char::is_control) || name.trim() != name {
        return wrong("has a control character, or white space at an end".to_owned());
    }
    Ok(())
}

fn check_pairs(what: &str, pairs: &BTreeMap<String, String>) -> Result<(), String> {
    if pairs.len() > MAX_PAIRS {
        return Err(format!("has {} {what}s; at most {MAX_PAIRS} are allowed", pairs.len()));
    }
    for (name, value) in pairs {
        let shown = shown(name);
        if name.is_empty() || name.len() > MAX_NAME || value.len() > MAX_TEXT || name.chars().chain(value.chars()).any(char::is_control) {
            return Err(format!("has the {what} {shown:?} that is empty, too long, or has a control character"));
        }
        if url::is_secret_name(name) {
            return Err(format!("has the {what} {shown:?}, which looks like a secret; secrets are given when reading, never stored"));
        }
        if let Some(secret) = url::secret_in_value(value) {
            return Err(format!("has the {what} {shown:?}, whose value holds {secret}; secrets are given when reading, never stored"));
        }
    }
    Ok(())
}
