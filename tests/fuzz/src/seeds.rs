//! Seeds for every decoder: the objects of a small repository, the frozen examples of the formats, a CAR file, forks, texts. Also compiled
//! into `tests/verify`, which checks that every decoder takes its seeds.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use firnline::fuzzing::FuzzedDecoder;
use firnline::{ExpireOptions, ExpireReason, GcOptions, Key, Repository};

/// A seed and its decoder.
pub(crate) type Seed = (FuzzedDecoder, Vec<u8>);

fn key(text: &str) -> Key {
    Key::new(text).expect("a key")
}

/// Bytes that do not compress.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let next = |state: &mut u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next(&mut state)).collect()
}

/// Makes a repository in the empty directory `root`, and takes everything in it; `golden` is `src/format/tests/data`.
pub(crate) async fn seeds(root: &Path, golden: &Path) -> Vec<Seed> {
    let repository = filled(root).await;
    let mut seeds = Vec::new();
    let mut add = |decoder: FuzzedDecoder, object: &[u8]| seeds.extend(decoder.seeds(object).into_iter().map(|seed| (decoder, seed)));
    forks(&repository, &mut add).await;
    let mut car = Vec::new();
    repository.read("main").await.expect("main").export_car(&mut car).await.expect("a CAR file");
    add(FuzzedDecoder::Car, &car);
    repository.gc(&GcOptions::default().grace(Duration::ZERO).hurried()).await.expect("a collection");
    for path in files(root) {
        let name = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
        let bytes = fs::read(&path).expect("an object");
        match decoder_of(&name) {
            Some(FuzzedDecoder::UnixFs) => tree(&bytes).iter().for_each(|seed| add(FuzzedDecoder::UnixFs, seed)),
            Some(decoder) => add(decoder, &bytes),
            None => {}
        }
    }
    let frozen = [
        (FuzzedDecoder::Commit, "commit.canonical.hex"),
        (FuzzedDecoder::Commit, "first-commit.canonical.hex"),
        (FuzzedDecoder::CanonicalManifest, "manifest-leaf.canonical.hex"),
        (FuzzedDecoder::CanonicalManifest, "branch.canonical.hex"),
        (FuzzedDecoder::CanonicalFiles, "files-leaf.canonical.hex"),
        (FuzzedDecoder::CanonicalHistory, "history-leaf.canonical.hex"),
        (FuzzedDecoder::Manifest, "manifest-walk.at-rest-2.hex"),
        (FuzzedDecoder::Files, "files-leaf.at-rest-2.hex"),
        (FuzzedDecoder::ChangedKeys, "change-list.at-rest-2.hex"),
        (FuzzedDecoder::Fork, "fork.hex"),
        (FuzzedDecoder::ForkRows, "fork.hex"),
        (FuzzedDecoder::Changes, "changes.hex"),
        (FuzzedDecoder::ForkRows, "changes.hex"),
    ];
    for (decoder, name) in frozen {
        add(decoder, &unhex(&fs::read_to_string(golden.join(name)).expect("a frozen example")));
    }
    for text in TEXTS {
        add(FuzzedDecoder::Texts, text.as_bytes());
    }
    seeds
}

const TEXTS: [&str; 14] = [
    "2025-03-01T12:00:00Z",
    "2025-03-01",
    "main@2025-03-01~2",
    "bafyreibvcdktpi5dafzzzlk5wadrbuy522hq4wyyrwnlqkbkuqxtpvbl4a",
    "bafyr4ia7siz5l5elqrdazz5wtmd4m3xjejlo5wpep2g3kne4lnsjmepowa",
    "main",
    "sha2-256",
    "air/c/0/10",
    "air/",
    "nemo\u{1f}a.nc",
    "https://data.example.org/sets/a%20b.nc",
    "s3://data/=env+at:https://minio.example.org",
    "https://{host}/nemo/{}/x{year}.nc",
    "file:///my%20data/=unpinned",
];

