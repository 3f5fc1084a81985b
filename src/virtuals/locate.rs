//! Finds the container and the arguments that name a URL, and gives the URL back for them.
//!
//! Of the containers whose template matches, the one with the longest literal prefix is used. If two have prefixes of the same length,
//! the URL is `Invalid`. A URL that no template matches gets the automatic container of its scheme and authority. A file keeps the name
//! under which it was first referred to: a more specific container that is added later applies to new references only.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::access::Access;
use super::template::Template;
use super::url;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Container, FileKey};

/// The name of a file, found by its URL.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Located {
    /// The name of the file inside the repository.
    pub file: FileKey,
    /// The automatic container that must be added, because the name refers to it; `None` when a known container matched.
    pub container: Option<Container>,
}

/// A set of containers, indexed by literal prefix: locating costs about a microsecond however many there are, and adding one
/// no more.
#[derive(Debug, Clone, Default)]
pub struct Locator {
    /// The literal prefix of each container, by name.
    prefixes: BTreeMap<String, String>,
    /// The containers with exactly this literal prefix, sorted by name.
    by_prefix: BTreeMap<String, Vec<(String, Template)>>,
}

impl Locator {
    /// Indexes `containers`; an invalid one, and two of one name, are `Invalid`.
    pub fn new<'c>(containers: impl IntoIterator<Item = &'c Container>) -> Result<Self> {
        let mut out = Self::default();
        for container in containers {
            out.add(container)?;
        }
        Ok(out)
    }

    /// Adds one container; an invalid one, or a second of one name, is `Invalid` and changes nothing.
    pub fn add(&mut self, container: &Container) -> Result<()> {
        let template = container.parsed()?;
        if self.prefixes.contains_key(&container.name) {
            return Err(Error::invalid(format!("container {:?} is there twice", container.name)));
        }
        let prefix = template.literal_prefix().to_owned();
        self.prefixes.insert(container.name.clone(), prefix.clone());
        let members = self.by_prefix.entry(prefix).or_default();
        members.insert(members.partition_point(|(name, _)| *name < container.name), (container.name.clone(), template));
        Ok(())
    }

    /// The longest indexed prefix of `text` among those before `bound`, with its containers.
    fn longest<'t>(&'t self, text: &'t str, mut bound: Bound<&'t str>) -> Option<(&'t str, &'t [(String, Template)])> {
        // The indexed prefix that sorts just before `text` either is a prefix of it, or begins with every indexed prefix of `text`.
        let mut shared;
        loop {
            let (prefix, members) = self.by_prefix.range::<str, _>((Bound::Unbounded, bound)).next_back()?;
            if text.starts_with(prefix.as_str()) {
                return Some((prefix, members));
            }
            shared = text.chars().zip(prefix.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
            bound = Bound::Included(text.get(..shared)?);
        }
    }

    /// Names the file that `url` points at; a URL that cannot be recorded, a tie and a name that is too long are `Invalid`.
    pub fn locate(&self, url: &str) -> Result<Located> {
        let parts = url::parse(url)?;
        let mut bound = Bound::Included(url);
        while let Some((prefix, members)) = self.longest(url, bound) {
            bound = Bound::Excluded(prefix);
            let mut found: Option<(&str, Vec<&str>)> = None;
            for (name, template) in members {
                let Some(args) = template.matches(url) else { continue };
                if let Some((other, _)) = found {
                    return Err(Error::invalid(format!("url {} lies in two containers, {other:?} and {name:?}", url::shown(url))));
                }
                found = Some((name, args));
            }
            if let Some((name, args)) = found {
                return Ok(Located { file: FileKey::new(name, args)?, container: None });
            }
        }
        let container = Container::automatic(parts);
        let file = FileKey::new(&container.name, [parts.path.strip_prefix('/').unwrap_or(parts.path)])?;
        // If a container of this name exists already, its template is the same and only its options differ.
        Ok(Located { file, container: Some(container) })
    }

    /// Names a file by container and arguments; `Invalid` unless they give a valid URL that leads back to them.
    pub fn file(&self, container: &str, args: &[&str]) -> Result<FileKey> {
        let members = self.prefixes.get(container).and_then(|prefix| self.by_prefix.get(prefix));
        let Some((_, template)) = members.and_then(|members| members.iter().find(|(name, _)| name == container)) else {
            return Err(Error::invalid(format!("there is no container {container:?}")));
        };
        let file = FileKey::new(container, args.iter().copied())?;
        render(template, container, args)?;
        Ok(file)
    }
}

