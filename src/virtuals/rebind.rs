//! Containers that a reader has put elsewhere.

use std::collections::BTreeMap;
use std::fmt;

use super::container::parse_template;
use super::template::Template;
use super::url;
use crate::error::{Error, Result};
use crate::format::Container;
use crate::percent;

/// Where a reader looks for the files of a container, in all versions, instead of where the snapshots say.
///
/// The copy must have the recorded size, and the digest where one is locked; dates and `ETags` of another place say
/// nothing and are not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebind {
    /// A template with as many placeholders as the container's template has after its defaults are filled in, which it replaces:
    /// `file:///mirror/{}/{}.nc`.
    ///
    /// Or a URL that ends in `/` and has no placeholder. It replaces the container's template up to the last `/` before the first
    /// placeholder: `file:///mirror/` puts `s3://bucket/sets/{}.nc` at `file:///mirror/{}.nc`.
    pub template: String,
    /// Whether to take bytes of files without a locked digest, which nothing proves to be the committed ones. `false`
    /// makes reading them `Unsupported`.
    pub accept_unverified: bool,
}

/// The word behind the URL.
const UNVERIFIED: &str = "unverified";

impl Rebind {
    /// Reads `NAME=URL` or `NAME=URL=unverified`, as the option `--rebind` of the command takes it: the name of a container, and where
    /// its files are looked for. `unverified` sets [`accept_unverified`](Self::accept_unverified). What cannot be read is `Invalid`.
    pub fn parse(text: &str) -> Result<(String, Self)> {
        let shown = || url::shown(text);
        let Some((name, to)) = text.split_once('=').filter(|(name, to)| !name.is_empty() && !to.is_empty()) else {
            return Err(Error::invalid(format!("{} does not say what is put where; write CONTAINER=URL", shown())));
        };
        let (template, accept_unverified) = match to.rsplit_once('=') {
            Some((template, UNVERIFIED)) => (template, true),
            _ => (to, false),
        };
        let rebind = Self { template: template.to_owned(), accept_unverified };
        rebind.check().map_err(|e| e.context(format!("container {name:?}")))?;
        Ok((name.to_owned(), rebind))
    }

    /// Reads a list of such texts separated by white space and commas, as the environment variable `FIRN_REBIND` holds it. They are
    /// percent-decoded, except URLs of web servers, as by [`Access::parse_list`](super::Access::parse_list).
    pub fn parse_list(list: &str) -> Result<Vec<(String, Self)>> {
        let entries = list.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
        let decoded = entries.map(|entry| match entry.split_once('=') {
            Some((_, to)) if ["file:", "http:", "https:"].iter().any(|scheme| to.starts_with(scheme)) => Self::parse(entry),
            _ => Self::parse(&percent::decoded_text(entry)),
        });
        decoded.collect()
    }

    fn is_prefix(&self) -> bool {
        self.template.ends_with('/') && !self.template.contains('{')
    }

    /// Refuses, as `Invalid`, what could be no place of any container.
    pub(super) fn check(&self) -> Result<()> {
        let text = if self.is_prefix() { format!("{}{{}}", self.template) } else { self.template.clone() };
        parse_template(&text, &BTreeMap::new()).map(drop)
    }

    /// The template by which the files of `container` are found; `Invalid` if its placeholders are not those of the container.
    pub(super) fn template_for(&self, container: &Container) -> Result<Template> {
        let original = container.parsed()?;
        if self.is_prefix() {
            let written = original.written_out();
            let directory = original.literal_prefix().rfind('/').map_or(0, |at| at + 1);
            let text = format!("{}{}", self.template, written.get(directory..).unwrap_or_default());
            return parse_template(&text, &BTreeMap::new()).map_err(|e| e.context(format!("container {:?}", container.name)));
        }
        let template = parse_template(&self.template, &BTreeMap::new())?;
        if template.arity() != original.arity() {
            let (theirs, ours) = (url::shown(&original.written_out()), url::shown(&self.template));
            return Err(Error::invalid(format!(
                "container {:?} has the template {theirs}, and cannot be put at {ours}, which has not as many placeholders; write a \
                 template with {}, or a url that ends in /",
                container.name,
                original.arity()
            )));
        }
        Ok(template)
    }
}

impl fmt::Display for Rebind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}{}",
            self.template,
            if self.accept_unverified { "=" } else { "" },
            if self.accept_unverified { UNVERIFIED } else { "" }
        )
    }
}
