//! Commits with claims about the commits before them that no writer makes, in files that are whole by every hash.

use firnline::{NodeId, SnapshotId, Timestamp};
use sha2::{Digest, Sha256};

use crate::support::{joined, sections};

/// What a forged commit says of the commits before it.
pub(crate) struct Claims {
    pub(crate) parent: SnapshotId,
    pub(crate) history: NodeId,
    pub(crate) since: Option<Timestamp>,
    pub(crate) time: Timestamp,
}

/// The file of a version that has one parent, with other claims and another time; the id, and the file.
pub(crate) fn forge(file: &[u8], claims: &Claims) -> (SnapshotId, Vec<u8>) {
    let (header, mut parts) = sections(file);
    let at = parts[0].windows(4).position(|bytes| bytes == [1, 0x71, 0x12, 0x20]).unwrap();
    let (old, commit) = (parts[0][at..at + 36].to_vec(), parts[0][at + 36..].to_vec());
    let commit = changed(commit, claims);
    let new = [&[1, 0x71, 0x12, 0x20][..], &Sha256::digest(&commit)].concat();
    parts[0] = [length(36 + commit.len()), new.clone(), commit].concat();
    let mut head = header;
    put(&mut head, &old, &new);
    let id = multibase::encode(multibase::Base::Base32Lower, &new).parse().unwrap();
    (id, joined(&head, &parts))
}

/// The canonical form of the commit with other fields.
fn changed(mut commit: Vec<u8>, claims: &Claims) -> Vec<u8> {
    let micros = |time: Timestamp| [vec![0x1b], time.micros().to_be_bytes().to_vec()].concat();
    let place = |commit: &[u8], name: &str, skip: usize| {
        let field = [&[0x60 + u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
        commit.windows(field.len()).position(|bytes| bytes == field).map(|at| at + field.len() + skip)
    };
    if let Some(at) = place(&commit, "since", 0) {
        commit.drain(at - 6..at + 9);
        commit[0] -= 1;
    }
    if let Some(since) = claims.since {
        let at = place(&commit, "files", 4 + 37).unwrap();
        commit.splice(at..at, [b"\x65since".to_vec(), micros(since)].concat());
        commit[0] += 1;
    }
    let at = place(&commit, "time", 0).unwrap();
    commit.splice(at..at + 9, micros(claims.time));
    let at = place(&commit, "history", 2).unwrap();
    commit.splice(at..at + 36, binary(&claims.history.to_string()));
    let at = place(&commit, "parents", 3).unwrap();
    assert_eq!(commit[at - 3], 0x81, "one parent");
    commit.splice(at..at + 36, binary(&claims.parent.to_string()));
    commit
}

fn length(len: usize) -> Vec<u8> {
    assert!((0x80..0x4000).contains(&len));
    vec![u8::try_from(len & 0x7f).unwrap() | 0x80, u8::try_from(len >> 7).unwrap()]
}

fn put(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    let at = bytes.windows(old.len()).position(|part| part == old).unwrap();
    bytes[at..at + new.len()].copy_from_slice(new);
}

/// The binary form of a CID in base32.
fn binary(cid: &str) -> Vec<u8> {
    multibase::decode(cid).unwrap().1
}
