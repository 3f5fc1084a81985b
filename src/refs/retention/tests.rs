//! The bytes of register and lists, and acts that meet each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::lists::{LONGEST_TEXT, RetentionList, version_row};
use super::register::RetentionState;
use super::*;
use crate::error::ErrorKind;
use crate::handle::{CreateOptions, OpenOptions, Repository};
use crate::id::{Digest, HashAlgorithm};
use crate::storage::fault::{Fault, Faulty};
use crate::storage::{Memory, Storage};
use crate::time::Timestamp;

/// Canonical DAG-CBOR as `docs/format.md` describes it, made by another program.
const GOLDEN: &str = "a3617601646163747382a76474696d651b00060a24181e4000656e6f6e6365076572756c6573716c61737420333b206d6f7665732033306466617574686f7263616e6e666e756d6265720166726561736f6e636f6c646876657273696f6e7301a66474696d651b00060a24182d8240656e6f6e63651bffffffffffffffff6572756c65737477697468696e2032643b206d6f76657320333064666e756d6265720266726561736f6e656f6c6465726876657273696f6e730164726f7773584a0011111111111111111111111111111111111111111111111111111111111111110000000100222222222222222222222222222222222222222222222222222222222222222200000002";

fn digest(byte: u8) -> Digest {
    Digest::new(HashAlgorithm::Sha2_256, [byte; 32])
}

fn golden_list() -> RetentionList {
    let act = |number: u32, time, author: Option<&str>, reason: &str, rules: &str, nonce| ActRecord {
        number,
        time: Timestamp::from_micros(time),
        author: author.map(str::to_owned),
        reason: reason.to_owned(),
        rules: rules.to_owned(),
        versions: 1,
        nonce,
    };
    let acts = vec![
        act(1, 1_700_000_000_000_000, Some("ann"), "old", "last 3; moves 30d", 7),
        act(2, 1_700_000_001_000_000, None, "older", "within 2d; moves 30d", u64::MAX),
    ];
    RetentionList { acts, rows: vec![version_row(&digest(0x11), 1), version_row(&digest(0x22), 2)] }
}

#[test]
fn lists_have_not_moved() {
    let bytes = golden_list().encode();
    assert_eq!(data_encoding::HEXLOWER.encode(&bytes), GOLDEN);
    assert_eq!(RetentionList::decode(&bytes, "x").unwrap(), golden_list());
}

#[test]
fn a_list_that_no_build_writes_is_corrupt_and_a_newer_one_is_unsupported() {
    let golden = data_encoding::HEXLOWER.decode(GOLDEN.as_bytes()).unwrap();
    let kind = |bytes: &[u8]| RetentionList::decode(bytes, "x").unwrap_err().kind();
    for at in 0..golden.len() {
        assert_eq!(kind(&golden[..at]), ErrorKind::Corrupt, "cut at {at}");
    }
    let mut newer = golden.clone();
    newer[3] = 2;
    assert_eq!(kind(&newer), ErrorKind::Unsupported);
    let changed = |change: &dyn Fn(&mut RetentionList)| {
        let mut list = golden_list();
        change(&mut list);
        kind(&list.encode())
    };
    assert_eq!(changed(&|list| list.rows.clear()), ErrorKind::Corrupt, "no rows");
    assert_eq!(changed(&|list| list.rows.swap(0, 1)), ErrorKind::Corrupt, "rows out of order");
    assert_eq!(changed(&|list| list.rows = vec![list.rows[0]; 2]), ErrorKind::Corrupt, "a row twice");
    assert_eq!(changed(&|list| list.rows[0].0[0] = 4), ErrorKind::Corrupt, "the row of a chunk");
    assert_eq!(changed(&|list| list.rows[0].1 = 3), ErrorKind::Corrupt, "an act that is not there");
    assert_eq!(changed(&|list| list.acts.swap(0, 1)), ErrorKind::Corrupt, "acts out of order");
    assert_eq!(changed(&|list| list.acts[0].reason = "x".repeat(LONGEST_TEXT + 1)), ErrorKind::Corrupt, "a text that is too long");
}

