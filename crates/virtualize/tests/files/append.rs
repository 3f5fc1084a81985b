//! What is stored already, and what may be put beside it.

use firnline::{ErrorKind, VendorOptions};
use firnline_virtualize::{VirtualizeOptions, ZarrFormat};
use serde_json::json;

use crate::tools::{Comparison, Place, Python};

fn along_time() -> VirtualizeOptions {
    VirtualizeOptions::default().prefix("a").concat("time")
}

#[tokio::test(flavor = "multi_thread")]
async fn months_are_appended_as_references_after_the_first_were_vendored() {
    let Some(python) = Python::find("months_are_appended_as_references_after_the_first_were_vendored") else { return };
    let (mut comparisons, mut places) = (Vec::new(), Vec::new());
    for form in ["NETCDF4", "NETCDF3_64BIT_OFFSET"] {
        let files = ["", "-2"].map(|n| python.file(&format!("{form}{n}.nc")));
        let files = files.each_ref().map(String::as_str);
        let place = Place::new().await;
        place.add(&files[..1], &along_time()).await.unwrap();
        let vendored = place.repository.vendor("main", &VendorOptions::default()).await.unwrap();
        vendored.session.commit("vendored").await.unwrap();
        let second = place.add(&files[1..], &along_time().append()).await.unwrap();
        // Four times in 2 x 2 chunks, or in one record; of two variables.
        assert_eq!(second.references, if form == "NETCDF4" { 32 } else { 8 }, "{form}: {second:?}");
        comparisons.push(Comparison::new(&place.checkout("zarr").await.join("a"), "time", &files));
        places.push(place);
    }
    assert!(python.compare_all(&comparisons).iter().all(|n| *n > 15));
}

