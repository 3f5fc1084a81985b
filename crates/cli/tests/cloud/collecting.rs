//! Garbage in buckets.

use std::sync::Arc;
use std::time::Duration;

use firnline::storage::Storage as _;
use firnline::{ErrorKind, GcOptions, Key, OpenOptions, Repository, VerifyScope};

use super::servers::Place;

async fn collects(place: Place) {
    let open = async || Repository::open_storage(Arc::new(place.open()), OpenOptions::default()).await.unwrap();
    let store = place.open();
    let promised = store.collecting().await.unwrap();
    assert!(promised.lock.is_none() && promised.late > Duration::from_mins(15), "{place}: as long as a signature is taken");
    let created = Repository::create_storage(Arc::new(place.open()), OpenOptions::default().into()).await.unwrap();
    let key = |name: &str| Key::new(name).unwrap();
    let session = created.write("main").await.unwrap();
    session.set(&key("kept"), vec![1; 5_000]).await.unwrap();
    session.commit("kept").await.unwrap();
    let late = created.write("main").await.unwrap();
    for n in 0..60 {
        late.set(&key(&format!("left/{n}")), vec![n; 5_000]).await.unwrap();
    }
    late.flush().await.unwrap();
    // Stores date objects, and tell the time, in whole seconds.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let options = GcOptions::default().grace(Duration::ZERO).hurried();
    let report = open().await.gc(&options).await.unwrap();
    assert_eq!((report.epoch, report.failed, report.problem), (1, 0, None), "{place}");
    assert_eq!(report.removed["chunks"].objects, 59, "{place}: one of them has the bytes of the value that is kept");
    let failed = late.commit("late").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Conflict, "{place}: {failed}");
    let repository = open().await;
    let session = repository.write("main").await.unwrap();
    session.set(&key("left/7"), vec![7; 5_000]).await.unwrap();
    session.commit("again").await.unwrap();
    let verified = open().await.verify(VerifyScope::Everything).await.unwrap();
    assert_eq!(verified.findings, [], "{place}");
}

macro_rules! collects {
    ($($name:ident => $place:expr),* $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            if let Some(place) = ($place)(stringify!($name)) {
                collects(place).await;
            }
        })*
    };
}
collects! {
    garbage_is_removed_on_ceph => Place::ceph,
    garbage_is_removed_on_moto => Place::moto,
    garbage_is_removed_on_azurite => Place::azurite,
    garbage_is_removed_on_our_gcs => |_| Some(Place::our_gcs()),
    garbage_is_removed_on_our_s3 => |_| Some(Place::our_s3()),
}
