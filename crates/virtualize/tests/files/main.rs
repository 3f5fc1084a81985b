//! Files of every kind become arrays that zarr and xarray read as h5py, netCDF4 and xarray read the files.

#![cfg(test)]

mod append;
mod damaged;
mod faults;
mod layouts;
mod months;
mod series;
mod tools;

#[path = "../../../../tests/support/mod.rs"]
mod support;
