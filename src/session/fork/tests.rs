//! Documents that no writer makes, and how much memory forks and merges take, however much was changed.

use bytes::Bytes;
use futures::executor::block_on;

use crate::format::{ContainerRow, ForkBlock, ForkDocument, ForkEdit, ForkKind, ForkPiece};
use crate::id::{ChunkForm, ChunkId, HashAlgorithm};
use crate::key::MapKey;
use crate::session::StagedFile;
use crate::session::staged::{Unpinned, UnpinnedFailure, WhyUnpinned};
use crate::testing::alloc;
use crate::time::Timestamp;
use crate::virtuals::Validator;
use crate::{
    Container, CreateOptions, Entry, Error, ErrorKind, Key, KeyColumn, OpenOptions, Prefix, Repository, VirtualOptions, VirtualRefs,
    WriteSession,
};

const COUNT: u64 = 150_000;

/// Stages many references. As keys and entries in memory they would take more than 16 MB.
async fn point(session: &WriteSession, prefix: &str) {
    let region = 0..COUNT;
    let count = usize::try_from(COUNT).unwrap();
    let (url, length): (Vec<u32>, Vec<u64>) = (vec![0; count], vec![100; count]);
    let offset: Vec<u64> = (0..COUNT).map(|n| n * 977 % (1 << 30)).collect();
    let refs = VirtualRefs {
        keys: KeyColumn::Grid { prefix, region: std::slice::from_ref(&region), separator: '/' },
        urls: &["file:///data/a.nc"],
        url: &url,
        offset: &offset,
        length: &length,
        validators: &[],
    };
    session.set_virtual_many(&refs, &VirtualOptions::default()).await.unwrap();
}

/// Without a runtime all work is done on this thread, whose memory is counted.
#[test]
fn forks_and_merges_hold_a_bounded_part_of_the_changes() {
    let place = tempfile::tempdir().unwrap();
    let options = OpenOptions::default().staged_bytes(1 << 20).upload_bytes(1 << 20).cache_bytes(1 << 20);
    let at = place.path().join("repository");
    let created = block_on(Repository::create_with(at.to_str().unwrap(), CreateOptions::from(options))).unwrap();
    let session = block_on(created.write("main")).unwrap();
    block_on(point(&session, "inherited/"));
    let mut peaks = Vec::new();
    let mut measure = |what: &str, peak: usize| peaks.push((what.to_owned(), peak));

    let (bytes, peak) = alloc::peak(|| block_on(session.fork()).unwrap());
    measure("fork", peak);
    let (fork, peak) = alloc::peak(|| block_on(created.resume_fork(&bytes)).unwrap());
    measure("resume", peak);
    block_on(point(&fork, "own/"));
    fork.delete_prefix(&Prefix::new("inherited/1").unwrap());
    let (changes, peak) = alloc::peak(|| block_on(fork.finish()).unwrap());
    measure("finish", peak);
    for again in ["merge", "merge again"] {
        let ((), peak) = alloc::peak(|| block_on(session.merge(&changes)).unwrap());
        measure(again, peak);
    }
    println!("{} and {} bytes; {peaks:?}", bytes.len(), changes.len());
    assert!(bytes.len() < 4096 && changes.len() < 4096);
    for (what, peak) in peaks {
        assert!(peak < 8 << 20, "{what} held {peak} bytes");
    }
    for place in ["own/0", "own/77777", "own/149999", "inherited/149999"] {
        assert!(block_on(session.entry(&Key::new(place).unwrap())).unwrap().is_some(), "{place}");
    }
}

