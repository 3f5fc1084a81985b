//! Months of an ocean model, committed as they come, without copying a byte.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::tools::{Firn, Tools, Tree, field, tree};

const MONTHS: [&str; 3] =
    ["nemo_1m_20150101-20150201_grid-T.nc", "nemo_1m_20150201-20150301_grid-T.nc", "nemo_1m_20150301-20150401_grid-T.nc"];

/// Three months, three commits.
struct Ocean {
    folder: tempfile::TempDir,
    firn: Firn,
    sources: Vec<PathBuf>,
    /// For each source, what points into it: as HDF5 knows it.
    facts: Vec<Value>,
    /// For each month, the bytes of its chunks, as HDF5 reads them.
    chunks: Vec<Tree>,
    ids: Vec<String>,
}

impl Ocean {
    fn commit(tools: &Tools) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (data, lists) = (folder.path().join("data"), folder.path().join("lists"));
        fs::create_dir(&data).unwrap();
        fs::create_dir(&lists).unwrap();
        let sources: Vec<PathBuf> = MONTHS.iter().map(|name| data.join(name)).collect();
        for (name, source) in MONTHS.iter().zip(&sources) {
            fs::copy(tools.file(name), source).unwrap();
            date(source, 2015);
        }
        let args: Vec<&str> =
            std::iter::once(lists.as_path()).chain(sources.iter().map(PathBuf::as_path)).map(|p| p.to_str().unwrap()).collect();
        let facts = tools.python("virtual_months.py", &args);
        let firn = Firn::init(tools, &folder.path().join("repository")).allow(&format!("file://{}/", data.display()));
        let ids = (0..MONTHS.len()).map(|n| firn.feed(&["apply", "-m", MONTHS[n]], &lists.join(format!("{n}.ndjson")))).collect();
        let chunks = (0..MONTHS.len()).map(|n| tree(&lists.join(n.to_string()))).collect();
        Self { folder, firn, sources, facts, chunks, ids }
    }

    /// Asserts that every chunk of `month` is what HDF5 reads.
    fn reads(&self, revision: &str, month: usize) {
        for (key, want) in &self.chunks[month] {
            assert!(self.firn.bytes(&["cat", revision, key]) == *want, "{revision} {key} is what HDF5 reads");
        }
    }

    /// The status and the message that reading the largest chunk of `month` ends with.
    fn refuses(&self, month: usize) -> (i32, String) {
        self.firn.fails(&["cat", "main", &format!("tos/{month}.0.0")])
    }
}

fn date(path: &Path, year: u64) {
    let when = SystemTime::UNIX_EPOCH + Duration::from_secs((year - 1970) * 31_557_600);
    File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(when)).unwrap();
}

