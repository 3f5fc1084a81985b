//! `firn doctor` on every store.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use firnline::{CreateOptions, OpenOptions, Repository};

use super::server::{Dialect, Promise, Server};
use super::servers::Place;

/// What the command prints, by property, and its exit status.
async fn doctor(place: &Place) -> (BTreeMap<String, String>, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firn"));
    command.args(["doctor", "--json", &place.url]).envs(place.variables.clone());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    println!("{place}:\n{text}{}", String::from_utf8_lossy(&output.stderr));
    let row = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let field = |name: &str| row[name].as_str().unwrap().to_owned();
        (field("property"), format!("{} {}", field("state"), field("detail")))
    };
    (text.lines().map(row).collect(), output.status.code().unwrap())
}

macro_rules! are_healthy {
    ($($name:ident => $place:expr, $conditions:literal),* $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let Some(place) = ($place)(stringify!($name)) else { return };
            let (rows, status) = doctor(&place).await;
            assert_eq!(rows.keys().collect::<Vec<_>>(), ["answers", "clock", "conditions", "listing", "ranges", "removal"]);
            assert!(rows.values().all(|row| row.starts_with("good")) && status == 0, "{rows:?}");
            assert!(rows["conditions"].contains($conditions), "{rows:?}");
        })*
    };
}
are_healthy! {
    ceph_is_healthy => Place::ceph, "without quotes",
    moto_is_healthy => Place::moto, "in quotes",
    azurite_is_healthy => Place::azurite, "not created again",
    our_gcs_is_healthy => |_| Some(Place::our_gcs()), "not created again",
    our_s3_is_healthy => |_| Some(Place::our_s3()), "in quotes",
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_found() {
    let kept = Promise { if_match: false, ..Promise::all() };
    let server = Server::start_with(Dialect::S3, kept);
    server.world.skew.store(3_600_000_000, std::sync::atomic::Ordering::Relaxed);
    let place = Place::s3(&server.endpoint(), Some(Arc::new(server)));
    let (rows, status) = doctor(&place).await;
    assert!(rows["conditions"].starts_with("bad") && rows["clock"].starts_with("bad") && status == 1, "{rows:?}");
    assert!(rows["clock"].contains("3599 s") || rows["clock"].contains("3600 s"), "{rows:?}");
    assert_eq!(place.server.as_ref().unwrap().world.objects.names(), [""; 0], "nothing is left over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_server_is_good_enough_to_read_from() {
    let place = Place::our_s3();
    let mut options = OpenOptions::default();
    options.cloud = place.options();
    Repository::create_with(&place.url, CreateOptions::from(options)).await.unwrap();
    let url = place.url.replace("s3:/", &place.server.as_ref().unwrap().endpoint());
    let (rows, status) = doctor(&Place { url, ..place }).await;
    assert!(rows["conditions"].starts_with("unknown") && rows["ranges"].starts_with("good") && status == 0, "{rows:?}");
    assert!(rows["removal"].starts_with("unknown") && rows["collection"].starts_with("good"), "{rows:?}");
}
