//! Follows an archive that moved: every file below one place is taken to lie below another one from now on.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::rename::{FileNames, busy, remove_left, require_nothing_staged, stage_names};
use crate::error::{Error, ErrorDetail, ErrorKind, Result};
use crate::format::{Container, FileKey};
use crate::id::HashAlgorithm;
use crate::session::{Relied, StagedFile, Unpinned, WriteSession};
use crate::snapshot::Dependency;
use crate::text::printable_line;
use crate::time::Timestamp;
use crate::virtuals::{Locator, Looked, Validator, VirtualLookup, is_at_or_below, locked_hash, shown_url};

/// How many files are looked up at once.
const CONCURRENT: usize = 16;

/// How files are compared with what is recorded of them when they are moved, and how their new place is reached. The default: size
/// against size, which both must be known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RelocateOptions {
    /// Whether files with a locked digest are read in their new place and compared by it. Default: `false`, the digest is kept, and
    /// every reader verifies it.
    pub digests: bool,
    /// Whether a file is taken that nothing can be compared of, or that cannot be pinned in its new place. Default: `false`.
    pub accept_unverified: bool,
    /// The options of each container that gets another template, in place of all that it has: `endpoint`, `region`, `account` of the
    /// server of the new place. Default: `None`, a container keeps its own where the scheme of its template stays, and has none
    /// otherwise.
    pub container_options: Option<BTreeMap<String, String>>,
}

impl RelocateOptions {
    /// Reads and compares files with a locked digest.
    #[must_use]
    pub fn digests(mut self) -> Self {
        self.digests = true;
        self
    }

    /// Takes files that cannot be compared or pinned.
    #[must_use]
    pub fn accept_unverified(mut self) -> Self {
        self.accept_unverified = true;
        self
    }

    /// Gives the containers that get another template these options.
    #[must_use]
    pub fn container_options(mut self, options: BTreeMap<String, String>) -> Self {
        self.container_options = Some(options);
        self
    }
}

/// A file that lies elsewhere from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelocatedFile {
    /// Its name inside the repository from now on.
    pub file: FileKey,
    /// Where it lay.
    pub from: String,
    /// Where it lies.
    pub to: String,
    /// What the branch knows of it.
    pub before: Validator,
    /// What its source tells in the new place.
    pub after: Validator,
}

impl RelocatedFile {
    /// What the new place tells otherwise, in words, as [`Repinned::differences`](crate::Repinned::differences) does.
    pub fn differences(&self) -> String {
        self.before.differences(&self.after)
    }
}

/// What a move of files stages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Relocated {
    /// The files, in the order of the names that they had.
    pub files: Vec<RelocatedFile>,
    /// The containers that get another template, as they will be.
    pub containers: Vec<Container>,
    /// How many references are rewritten, because their files get other names.
    pub refs: u64,
    /// In how many leaves of the manifest these lie; 0 if templates alone change.
    pub leaves: u64,
}

/// A file on its way.
struct FileMove {
    found: Dependency,
    name: FileKey,
    to: String,
}

/// The containers after a move, and what it does to files.
struct MovePlan {
    containers: Vec<Container>,
    changed: Vec<Container>,
    moves: Vec<FileMove>,
    /// How many files stay in each container.
    left: BTreeMap<String, u64>,
}

