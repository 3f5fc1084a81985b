//! The pieces of work that are measured: what they are and how large, the same for every program that does them.

use std::path::PathBuf;

/// The length of a native chunk: the shortest realistic one that does not lie inline.
pub(crate) const CHUNK: usize = 1100;
/// How often something small is measured.
pub(crate) const TIMES: u64 = 40;
/// How many references a larger change replaces.
pub(crate) const MANY: u64 = 1000;
/// How many arrays grow by a step.
pub(crate) const GROWING: u64 = 20;
/// How many chunks a step has: of a series at one place, and of a field over the globe.
pub(crate) const STEPS: [u64; 2] = [1, 100];

/// How much is measured, and where.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Virtual references; the sizes of everything else follow.
    pub(crate) refs: u64,
    /// Holds the repositories.
    pub(crate) place: PathBuf,
}

impl Setup {
    /// External files that the references lie in.
    pub(crate) fn files(&self) -> u64 {
        (self.refs / 1000).max(1)
    }

    /// Native chunks with bytes.
    pub(crate) fn chunks(&self) -> u64 {
        self.refs / 10
    }

    /// Steps of each growing array, if each has so many chunks.
    pub(crate) fn steps(&self, per_step: u64) -> u64 {
        (self.refs / GROWING / per_step).max(1)
    }

    /// Commits of a metadata document.
    pub(crate) fn commits(&self) -> u64 {
        (self.refs / 100).clamp(100, 10_000)
    }

    /// Versions among which garbage is looked for.
    pub(crate) fn versions(&self) -> u64 {
        (self.refs / 1000).clamp(20, 1000)
    }

    /// Arrays of a few chunks.
    pub(crate) fn arrays(&self) -> u64 {
        (self.refs / 100).clamp(10, 10_000)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.place.join(name).display().to_string()
    }
}

/// One piece of work.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    /// The work that makes what this one uses.
    pub(crate) needs: Option<&'static str>,
    /// Whether it is measured at every size, not only at the middle one.
    pub(crate) at_every_size: bool,
    pub(crate) title: fn(&Setup) -> String,
}

/// All of them, in the order in which they run: later ones read what earlier ones have written.
pub(crate) fn all() -> Vec<Work> {
    let of = |name, needs, at_every_size, title| Work { name, needs, at_every_size, title };
    vec![
        of("build-virtual", None, true, |s| format!("{} virtual references in {} files, one commit", s.refs, s.files())),
        of("build-one-by-one", None, false, |s| format!("the same {} references, each set by a call of its own", s.refs)),
        of("lookup", Some("build-virtual"), true, |s| format!("one of {} references looked up", s.refs)),
        of("dependencies", Some("build-virtual"), true, |s| format!("the {} files listed", s.files())),
        of("change-one", Some("build-virtual"), true, |s| format!("one reference of {} changed, median of {TIMES} commits", s.refs)),
        of("distance", Some("build-virtual"), false, |_| "the same with 100 ms added to every request".to_owned()),
        of("change-many", Some("build-virtual"), false, |s| format!("{MANY} random references of {} changed, one commit", s.refs)),
        of("diff", Some("change-many"), false, |_| format!("the difference of two versions {MANY} keys apart")),
        of("merge", Some("build-virtual"), false, |s| format!("two lines that changed {MANY} references each of {}, merged", s.refs)),
        of("push", Some("build-virtual"), true, |s| format!("one chunk committed beside {} references, and pushed", s.refs)),
        of("build-native", None, false, |s| format!("{} native chunks of {CHUNK} bytes, one commit", s.chunks())),
        of("append", None, false, |s| format!("one step more for each of {GROWING} arrays of {} native references", s.refs / GROWING)),
        of("small-arrays", None, false, |s| format!("{} arrays of 4 chunks, then one chunk changed", s.arrays())),
        of("metadata", None, false, |s| format!("{} commits of one metadata document", s.commits())),
        of("log", Some("metadata"), false, |s| format!("history of {} commits", s.commits())),
        of("collect", Some("build-virtual"), true, |s| {
            format!("{MANY} chunks of garbage beside {} versions of {} references", s.versions(), s.refs)
        }),
        of("car", Some("build-native"), false, |s| format!("a version of {} chunks as a CAR file", s.chunks())),
        of("car-memory", None, false, |_| "a small and a large version as CAR files, each step in a process of its own".to_owned()),
    ]
}