#[test]
fn a_register_that_no_build_writes_is_corrupt_and_a_newer_one_is_unsupported() {
    let text = concat!(
        r#"{"v": 1, "seq": 2, "acts": 2, "latest": 5, "lists": [{"id": "#,
        r#""bafyreigdmqpykrgxyaxtlafqpqhzrb7qy2rh75nldvfd4tucqmqqme5yje", "rows": 9}]}"#
    );
    let state = RetentionState::decode(text.as_bytes(), "x").unwrap();
    assert_eq!(RetentionState::decode(&state.encode(), "x").unwrap(), state);
    assert!(state.may_list(Timestamp::from_micros(5)) && !state.may_list(Timestamp::from_micros(6)));
    let kind = |text: &str| RetentionState::decode(text.as_bytes(), "x").unwrap_err().kind();
    assert_eq!(kind(&text.replace("\"v\": 1", "\"v\": 2").replace("acts", "deeds")), ErrorKind::Unsupported);
    for (from, to) in [
        ("\"seq\": 2", "\"seq\": 0"),
        ("\"seq\": 2", "\"seq\": 18446744073709551615"),
        ("\"acts\": 2", "\"acts\": 0"),
        ("\"acts\": 2", "\"acts\": 4294967296"),
        ("\"latest\": 5", "\"latest\": null"),
        ("\"rows\": 9", "\"rows\": 0"),
        ("\"rows\": 9", "\"rows\": 1000001"),
        ("bafyrei", "bafkrei!"),
        ("\"lists\"", "\"list\""),
    ] {
        assert!(text.contains(from), "{from}");
        assert_eq!(kind(&text.replacen(from, to, 1)), ErrorKind::Corrupt, "{from} -> {to}");
    }
    assert_eq!((kind(""), kind("{}"), kind("null")), (ErrorKind::Corrupt, ErrorKind::Corrupt, ErrorKind::Corrupt));
    let long = format!("{text}{}", " ".repeat(1 << 20));
    assert_eq!(kind(&long), ErrorKind::Corrupt);
}

async fn repository() -> (Memory, Repository) {
    let memory = Memory::new();
    let options = CreateOptions::from(OpenOptions::default().without_pauses());
    let repository = Repository::create_storage(Arc::new(memory.clone()), options).await.unwrap();
    (memory, repository)
}

fn version(n: u64) -> SnapshotId {
    SnapshotId::of(HashAlgorithm::Sha2_256, &n.to_le_bytes())
}

fn retiring(versions: std::ops::Range<u64>) -> Retiring {
    Retiring {
        author: None,
        reason: format!("{versions:?}"),
        rules: "last 1".to_owned(),
        time: Timestamp::from_micros(1),
        latest: Timestamp::from_micros(i64::try_from(versions.end).unwrap()),
        versions: versions.map(version).collect(),
    }
}