/// Such files have the very form in which values are copied.
#[tokio::test(flavor = "multi_thread")]
async fn plain_months_are_appended_as_references_after_the_first_was_vendored() {
    let Some(python) = Python::find("plain_months_are_appended_as_references_after_the_first_was_vendored") else { return };
    let files = [0, 1, 2].map(|n| python.file(&format!("plain-{n}.nc")));
    let files = files.each_ref().map(String::as_str);
    let place = Place::new().await;
    place.add(&files[..1], &along_time()).await.unwrap();
    let vendored = place.repository.vendor("main", &VendorOptions::default()).await.unwrap();
    vendored.session.commit("vendored").await.unwrap();
    let refused = place.add(&files[2..], &along_time().append()).await.unwrap_err();
    assert!(refused.to_string().contains("height: has other values than are stored"), "{refused}");
    let second = place.add(&files[1..2], &along_time().append()).await.unwrap();
    assert_eq!((second.references, second.copied), (3, 2), "{second:?}");
    assert!(python.compare(&place.checkout("zarr").await.join("a"), "time", &files[..2]) > 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_variables_that_were_copied_go_on_being_copied_whatever_the_limit_is() {
    let Some(python) = Python::find("small_variables_that_were_copied_go_on_being_copied_whatever_the_limit_is") else { return };
    let files = ["", "-2"].map(|n| python.file(&format!("NETCDF4{n}.nc")));
    let files = files.each_ref().map(String::as_str);
    let place = Place::new().await;
    let mut options = along_time();
    options.inline_limit = 1 << 20;
    // Copied without filters, while the files have some.
    let first = place.add(&files[..1], &options).await.unwrap();
    let second = place.add(&files[1..], &along_time().append()).await.unwrap();
    assert_eq!((first.references, second.references), (0, 0), "{second:?}");
    assert!(python.compare(&place.checkout("zarr").await.join("a"), "time", &files) > 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn arrays_whose_form_is_not_understood_are_not_appended_to() {
    let Some(python) = Python::find("arrays_whose_form_is_not_understood_are_not_appended_to") else { return };
    let (first, second) = (python.file("NETCDF4.nc"), python.file("NETCDF4-2.nc"));
    for (format, key, field, value, word) in [
        (ZarrFormat::V2, "a/temp/.zarray", "order", json!("F"), "order"),
        (ZarrFormat::V2, "a/temp/.zarray", "dimension_separator", json!("-"), "names of chunks"),
        (ZarrFormat::V3, "a/temp/zarr.json", "chunk_key_encoding", json!({"name": "hashed"}), "names of chunks"),
        (ZarrFormat::V3, "a/temp/zarr.json", "storage_transformers", json!([{"name": "sharded"}]), "transformers"),
    ] {
        let place = Place::new().await;
        place.add(&[&first], &along_time().zarr_format(format)).await.unwrap();
        let mut document = place.document(key).await;
        document[field] = value;
        let session = place.repository.write("main").await.unwrap();
        session.set(&key.parse().unwrap(), serde_json::to_vec(&document).unwrap()).await.unwrap();
        session.commit("changed").await.unwrap();
        let refused = place.add(&[&second], &along_time().append()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
        assert!(refused.to_string().contains("a/temp") && refused.to_string().contains(word), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_with_and_without_holes_are_joined_in_version_2() {
    let Some(python) = Python::find("files_with_and_without_holes_are_joined_in_version_2") else { return };
    let (full, holes) = (python.file("full.h5"), python.file("holes.h5"));
    let mut options = along_time().zarr_format(ZarrFormat::V2);
    options.inline_limit = 0;
    let append = options.clone().append();
    let stated = async |place: &Place| place.document("a/v/.zarray").await["fill_value"].clone();
    for files in [[&*full, &holes], [&*holes, &full]] {
        let place = Place::new().await;
        place.add(&files, &options).await.unwrap();
        assert_eq!(stated(&place).await, json!(-1.0));
    }
    let place = Place::new().await;
    place.add(&[&holes], &options).await.unwrap();
    place.add(&[&full], &append).await.unwrap();
    assert_eq!(stated(&place).await, json!(-1.0));
    // A reader that was told no value would make one up.
    let place = Place::new().await;
    place.add(&[&full], &options).await.unwrap();
    place.add(&[&full], &append).await.unwrap();
    assert_eq!(stated(&place).await, json!(null));
    let refused = place.add(&[&holes], &append).await.unwrap_err();
    assert!(refused.to_string().contains("v: lacks chunks"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_file_without_rows_can_be_appended_to() {
    let Some(python) = Python::find("a_first_file_without_rows_can_be_appended_to") else { return };
    let files = ["rows-0.nc", "rows-3.nc", "rows-3.nc"].map(|name| python.file(name));
    let files = files.each_ref().map(String::as_str);
    let (whole, stepwise) = (Place::new().await, Place::new().await);
    let mut options = along_time();
    options.inline_limit = 100;
    whole.add(&files, &options).await.unwrap();
    for (n, file) in files.into_iter().enumerate() {
        let summary = stepwise.add(&[file], &if n == 0 { options.clone() } else { options.clone().append() }).await.unwrap();
        // `large` is referred to, although the first file has nothing of it.
        let references = if n == 0 { 0 } else { 3 };
        assert_eq!((summary.copied, summary.references, summary.rows), (4, references, Some(3 * n as u64)));
    }
    assert_eq!(whole.tip().await.record().manifest, stepwise.tip().await.record().manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_put_into_arrays_or_beside_another_version() {
    let Some(python) = Python::find("nothing_is_put_into_arrays_or_beside_another_version") else { return };
    let (place, file) = (Place::new().await, python.file("NETCDF3_CLASSIC.nc"));
    place.add(&[&file], &VirtualizeOptions::default().prefix("a")).await.unwrap();
    let before = place.keys().await;
    for (prefix, format, word) in [
        ("a/temp", ZarrFormat::V3, "a/temp is an array"),
        ("a/temp/b/c", ZarrFormat::V3, "a/temp is an array"),
        ("a", ZarrFormat::V3, "--append"),
        ("a", ZarrFormat::V2, "in Zarr version 3"),
        ("a/b", ZarrFormat::V2, "give --zarr-format 3"),
    ] {
        let refused = place.add(&[&file], &VirtualizeOptions::default().prefix(prefix).zarr_format(format)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
        assert!(refused.to_string().contains(word), "{prefix}: {refused}");
    }
    assert_eq!(place.keys().await, before);

    // Groups of the file, which may hold nothing: `inner` becomes `b/inner`.
    let file = python.file("named.nc");
    for (key, format, word) in
        [("b/inner/.zarray", ZarrFormat::V2, "b/inner is an array"), ("b/inner/zarr.json", ZarrFormat::V2, "b/inner is")]
    {
        let place = Place::new().await;
        let session = place.repository.write("main").await.unwrap();
        session.set(&key.parse().unwrap(), r#"{"zarr_format": 3, "node_type": "group"}"#).await.unwrap();
        session.commit("there").await.unwrap();
        let options = VirtualizeOptions::default().prefix("b").zarr_format(format);
        let options = options.drop("x").drop("w");
        let refused = place.add(&[&file], &options).await.unwrap_err();
        assert!(refused.kind() == ErrorKind::Invalid && refused.to_string().contains(word), "{refused}");
        assert_eq!(place.keys().await, [key]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_without_observations_is_appended_to() {
    let Some(python) = Python::find("a_variable_without_observations_is_appended_to") else { return };
    let (place, file) = (Place::new().await, python.file("no-observations.nc"));
    place.add(&[&file], &along_time()).await.unwrap();
    place.add(&[&file], &along_time().append()).await.unwrap();
    assert_eq!(place.document("a/v/zarr.json").await["shape"], json!([6, 0]));
    assert_eq!(place.keys().await, ["a/time/c/0", "a/time/zarr.json", "a/v/zarr.json", "a/zarr.json", "zarr.json"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn months_that_count_from_their_own_first_day_are_written_in_the_stored_units() {
    let Some(python) = Python::find("months_that_count_from_their_own_first_day_are_written_in_the_stored_units") else { return };
    let files = ["january", "february", "hours"].map(|name| python.file(&format!("{name}.nc")));
    let files = files.each_ref().map(String::as_str);
    let (whole, stepwise) = (Place::new().await, Place::new().await);
    whole.add(&files, &along_time()).await.unwrap();
    for (n, file) in files.into_iter().enumerate() {
        stepwise.add(&[file], &if n == 0 { along_time() } else { along_time().append() }).await.unwrap();
    }
    assert_eq!(whole.tip().await.record().manifest, stepwise.tip().await.record().manifest);
    assert_eq!(whole.document("a/time/zarr.json").await["attributes"]["units"], json!("days since 2025-01-01"));
    let values = async |key: &str| {
        let bytes = whole.tip().await.get(&key.parse().unwrap()).await.unwrap().unwrap();
        bytes.chunks_exact(8).map(|x| i64::from_le_bytes(x.try_into().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(values("a/time/c/0").await[..61], (0..61).collect::<Vec<_>>());
    assert_eq!(values("a/time_bnds/c/0/0").await[..122], (0..61).flat_map(|day| [day, day + 1]).collect::<Vec<_>>());

    let refused = stepwise.add(&[&python.file("between.nc")], &along_time().append()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    let text = refused.to_string();
    assert!(["between.nc", "time", "hours since 2025-03-01", "6 cannot be written"].iter().all(|word| text.contains(word)), "{text}");
    // Bounds that are referred to cannot be written again.
    let mut options = along_time();
    options.inline_limit = 0;
    let refused = Place::new().await.add(&files, &options).await.unwrap_err();
    assert!(refused.to_string().contains("time_bnds") && refused.to_string().contains("--inline-limit"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_are_written_in_the_stored_units_however_a_later_file_names_them() {
    let Some(python) = Python::find("bounds_are_written_in_the_stored_units_however_a_later_file_names_them") else { return };
    let file = |name: &str| python.file(&format!("{name}.nc"));
    for (first, second, days) in
        [("january", "unnamed", 31), ("january", "renamed", 31), ("unnamed", "january", -31), ("inner-january", "inner-february", 31)]
    {
        for is_appended in [true, false] {
            let (place, files) = (Place::new().await, [file(first), file(second)]);
            if is_appended {
                place.add(&[&files[0]], &along_time()).await.unwrap();
                place.add(&[&files[1]], &along_time().append()).await.unwrap();
            } else {
                place.add(&[&files[0], &files[1]], &along_time()).await.unwrap();
            }
            let bytes = place.tip().await.get(&"a/time_bnds/c/0/0".parse().unwrap()).await.unwrap().unwrap();
            let found: Vec<_> = bytes.chunks_exact(8).map(|x| i64::from_le_bytes(x.try_into().unwrap())).collect();
            let rows = if first.ends_with("january") && !first.starts_with("inner") { 31 } else { 28 };
            assert_eq!(found[2 * rows..2 * rows + 4], [days, days + 1, days + 1, days + 2], "{first} {second} {is_appended}");
        }
    }
    let place = Place::new().await;
    place.add(&[&file("january")], &along_time()).await.unwrap();
    let refused = place.add(&[&file("by-path")], &along_time().append()).await.unwrap_err().to_string();
    assert!(refused.contains("by-path.nc: time: ") && refused.contains("names its bounds by a path"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_is_consolidated_in_a_group_of_the_file_is_removed() {
    let Some(python) = Python::find("metadata_that_is_consolidated_in_a_group_of_the_file_is_removed") else { return };
    let (place, file) = (Place::new().await, python.file("named.nc"));
    place.add(&[&file], &along_time()).await.unwrap();
    let mut group = place.document("a/inner/zarr.json").await;
    group["consolidated_metadata"] = json!({"metadata": {}});
    let session = place.repository.write("main").await.unwrap();
    session.set(&"a/inner/zarr.json".parse().unwrap(), serde_json::to_vec(&group).unwrap()).await.unwrap();
    session.commit("consolidated").await.unwrap();
    place.add(&[&file], &along_time().append()).await.unwrap();
    assert_eq!(place.document("a/inner/zarr.json").await.get("consolidated_metadata"), None);
}
