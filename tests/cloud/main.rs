//! Object stores: real servers on loopback, which environment variables name (`docs/testing.md`), and one of our own.

#![cfg(test)]

mod doctor;
#[expect(dead_code, reason = "how often cases must come up holds for more histories than are played here")]
#[path = "../model/history.rs"]
mod history;
mod model;
#[path = "../model/oracle.rs"]
mod oracle;
mod proxy;
mod refused;
mod server;
mod servers;
mod settlement;
#[path = "../support/mod.rs"]
mod support;
mod web;

use std::sync::Arc;

use firnline::storage::conformance;

use servers::Place;

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
