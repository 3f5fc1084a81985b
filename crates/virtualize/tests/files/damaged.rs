//! Damaged files end in an error that names them, or in arrays; never in a panic.

use std::fs;

use firnline::ErrorKind;
use firnline_virtualize::{VirtualizeOptions, virtualize};
use proptest::prelude::*;

use crate::support::count;
use crate::tools::{Place, Python};

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_cut_anywhere_is_refused() {
    let Some(python) = Python::find("a_file_that_is_cut_anywhere_is_refused") else { return };
    let place = Place::new().await;
    let directory = tempfile::tempdir().unwrap();
    for name in ["v108.h5", "latest.h5", "NETCDF4.nc", "NETCDF3_CLASSIC.nc"] {
        let bytes = fs::read(python.file(name)).unwrap();
        for tenth in 0..10 {
            let cut = directory.path().join(format!("{tenth}-{name}"));
            fs::write(&cut, &bytes[..bytes.len() * tenth / 10]).unwrap();
            let cut = cut.to_str().unwrap();
            let session = place.repository.write("main").await.unwrap();
            let refused = virtualize(&session, &[cut], &VirtualizeOptions::default()).await.unwrap_err();
            assert!(matches!(refused.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported), "{name} {tenth}: {refused}");
            assert!(refused.to_string().contains(cut), "{refused}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_file_that_takes_much_memory_is_refused() {
    let Some(python) = Python::find("a_small_file_that_takes_much_memory_is_refused") else { return };
    for (name, shown) in
        [("hostile-names.h5", "g0/a/"), ("hostile-headers.h5", "v"), ("hostile-copies.h5", "v"), ("hostile-texts.h5", "/: has")]
    {
        let (place, file) = (Place::new().await, python.file(name));
        assert!(fs::metadata(&file).unwrap().len() < 2 << 20, "{name}");
        let mut options = VirtualizeOptions::default();
        options.inline_limit = 4 << 20;
        let refused = place.add(&[&file], &options).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
        let text = refused.to_string();
        assert!(text.contains(&format!("{name}: {shown}")) && text.contains("more than 256 MiB"), "{text}");
    }
}

#[test]
fn files_with_changed_bytes_end_in_a_value_or_an_error() {
    let Some(python) = Python::find("files_with_changed_bytes_end_in_a_value_or_an_error") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let place = runtime.block_on(Place::new());
    let directory = tempfile::tempdir().unwrap();
    let files = ["earliest.h5", "latest.h5", "NETCDF4.nc", "NETCDF3_64BIT_DATA.nc"].map(|name| fs::read(python.file(name)).unwrap());
    let path = directory.path().join("changed");
    let cases = u32::try_from(count("FIRN_DAMAGED_FILES", 100, 3000)).unwrap();
    // Most changes near the beginning, where the metadata of these files is.
    let changes = prop::collection::vec((any::<u32>(), any::<bool>(), any::<u8>()), 1..6);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(which in 0..files.len(), changes in changes)| {
        let mut bytes = files[which].clone();
        for (at, is_early, value) in changes {
            let within = if is_early { bytes.len().min(8192) } else { bytes.len() };
            bytes[at as usize % within] = value;
        }
        fs::write(&path, &bytes).unwrap();
        let ended = runtime.block_on(async {
            let session = place.repository.write("main").await.unwrap();
            virtualize(&session, &[path.to_str().unwrap()], &VirtualizeOptions::default()).await
        });
        if let Err(e) = ended {
            prop_assert!(e.kind() != ErrorKind::Internal && e.to_string().contains("changed"), "{}", e);
        }
    });
}
