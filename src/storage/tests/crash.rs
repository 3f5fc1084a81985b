use std::collections::BTreeSet;

use crate::ErrorKind;
use crate::storage::fault::Crashing;
use crate::storage::{Expected, Extent, RegisterName, Replaced, Storage};

use super::{chunk, create, put};

#[tokio::test]
async fn what_a_barrier_covered_survives_and_the_rest_may_not() {
    let store = Crashing::new();
    let main = RegisterName::branch("main");
    let safe = put(&store, b"safe and sound").await;
    store.barrier().await.unwrap();
    let torn = put(&store, b"in the cache only").await;
    create(&store, &main, "tip").await;
    put(&store, b"safe and sound").await; // written again, and not synced again
    store.crash();
    assert_eq!(store.get(&safe, Extent::ANY_LENGTH).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let mut found = BTreeSet::new();
    for seed in 0..200 {
        let disk = store.survivors(seed);
        assert_eq!(disk.get(&safe, Extent::ANY_LENGTH).await.unwrap().as_deref(), Some(&b"safe and sound"[..]));
        assert_eq!(disk.load(&main).await.unwrap().unwrap().value, "tip");
        found.insert(disk.get(&torn, Extent::ANY_LENGTH).await.unwrap());
    }
    let whole = Some(bytes::Bytes::from_static(b"in the cache only"));
    assert!(found.contains(&None) && found.contains(&whole), "lost with some seeds, whole with others");
    assert!(found.iter().flatten().any(|bytes| bytes.len() < 17), "cut short with some");
    assert!(found.iter().flatten().any(|bytes| bytes.len() == 17 && bytes[16] == 0), "zero at the end with some");
}

#[tokio::test]
async fn a_barrier_covers_its_own_handle_only() {
    let one = Crashing::new();
    let two = one.another_handle();
    let name = put(&one, b"put by one").await;
    two.barrier().await.unwrap();
    let mut lost = false;
    for seed in 0..20 {
        lost |= one.survivors(seed).get(&name, Extent::ANY_LENGTH).await.unwrap().is_none();
    }
    assert!(lost, "two's barrier says nothing about what one has put");
    put(&two, b"put by one").await;
    two.barrier().await.unwrap();
    for seed in 0..20 {
        assert!(two.survivors(seed).get(&name, Extent::ANY_LENGTH).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn the_power_goes_during_the_chosen_change() {
    let main = RegisterName::branch("main");
    let run = async |store: &Crashing| -> crate::Result<()> {
        store.put(&chunk(b"x"), &["x".into()]).await?;
        store.barrier().await?;
        match store.replace(&main, &Expected::Absent, "tip".into()).await {
            Replaced::Unanswered(e) => return Err(e),
            other => assert!(matches!(other, Replaced::Done(_) | Replaced::Refused), "{other:?}"),
        }
        Ok(())
    };
    let dry = Crashing::new();
    run(&dry).await.unwrap();
    assert_eq!(dry.changes(), 3);
    for change in 0..3 {
        let (mut landed, mut not) = (0, 0);
        for seed in 0..40 {
            let store = Crashing::new();
            store.crash_at(change);
            assert_eq!(run(&store).await.unwrap_err().kind(), ErrorKind::Unavailable);
            assert!(store.has_crashed() && store.changes() == change + 1);
            let disk = store.survivors(seed);
            if disk.load(&main).await.unwrap().is_some() {
                landed += 1;
                assert_eq!(disk.get(&chunk(b"x"), Extent::ANY_LENGTH).await.unwrap().as_deref(), Some(&b"x"[..]), "the object came first");
            } else {
                not += 1;
            }
            // The machine starts again on what it finds, and the same run succeeds or finds itself done.
            let again = Crashing::on(disk);
            run(&again).await.unwrap();
            let answer = again.replace(&main, &Expected::Absent, "late".into()).await;
            assert!(matches!(answer, Replaced::Refused), "{answer:?}");
        }
        assert_eq!((landed > 0, not > 0), (change == 2, true), "only the last change can have moved the register");
    }
}
