//! The command on real scientific files, judged by the software that scientists use.
//!
//! Needs a Python with zarr 3, h5py and numpy (`FIRN_TEST_PYTHON`), the files of a published sample data set
//! (`FIRN_TEST_REAL_DATA`), and in part Node packages (`FIRN_TEST_NODE_MODULES`); what is missing is skipped and said so.

#![cfg(test)]

#[path = "../../../../tests/support/mod.rs"]
mod support;

mod car;
mod time_travel;
mod tools;
mod virtual_months;
