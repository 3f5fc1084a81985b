//! Telling which staged references a change of their files would not be noticed through.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::locate::Context;
use super::output::{Show, count};
use firnline::{Result, WhyUnpinned, WriteSession};

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
        let mut places: BTreeMap<(String, WhyUnpinned), u64> = BTreeMap::new();
        for file in session.unpinned()? {
            let place = directory(&file.url);
            if !self.told.contains(place) {
                *places.entry((place.to_owned(), file.why)).or_default() += 1;
            }
        }
        let (mut more_places, mut more_files) = (0, 0);
        for (n, ((place, why), files)) in places.into_iter().enumerate() {
            if self.told.len() < KEPT {
                self.told.insert(place.clone());
            }
            if n < SHOWN {
                context.out.say_item(&UnpinnedRow { unpinned: UnpinnedPlace { place, files, why: why.word() } });
            } else {
                (more_places, more_files) = (more_places + 1, more_files + files);
            }
        }
        if more_places > 0 {
            context.out.say(&format!("{} in {} more are not pinned", count(more_files, "file"), count(more_places, "place")));
        }
        Ok(())
    }
}

/// The directory of a file, with the final `/`.
fn directory(url: &str) -> &str {
    let path = if url.starts_with("file:") { url } else { url.split('?').next().unwrap_or(url) };
    path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or(path)
}

#[derive(Serialize)]
struct UnpinnedRow {
    unpinned: UnpinnedPlace,
}

/// Files of one directory of which nothing is recorded that would show a change.
#[derive(Serialize)]
struct UnpinnedPlace {
    place: String,
    files: u64,
    why: &'static str,
}

impl Show for UnpinnedRow {
    fn text(&self) -> String {
        let UnpinnedPlace { place, files, why } = &self.unpinned;
        let (verb, them) = if *files == 1 { ("is", "it") } else { ("are", "them") };
        format!(
            "{} in {place} {verb} not pinned, because {why}: nothing is recorded that would show a change of {them}; pin {them} with \
             --allow {place}, or read {them} with --allow {place}=unpinned",
            count(*files, "file")
        )
    }
}
