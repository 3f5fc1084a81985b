//! Tests of the stores that look inside.

mod conform;
mod crash;
mod fault;
mod local;
mod processes;
mod url;

use std::sync::Arc;

use bytes::Bytes;

use super::{Expected, Local, LocalOptions, ObjectName, RegisterName, Replaced, Storage};
use crate::id::{ChunkForm, ChunkId, HashAlgorithm};

/// An object's name from its content.
fn chunk(bytes: &[u8]) -> ObjectName {
    ObjectName::chunk(&ChunkId::new(ChunkForm::Raw, HashAlgorithm::Sha2_256.digest(bytes)))
}

pub(in crate::storage) async fn put(store: &dyn Storage, bytes: &'static [u8]) -> ObjectName {
    store.put(&chunk(bytes), &[Bytes::from_static(bytes)]).await.unwrap();
    chunk(bytes)
}

async fn create(store: &dyn Storage, name: &RegisterName, value: &'static str) {
    let answer = store.replace(name, &Expected::Absent, Bytes::from_static(value.as_bytes())).await;
    assert!(matches!(answer, Replaced::Done(_)));
}

/// The error of a replace of which nothing was sent.
fn not_sent(answer: Replaced) -> crate::Error {
    let Replaced::NotSent(error) = answer else { panic!("nothing may be sent, and here is {answer:?}") };
    error
}

fn local(directory: &std::path::Path) -> Arc<Local> {
    Arc::new(Local::open(directory, LocalOptions::default()).unwrap())
}
