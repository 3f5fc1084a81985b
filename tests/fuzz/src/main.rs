//! Writes the seeds of every target below a directory: `corpus DIRECTORY`. Nothing is there twice, and what is there stays.

mod seeds;

use std::fs;
use std::path::{Path, PathBuf};

/// A reference set of kerchunk with templates and generators.
const SET: &str = r#"{"version": 1, "templates": {"u": "file:///data/", "f": "{{u}}{{c}}.nc"},
 "gen": [{"key": "g/0.{{i}}", "url": "{{f(c='a')}}", "offset": "{{(i + 1) * 8}}", "length": "8", "dimensions": {"i": {"stop": 3}}}],
 "refs": {".zgroup": "{\"zarr_format\": 2}", "x/0": ["{{f(c='b')}}", 0, 10], "x/1": "base64:AAAA", "x/2": "text"}}"#;

fn main() {
    let place = std::env::args_os().nth(1).map(PathBuf::from).expect("a directory");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/format/tests/data");
    let root = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let seeds = runtime.block_on(seeds::seeds(root.path(), &golden));
    for (n, (decoder, bytes)) in seeds.iter().enumerate() {
        assert!(decoder.run(bytes), "{} refuses a seed", decoder.name());
        write(&place.join(decoder.name()), n, bytes);
    }
    write(&place.join("kerchunk"), 0, SET.as_bytes());
    // A file without anything in it, as HDF5 of every version begins.
    write(&place.join("hdf5"), 0, b"\x89HDF\r\n\x1a\n\x00\x00\x00\x00\x00\x08\x08\x00");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/virtualize/tests/files/dimensions.h5");
    write(&place.join("hdf5"), 1, &fs::read(example).expect("the example of an HDF5 file"));
    println!("{} seeds in {}", seeds.len() + 3, place.display());
}

fn write(folder: &Path, n: usize, bytes: &[u8]) {
    fs::create_dir_all(folder).expect("the folder can be made");
    fs::write(folder.join(format!("seed-{n:04}")), bytes).expect("a seed can be written");
}