impl WriteSession {
    /// Stages that every file at or below the URL `from` lies at the same place below `to` from now on, with what the source tells of
    /// it there. Each is looked up, and compared by size, and by digest if the options say so.
    ///
    /// A container whose template begins with `from` gets a template that begins with `to`, and its options are as
    /// [`RelocateOptions::container_options`] says; then no reference is touched. Files of other
    /// containers get other names, and every leaf with a reference into one of them is rewritten.
    ///
    /// All files are moved or none: if some are missing, different, not allowed or unknown there, the error has the kind of the
    /// first, and [`ErrorDetail::FilesRefused`] lists them. `NotFound` also when the branch depends on no file there; `Invalid` when
    /// something is staged already, or when the new URLs cannot be recorded. `Conflict` when another call of this session
    /// stages something meanwhile. A session with moved files cannot be forked. The commit is a
    /// `Conflict` when another writer has pinned or
    /// locked one of the files anew meanwhile, or added a reference into one or into another file at or below `from`. After an error, or if
    /// the future is dropped, some of it
    /// may be staged: drop the session.
    ///
    /// Holds what is recorded of all files at or below `from` in memory. Versions of before are as they were: they are read in the new
    /// place through [`Rebind`](crate::Rebind).
    pub async fn relocate(&self, from: &str, to: &str, options: RelocateOptions) -> Result<Relocated> {
        require_nothing_staged(self)?;
        let MovePlan { containers, changed, moves, left } = self.plan_moves(from, to, options.container_options.as_ref()).await?;
        let looked_up = self.look_up_moved(&containers, &moves, &options).await?;
        {
            let mut staged = self.staged.lock();
            if !staged.is_empty() {
                return Err(busy());
            }
            // From here on nobody locks or repins the files.
            for FileMove { found, name, .. } in &moves {
                let relied = if *name == found.file { Relied::Record } else { Relied::Moved };
                staged.rely_on(found.file.clone(), relied);
            }
        }
        for container in &changed {
            self.set_container(container.clone())?;
        }
        let (mut names, mut files) = (FileNames::default(), Vec::with_capacity(moves.len()));
        for (FileMove { found, name, to }, staged) in moves.into_iter().zip(looked_up) {
            let after = staged.validator.clone();
            if name == found.file {
                self.staged.lock().set_file(name.clone(), StagedFile { repin: true, by_itself: true, ..staged });
            } else {
                if self.name_of(&to)? != name {
                    return Err(busy());
                }
                self.staged.lock().add_file(&name, staged)?;
                names.insert(found.file, name.clone());
            }
            files.push(RelocatedFile { file: name, from: found.url, to, before: Validator::of(&found.record), after });
        }
        self.staged.lock().move_from(from.to_owned());
        remove_left(self, &names, &left);
        let (refs, leaves) = stage_names(self, &names).await?;
        Ok(Relocated { files, containers: changed, refs, leaves })
    }

    async fn plan_moves(&self, from: &str, to: &str, options: Option<&BTreeMap<String, String>>) -> Result<MovePlan> {
        let (old, new) = (from.strip_suffix('/').unwrap_or(from), to.strip_suffix('/').unwrap_or(to));
        if old == new {
            return Err(Error::invalid(format!("{from:?} and {to:?} are one place")));
        }
        let (mut containers, mut changed) = (self.base().record().containers.clone(), Vec::new());
        for container in &mut containers {
            if let Some(template) = moved_template(container, old, new)? {
                let is_like_before = scheme(&container.template) == scheme(&template.template);
                let kept = Some(&template.options).filter(|_| is_like_before).cloned().unwrap_or_default();
                *container = Container { options: options.cloned().unwrap_or(kept), ..template };
                container.check()?;
                changed.push(container.clone());
            }
        }
        if options.is_some() && changed.is_empty() {
            return Err(Error::invalid(format!("no container has a template that begins with {from:?}, so none takes the options")));
        }
        let is_changed: BTreeSet<&str> = changed.iter().map(|container| container.name.as_str()).collect();
        let mut locator = Locator::new(&containers)?;
        let (mut moves, mut left, mut added) = (Vec::new(), BTreeMap::<String, u64>::new(), Vec::new());
        let mut all = std::pin::pin!(self.base().dependencies());
        while let Some(found) = all.try_next().await? {
            if !is_at_or_below(&found.url, from) {
                *left.entry(found.file.container().to_owned()).or_default() += 1;
                continue;
            }
            let Some(rest) = found.url.strip_prefix(old) else {
                let shown = printable_line(&found.url).into_owned();
                return Err(Error::invalid(format!(
                    "{shown} lies at or below {from:?}, which is spelt otherwise there; write it as it is recorded"
                )));
            };
            let to = format!("{new}{rest}");
            let name = if is_changed.contains(found.file.container()) {
                found.file.clone()
            } else {
                let located = locator.locate(&to)?;
                if let Some(container) = located.container {
                    locator.add(&container)?;
                    added.push(container);
                }
                located.file
            };
            moves.push(FileMove { found, name, to });
        }
        if moves.is_empty() {
            return Err(Error::not_found(format!("{} depends on no file at or below \"{}\"", self.branch(), shown_url(from))));
        }
        containers.extend(added);
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        for FileMove { found, name, to } in &moves {
            if name.url(&containers)? != *to {
                return Err(Error::internal(format!("{} would not be moved to {to}", found.url)));
            }
        }
        Ok(MovePlan { containers, changed, moves, left })
    }