fn render(template: &Template, name: &str, args: &[&str]) -> Result<String> {
    let url = template.render_exactly(args).map_err(|why| Error::invalid(format!("the template of container {name:?} {why}")))?;
    url::parse(&url)?;
    Ok(url)
}

/// The container of `file`; one that the snapshot does not have is `Corrupt`.
fn container_of<'c>(containers: &'c [Container], file: &FileKey) -> Result<&'c Container> {
    let name = file.container();
    let sorted = containers.binary_search_by(|c| c.name.as_str().cmp(name)).ok().and_then(|at| containers.get(at));
    sorted
        .or_else(|| containers.iter().find(|c| c.name == name))
        .ok_or_else(|| Error::corrupt(format!("file {file} lies in container {name:?}, which the snapshot does not have")))
}

impl FileKey {
    /// The URL of the file as it is recorded, given the containers of its snapshot; a container or arguments that cannot have
    /// been recorded are `Corrupt`.
    pub fn url(&self, containers: &[Container]) -> Result<String> {
        recorded(containers, self).map(|resolved| resolved.url)
    }
}

/// The URLs of many files, whose containers are read once each.
#[derive(Debug)]
pub(crate) struct FileUrls<'c> {
    containers: &'c [Container],
    templates: BTreeMap<String, Template>,
}

impl<'c> FileUrls<'c> {
    pub(crate) const fn of(containers: &'c [Container]) -> Self {
        Self { containers, templates: BTreeMap::new() }
    }

    /// The URL of a file as [`FileKey::url`] gives it.
    pub(crate) fn url(&mut self, file: &FileKey) -> Result<String> {
        let name = file.container();
        if !self.templates.contains_key(name) {
            let template = container_of(self.containers, file)?.parsed().map_err(|e| no_url(file, e))?;
            self.templates.insert(name.to_owned(), template);
        }
        let args: Vec<&str> = file.args().collect();
        let template = self.templates.get(name).ok_or_else(|| Error::internal("a template that was just read is gone"))?;
        render(template, name, &args).map_err(|e| no_url(file, e))
    }
}

fn no_url(file: &FileKey, cause: Error) -> Error {
    Error::new(ErrorKind::Corrupt, format!("file {file} has no valid url")).caused_by(cause)
}

/// The URL of a file, and the literal beginning of the template that gave it.
#[derive(Debug)]
pub(crate) struct ResolvedFile {
    pub(crate) url: String,
    pub(crate) prefix: String,
    /// The options of the container; none where the reader put it elsewhere.
    pub(crate) options: BTreeMap<String, String>,
}

fn recorded(containers: &[Container], file: &FileKey) -> Result<ResolvedFile> {
    let container = container_of(containers, file)?;
    let resolved = container.parsed().and_then(|template| resolve_with(&template, file));
    resolved.map(|resolved| ResolvedFile { options: container.options.clone(), ..resolved }).map_err(|e| no_url(file, e))
}

fn resolve_with(template: &Template, file: &FileKey) -> Result<ResolvedFile> {
    let args: Vec<&str> = file.args().collect();
    Ok(ResolvedFile {
        url: render(template, file.container(), &args)?,
        prefix: template.literal_prefix().to_owned(),
        options: BTreeMap::new(),
    })
}

/// The URL of `file` for this reader, who may have put its container elsewhere.
pub(crate) fn resolve_for(access: &Access, containers: &[Container], file: &FileKey) -> Result<ResolvedFile> {
    let Some(rebind) = access.rebound(file.container()) else {
        return recorded(containers, file);
    };
    resolve_with(&rebind.template_for(container_of(containers, file)?)?, file)
}
