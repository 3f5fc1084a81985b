//! What was found, side by side: for people as a table, for programs as JSON.

use serde_json::{Value, json};

use super::figures::{Figure, Figures};
use super::work::{Setup, Work};

/// What a figure is to stay below (of a speed or a share: above), at a million references.
const AIMS: &[(&str, &str, f64)] = &[
    ("build-virtual", "at rest, for each reference", 2.5),
    ("build-virtual", "set + commit: CPU", 1.0),
    ("build-virtual", "peak memory", 250e6),
    ("build-native", "at rest in the manifest, for each chunk", 36.0),
    ("lookup", "cold, with open: requests", 5.0),
    ("lookup", "cold, with open: read", 60e3),
    ("lookup", "warm: CPU", 3e-6),
    ("dependencies", "cold, with open: wall", 10e-3),
    ("change-one", "open, set, commit: written", 40e3),
    ("change-one", "open, set, commit: CPU", 5e-3),
    ("distance", "warm: round trips of a commit beside the last one", 2.0),
    ("append", "steps of 1 chunk, without the chunks: written", 300e3),
    ("append", "steps of 100 chunks, without the chunks: written", 300e3),
    ("small-arrays", "one chunk: written", 64e3),
    ("metadata", "kept of each commit", 12e3),
    ("log", "log, cold, with open: wall", 100e-3),
    ("log", "main@TIME, cold, with open: requests", 6.0),
    ("collect", "plan: CPU", 6.0),
    ("collect", "peak memory", 500e6),
    ("car", "1 MiB chunks: export, of the lower of hashing and writing", 0.6),
    ("car", "1 MiB chunks: import, of the lower of hashing and writing", 0.6),
    ("car", "small chunks: export, of the lower of hashing and writing", 0.6),
    ("car", "small chunks: import, of the lower of hashing and writing", 0.6),
    ("car-memory", "export: memory for the large version beyond that for the small", 16.0 * 1024.0 * 1024.0),
    ("car-memory", "import: memory for the large version beyond that for the small", 16.0 * 1024.0 * 1024.0),
];
/// At which number of references the aims are stated.
const AIMED_AT: u64 = 1_000_000;

/// The figures of one piece of work at one size, ours and those of a peer.
pub(crate) struct Found {
    pub(crate) work: &'static str,
    pub(crate) refs: u64,
    pub(crate) ours: Figures,
    pub(crate) peer: Option<Figures>,
}

impl Found {
    pub(crate) fn print(&self, work: &Work, setup: &Setup) {
        println!("{} ({} refs): {}", work.name, self.refs, (work.title)(setup));
        let (ours, peer) = ("firnline", if self.peer.is_some() { "icechunk" } else { "" });
        println!("    {:<52} {ours:>12} {peer:>12}   aim", "");
        for figure in &self.ours.0 {
            let theirs = self.peer.as_ref().and_then(|peer| peer.find(&figure.what));
            let theirs = theirs.map_or(String::new(), |theirs| theirs.unit.show(theirs.value));
            println!("    {:<52} {:>12} {theirs:>12}   {}", figure.what, figure.unit.show(figure.value), self.aim(figure));
        }
        let only_theirs = self.peer.iter().flat_map(|peer| &peer.0).filter(|theirs| self.ours.find(&theirs.what).is_none());
        for theirs in only_theirs {
            println!("    {:<52} {:>12} {:>12}", theirs.what, "", theirs.unit.show(theirs.value));
        }
        println!();
    }

    fn aim(&self, figure: &Figure) -> String {
        let aim = AIMS.iter().find(|(work, what, _)| self.refs == AIMED_AT && *work == self.work && *what == figure.what);
        aim.map_or(String::new(), |(_, _, aim)| {
            let met = if figure.unit.is_better_high() { figure.value >= *aim } else { figure.value <= *aim };
            let verdict = if met { "" } else { ", not met" };
            format!("{}{verdict}", figure.unit.show(*aim))
        })
    }

    pub(crate) fn to_json(&self) -> Value {
        let side = |figures: &Figures| -> Value { figures.0.iter().map(|f| (f.what.clone(), json!(f.value))).collect() };
        json!({ "work": self.work, "refs": self.refs, "firnline": side(&self.ours), "icechunk": self.peer.as_ref().map(side) })
    }
}
