//! Every value survives both of its forms.

use std::sync::Arc;

use super::samples::{self, HASH};
use crate::ErrorKind;
use crate::format::{Commit, Entry, HistoryEntry, Leaf, Node, RepoConfig, Roots, SnapshotObject, Value, VirtualFile};
use crate::id::{HashAlgorithm, NodeId, SnapshotId};
use crate::time::Timestamp;

fn both<V: Value>(node: &Node<V>) {
    let canonical = node.canonical();
    assert_eq!(&Node::<V>::decode_canonical(&canonical, HASH).unwrap(), node);
    let id = node.id(HASH);
    assert_eq!(id, NodeId::of(HASH, &canonical));
    let stored = node.encode_at_rest();
    assert_eq!(&Node::<V>::decode_verified(&stored, id).unwrap(), node);
    assert_eq!(node.encode_at_rest(), stored, "encoding is a function of the value");

    let other = NodeId::of(HASH, b"another node");
    let refused = Node::<V>::decode_verified(&stored, other).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(refused.to_string().contains(&other.to_string()) && refused.to_string().contains(&id.to_string()), "{refused}");
    assert!(!refused.to_string().contains('\n'));
}

#[test]
fn nodes_survive_both_forms() {
    both(&samples::manifest_leaf());
    both(&samples::files_leaf());
    both(&samples::history_leaf());
    both(&Node::<Entry>::Leaf(Leaf { entries: Vec::new() }));
    both(&Node::<VirtualFile>::Leaf(Leaf { entries: Vec::new() }));
    both(&Node::<HistoryEntry>::Leaf(Leaf { entries: Vec::new() }));
    both(&samples::branch::<Entry>());
    both(&samples::branch::<VirtualFile>());
    both(&samples::branch::<HistoryEntry>());
}

#[test]
fn snapshots_survive_both_forms() {
    let roots = Roots {
        manifest: Some(Arc::new(samples::manifest_leaf())),
        files: Some(Arc::new(samples::files_leaf())),
        history: Some(Arc::new(samples::history_leaf())),
    };
    let objects = [
        SnapshotObject { commit: samples::commit(), roots },
        SnapshotObject { commit: samples::commit(), roots: Roots::default() },
        SnapshotObject { commit: samples::first_commit(), roots: Roots::default() },
    ];
    for object in objects {
        object.commit.check().unwrap();
        let canonical = object.commit.canonical();
        assert_eq!(Commit::decode_canonical(&canonical, HASH).unwrap(), object.commit);
        let id = object.commit.id(HASH);
        let stored = object.encode();
        assert_eq!(SnapshotObject::decode_verified(&stored, id).unwrap(), object);

        let other = SnapshotId::of(HASH, b"another");
        let refused = SnapshotObject::decode_verified(&stored, other).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt);
        assert!(refused.to_string().contains(&other.to_string()) && refused.to_string().contains(&id.to_string()), "{refused}");
    }
}

#[test]
fn a_long_root_is_not_copied_and_a_wrong_copy_is_refused() {
    let long = Node::Leaf(Leaf {
        entries: (0..5).map(|i| (crate::key::MapKey::new(format!("{i}")), Entry::Inline(vec![0; 1000].into()))).collect(),
    });
    let mut object =
        SnapshotObject { commit: samples::commit(), roots: Roots { manifest: Some(Arc::new(long.clone())), ..Roots::default() } };
    object.commit.manifest = long.id(HASH);
    let read = SnapshotObject::decode_verified(&object.encode(), object.commit.id(HASH)).unwrap();
    assert_eq!(read.roots.manifest, None);

    object.commit.manifest = NodeId::of(HASH, b"not this one");
    object.roots.manifest = Some(Arc::new(samples::manifest_leaf()));
    let refused = SnapshotObject::decode_verified(&object.encode(), object.commit.id(HASH)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    for id in [object.commit.manifest, samples::manifest_leaf().id(HASH)] {
        assert!(refused.to_string().contains(&id.to_string()), "{refused}");
    }
}

#[test]
fn a_repository_says_what_it_is() {
    for hash in [HashAlgorithm::Sha2_256, HashAlgorithm::Blake3] {
        let config = RepoConfig { hash, created: Timestamp::from_micros(1_740_830_400_123_456) };
        let text = config.encode();
        assert_eq!(RepoConfig::decode(&text).unwrap(), config);
        assert!(std::str::from_utf8(&text).unwrap().contains("2025-03-01T12:00:00.123456Z"));
    }
    let kind = |text: &str| RepoConfig::decode(text.as_bytes()).unwrap_err().kind();
    assert_eq!(kind(r#"{"format":2,"anything":"else"}"#), ErrorKind::Unsupported);
    assert_eq!(kind(r#"{"format":1,"hash":"md5","created":"2025-03-01T12:00:00Z","readme":""}"#), ErrorKind::Unsupported);
    assert_eq!(kind(r#"{"format":1,"hash":"blake3","created":"yesterday","readme":""}"#), ErrorKind::Corrupt);
    assert_eq!(kind(r#"{"format":1,"hash":"blake3","created":"2025-03-01T12:00:00Z","readme":"","extra":1}"#), ErrorKind::Corrupt);
    assert_eq!(kind("{"), ErrorKind::Corrupt);
    assert_eq!(kind(&" ".repeat(1 << 17)), ErrorKind::Corrupt);
}
