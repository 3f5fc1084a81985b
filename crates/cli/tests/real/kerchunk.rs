//! Reference sets that kerchunk itself writes: what they give is what HDF5 reads.

use std::path::{Path, PathBuf};

use crate::tools::{Firn, Tools, assert_same, tree};

/// A data set with its reference sets, and a repository that may read it.
struct Sets {
    _folder: tempfile::TempDir,
    data: PathBuf,
    out: PathBuf,
    firn: Firn,
}

impl Sets {
    /// `None` after saying why `test` is skipped.
    fn make(tools: &Tools) -> Option<Self> {
        let script = tools.shared("make_virtual_dataset.py")?;
        let folder = tempfile::tempdir().unwrap();
        let (data, out) = (folder.path().join("data"), folder.path().join("out"));
        tools.run_python(&script, &[data.to_str().unwrap()]);
        let firn = Firn::init(tools, &folder.path().join("repository")).allow(&format!("file://{}/", data.display()));
        Some(Self { _folder: folder, data, out, firn })
    }

    fn set(&self, name: &str) -> String {
        self.data.join(name).to_str().unwrap().to_owned()
    }

    fn checkout(&self, revision: &str, name: &str) -> PathBuf {
        let directory = self.out.join(name);
        std::fs::create_dir_all(&self.out).unwrap();
        self.firn.bytes(&["checkout", revision, directory.to_str().unwrap()]);
        directory
    }
}

#[test]
fn what_kerchunk_writes_gives_the_bytes_that_hdf5_reads() {
    let Some(tools) = Tools::with_kerchunk("kerchunk::what_kerchunk_writes_gives_the_bytes_that_hdf5_reads") else { return };
    let Some(sets) = Sets::make(&tools) else { return };
    let wanted = sets.data.join("chunks");
    tools.python("kerchunk_sets.py", &["chunks", sets.data.to_str().unwrap(), wanted.to_str().unwrap()]);
    let wanted = tree(&wanted);
    assert_eq!(wanted.len(), 6 * 2 * 3 + 3);
    for (name, set) in [("json", "combined.json"), ("templates", "templates.json"), ("parquet", "combined.parq")] {
        sets.firn.ok(&["kerchunk", "import", &sets.set(set), "--prefix", name, "--compact-metadata"]);
        let mut found = tree(&sets.checkout("main", name).join(name));
        found.retain(|key, _| !key.rsplit('/').next().unwrap().starts_with(".z"));
        assert_same(&found, &wanted, set);
        // The same references, whatever form they came in.
        let id = |name: &str| sets.firn.ok(&["cid", "main", &format!("{name}/")]);
        assert_eq!(id("json"), id(name), "{set}");
    }
    sets.firn.ok(&["kerchunk", "import", &sets.set("combined.json"), "-m", "at the root"]);
    let store = sets.checkout("main", "root");
    assert_eq!(tools.python("kerchunk_sets.py", &["values", sets.data.to_str().unwrap(), store.to_str().unwrap()]), [true]);
    sets.firn.sound();
}

#[test]
fn generators_give_every_part_of_a_file() {
    let Some(tools) = Tools::with_kerchunk("kerchunk::generators_give_every_part_of_a_file") else { return };
    let Some(sets) = Sets::make(&tools) else { return };
    sets.firn.ok(&["kerchunk", "import", &sets.set("gen.json")]);
    let raw = std::fs::read(sets.data.join("raw.bin")).unwrap();
    assert_eq!(raw.len(), 6 * 16);
    for (n, part) in raw.chunks(16).enumerate() {
        assert_eq!(sets.firn.bytes(&["cat", "main", &format!("x/{n}")]), part, "x/{n}");
    }
    assert_eq!(sets.firn.json(&["deps"])[0]["refs"], 6);
}

#[test]
fn a_set_whose_files_are_gone_is_refused_and_a_missing_one_can_be_allowed() {
    let Some(tools) = Tools::with_kerchunk("kerchunk::a_set_whose_files_are_gone_is_refused_and_a_missing_one_can_be_allowed") else {
        return;
    };
    let Some(sets) = Sets::make(&tools) else { return };
    let (gone, cut) = (sets.data.join("src1.nc"), sets.data.join("src2.nc"));
    std::fs::remove_file(&gone).unwrap();
    for set in ["combined.json", "combined.parq"] {
        let (status, message) = sets.firn.fails(&["kerchunk", "import", &sets.set(set)]);
        assert_eq!(status, 3, "{message}");
        assert!(message.contains("t2m/") && message.contains("src1.nc does not exist"), "{message}");
    }
    let before = sets.firn.json(&["log"]).len();
    sets.firn.ok(&["kerchunk", "import", &sets.set("combined.json"), "--allow-missing"]);
    assert_eq!(sets.firn.json(&["log"]).len(), before + 1);
    let pins: Vec<_> = sets.firn.json(&["deps"]).iter().map(|row| (row["refs"].clone(), row["pinned"].clone())).collect();
    assert_eq!(pins, [(14.into(), true.into()), (12.into(), false.into()), (12.into(), true.into())]);
    let whole = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let (status, message) = sets.firn.fails(&["kerchunk", "import", &sets.set("templates.json"), "--allow-missing", "--prefix", "again"]);
    assert!(status == 9 || status == 6, "{message}");
    assert!(message.contains("src2.nc"), "{message}");
    assert!(Path::new(&sets.set("combined.json")).is_file());
}
