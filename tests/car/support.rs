//! Repositories with something of everything in them, and CAR files taken apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use firnline::storage::Memory;
use firnline::{
    Clock, CommitOptions, CreateOptions, HashAlgorithm, ImportTarget, Key, OpenOptions, Prefix, Repository, Snapshot, Timestamp,
};
use futures::TryStreamExt;

/// A clock that is one second further at every look, so that two runs stamp alike.
#[derive(Debug, Default)]
pub(crate) struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + self.0.fetch_add(1_000_000, Ordering::Relaxed))
    }
}

impl Ticking {
    /// Begins `micros` later than the others.
    pub(crate) const fn beginning(micros: i64) -> Self {
        Self(AtomicI64::new(micros))
    }
}

pub(crate) fn options() -> OpenOptions {
    OpenOptions::default().clock(Arc::new(Ticking::default())).without_pauses()
}

pub(crate) async fn empty(hash: HashAlgorithm) -> Repository {
    let create = CreateOptions::from(options()).hash(hash);
    Repository::create_storage(Arc::new(Memory::new()), create).await.unwrap()
}

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

pub(crate) fn bytes(seed: u8, len: usize) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let next = |state: &mut u32| {
        *state ^= *state << 13;
        *state ^= *state >> 17;
        *state ^= *state << 5;
        state.to_le_bytes()[0]
    };
    (0..len).map(|_| next(&mut state)).collect()
}

pub(crate) const MIB: usize = 1 << 20;

/// Inline values, chunks up to and above 1 MiB that share leaves, equal chunks under several keys, virtual data.
pub(crate) async fn rich(hash: HashAlgorithm) -> (Repository, Snapshot) {
    let repository = empty(hash).await;
    let session = repository.write("main").await.unwrap();
    session.set(&key("zarr.json"), b"{}".to_vec()).await.unwrap();
    session.set(&key("a/small"), bytes(1, 2000)).await.unwrap();
    session.set(&key("a/again"), bytes(1, 2000)).await.unwrap();
    session.commit("first").await.unwrap();
    let session = repository.write("main").await.unwrap();
    let large = bytes(2, 3 * MIB);
    session.set(&key("b/leaf"), large[MIB..2 * MIB].to_vec()).await.unwrap();
    session.set(&key("b/edge"), bytes(3, MIB)).await.unwrap();
    session.set(&key("c/over"), bytes(3, MIB + 1)).await.unwrap();
    session.set(&key("c/large"), large.clone()).await.unwrap();
    session.set(&key("c/twice"), large.clone()).await.unwrap();
    session.set(&key("c/zeros"), vec![0; 2 * MIB + 5]).await.unwrap();
    session.set(&key("d/first"), large[..MIB].to_vec()).await.unwrap();
    for i in 0..1500_u64 {
        let url = format!("file:///data/{}.nc", i / 100);
        session.set_virtual(&key(&format!("v/{i}")), &url, i * 10..i * 10 + 7).await.unwrap();
    }
    for i in 0..2000_u32 {
        session.set(&key(&format!("many/{i}")), i.to_le_bytes().repeat(10)).await.unwrap();
    }
    let snapshot = session.commit(CommitOptions::from("second\nwith more").author("Ada").meta("k", "v")).await.unwrap();
    (repository, snapshot)
}

/// A version in a few hundred bytes.
pub(crate) async fn small() -> (Repository, Snapshot) {
    let repository = empty(HashAlgorithm::Sha2_256).await;
    let session = repository.write("main").await.unwrap();
    session.set(&key("a"), b"one".to_vec()).await.unwrap();
    session.set(&key("b"), bytes(9, 1030)).await.unwrap();
    session.set_virtual(&key("v"), "file:///data/a.nc", 3..9).await.unwrap();
    let snapshot = session.commit("small").await.unwrap();
    (repository, snapshot)
}

pub(crate) async fn car(snapshot: &Snapshot) -> Vec<u8> {
    let mut out = Vec::new();
    let summary = snapshot.export_car(&mut out).await.unwrap();
    assert_eq!(summary.bytes, out.len() as u64);
    out
}

pub(crate) fn branch(name: &str) -> ImportTarget {
    ImportTarget::Branch(name.parse().unwrap())
}

/// Every key and value that is not virtual, and every key and file that is.
pub(crate) async fn contents(snapshot: &Snapshot) -> Vec<(String, Vec<u8>)> {
    let entries: Vec<_> = snapshot.list(&Prefix::all()).try_collect().await.unwrap();
    let mut found = Vec::new();
    for (key, entry) in entries {
        let value = match &entry {
            firnline::Entry::Virtual { .. } => format!("{entry:?}").into_bytes(),
            _ => snapshot.get(&key).await.unwrap().unwrap().to_vec(),
        };
        found.push((key.to_string(), value));
    }
    found
}

/// A CAR file as its header and its sections, lengths included.
pub(crate) fn sections(car: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut rest = car;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let mut len = 0_usize;
        let mut at = 0;
        loop {
            len |= usize::from(rest[at] & 0x7f) << (7 * at);
            at += 1;
            if rest[at - 1] & 0x80 == 0 {
                break;
            }
        }
        parts.push(rest[..at + len].to_vec());
        rest = &rest[at + len..];
    }
    let header = parts.remove(0);
    (header, parts)
}

pub(crate) fn joined(header: &[u8], sections: &[Vec<u8>]) -> Vec<u8> {
    [header, &sections.concat()].concat()
}