/// Changes one byte in the middle of the first chunk of `tos` in the file of `month`; leaves the present as the date.
fn change_one_byte(ocean: &Ocean, month: usize) {
    let rows = ocean.firn.json(&["ls", "main", "-r", "-l"]);
    let row = rows.iter().find(|row| field(row, "name") == format!("tos/{month}.0.0")).unwrap();
    let at = row["offset"].as_u64().unwrap() + row["size"].as_u64().unwrap() / 2;
    let file = File::options().read(true).write(true).open(&ocean.sources[month]).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

on_every_store!(
    months_are_committed_as_they_come_and_read_as_hdf5_reads_them,
    changed_cut_removed_and_forbidden_files_are_four_different_errors,
    a_change_that_keeps_size_and_date_is_not_noticed,
);

fn months_are_committed_as_they_come_and_read_as_hdf5_reads_them(tools: &Tools) {
    let ocean = Ocean::commit(tools);
    let log = ocean.firn.json(&["log"]);
    assert_eq!(log.iter().map(|row| field(row, "summary")).take(3).collect::<Vec<_>>(), [MONTHS[2], MONTHS[1], MONTHS[0]]);
    for month in 0..MONTHS.len() {
        // Each commit holds its months and no later one.
        (0..=month).for_each(|earlier| ocean.reads(&ocean.ids[month], earlier));
        let later = format!("tos/{}.0.0", month + 1);
        assert_eq!(ocean.firn.fails(&["cat", &ocean.ids[month], &later]).0, 3);
        depends_on(&ocean, month + 1);

        // zarr-python finds in a checkout what h5py finds in the files.
        let out = ocean.folder.path().join(format!("out {month}"));
        ocean.firn.ok(&["checkout", &ocean.ids[month], out.to_str().unwrap()]);
        let files = ocean.sources[..=month].iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>().join(",");
        let (store, source) = (&tools.values(&[&out])[0], &tools.values(&[Path::new(&files)])[0]);
        let arrays = source["arrays"].as_object().unwrap();
        assert_eq!(store["arrays"].as_object().unwrap().len(), arrays.len());
        assert_eq!(arrays["tos"]["shape"], serde_json::json!([month + 1, 330, 360]));
        for (name, want) in arrays {
            assert_eq!((&store["arrays"][name]["shape"], &store["arrays"][name]["sha256"]), (&want["shape"], &want["sha256"]), "{name}");
        }
    }
    ocean.firn.sound();
    // The repository holds none of it, as can be seen where it is a directory.
    let Some(directory) = ocean.firn.directory() else { return };
    let stored: usize = tree(directory).values().map(Vec::len).sum();
    let total: u64 = ocean.facts.iter().map(|fact| fact["bytes"].as_u64().unwrap()).sum();
    assert!((stored as u64) < total / 10, "{stored} bytes are stored for {total}");
}

/// The first `months` commits depend on exactly as many files, with as many references and bytes as point into them.
fn depends_on(ocean: &Ocean, months: usize) {
    let mut found: Vec<_> = ocean.firn.json(&["deps", &ocean.ids[months - 1]]);
    found.sort_by_key(|row| field(row, "url").to_owned());
    assert_eq!(found.len(), months);
    for ((row, fact), source) in found.iter().zip(&ocean.facts).zip(&ocean.sources) {
        assert_eq!(field(row, "url"), format!("file://{}", field(fact, "file")));
        assert_eq!((&row["refs"], &row["bytes"]), (&fact["refs"], &fact["bytes"]), "{}", source.display());
        assert_eq!(row["size"].as_u64(), Some(fs::metadata(source).unwrap().len()));
        assert!(field(row, "modified").starts_with("2015-01-01T") && row["racy"] == false);
    }
}

fn changed_cut_removed_and_forbidden_files_are_four_different_errors(tools: &Tools) {
    let ocean = Ocean::commit(tools);

    change_one_byte(&ocean, 0);
    let changed = ocean.refuses(0);
    let cut = File::options().write(true).open(&ocean.sources[1]).unwrap();
    cut.set_len(cut.metadata().unwrap().len() - 1).unwrap();
    let cut = ocean.refuses(1);
    // Not by its date, but by its length.
    date(&ocean.sources[1], 2015);
    assert_eq!(ocean.refuses(1).0, 7);
    fs::remove_file(&ocean.sources[2]).unwrap();
    let removed = ocean.refuses(2);
    let forbidden: Vec<_> = (0..MONTHS.len())
        .map(|month| {
            let key = format!("tos/{month}.0.0");
            ocean.firn.allow(&format!("file://{}/lists/", ocean.folder.path().display())).fails(&["cat", "main", &key])
        })
        .collect();

    assert_eq!((changed.0, cut.0, removed.0), (6, 7, 3));
    for (month, (_, message)) in [&changed, &cut, &removed].into_iter().enumerate() {
        assert!(message.contains(MONTHS[month]), "the message names the file: {message}");
    }
    for (month, (status, message)) in forbidden.iter().enumerate() {
        // Whatever became of the file: whoever may not read it learns nothing of that.
        assert_eq!(*status, 5);
        assert!(message.contains(&format!("tos/{month}.0.0")) && message.contains("--allow file://"), "{message}");
    }
    // What does not lie in those files is still there, and none of it is made up.
    assert!(!ocean.firn.bytes(&["cat", "main", ".zattrs"]).is_empty());
    assert_eq!(ocean.firn.json(&["deps"]).len(), 3);
    let out = ocean.folder.path().join("out");
    assert_ne!(ocean.firn.fails(&["checkout", "main", out.to_str().unwrap()]).0, 0);
    assert!(!out.exists(), "a checkout is complete or not at all");
}

/// The documented limit of validators: it takes a digest to notice this.
fn a_change_that_keeps_size_and_date_is_not_noticed(tools: &Tools) {
    let ocean = Ocean::commit(tools);
    let modified = fs::metadata(&ocean.sources[0]).unwrap().modified().unwrap();
    change_one_byte(&ocean, 0);
    assert_eq!(ocean.refuses(0).0, 6);
    File::options().write(true).open(&ocean.sources[0]).unwrap().set_times(FileTimes::new().set_modified(modified)).unwrap();
    let key = "tos/0.0.0";
    let (found, want) = (ocean.firn.bytes(&["cat", "main", key]), &ocean.chunks[0][key]);
    assert_eq!(found.len(), want.len());
    assert_eq!(found.iter().zip(want).filter(|(a, b)| a != b).count(), 1);
}
