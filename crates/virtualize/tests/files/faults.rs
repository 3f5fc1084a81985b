//! Files that are valid but rarely written.

use firnline_virtualize::VirtualizeOptions;

use crate::tools::{Comparison, Place, Python};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_written_has_the_value_that_the_file_states_and_not_that_of_an_attribute() {
    let Some(python) = Python::find("what_was_never_written_has_the_value_that_the_file_states") else { return };
    let (mut comparisons, mut places) = (Vec::new(), Vec::new());
    for limit in [0, 1 << 20] {
        let (place, file) = (Place::new().await, python.file("unwritten.h5"));
        let mut options = VirtualizeOptions::default();
        options.inline_limit = limit;
        place.add(&[&file], &options).await.unwrap();
        comparisons.push(Comparison::new(&place.checkout("zarr").await, "-", &[&file]));
        places.push(place);
    }
    assert_eq!(python.compare_all(&comparisons), [17, 17]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dimension_that_is_left_out_keeps_its_name_in_other_variables() {
    let Some(python) = Python::find("a_dimension_that_is_left_out_keeps_its_name_in_other_variables") else { return };
    let file = python.file("named.nc");
    for (dropped, path, dims) in [("time", "v", ["time", "level"]), ("x", "inner/w", ["time", "x"]), ("level", "v", ["time", "level"])] {
        let place = Place::new().await;
        place.add(&[&file], &VirtualizeOptions::default().concat("time").drop(dropped)).await.unwrap();
        assert_eq!(place.document(&format!("{path}/zarr.json")).await["dimension_names"], serde_json::json!(dims), "{dropped}");
        assert!(!place.keys().await.iter().any(|key| key.rsplit('/').nth(1) == Some(dropped)));
    }
    // The group that holds the dimension.
    let place = Place::new().await;
    place.add(&[&file], &VirtualizeOptions::default().drop("inner")).await.unwrap();
    assert!(!place.keys().await.iter().any(|key| key.contains("inner")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_netcdf_stores_under_another_name_keeps_its_own() {
    let Some(python) = Python::find("a_variable_that_netcdf_stores_under_another_name_keeps_its_own") else { return };
    let (place, file) = (Place::new().await, python.file("named.nc"));
    place.add(&[&file], &VirtualizeOptions::default()).await.unwrap();
    let level = place.document("level/zarr.json").await;
    assert_eq!(level["dimension_names"], serde_json::json!(["time", "level"]));
    assert!(!place.keys().await.iter().any(|key| key.contains("_nc4")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_two_names_is_there_twice_and_links_that_are_not_followed_are_named() {
    let Some(python) = Python::find("a_group_with_two_names_is_there_twice") else { return };
    for name in ["links.h5", "links-few.h5", "links-many.h5"] {
        let (place, file) = (Place::new().await, python.file(name));
        let summary = place.add(&[&file], &VirtualizeOptions::default()).await.unwrap();
        let keys = place.keys().await;
        for path in ["a/d", "b/d", "soft"] {
            assert!(keys.contains(&format!("{path}/zarr.json")), "{path}: {keys:?}");
        }
        let links: Vec<_> = summary.links.iter().map(|link| link.split(',').next().unwrap()).collect();
        // Soft links that lead nowhere were left out silently.
        assert_eq!(links, ["/", "a/lost", "a/up", "b/lost", "b/up", "lost"], "{name}: {:?}", summary.links);
        assert!(summary.links.contains("a/lost, a link to d/e, where no group or variable is"), "{:?}", summary.links);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_that_json_cannot_hold_and_fill_values_of_another_type_are_named() {
    let Some(python) = Python::find("attributes_that_json_cannot_hold_are_named") else { return };
    for form in ["NETCDF4", "NETCDF3_CLASSIC"] {
        let (place, file) = (Place::new().await, python.file(&format!("odd-{form}.nc")));
        let summary = place.add(&[&file], &VirtualizeOptions::default()).await.unwrap();
        let dropped: Vec<_> = summary.dropped_attributes.iter().map(String::as_str).collect();
        assert_eq!(dropped, ["@limit", "v@valid_max", "v@valid_range"], "{form}");
        assert_eq!(place.document("v/zarr.json").await["attributes"], serde_json::json!({"units": "K"}), "{form}");
    }
    let (place, file) = (Place::new().await, python.file("odd-h5.h5"));
    let summary = place.add(&[&file], &VirtualizeOptions::default()).await.unwrap();
    let dropped: Vec<_> = summary.dropped_attributes.iter().map(String::as_str).collect();
    assert_eq!(dropped, ["large@_FillValue", "nan@_FillValue", "two@_FillValue", "whole@square"]);
    assert_eq!(place.document("whole/zarr.json").await["attributes"], serde_json::json!({"_FillValue": -9}));
}