    /// What each file is in its new place; the error lists those that cannot be moved.
    async fn look_up_moved(&self, containers: &[Container], moves: &[FileMove], options: &RelocateOptions) -> Result<Vec<StagedFile>> {
        // Made as they are polled: there may be as many files as references.
        let lookups = stream::iter(0..moves.len()).map(|at| self.in_new_place(containers, moves, at, options));
        let mut lookups = std::pin::pin!(lookups.buffered(CONCURRENT));
        let (mut found, mut refused, mut kind) = (Vec::with_capacity(moves.len()), Vec::new(), None);
        let mut at = moves.iter();
        while let (Some(looked_up), Some(file)) = (lookups.next().await, at.next()) {
            self.base().repository().advance(1, file.found.record.size.unwrap_or_default());
            match looked_up {
                Ok(staged) => found.push(staged),
                Err(e) if matches!(e.kind(), ErrorKind::Internal | ErrorKind::Invalid) => return Err(e),
                Err(e) => {
                    kind.get_or_insert((e.kind(), e.remedy().cloned()));
                    refused.push(e.to_string());
                }
            }
        }
        let Some((kind, remedy)) = kind else { return Ok(found) };
        let message = format!(
            "{} of {} files cannot be moved, so none is: {}",
            refused.len(),
            moves.len(),
            refused.first().map_or("", String::as_str)
        );
        Err(Error::new(kind, message).remedied_by(remedy).about(ErrorDetail::FilesRefused { files: refused }))
    }

    /// Looks one of the files up in its new place, and compares it with what is recorded of it.
    async fn in_new_place(&self, containers: &[Container], moves: &[FileMove], at: usize, options: &RelocateOptions) -> Result<StagedFile> {
        let file = moves.get(at).ok_or_else(|| Error::internal("a file that is not among those that are moved"))?;
        let repository = self.base().repository();
        let before = Validator::of(&file.found.record);
        let hash = if options.digests { locked_hash(&before).transpose()? } else { None };
        let lookup = VirtualLookup { digest: hash, ..VirtualLookup::at(repository.clock().now()) };
        let shown = printable_line(&file.to);
        match repository.virtuals().lookup(containers, &file.name, lookup).await? {
            Looked::Unasked(why) => Err(why),
            Looked::Told { validator, untouched_since } => {
                compared(&before, validator, hash, options, untouched_since).map_err(|e| e.context(shown))
            }
        }
    }
}

/// What is recorded of a file in its new place, if it is the one that is recorded.
fn compared(
    before: &Validator,
    told: Validator,
    hash: Option<HashAlgorithm>,
    options: &RelocateOptions,
    untouched_since: Option<Timestamp>,
) -> Result<StagedFile> {
    match (before.size, told.size) {
        (Some(was), Some(is)) if was != is => return Err(Error::source_changed(format!("is another file: size {was} → {is}"))),
        _ if hash.is_some() && before.digest != told.digest => {
            return Err(Error::source_changed("is another file: it does not have the locked digest"));
        }
        (Some(_), Some(_)) => {}
        _ if hash.is_some() || options.accept_unverified => {}
        (None, _) => return Err(Error::unsupported("cannot be compared: neither its size nor a digest is recorded; accept that by name")),
        (_, None) => return Err(Error::unsupported("cannot be compared: its source does not tell its size; accept that by name")),
    }
    // A digest that was not read now is verified by every reader.
    let validator = Validator { digest: told.digest.clone().or_else(|| before.digest.clone()), size: told.size.or(before.size), ..told };
    let unpinned = (!validator.is_pinned()).then(Unpinned::nothing_told);
    if unpinned.is_some() && !options.accept_unverified {
        return Err(Error::unsupported(
            "cannot be pinned: its source tells neither an etag, nor a version, nor size and date; accept that by name",
        ));
    }
    Ok(StagedFile { size: validator.size, validator, repin: false, by_itself: false, unpinned, untouched_since })
}

fn scheme(template: &str) -> Option<&str> {
    template.split_once("://").map(|(scheme, _)| scheme)
}

/// The container with `new` in place of `old` at the beginning of its template, if all its files lie below `old`. `None` for a container
/// that stays, and for automatic ones, whose templates follow from their names.
fn moved_template(container: &Container, old: &str, new: &str) -> Result<Option<Container>> {
    let template = container.parsed()?;
    let head = template.literal_prefix();
    let is_below = head.strip_prefix(old).is_some_and(|rest| rest.starts_with('/') || (rest.is_empty() && template.arity() == 0));
    if container.is_automatic() || !is_below {
        return Ok(None);
    }
    let literal = container.template.find('{').map_or(container.template.as_str(), |at| container.template.get(..at).unwrap_or_default());
    let moved = match container.template.strip_prefix(old) {
        // The defaults stay if they lie behind what changes.
        Some(rest) if literal.len() >= old.len() => Container { template: format!("{new}{rest}"), ..container.clone() },
        _ => {
            let written_out = template.written_out();
            let rest = written_out.strip_prefix(old).unwrap_or_default();
            Container { template: format!("{new}{rest}"), defaults: BTreeMap::new(), ..container.clone() }
        }
    };
    Ok(Some(moved))
}

#[cfg(test)]
mod tests;
