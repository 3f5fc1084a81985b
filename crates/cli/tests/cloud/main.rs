//! Object stores: real servers on loopback, which environment variables name (`docs/testing.md`), and one of our own.

#![cfg(test)]

#[path = "../../../../tests/model/collect.rs"]
mod collect;
mod collecting;
mod credentials;
mod doctor;
mod endpoints;
#[path = "../../../../tests/model/files.rs"]
mod files;
mod gateway;
#[expect(dead_code, reason = "how often cases must come up holds for more histories than are played here")]
#[path = "../../../../tests/model/history.rs"]
mod history;
mod importing;
#[path = "../../../../tests/model/merges.rs"]
mod merges;
mod model;
#[path = "../../../../tests/model/oracle.rs"]
mod oracle;
mod outside;
mod proxy;
#[expect(dead_code, reason = "a part of what it can answer is used here")]
#[path = "../../../../tests/support/web.rs"]
mod recording;
mod refused;
#[allow(dead_code, reason = "a part of it is used here")]
#[path = "../cli/support.rs"]
mod sandbox;
mod server;
mod servers;
mod settlement;
mod states;
#[path = "../../../../tests/support/mod.rs"]
mod support;
mod web;
#[path = "../processes/work.rs"]
mod work;
#[path = "../../../../tests/model/zarr.rs"]
mod zarr;

use std::sync::Arc;

use firnline::storage::conformance;

use servers::Place;
use work::{Site, eight_processes};

/// Everything that the engine relies on, on every store.
macro_rules! conforms {
    ($($name:ident => $place:expr),* $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let Some(place) = ($place)(stringify!($name)) else { return };
            conformance::all(Arc::new(place.open())).await;
        })*
    };
}
conforms! {
    ceph_conforms => Place::ceph,
    moto_conforms => Place::moto,
    azurite_conforms => Place::azurite,
    our_gcs_conforms => |_| Some(Place::our_gcs()),
    our_s3_conforms => |_| Some(Place::our_s3()),
}

#[test]
fn eight_processes_lose_nothing_on_ceph() {
    let Some(Place { url, variables, .. }) = Place::ceph("eight_processes_lose_nothing_on_ceph") else { return };
    // A commit takes about five times as long as on local disk.
    let commits = support::count("FIRN_PROCESS_COMMITS", 10, 200).div_ceil(5);
    eight_processes(&Site { url, variables }, commits);
}