#[tokio::test]
async fn many_acts_lie_in_few_lists_and_the_first_that_named_a_version_counts() {
    let (_memory, repository) = repository().await;
    let refs = repository.refs();
    for n in 0..100 {
        // Each names a version again.
        assert_eq!(refs.retire(&retiring(n * 10..n * 10 + 11)).await.unwrap(), u32::try_from(n).unwrap() + 1);
        let state = refs.retention().await.unwrap().state;
        assert!(state.lists.len() <= 6, "{state:?}");
        assert!(state.lists.is_sorted_by(|older, newer| older.rows > newer.rows), "{state:?}");
    }
    let state = refs.retention().await.unwrap().state;
    let retired = refs.retired(&state).await.unwrap();
    for n in 0..1_000 {
        let act = retired.act_of(version(n)).unwrap();
        let first = if n == 0 { 1 } else { (n - 1) / 10 + 1 };
        assert_eq!(u64::from(act.number), first, "version {n}");
    }
    assert!(retired.act_of(version(1_001)).is_none());
    let mut numbers: Vec<_> = retired.acts().map(|act| act.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
    assert!(state.may_list(Timestamp::from_micros(1_001)) && !state.may_list(Timestamp::from_micros(1_002)));
}

#[tokio::test]
async fn acts_that_meet_are_all_recorded() {
    let (_memory, repository) = repository().await;
    let acts = (0..8).map(|n| {
        let refs = repository.refs().clone();
        tokio::spawn(async move { refs.retire(&retiring(n * 10..n * 10 + 10)).await.unwrap() })
    });
    let mut numbers = futures::future::try_join_all(acts.collect::<Vec<_>>()).await.unwrap();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
    let state = repository.refs().retention().await.unwrap().state;
    let retired = repository.refs().retired(&state).await.unwrap();
    assert!((0..80).all(|n| retired.act_of(version(n)).is_some()));
}

/// Whatever becomes of one request, the act is recorded once, or the call fails and nothing was recorded or will be.
#[tokio::test]
async fn an_act_is_recorded_once_whatever_becomes_of_a_request() {
    const FAULTS: usize = 6;
    let fault = |kind: usize| match kind {
        0 => Fault::NotSent,
        1 => Fault::Before,
        2 => Fault::After,
        3 => Fault::Rejected(ErrorKind::Unavailable),
        4 => Fault::DoneAndRejected(ErrorKind::Unavailable),
        _ => Fault::Twice,
    };
    for kind in 0..FAULTS {
        for at in 0.. {
            let (memory, other) = repository().await;
            other.refs().retire(&retiring(100..102)).await.unwrap();
            let (requests, reached) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
            let (count, there) = (requests.clone(), reached.clone());
            let faulty = Faulty::new(Arc::new(memory.clone()), move |call| {
                if call.name == "repo.json" || count.fetch_add(1, Ordering::SeqCst) != at {
                    return Fault::None;
                }
                there.store(true, Ordering::SeqCst);
                fault(kind)
            });
            let storage: Arc<dyn Storage> = Arc::new(faulty);
            let repository = Repository::open_storage(storage, OpenOptions::default().without_pauses()).await.unwrap();
            let answer = repository.refs().retire(&retiring(0..3)).await;
            let refs = other.refs();
            let state = refs.retention().await.unwrap().state;
            let is_recorded = refs.retired(&state).await.unwrap().act_of(version(1)).is_some();
            assert_eq!(answer.is_ok(), is_recorded, "fault {kind} at request {at}: {answer:?}");
            assert_eq!(state.acts, 1 + u32::from(is_recorded), "fault {kind} at request {at}");
            assert_eq!(refs.retire(&retiring(0..3)).await.unwrap(), state.acts + 1, "again does no harm");
            assert!(refs.retired(&refs.retention().await.unwrap().state).await.unwrap().act_of(version(1)).is_some());
            if !reached.load(Ordering::SeqCst) {
                assert!(answer.is_ok() && at >= 4, "fault {kind}: {at} requests");
                break;
            }
        }
    }
}

fn withdrawn(n: u64) -> WithdrawnRecord {
    WithdrawnRecord { id: version(n), time: Timestamp::from_micros(1), author: None, reason: format!("reason {n}") }
}

#[tokio::test]
async fn withdrawals_and_acts_that_meet_do_not_lose_each_other() {
    let (_memory, repository) = repository().await;
    let both = (0..6).flat_map(|n| {
        let (refs, others) = (repository.refs().clone(), repository.refs().clone());
        let act = tokio::spawn(async move { refs.retire(&retiring(n * 10..n * 10 + 10)).await.map(drop) });
        let note = tokio::spawn(async move { others.record_withdrawn(version(n), Some(withdrawn(n))).await });
        [act, note]
    });
    for done in futures::future::join_all(both.collect::<Vec<_>>()).await {
        done.unwrap().unwrap();
    }
    let refs = repository.refs();
    let state = refs.retention().await.unwrap().state;
    assert_eq!((state.acts, state.all_withdrawn().len()), (6, 6));
    assert!((0..6).all(|n| state.withdrawn(version(n)) == Some(&withdrawn(n))));
    assert_eq!(RetentionState::decode(&state.encode(), "x").unwrap(), state);

    // To record the same again writes nothing; to take it back does.
    refs.record_withdrawn(version(1), Some(withdrawn(1))).await.unwrap();
    assert_eq!(refs.retention().await.unwrap().state, state);
    refs.record_withdrawn(version(1), None).await.unwrap();
    let now = refs.retention().await.unwrap().state;
    assert_eq!((now.seq, now.withdrawn(version(1)), now.all_withdrawn().len()), (state.seq + 1, None, 5));
    assert!(refs.retired(&now).await.unwrap().act_of(version(11)).is_some());
}

#[test]
fn withdrawals_have_limits() {
    let mut state = RetentionState::absent();
    state.withdrawn = (0..999).map(withdrawn).collect();
    let state = state.with_withdrawn(version(999), Some(withdrawn(999))).unwrap();
    assert_eq!(RetentionState::decode(&state.encode(), "x").unwrap(), state);
    assert_eq!(state.with_withdrawn(version(1_000), Some(withdrawn(1_000))).unwrap_err().kind(), ErrorKind::Invalid);
    let long = WithdrawnRecord { reason: "x".repeat(LONGEST_TEXT + 1), ..withdrawn(1) };
    assert_eq!(RetentionState::absent().with_withdrawn(version(1), Some(long)).unwrap_err().kind(), ErrorKind::Invalid);
    let mut text: serde_json::Value = serde_json::from_slice(&state.encode()).unwrap();
    text["withdrawn"].as_array_mut().unwrap().swap(0, 1);
    assert_eq!(RetentionState::decode(text.to_string().as_bytes(), "x").unwrap_err().kind(), ErrorKind::Corrupt, "out of order");
}

/// Acts that came after as many withdrawals as fit made a register that no build reads, and no command repairs.
#[test]
fn an_act_that_would_make_the_register_unreadable_is_refused() {
    let mut state = RetentionState::absent();
    let mut n = 0;
    while let Ok(next) = state.with_withdrawn(version(n), Some(WithdrawnRecord { reason: "x".repeat(4_000), ..withdrawn(n) })) {
        (state, n) = (next, n + 1);
    }
    let name = |n: u64| ListName { id: NodeId::of(crate::id::HashAlgorithm::Sha2_256, &n.to_le_bytes()).cid(), rows: 1 };
    let lists: Vec<_> = (0..64).map(name).collect();
    let full = state.with_lists(64, lists.clone(), Timestamp::from_micros(1)).unwrap();
    assert_eq!(RetentionState::decode(&full.encode(), "it").unwrap(), full, "there is room for the names of all lists");
    for wrong in [vec![name(1), name(1)], (0..17).map(|n| ListName { rows: 1_000_000, ..name(n) }).collect()] {
        assert!(state.with_lists(2, wrong, Timestamp::from_micros(1)).is_err());
    }
}
