use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt as _;

use crate::ErrorKind;
use crate::storage::fault::{Fault, Faulty, Operation, Rates, seeded};
use crate::storage::{Expected, Extent, Memory, RegisterName, Replaced, Storage, Version};

use super::{chunk, create, put};

/// A store whose replaces (and only they) go wrong in one way, once.
fn once(memory: &Memory, fault: impl Fn() -> Fault + Send + Sync + 'static) -> Faulty {
    let done = AtomicBool::new(false);
    Faulty::new(Arc::new(memory.clone()), move |call| {
        if call.operation == Operation::Replace && !done.swap(true, Ordering::Relaxed) { fault() } else { Fault::None }
    })
}

async fn version(store: &dyn Storage, name: &RegisterName) -> Version {
    store.load(name).await.unwrap().unwrap().version
}

#[tokio::test]
async fn replaces_fail_in_every_way() {
    let main = RegisterName::branch("main");
    let value = async |memory: &Memory| memory.load(&main).await.unwrap().unwrap().value;
    let memory = Memory::new();
    create(&memory, &main, "0").await;

    let store = once(&memory, || Fault::Before);
    let expected = Expected::Is(version(&store, &main).await);
    assert!(matches!(store.replace(&main, &expected, "1".into()).await, Replaced::Unanswered(e) if e.kind() == ErrorKind::Unavailable));
    assert_eq!(value(&memory).await, "0", "it never arrived");
    assert!(matches!(store.replace(&main, &expected, "1".into()).await, Replaced::Done(_)), "the second goes through");

    let store = once(&memory, || Fault::After);
    let expected = Expected::Is(version(&store, &main).await);
    assert!(matches!(store.replace(&main, &expected, "2".into()).await, Replaced::Unanswered(e) if e.kind() == ErrorKind::Unavailable));
    assert_eq!(value(&memory).await, "2", "it arrived, and the answer was lost");

    let store = once(&memory, || Fault::Twice);
    let expected = Expected::Is(version(&store, &main).await);
    assert!(matches!(store.replace(&main, &expected, "3".into()).await, Replaced::Refused), "refused by its own first try");
    assert_eq!(value(&memory).await, "3");

    let store = once(&memory, || Fault::NotSent);
    let expected = Expected::Is(version(&store, &main).await);
    assert!(matches!(store.replace(&main, &expected, "4".into()).await, Replaced::NotSent(_)));
    assert_eq!(value(&memory).await, "3", "nothing was sent");

    let store = once(&memory, || Fault::Rejected(ErrorKind::Denied));
    assert!(matches!(store.replace(&main, &expected, "4".into()).await, Replaced::Rejected(e) if e.kind() == ErrorKind::Denied));
    assert_eq!(value(&memory).await, "3", "the store did not do it");

    let store = once(&memory, || Fault::DoneAndRejected(ErrorKind::Denied));
    assert!(matches!(store.replace(&main, &expected, "4".into()).await, Replaced::Rejected(e) if e.kind() == ErrorKind::Denied));
    assert_eq!(value(&memory).await, "4", "the store did it, and a gateway denied it");
}

#[tokio::test]
async fn a_late_replace_lands_when_it_is_let_go() {
    let main = RegisterName::branch("main");
    let memory = Memory::new();
    create(&memory, &main, "0").await;
    let (go, gate) = tokio::sync::oneshot::channel::<()>();
    let gate = std::sync::Mutex::new(Some(gate));
    let store = once(&memory, move || {
        let gate = gate.lock().unwrap().take().unwrap();
        Fault::Late(Box::pin(async move { gate.await.unwrap() }))
    });
    let expected = Expected::Is(version(&store, &main).await);
    assert!(matches!(store.replace(&main, &expected, "late".into()).await, Replaced::Unanswered(_)));
    assert_eq!(store.load(&main).await.unwrap().unwrap().value, "0", "not yet");
    go.send(()).unwrap();
    while store.load(&main).await.unwrap().unwrap().value != "late" {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn listings_break_off_and_puts_go_astray() {
    let memory = Memory::new();
    put(&memory, b"a").await;
    put(&memory, b"b").await;
    let listed = |fault: fn() -> Fault| {
        let store = Faulty::new(Arc::new(memory.clone()), move |_| fault());
        async move { store.list("chunks/").map(|item| item.is_ok()).collect::<Vec<_>>().await }
    };
    assert_eq!(listed(|| Fault::Before).await, [false]);
    assert_eq!(listed(|| Fault::After).await, [true, false]);
    assert_eq!(listed(|| Fault::Wait(Box::pin(async {}))).await, [true, true]);
    let store = Faulty::new(Arc::new(memory.clone()), |call| if call.number == 0 { Fault::After } else { Fault::Before });
    assert!(store.put(&chunk(b"c"), &["c".into()]).await.is_err());
    assert!(store.put(&chunk(b"d"), &["d".into()]).await.is_err());
    assert!(
        memory.get(&chunk(b"c"), Extent::ANY_LENGTH).await.unwrap().is_some()
            && memory.get(&chunk(b"d"), Extent::ANY_LENGTH).await.unwrap().is_none()
    );
    assert_eq!(store.calls(), 2);
}

#[tokio::test]
async fn a_seed_decides_everything() {
    let rates = Rates { before: 200, after: 200, twice: 0, wait: 100 };
    let run = async |seed| {
        let store = Faulty::new(Arc::new(Memory::new()), seeded(seed, rates));
        let mut answers = Vec::new();
        for n in 0..200_u8 {
            answers.push(store.put(&chunk(&[n]), &[vec![n].into()]).await.is_ok());
        }
        answers
    };
    let first = run(1).await;
    assert_eq!(first, run(1).await);
    assert_ne!(first, run(2).await);
    let failed = first.iter().filter(|ok| !**ok).count();
    assert!((50..110).contains(&failed), "{failed} of 200 failed; 80 are expected");
}
