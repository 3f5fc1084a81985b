//! A session inside a store: writing parts, taking it out again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use firnline::ErrorKind;
use zarrs_firnline::{AsyncFirnlineStore, FirnlineStore};
use zarrs_storage::byte_range::ByteRange;
use zarrs_storage::{
    AsyncReadableStorageTraits as _, AsyncWritableStorageTraits as _, ReadableStorageTraits as _, WritableStorageTraits as _,
};

use crate::support::{Done, key, kind, repository, threads};

#[tokio::test]
async fn a_session_that_others_hold_stays_in_its_store() -> Done {
    let store = Arc::new(AsyncFirnlineStore::new(repository().await?.write("main").await?));
    store.set(&key("a"), "1".into()).await?;
    let array = Arc::clone(&store);
    let shared = store.into_session().unwrap_err();
    assert!(shared.to_string().contains("1 other holder of it"), "{shared}");
    drop(array);
    let store = shared.into_store();
    assert_eq!(store.get(&key("a")).await?.as_deref(), Some(&b"1"[..]), "nothing is lost");

    let other = AsyncFirnlineStore::shared(Arc::clone(store.source()));
    let task = Arc::clone(store.source());
    other.set(&key("b"), "2".into()).await?;
    let shared = store.into_session().unwrap_err();
    assert!(shared.to_string().contains("2 other holders of it"), "{shared}");
    drop((other, task));
    let snapshot = shared.into_store().into_session()?.commit("both").await?;
    assert_eq!(snapshot.get(&"b".parse()?).await?.as_deref(), Some(&b"2"[..]));
    Ok(())
}

#[test]
fn a_synchronous_store_gives_its_session_back() -> Done {
    let runtime = threads();
    let session = runtime.block_on(async { Done::Ok(repository().await?.write("main").await?) })?;
    let store = Arc::new(FirnlineStore::new(session, runtime.handle().clone()));
    store.set(&key("a"), "1".into())?;
    let (array, task) = (Arc::clone(&store), Arc::clone(store.source()));
    let store = store.into_session().unwrap_err().into_store();
    drop(array);
    let store = store.into_session().unwrap_err().into_store();
    drop(task);
    assert_eq!(store.get(&key("a"))?.as_deref(), Some(&b"1"[..]));
    let snapshot = firnline::block_on(runtime.handle(), store.into_session()?.commit("one"))?;
    assert_eq!(snapshot.record().message, "one");
    Ok(())
}

#[tokio::test]
async fn parts_are_written_into_what_is_there() -> Done {
    let store = AsyncFirnlineStore::new(repository().await?.write("main").await?);
    store.set_partial(&key("new"), 3, "xy".into()).await?;
    assert_eq!(store.get(&key("new")).await?.as_deref(), Some(&b"\0\0\0xy"[..]));
    let parts = [(0, "ab".into()), (1, "c".into()), (5, "z".into())];
    store.set_partial_many(&key("new"), Box::new(parts.into_iter())).await?;
    assert_eq!(store.get(&key("new")).await?.as_deref(), Some(&b"ac\0xyz"[..]));
    for offset in [u64::MAX, 1 << 62] {
        let failed = store.set_partial(&key("new"), offset, "v".into()).await.unwrap_err();
        assert_eq!(kind(&failed), Some(ErrorKind::Unsupported), "{failed}");
    }
    assert_eq!(store.size_key(&key("new")).await?, Some(6), "a part that cannot be written changes nothing");
    Ok(())
}

/// Without taking turns, each would write back what it has read, and the last would win.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_that_are_written_at_once_are_all_kept() -> Done {
    let store = Arc::new(AsyncFirnlineStore::new(repository().await?.write("main").await?));
    let parts = (0..64_u64).map(|at| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.set_partial(&key("a"), at * 100, vec![1; 100].into()).await })
    });
    for part in parts.collect::<Vec<_>>() {
        part.await??;
    }
    assert_eq!(store.get(&key("a")).await?.as_deref(), Some(&[1; 6400][..]));
    Ok(())
}

/// Processes that write one array together: each has a fork in its store, and one session commits all of them.
#[tokio::test]
async fn forks_are_written_like_sessions() -> Done {
    let repository = repository().await?;
    let session = repository.write("main").await?;
    session.set(&"a/0".parse()?, "staged before").await?;
    let fork = session.fork().await?;
    for number in 1..4 {
        let store = Arc::new(AsyncFirnlineStore::new(repository.resume_fork(&fork).await?));
        assert_eq!(store.get(&key("a/0")).await?.as_deref(), Some(&b"staged before"[..]));
        store.set(&key(&format!("a/{number}")), vec![number; 2000].into()).await?;
        session.merge(&store.into_session()?.finish().await?).await?;
    }
    let snapshot = session.commit("four").await?;
    let store = AsyncFirnlineStore::new(snapshot);
    assert_eq!(store.get(&key("a/3")).await?.as_deref(), Some(&[3; 2000][..]));
    Ok(())
}

#[test]
fn a_range_is_of_one_value_while_others_are_set() -> Done {
    let runtime = threads();
    let session = runtime.block_on(async { Done::Ok(repository().await?.write("main").await?) })?;
    let store = FirnlineStore::new(session, runtime.handle().clone());
    let (short, long): (Vec<u8>, Vec<u8>) = ((0..100).collect(), (50..250).collect());
    store.set(&key("k"), short.clone().into())?;
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                for value in [&long, &short] {
                    store.set(&key("k"), value.clone().into()).unwrap();
                }
            }
        });
        let read = || -> Done {
            for _ in 0..20_000 {
                let all = store.get_partial(&key("k"), ByteRange::FromStart(0, None))?.ok_or("no value")?;
                if all != short && all != long {
                    return Err(format!("{} bytes that were never the value", all.len()).into());
                }
            }
            Ok(())
        };
        let done = read();
        is_done.store(true, Ordering::Relaxed);
        other.join().map_err(|_| "the other thread panicked")?;
        done
    })
}