/// A session in which something of every kind is staged, a description of it, and the changes of a fork.
async fn world() -> (Repository, WriteSession, Bytes, Bytes) {
    let repository = Repository::create("memory:").await.unwrap();
    let session = repository.write("main").await.unwrap();
    session.set_container(Container::new("data", "file:///data/{}")).unwrap();
    session.set_virtual(&Key::new("v/0").unwrap(), "file:///data/a.nc", 0..10).await.unwrap();
    session.set(&Key::new("zarr.json").unwrap(), "{}").await.unwrap();
    let bytes = session.fork().await.unwrap();
    let fork = repository.resume_fork(&bytes).await.unwrap();
    fork.set_virtual(&Key::new("v/1").unwrap(), "file:///data/b.nc", 0..10).await.unwrap();
    fork.set(&Key::new("a/1").unwrap(), "x").await.unwrap();
    fork.set(&Key::new("a/2").unwrap(), vec![1; 5000]).await.unwrap();
    fork.delete_prefix(&Prefix::new("b").unwrap());
    let changes = fork.finish().await.unwrap();
    (repository, session, bytes, changes)
}

/// Changes a document as no writer does, and puts a correct checksum over it.
fn tampered(bytes: &[u8], kind: ForkKind, tamper: impl FnOnce(&mut ForkDocument)) -> Vec<u8> {
    let mut document = ForkDocument::decode(bytes, kind).unwrap();
    tamper(&mut document);
    document.encode()
}

fn blocks(document: &ForkDocument) -> Vec<ForkBlock> {
    let block = |piece: &ForkPiece| match piece {
        ForkPiece::Inline(bytes) => ForkBlock::decode(bytes, HashAlgorithm::Sha2_256).unwrap(),
        ForkPiece::Stored(..) => panic!("the document is small"),
    };
    document.pieces.iter().map(block).collect()
}

fn with_blocks(document: &mut ForkDocument, change: impl FnOnce(&mut Vec<ForkBlock>)) {
    let mut all = blocks(document);
    change(&mut all);
    document.pieces = all.iter().map(|block| ForkPiece::Inline(block.encode().into())).collect();
}

