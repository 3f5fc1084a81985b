//! Every store keeps the promises of [`Storage`], as somebody outside the crate would check it.

#![cfg(test)]

mod broken;

use std::sync::Arc;

use firnline::storage::fault::{Crashing, Fault, Faulty, Rates, seeded};
use firnline::storage::{CloudOptions, Local, LocalOptions, Memory, Observed, Storage, conformance, open};

#[tokio::test(flavor = "multi_thread")]
async fn stores_opened_by_place_conform() {
    conformance::all(open("memory:", LocalOptions::default(), &CloudOptions::default()).unwrap()).await;
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}/repo", directory.path().display());
    conformance::all(open(&url, LocalOptions::default(), &CloudOptions::default()).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decorators_of_a_local_store_conform() {
    let directory = tempfile::tempdir().unwrap();
    let local: Arc<dyn Storage> = Arc::new(Local::open(directory.path(), LocalOptions::default()).unwrap());
    let observed = Arc::new(Observed::new(Arc::new(Faulty::new(local, |_| Fault::None))));
    conformance::all(Arc::clone(&observed) as Arc<dyn Storage>).await;
    let counts = observed.counts();
    assert!(counts.objects_written == counts.puts && counts.bytes_written > 9 << 20, "{counts:?}");
    assert!(counts.registers_replaced < counts.replaces, "some replaces must have been refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_power_conforms() {
    conformance::all(Arc::new(Crashing::new())).await;
}

/// The suite must notice a store that breaks a promise.
#[tokio::test(flavor = "multi_thread")]
async fn the_suite_notices_broken_stores() {
    let faults: [fn() -> Fault; 2] = [|| Fault::Before, || Fault::After];
    for fault in faults {
        let broken = Faulty::new(Arc::new(Memory::new()), move |call| if call.number % 50 == 49 { fault() } else { Fault::None });
        let answer = tokio::spawn(conformance::all(Arc::new(broken))).await;
        assert!(answer.is_err(), "a store that fails must not pass");
    }
    let rates = Rates { twice: 1000, ..Rates::default() };
    let refusing = Faulty::new(Arc::new(Memory::new()), seeded(3, rates));
    assert!(tokio::spawn(conformance::all(Arc::new(refusing))).await.is_err(), "a store that refuses what it did must not pass");
}
