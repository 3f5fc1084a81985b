//! The engine against its model, on every store.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use firnline::Result;
use firnline::storage::{Cloud, Expected, Extent, ObjectMeta, ObjectName, RegisterName, Replaced, Storage, Versioned};
use futures::stream::BoxStream;

use super::history::{History, Seen};
use super::servers::Place;

/// Histories on each store.
const HISTORIES: u64 = 12;

/// A store that does not tell what time it is: histories play at a time of their own.
#[derive(Debug)]
struct Timeless(Cloud);

impl fmt::Display for Timeless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait]
impl Storage for Timeless {
    async fn get(&self, name: &ObjectName, extent: Extent) -> Result<Option<Bytes>> {
        self.0.get(name, extent).await
    }

    async fn put(&self, name: &ObjectName, parts: &[Bytes]) -> Result<()> {
        self.0.put(name, parts).await
    }

    async fn barrier(&self) -> Result<()> {
        self.0.barrier().await
    }

    fn list<'a>(&'a self, prefix: &str) -> BoxStream<'a, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn load(&self, name: &RegisterName) -> Result<Option<Versioned>> {
        self.0.load(name).await
    }

    async fn replace(&self, name: &RegisterName, expected: &Expected, value: Bytes) -> Replaced {
        self.0.replace(name, expected, value).await
    }
}

async fn play(place: Place) {
    let seen = Seen::default();
    let histories = (0..HISTORIES).map(|seed| {
        let place = Place { url: format!("{}/{seed}", place.url), ..place.clone() };
        History::play(seed, &seen, Arc::new(Timeless(place.open())))
    });
    futures::future::join_all(histories).await;
    println!("{place}: {HISTORIES} histories: {seen}");
}

macro_rules! plays {
    ($($name:ident => $place:expr),* $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            if let Some(place) = ($place)(stringify!($name)) {
                play(place).await;
            }
        })*
    };
}
plays! {
    histories_match_the_model_on_ceph => Place::ceph,
    histories_match_the_model_on_moto => Place::moto,
    histories_match_the_model_on_azurite => Place::azurite,
    histories_match_the_model_on_our_gcs => |_| Some(Place::our_gcs()),
    histories_match_the_model_on_our_s3 => |_| Some(Place::our_s3()),
}
