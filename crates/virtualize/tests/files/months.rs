//! Real files.

use std::path::PathBuf;

use firnline_virtualize::VirtualizeOptions;

use crate::support::skip;
use crate::tools::{Comparison, Place, Python};

fn data(test: &str) -> Option<PathBuf> {
    let found = std::env::var_os("FIRN_TEST_REAL_DATA").map(PathBuf::from);
    if found.is_none() {
        skip(test, "set FIRN_TEST_REAL_DATA to a folder with the NetCDF files of iris-sample-data");
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_real_file_reads_as_xarray_reads_it() {
    let test = "every_real_file_reads_as_xarray_reads_it";
    let (Some(python), Some(data)) = (Python::find(test), data(test)) else { return };
    let mut files: Vec<_> = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ext| ext == "nc"));
    assert!(files.len() > 10, "{files:?}");
    let (mut comparisons, mut places) = (Vec::new(), Vec::new());
    for file in files {
        let (place, file) = (Place::new().await, file.to_str().unwrap());
        let summary = place.add(&[file], &VirtualizeOptions::default()).await.unwrap();
        assert!(summary.arrays > 0, "{file}: {summary:?}");
        comparisons.push(Comparison::new(&place.checkout("zarr").await, "-", &[file]));
        places.push(place);
    }
    assert!(python.compare_all(&comparisons).iter().all(|n| *n > 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn months_of_an_ocean_model_are_appended_one_commit_a_month() {
    let test = "months_of_an_ocean_model_are_appended_one_commit_a_month";
    let (Some(python), Some(data)) = (Python::find(test), data(test)) else { return };
    let months = ["20150101-20150201", "20150201-20150301", "20150301-20150401"].map(|month| {
        let file = data.join(format!("nemo_1m_{month}_grid-T.nc"));
        file.to_str().unwrap().to_owned()
    });
    let place = Place::new().await;
    for (n, month) in months.iter().enumerate() {
        let options = VirtualizeOptions::default().prefix("nemo").concat("time_counter");
        let options = if n == 0 { options } else { options.append() };
        let summary = place.add(&[month], &options).await.unwrap();
        assert_eq!(summary.rows, Some(n as u64 + 1));
    }
    let files = months.each_ref().map(String::as_str);
    assert!(python.compare(&place.checkout("zarr").await.join("nemo"), "time_counter", &files) > 10);
    let whole = Place::new().await;
    whole.add(&files, &VirtualizeOptions::default().prefix("nemo").concat("time_counter")).await.unwrap();
    assert_eq!(whole.tip().await.record().manifest, place.tip().await.record().manifest);
}
