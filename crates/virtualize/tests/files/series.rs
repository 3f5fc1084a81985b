//! Several files along one dimension, in one call and one after the other.

use firnline::ErrorKind;
use firnline_virtualize::{VirtualizeOptions, ZarrFormat};

use crate::tools::{Comparison, Place, Python};

const FORMS: [&str; 3] = ["NETCDF4", "NETCDF4_CLASSIC", "NETCDF3_64BIT_OFFSET"];

fn along_time() -> VirtualizeOptions {
    VirtualizeOptions::default().prefix("air").concat("time")
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_joined_at_once_and_one_after_the_other_are_the_same() {
    let Some(python) = Python::find("files_that_are_joined_at_once_and_one_after_the_other_are_the_same") else { return };
    let (mut comparisons, mut places) = (Vec::new(), Vec::new());
    for form in FORMS {
        let formats: &[ZarrFormat] = if form == "NETCDF4" { &[ZarrFormat::V3, ZarrFormat::V2] } else { &[ZarrFormat::V3] };
        for format in formats {
            let format = *format;
            let files = ["", "-2", "-3"].map(|n| python.file(&format!("{form}{n}.nc")));
            let files = files.each_ref().map(String::as_str);
            let whole = Place::new().await;
            let at_once = whole.add(&files, &along_time().zarr_format(format)).await.unwrap();
            assert_eq!((at_once.files, at_once.rows), (3, Some(8)), "{form}");

            let stepwise = Place::new().await;
            let mut references = 0;
            for (n, file) in files.iter().enumerate() {
                let options = if n == 0 { along_time().zarr_format(format) } else { along_time().append() };
                references += stepwise.add(&[file], &options).await.unwrap().references;
            }
            assert_eq!(references, at_once.references, "{form}: each reference is staged once");
            let (a, b) = (whole.tip().await, stepwise.tip().await);
            assert_eq!(a.record().manifest, b.record().manifest, "{form}");
            comparisons.push(Comparison::new(&whole.checkout("zarr").await.join("air"), "time", &files));
            places.push(whole);
        }
    }
    assert!(python.compare_all(&comparisons).iter().all(|n| *n > 15));
}

#[tokio::test(flavor = "multi_thread")]
async fn appending_stages_only_what_is_new() {
    let Some(python) = Python::find("appending_stages_only_what_is_new") else { return };
    let place = Place::new().await;
    place.add(&[&python.file("NETCDF4.nc")], &along_time()).await.unwrap();
    let before = place.keys().await;
    let summary = place.add(&[&python.file("NETCDF4-2.nc")], &along_time().append()).await.unwrap();
    // Two variables, four times, 2 x 2 chunks; the time, the shapes of four arrays, and `odd`.
    assert_eq!(summary.references, 2 * 4 * 4);
    assert_eq!(summary.values, 4 + 2);
    let after = place.keys().await;
    assert_eq!(after.len() - before.len(), 2 * 4 * 4, "the copied values stay in the chunk that they have");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_do_not_fit_are_refused_by_file_variable_and_difference() {
    let Some(python) = Python::find("files_that_do_not_fit_are_refused_by_file_variable_and_difference") else { return };
    let first = python.file("NETCDF4_CLASSIC.nc");
    for (name, words) in [
        ("units", ["time", "units"]),
        ("type", ["wind", "float64"]),
        ("scale", ["temp", "scale_factor"]),
        ("shift", ["lat", "other values"]),
    ] {
        let other = python.file(&format!("other-{name}.nc"));
        let at_once = Place::new().await.add(&[&first, &other], &along_time()).await.unwrap_err();
        let place = Place::new().await;
        place.add(&[&first], &along_time()).await.unwrap();
        let appended = place.add(&[&other], &along_time().append()).await.unwrap_err();
        for refused in [at_once, appended] {
            assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
            let text = refused.to_string();
            assert!(text.contains(&other) && words.iter().all(|word| text.contains(word)), "{name}: {text}");
        }
    }
    let summary = Place::new().await.add(&[&first, &python.file("other-long_name.nc")], &along_time()).await.unwrap();
    assert_eq!(summary.other_attributes.into_iter().collect::<Vec<_>>(), ["temp@long_name"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_make_no_sense_are_refused() {
    let Some(python) = Python::find("calls_that_make_no_sense_are_refused") else { return };
    let (first, second) = (python.file("NETCDF4.nc"), python.file("NETCDF4-2.nc"));
    let place = Place::new().await;
    let none: [&str; 0] = [];
    for (files, options, word) in [
        (&none[..], along_time(), "no files"),
        (&[first.as_str(), &second], VirtualizeOptions::default(), "--concat"),
        (&[first.as_str()], VirtualizeOptions::default().concat("level"), "level"),
        (&[first.as_str()], VirtualizeOptions::default().append(), "--concat"),
        (&["/nowhere/a.nc"], VirtualizeOptions::default(), "/nowhere/a.nc"),
        (&[concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")], VirtualizeOptions::default(), "neither HDF5"),
        (&[first.as_str()], along_time().append(), "leave out --append"),
    ] {
        let refused = place.add(files, &options).await.unwrap_err();
        assert!(refused.to_string().contains(word), "{word}: {refused}");
    }
    assert_eq!(place.keys().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_piece_is_cut_into_rows_so_that_files_of_other_lengths_follow() {
    let Some(python) = Python::find("one_piece_is_cut_into_rows_so_that_files_of_other_lengths_follow") else { return };
    // Of these files every variable along `lat` lies in one piece.
    let file = python.file("NETCDF3_CLASSIC.nc");
    let mut options = VirtualizeOptions::default().prefix("a").concat("lat");
    for name in ["temp", "wind", "time", "odd"] {
        options = options.drop(name);
    }
    options.rows = Some(10);
    options.inline_limit = 0;
    let place = Place::new().await;
    let summary = place.add(&[&file, &file], &options).await.unwrap();
    assert_eq!(summary.rows, Some(80));
    let keys = place.keys().await;
    assert!(keys.contains(&"a/height/c/7/0".to_owned()) && !keys.contains(&"a/height/c/8/0".to_owned()), "{keys:?}");
    options.rows = Some(7);
    let refused = Place::new().await.add(&[&file], &options).await.unwrap_err();
    assert!(refused.to_string().contains("--rows"), "{refused}");
}
