//! The command on real scientific files, judged by the software that scientists use.
//!
//! Needs a Python with zarr 3, h5py and numpy (`FIRN_TEST_PYTHON`), the files of a published sample data set
//! (`FIRN_TEST_REAL_DATA`), and in part Node packages (`FIRN_TEST_NODE_MODULES`). Each test makes its repositories on local disk,
//! and once more on Ceph and on Azurite where they run. Those on reference sets need kerchunk, fastparquet, xarray and h5netcdf, and no
//! sample data. A test that lacks something says that it is skipped.

#![cfg(test)]

#[path = "../cloud/endpoints.rs"]
mod endpoints;
#[path = "../../../../tests/support/mod.rs"]
mod support;

#[macro_use]
mod tools;

mod car;
mod kerchunk;
mod kerchunk_export;
mod time_travel;
mod virtual_months;