/// A repository with every kind of object, also those of a collection.
async fn filled(root: &Path) -> Repository {
    let repository = Repository::create(root.to_str().expect("a path in UTF-8")).await.expect("a repository");
    let session = repository.write("main").await.expect("a session");
    for i in 0..200_u64 {
        session.set(&key(&format!("many/{i}")), noise(i, 40)).await.expect("a value");
        let (place, url) = (key(&format!("v/{i}")), format!("file:///data/{}.nc", i / 50));
        session.set_virtual(&place, &url, i * 10..i * 10 + 7).await.expect("a reference");
    }
    session.set(&key("short"), noise(4, 1500)).await.expect("a value");
    let first = session.commit("one").await.expect("a commit");
    let moved = "moved".parse().expect("a name");
    repository.create_branch(&moved, &first).await.expect("a branch");
    let session = repository.write("moved").await.expect("a session");
    session.set(&key("old"), noise(5, 1500)).await.expect("a value");
    session.commit("old").await.expect("a commit");
    // Not on `main`, so that the CAR file is small.
    let session = repository.write("moved").await.expect("a session");
    session.set(&key("large"), noise(1, (1 << 20) + 9)).await.expect("a value");
    let large = session.commit("large").await.expect("a commit");
    repository.create_tag(&"large".parse().expect("a name"), &large, "").await.expect("a tag");
    for _ in 0..20 {
        repository.reset(&moved, &first).await.expect("a move");
    }
    repository.create_tag(&"v1".parse().expect("a name"), &first, "the first").await.expect("a tag");
    // What `moved` showed before `large` expires, and the first version is withdrawn.
    let rules = ExpireOptions::default().keep_last(1).keep_moves(Duration::ZERO);
    let plan = repository.plan_expire(&rules).await.expect("a plan");
    let why = ExpireReason::from("too large").author("somebody");
    assert!(!repository.expire(&plan, why).await.expect("an act").versions.is_empty(), "a version has expired");
    repository.withdraw(&first, "wrong units", Some("somebody".to_owned())).await.expect("a withdrawal");
    repository
}

/// A session and its fork as bytes. What the fork stores is garbage for the collection.
async fn forks(repository: &Repository, add: &mut impl FnMut(FuzzedDecoder, &[u8])) {
    let session = repository.write("main").await.expect("a session");
    session.set(&key("before"), noise(2, 50)).await.expect("a value");
    let bytes = session.fork().await.expect("a fork");
    add(FuzzedDecoder::Fork, &bytes);
    let fork = repository.resume_fork(&bytes).await.expect("the fork");
    fork.set(&key("after"), noise(3, 5000)).await.expect("a value");
    fork.set_virtual(&key("v/1"), "file:///data/9.nc", 3..9).await.expect("a reference");
    fork.delete(&key("many/7")).await.expect("a deletion");
    add(FuzzedDecoder::Changes, &fork.finish().await.expect("its changes"));
}

/// Which decoder reads the object of this name.
fn decoder_of(name: &str) -> Option<FuzzedDecoder> {
    let (folder, rest) = name.split_once('/').unwrap_or((name, ""));
    Some(match folder {
        "snapshots" => FuzzedDecoder::Snapshot,
        "manifests" => FuzzedDecoder::Manifest,
        "files" => FuzzedDecoder::Files,
        "history" => FuzzedDecoder::History,
        "moves" => FuzzedDecoder::MovesBlock,
        "changes" => FuzzedDecoder::ChangedKeys,
        "chunks" => FuzzedDecoder::UnixFs,
        "refs" if rest.strip_suffix(".json").is_some() => FuzzedDecoder::RefRecord,
        "repo.json" => FuzzedDecoder::Description,
        "retention" if rest == "state.json" => FuzzedDecoder::RetentionState,
        "retention" => FuzzedDecoder::RetentionList,
        "gc" if rest == "state.json" => FuzzedDecoder::CollectionState,
        "gc" if rest.ends_with("/index") => FuzzedDecoder::ListIndex,
        "gc" if rest.starts_with("lists/") => FuzzedDecoder::ListShard,
        _ => return None,
    })
}

/// The length of a long chunk and its interior nodes, by the tail of its object; none for a chunk of one block.
fn tree(object: &[u8]) -> Option<Vec<u8>> {
    let tail = object.last_chunk::<40>()?;
    let number = |at: usize| Some(u64::from_le_bytes(*tail.get(at..)?.first_chunk()?));
    if !tail.starts_with(b"FIRNTREE") {
        return None;
    }
    let (payload, interior) = (number(16)?, number(24)?);
    let begin = usize::try_from(payload).ok()?;
    let nodes = object.get(begin..begin.checked_add(usize::try_from(interior).ok()?)?)?;
    Some([&payload.to_le_bytes(), nodes].concat())
}

/// The bytes of a frozen example: lines of hex, and comments.
fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.lines().filter(|line| !line.starts_with('#')).flat_map(str::chars).filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0_u8, |byte, digit| byte << 4 | u8::try_from(*digit).unwrap_or(0))).collect()
}

fn files(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut todo) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).expect("a directory") {
            let path = entry.expect("an entry").path();
            // Locks are not objects.
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
                continue;
            }
            if path.is_dir() { todo.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}
