use std::sync::Arc;

use crate::storage::fault::{Crashing, Fault, Faulty, Rates, seeded};
use crate::storage::{Extent, Local, LocalOptions, Memory, Observed, Storage, conformance};

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    conformance::all(Arc::new(Memory::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn local_with_any_kind_of_barrier() {
    for individually in [0, 64, usize::MAX] {
        let directory = tempfile::tempdir().unwrap();
        let options = LocalOptions::default().sync_individually(individually);
        conformance::all(Arc::new(Local::open(directory.path().join("new/repo"), options).unwrap())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decorators() {
    conformance::all(Arc::new(Observed::new(Arc::new(Memory::new())))).await;
    conformance::all(Arc::new(Faulty::new(Arc::new(Memory::new()), |_| Fault::None))).await;
    let waits = Rates { wait: 500, ..Rates::default() };
    conformance::all(Arc::new(Faulty::new(Arc::new(Memory::new()), seeded(7, waits)))).await;
    conformance::all(Arc::new(Crashing::new())).await;
}

#[tokio::test]
async fn names_of_decorated_stores_compose() {
    let directory = tempfile::tempdir().unwrap();
    let local: Arc<dyn Storage> = Arc::new(Local::open(directory.path(), LocalOptions::default()).unwrap());
    let store = Observed::new(Arc::new(Faulty::new(local, |_| Fault::None)));
    assert_eq!(store.to_string(), format!("counted(faulty(local {}))", directory.path().display()));
}

#[tokio::test]
async fn counts_are_exact() {
    use futures::StreamExt as _;
    let store = Observed::new(Arc::new(Memory::new()));
    let name = super::put(&store, b"hello").await;
    store.get(&name, Extent::Range(1..3)).await.unwrap();
    store.get(&super::chunk(b"absent"), Extent::ANY_LENGTH).await.unwrap();
    let before = store.counts();
    assert_eq!((before.gets, before.puts, before.bytes_read, before.bytes_written, before.objects_written), (2, 1, 2, 5, 1));
    let register = crate::storage::RegisterName::branch("main");
    super::create(&store, &register, "value").await;
    store.replace(&register, &crate::storage::Expected::Absent, "ignored".into()).await;
    store.load(&register).await.unwrap();
    store.barrier().await.unwrap();
    assert_eq!(store.list("").count().await, 2);
    let added = store.counts().since(&before);
    assert_eq!((added.gets, added.puts, added.loads, added.replaces, added.barriers, added.lists), (0, 0, 1, 2, 1, 1));
    assert_eq!((added.bytes_read, added.bytes_written, added.registers_replaced, added.names_listed), (5, 5, 1, 2));
    assert_eq!((added.requests(), store.counts().requests()), (5, 8));
}
