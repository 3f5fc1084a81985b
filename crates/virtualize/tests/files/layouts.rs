//! Single files, of every layout, type and filter.

use firnline::ErrorKind;
use firnline_virtualize::{VirtualizeOptions, ZarrFormat};

use crate::tools::{Comparison, Place, Python};

#[tokio::test(flavor = "multi_thread")]
async fn every_layout_of_every_version_of_hdf5_reads_as_h5py_reads_it() {
    let Some(python) = Python::find("every_layout_of_every_version_of_hdf5_reads_as_h5py_reads_it") else { return };
    let (mut comparisons, mut places) = (Vec::new(), Vec::new());
    for name in ["earliest", "v108", "v110", "v112", "latest", "userblock"] {
        let formats: &[ZarrFormat] = if name == "latest" { &[ZarrFormat::V3, ZarrFormat::V2] } else { &[ZarrFormat::V3] };
        for format in formats {
            let (place, file) = (Place::new().await, python.file(&format!("{name}.h5")));
            // Nothing is copied that need not be.
            let mut options = VirtualizeOptions::default().zarr_format(*format);
            options.inline_limit = 0;
            let summary = place.add(&[&file], &options).await.unwrap();
            assert_eq!((summary.files, summary.arrays), (1, 46), "{name}");
            assert!(summary.references > 2200, "{name}: {summary:?}");
            comparisons.push(Comparison::new(&place.checkout("zarr").await, "-", &[&file]));
            places.push(place);
        }
    }
    assert_eq!(python.compare_all(&comparisons), vec![46; comparisons.len()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_of_plugins_become_codecs() {
    let Some(python) = Python::find("filters_of_plugins_become_codecs") else { return };
    let (place, file) = (Place::new().await, python.file("plugins.h5"));
    let mut options = VirtualizeOptions::default();
    options.inline_limit = 0;
    let summary = place.add(&[&file], &options).await.unwrap();
    assert_eq!(summary.references, 3 * 12);
    assert_eq!(python.compare(&place.checkout("zarr").await, "-", &[&file]), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_zarr_cannot_say_is_refused_by_name_and_can_be_left_out() {
    let Some(python) = Python::find("what_zarr_cannot_say_is_refused_by_name_and_can_be_left_out") else { return };
    let file = python.file("refused.h5");
    // `edges` is small enough to be copied, too, and its bytes are as many as if they were shuffled.
    let small = VirtualizeOptions::default();
    let small = ["lists", "external", "bitshuffle", "lzf", "record", "empty", "long", "heavy", "edges_deflate"]
        .into_iter()
        .fold(small, VirtualizeOptions::drop);
    let refused = Place::new().await.add(&[&file], &small).await.unwrap_err();
    assert!(refused.to_string().contains("edges: has filters"), "{refused}");
    let all = ["record", "lzf", "bitshuffle", "empty", "masked", "external", "lists", "long", "heavy", "edges", "edges_deflate"];
    for name in all {
        let mut options = VirtualizeOptions::default();
        options.inline_limit = 0;
        for other in all.into_iter().filter(|other| *other != name) {
            options = options.drop(other);
        }
        let refused = Place::new().await.add(&[&file], &options).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
        let text = refused.to_string();
        assert!(text.contains("refused.h5") && text.contains(name), "{text}");
    }
    // Small ones are decoded where the reader knows the filter.
    let mut options = VirtualizeOptions::default();
    options.inline_limit = 1 << 20;
    for name in all.into_iter().filter(|name| *name != "masked").chain(["one"]) {
        options = options.drop(name);
    }
    assert_eq!(Place::new().await.add(&[&file], &options).await.unwrap().copied, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn strings_of_a_fixed_length_read_as_the_hdf5_library_gives_them() {
    let Some(python) = Python::find("strings_of_a_fixed_length_read_as_the_hdf5_library_gives_them") else { return };
    let (place, file) = (Place::new().await, python.file("padded.h5"));
    // Readers of Zarr strip zeros only, so what is padded with spaces is copied however long it is.
    let summary = place.add(&[&file], &VirtualizeOptions::default()).await.unwrap();
    assert_eq!((summary.arrays, summary.copied, summary.references), (5, 4, 1));
    assert_eq!(python.compare(&place.checkout("zarr").await, "-", &[&file]), 5);
}

/// xarray writes the attribute in version 3 and then does not open what it wrote.
#[tokio::test(flavor = "multi_thread")]
async fn strings_with_a_fill_value_are_opened_by_xarray() {
    let Some(python) = Python::find("strings_with_a_fill_value_are_opened_by_xarray") else { return };
    let (mut comparisons, mut places) = (Vec::new(), Vec::new());
    for (form, strings) in [("NETCDF4", &["platform@_FillValue", "station@_FillValue"][..]), ("NETCDF3_CLASSIC", &["platform@_FillValue"])]
    {
        for format in [ZarrFormat::V3, ZarrFormat::V2] {
            let (place, file) = (Place::new().await, python.file(&format!("argo-{form}.nc")));
            let summary = place.add(&[&file], &VirtualizeOptions::default().zarr_format(format)).await.unwrap();
            let dropped: Vec<_> = summary.dropped_attributes.iter().map(String::as_str).collect();
            assert_eq!(dropped, if format == ZarrFormat::V3 { strings } else { &[] }, "{form}");
            comparisons.push(Comparison::new(&place.checkout("zarr").await, "-", &[&file]));
            places.push(place);
        }
    }
    assert!(python.compare_all(&comparisons).iter().all(|n| *n >= 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn netcdf_files_of_every_format_read_as_xarray_reads_them() {
    let Some(python) = Python::find("netcdf_files_of_every_format_read_as_xarray_reads_them") else { return };
    let (mut comparisons, mut places) = (Vec::new(), Vec::new());
    for name in ["NETCDF4", "NETCDF4_CLASSIC", "NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"] {
        let (place, file) = (Place::new().await, python.file(&format!("{name}.nc")));
        let summary = place.add(&[&file], &VirtualizeOptions::default()).await.unwrap();
        assert!(summary.copied >= 3 && summary.references >= 6, "{name}: {summary:?}");
        // Each block of 64 KiB is read once at most, however its parts are asked for.
        let blocks = std::fs::metadata(&file).unwrap().len().div_ceil(1 << 16);
        assert!((1..=blocks).contains(&summary.reads), "{name}: {} reads of {blocks} blocks", summary.reads);
        comparisons.push(Comparison::new(&place.checkout("zarr").await, "-", &[&file]));
        places.push(place);
    }
    assert!(python.compare_all(&comparisons).iter().all(|n| *n > 15));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_a_file_is_put_below_a_prefix() {
    let Some(python) = Python::find("a_group_of_a_file_is_put_below_a_prefix") else { return };
    let (place, file) = (Place::new().await, python.file("earliest.h5"));
    let summary = place.add(&[&file], &VirtualizeOptions::default().group("/group/").prefix("a/b")).await.unwrap();
    assert_eq!(summary.arrays, 2);
    let keys = place.keys().await;
    for key in ["zarr.json", "a/zarr.json", "a/b/zarr.json", "a/b/inner/zarr.json", "a/b/deeper/zarr.json", "a/b/deeper/deep/c/0/0"] {
        assert!(keys.iter().any(|k| k == key), "{key} of {keys:?}");
    }
    let absent = place.add(&[&file], &VirtualizeOptions::default().group("no")).await.unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::NotFound, "{absent}");
    let again = place.add(&[&file], &VirtualizeOptions::default().group("group").prefix("a/b")).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Invalid, "{again}");
}
