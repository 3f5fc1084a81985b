//! Reference sets as the Python programs read them that such sets are for.

use std::path::Path;

use crate::tools::{Firn, Tools};

/// Data types and codecs of Zarr v3 become those of Zarr v2 under which zarr-python reads the same values; xarray masks the same
/// values; and what kerchunk found in an HDF5 file comes back with the same content.
#[test]
fn xarray_reads_equal_values() {
    let Some(tools) = Tools::with_kerchunk("kerchunk_export::xarray_reads_equal_values") else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let at = |name: &str| root.join(name).to_str().unwrap().to_owned();
    tools.python("kerchunk_export.py", &["make", &at("")]);
    let firn = Firn::init(&tools, &root.join("repository")).allow(&format!("file://{}/", root.display()));
    for store in ["codecs", "masked"] {
        firn.feed(&["apply", "-m", store], Path::new(&at(&format!("{store}.ndjson"))));
        firn.ok(&["kerchunk", "export", "main", &at(&format!("{store}.json")), "--prefix", store]);
        firn.ok(&["kerchunk", "export", "main", &at(&format!("{store}.parq")), "--prefix", store, "--parquet", "--record-size", "4"]);
    }
    firn.ok(&["kerchunk", "import", &at("many.json"), "--prefix", "many"]);
    firn.ok(&["kerchunk", "export", "main", &at("many.parq"), "--prefix", "many", "--parquet"]);
    firn.ok(&["kerchunk", "import", &at("air.json"), "--prefix", "air"]);
    firn.ok(&["kerchunk", "export", "main", &at("air2.json"), "--prefix", "air"]);
    firn.ok(&["kerchunk", "export", "main", &at("air2.parq"), "--prefix", "air", "--parquet"]);
    let compared = tools.python("kerchunk_export.py", &["compare", &at("")]);
    assert_eq!(compared.len(), 7, "{compared:?}");
    assert!(compared.iter().all(|set| set["arrays"].as_u64() >= Some(7)), "{compared:?}");

    for (set, below) in [("air2.json", "json"), ("air2.parq", "parquet")] {
        firn.ok(&["kerchunk", "import", &at(set), "--prefix", below]);
        assert_eq!(firn.ok(&["cid", "main", below]), firn.ok(&["cid", "main", "air"]), "{set}");
    }
}