/// Another way to make a document wrong, and the error for it.
type Tampering = (fn(&mut ForkDocument), ErrorKind, &'static str);

/// What is wrong in the blocks of either document.
const BLOCKS: &[Tampering] = &[
    (|d| with_blocks(d, |blocks| blocks.swap(0, 1)), ErrorKind::Corrupt, "a block is out of order"),
    (
        |d| {
            with_blocks(d, |blocks| {
                let last = blocks.last().cloned().unwrap();
                blocks.push(last);
            });
        },
        ErrorKind::Corrupt,
        "out of order",
    ),
    (|d| with_blocks(d, |blocks| blocks.retain(|block| !matches!(block, ForkBlock::Files(_)))), ErrorKind::Corrupt, "which is not listed"),
    (|d| d.pieces.push(ForkPiece::Inline(Bytes::from_static(b"\x80"))), ErrorKind::Corrupt, "at byte"),
    (|d| d.pieces.push(ForkPiece::Stored(chunk(ChunkForm::Raw), 5000)), ErrorKind::NotFound, "is not in the repository"),
    (|d| d.pieces.push(ForkPiece::Stored(chunk(ChunkForm::UnixFs), 5000)), ErrorKind::Corrupt, "a tree of blocks"),
    (
        |d| {
            with_blocks(d, |blocks| {
                let entry = Entry::Chunk { id: chunk(ChunkForm::Raw), size: 2 << 20 };
                blocks.push(ForkBlock::Edits(vec![ForkEdit::Key(MapKey::new("zz"), Some(entry))]));
            });
        },
        ErrorKind::Corrupt,
        "one raw block",
    ),
    (
        |d| {
            with_blocks(d, |blocks| {
                let now = Container::new("secret", "https://example.org/{token}/{}");
                blocks.insert(0, ForkBlock::Containers(vec![ContainerRow { before: None, now }]));
            });
        },
        ErrorKind::Corrupt,
        "looks like a secret",
    ),
    (
        |d| {
            with_blocks(d, |blocks| {
                for block in blocks {
                    if let ForkBlock::Files(rows) = block {
                        rows[0].now.record.etag = Some(b"\"quoted\"".to_vec());
                    }
                }
            });
        },
        ErrorKind::Corrupt,
        "the etag of the validator",
    ),
    (|d| d.touched = vec![d.origin.base.cid()], ErrorKind::Unsupported, "1 objects beside their rows"),
    (|d| d.origin.created = d.origin.created.next(), ErrorKind::Invalid, "another repository"),
];

fn move_block(ends: &[[&str; 2]]) -> ForkBlock {
    ForkBlock::Moves(ends.iter().map(|ends| ends.map(str::to_owned)).collect())
}

/// What is wrong in changes alone.
const CHANGES: &[Tampering] = &[
    (|d| with_blocks(d, |blocks| blocks.push(move_block(&[["a//b", "c"]]))), ErrorKind::Corrupt, "forbidden segment"),
    (
        |d| with_blocks(d, |blocks| blocks.extend([move_block(&[["a", "b"], ["b", "a"]]), move_block(&[["a", "b"]])])),
        ErrorKind::Corrupt,
        "the move from \"a\" to \"b\" is there twice",
    ),
    (
        |d| {
            with_blocks(d, |blocks| {
                let rows: Vec<_> = (0..=1_u32 << 16).map(|n| ["a".to_owned(), format!("b{n}")]).collect();
                blocks.extend(rows.chunks(8192).map(|rows| ForkBlock::Moves(rows.to_vec())));
            });
        },
        ErrorKind::Corrupt,
        "more than 65536 moves",
    ),
];

/// What changes have and the description of a fork has not.
const HISTORY: &[Tampering] = &[
    (|d| with_blocks(d, |blocks| blocks.push(move_block(&[["a", "b"]]))), ErrorKind::Corrupt, "it holds moves"),
    (
        |d| {
            with_blocks(d, |blocks| {
                let at = blocks.iter().position(|block| matches!(block, ForkBlock::Edits(_))).unwrap();
                blocks.insert(at, ForkBlock::Inherited(vec![ForkEdit::Key(MapKey::new("a"), None)]));
            });
        },
        ErrorKind::Corrupt,
        "it holds inherited changes",
    ),
    (
        |d| {
            with_blocks(d, |blocks| {
                let ForkBlock::Containers(rows) = &mut blocks[0] else { panic!("{blocks:?}") };
                rows[0].before = Some(rows[0].now.clone());
            });
        },
        ErrorKind::Corrupt,
        "it holds earlier definitions of containers",
    ),
    (
        |d| {
            with_blocks(d, |blocks| {
                let ForkBlock::Files(rows) = &mut blocks[1] else { panic!("{blocks:?}") };
                rows[0].before = Some(rows[0].now.clone());
            });
        },
        ErrorKind::Corrupt,
        "it holds earlier states of files",
    ),
];

fn chunk(form: ChunkForm) -> ChunkId {
    ChunkId::new(form, HashAlgorithm::Sha2_256.digest(b"never stored"))
}

fn is_as_said(error: &Error, kind: ErrorKind, words: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn documents_that_no_writer_makes_are_refused_and_change_nothing() {
    let (repository, session, bytes, changes) = block_on(world());
    let before = block_on(session.list(&Prefix::all())).unwrap();
    for (tamper, kind, words) in BLOCKS {
        let fork = tampered(&bytes, ForkKind::Fork, tamper);
        is_as_said(&block_on(repository.resume_fork(&fork)).unwrap_err(), *kind, words);
        let changes = tampered(&changes, ForkKind::Changes, tamper);
        is_as_said(&block_on(session.merge(&changes)).unwrap_err(), *kind, words);
    }
    for (tamper, kind, words) in CHANGES {
        is_as_said(&block_on(session.merge(&tampered(&changes, ForkKind::Changes, tamper))).unwrap_err(), *kind, words);
    }
    for (tamper, kind, words) in HISTORY {
        is_as_said(&block_on(repository.resume_fork(&tampered(&bytes, ForkKind::Fork, tamper))).unwrap_err(), *kind, words);
    }
    let without_container =
        |d: &mut ForkDocument| with_blocks(d, |blocks| blocks.retain(|block| !matches!(block, ForkBlock::Containers(_))));
    let fork = tampered(&bytes, ForkKind::Fork, without_container);
    is_as_said(&block_on(repository.resume_fork(&fork)).unwrap_err(), ErrorKind::Corrupt, "lies in a container that is defined neither");
    let never_stored = tampered(&changes, ForkKind::Changes, |d| {
        with_blocks(d, |blocks| {
            for block in blocks {
                if let ForkBlock::Edits(rows) = block {
                    let entry = Entry::Chunk { id: chunk(ChunkForm::Raw), size: 5000 };
                    rows.retain(|row| row.place().as_str() != "a/2");
                    rows.insert(0, ForkEdit::Key(MapKey::new("a/0"), Some(entry)));
                }
            }
        });
    });
    is_as_said(&block_on(session.merge(&never_stored)).unwrap_err(), ErrorKind::NotFound, "which the changes of a fork name");
    assert_eq!(block_on(session.list(&Prefix::all())).unwrap(), before);
    block_on(session.merge(&changes)).unwrap();
    assert_eq!(block_on(session.list(&Prefix::all())).unwrap().len(), before.len() + 3);
}

#[test]
fn the_state_of_the_branch_in_a_fork_must_fit_its_base() {
    let (repository, _, bytes, _) = block_on(world());
    let refused = |tamper: fn(&mut ForkDocument), kind, words: &str| {
        is_as_said(&block_on(repository.resume_fork(&tampered(&bytes, ForkKind::Fork, tamper))).unwrap_err(), kind, words);
    };
    refused(|d| d.origin.seq += 1, ErrorKind::Corrupt, "the state of branch main is another");
    refused(|d| d.origin.branch = "..".to_owned(), ErrorKind::Corrupt, "..");
    refused(|d| d.state.as_mut().unwrap().0 = Bytes::from_static(b"{}"), ErrorKind::Corrupt, "not a valid ref");
    refused(
        |d| {
            let record = &mut d.state.as_mut().unwrap().0;
            *record = [&record[..], b" "].concat().into();
        },
        ErrorKind::Corrupt,
        "the state of branch main is another",
    );
    refused(|d| d.origin.epoch = 2, ErrorKind::Corrupt, "the state of branch main is another");
}

/// A document shortens a long problem of a lookup, so the merge took what the session knew for something that it had found out since.
#[test]
fn a_long_problem_of_a_lookup_is_no_change_of_a_file() {
    let (_, session, ..) = block_on(world());
    let file = session.staged.lock().files().keys().next().cloned().unwrap();
    let at = Timestamp::from_micros(1_000_000);
    let unpinned =
        Unpinned { why: WhyUnpinned::NotReadable, failure: Some(Box::new(UnpinnedFailure { problem: "no ".repeat(5000), remedy: None })) };
    let blind = StagedFile {
        validator: Validator::staged_at(at),
        size: None,
        repin: false,
        by_itself: false,
        unpinned: Some(unpinned),
        untouched_since: None,
    };
    session.staged.lock().set_file(file.clone(), blind.clone());
    let bytes = block_on(session.fork()).unwrap();
    let fork = block_on(session.base.repository().resume_fork(&bytes)).unwrap();
    let validator = Validator { etag: Some(b"new".to_vec()), size: Some(10), ..Validator::staged_at(at) };
    let seeing = StagedFile { validator, repin: true, by_itself: true, unpinned: None, ..blind };
    fork.staged.lock().set_file(file.clone(), seeing.clone());
    block_on(session.merge(&block_on(fork.finish()).unwrap())).unwrap();
    assert_eq!(session.staged.lock().files().get(&file), Some(&seeing));
}

/// Other writers can have such containers in a snapshot; this one defines none.
#[test]
fn a_container_that_is_too_large_for_a_document_is_refused_by_name() {
    let (_, session, ..) = block_on(world());
    let mut container = Container::new("large", "file:///large/{}");
    container.options.extend((0..300).map(|n| (format!("{n}"), "x".repeat(4096))));
    session.staged.lock().set_container(container, &[]);
    is_as_said(&block_on(session.fork()).unwrap_err(), ErrorKind::Invalid, "the definition of container large, with");
}
