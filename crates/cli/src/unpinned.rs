//! Telling which staged references a change of their files would not be noticed through.

use std::collections::BTreeSet;

use serde::Serialize;

use super::locate::Context;
use super::output::{Show, count};
use firnline::{Remedy, Result, UnpinnedPlace, WhyUnpinned, WriteSession};

/// How many places are named for one commit.
const SHOWN: usize = 8;
/// How many places are remembered; more are only counted.
const KEPT: usize = 10_000;

/// The places of unpinned files that have been told, so that each is told once.
#[derive(Debug, Default)]
pub(super) struct UnpinnedPlaces {
    told: BTreeSet<String>,
}

impl UnpinnedPlaces {
    /// Says on standard error which files of a session are not pinned, by the directory in which they lie.
    pub(super) fn tell(&mut self, context: &Context, session: &WriteSession) -> Result<()> {
        let places = session.unpinned_places()?.into_iter().filter(|place| !self.told.contains(&place.place));
        let rows: Vec<UnpinnedFiles> = places.map(|place| UnpinnedFiles::of(&place)).collect();
        let (mut more_places, mut more_files) = (0, 0);
        for (n, row) in rows.into_iter().enumerate() {
            if self.told.len() < KEPT {
                self.told.insert(row.place.clone());
            }
            if n < SHOWN {
                context.out.say_item(&UnpinnedRow { unpinned: row });
            } else {
                (more_places, more_files) = (more_places + 1, more_files + row.files);
            }
        }
        if more_places > 0 {
            context.out.say(&format!("{} in {} more are not pinned", count(more_files, "file"), count(more_places, "place")));
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct UnpinnedRow {
    unpinned: UnpinnedFiles,
}

/// Files of one directory of which nothing is recorded that would show a change.
#[derive(Serialize)]
struct UnpinnedFiles {
    place: String,
    files: u64,
    /// The reason. Where it is about one file, that file is the first of them.
    why: String,
    /// The entry that would let them be pinned.
    #[serde(skip_serializing_if = "Option::is_none")]
    allow: Option<String>,
    #[serde(skip)]
    can: PinStep,
}

/// What can be done about files that are not pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PinStep {
    /// An entry lets them be pinned.
    Allow,
    /// They can be read as they are.
    Accept,
    /// They cannot be asked here.
    Repin,
    /// They do not exist.
    Wait,
}

impl UnpinnedFiles {
    fn of(UnpinnedPlace { place, files, first, .. }: &UnpinnedPlace) -> Self {
        let (why, allow) = (first.why, first.remedy.as_ref().and_then(allowing));
        let is_plain = allow.as_ref().is_some_and(|allow| place.starts_with(allow.as_str()));
        let said = first.problem.clone().filter(|_| !is_plain);
        let can = match (&allow, why) {
            (Some(_), _) => PinStep::Allow,
            (None, WhyUnpinned::NothingTold) => PinStep::Accept,
            (None, WhyUnpinned::Missing) => PinStep::Wait,
            (None, _) => PinStep::Repin,
        };
        // The directory itself is enough where all of a container may be allowed.
        let allow = if is_plain { Some(place.clone()) } else { allow };
        Self { place: place.clone(), files: *files, why: said.unwrap_or_else(|| why.word().to_owned()), allow, can }
    }

    /// How to pin the files, and how to read them as they are.
    fn advice(&self, them: &str) -> String {
        let Self { place, allow, .. } = self;
        match (self.can, allow) {
            (PinStep::Allow, Some(allow)) => {
                let accepting = match allow.strip_prefix(place.as_str()) {
                    // The same place, with words of its own.
                    Some(words) if words.starts_with('=') => format!("--allow {allow}+unpinned"),
                    Some(_) => format!("--allow {allow}=unpinned"),
                    None => format!("--allow {allow} and --allow {place}=unpinned"),
                };
                format!("pin {them} with --allow {allow}, or read {them} with {accepting}")
            }
            (PinStep::Wait, _) => {
                format!("once {} there, pin {them} with: firn deps repin {place}", if them == "it" { "it is" } else { "they are" })
            }
            (PinStep::Repin, _) => format!("once the source can be asked, pin {them} with: firn deps repin {place}"),
            _ => format!("read {them} with --allow {place}=unpinned"),
        }
    }
}

/// The entry that an error says to allow.
fn allowing(remedy: &Remedy) -> Option<String> {
    match remedy {
        Remedy::Allow(entry) => Some(entry.clone()),
        _ => None,
    }
}

impl Show for UnpinnedRow {
    fn text(&self) -> String {
        let UnpinnedFiles { place, files, why, .. } = &self.unpinned;
        let (verb, them) = if *files == 1 { ("is", "it") } else { ("are", "them") };
        let advice = self.unpinned.advice(them);
        format!(
            "{} in {place} {verb} not pinned, because {why}: nothing is recorded that would show a change of {them}; {advice}",
            count(*files, "file")
        )
    }
}
