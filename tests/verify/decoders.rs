//! Every decoder that is fuzzed takes what the engine writes, and keeps its promises on what becomes of that by chance: a small part of what
//! the fuzzer of `tests/fuzz` does, in every test run.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::catch_unwind;
use std::path::Path;

use firnline::fuzzing::FuzzedDecoder;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::limits::count;
use crate::seeds::seeds;

#[tokio::test]
async fn every_decoder_takes_its_seeds() {
    let folder = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/format/tests/data");
    let mut seen = BTreeSet::new();
    for (decoder, seed) in seeds(folder.path(), &golden).await {
        assert!(decoder.run(&seed), "{} refuses {seed:02x?}", decoder.name());
        seen.insert(decoder);
    }
    assert_eq!(seen, BTreeSet::from(FuzzedDecoder::ALL));
    // And none takes anything.
    for decoder in FuzzedDecoder::ALL.into_iter().filter(|decoder| *decoder != FuzzedDecoder::Texts) {
        assert!(!decoder.run(b"") && !decoder.run(&[0xff; 100]), "{}", decoder.name());
    }
}

/// Seeds with bits, bytes and pieces that were changed, left out, doubled, or taken from others of the same decoder.
#[tokio::test]
async fn mutated_seeds_break_no_promise() {
    let folder = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/format/tests/data");
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for (decoder, seed) in seeds(folder.path(), &golden).await {
        all.entry(decoder).or_default().push(seed);
    }
    let mut rng = SmallRng::seed_from_u64(11);
    let mut taken = BTreeSet::new();
    for (decoder, seeds) in all {
        for case in 0..count("FIRN_MUTATED_SEEDS", 400, 4_000) {
            let mut bytes = seeds[rng.random_range(0..seeds.len())].clone();
            for _ in 0..rng.random_range(1..4) {
                mutate(&mut rng, &mut bytes, &seeds);
            }
            let ran = catch_unwind(|| decoder.run(&bytes));
            let is_taken = ran.unwrap_or_else(|_| panic!("{} at case {case}: {bytes:02x?}", decoder.name()));
            if is_taken {
                taken.insert(decoder);
            }
        }
    }
    // Not all of it is refused at the first byte.
    assert!(taken.len() > 10, "{taken:?}");
}

fn mutate(rng: &mut SmallRng, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let at = rng.random_range(0..=bytes.len());
    let len = rng.random_range(0..=(bytes.len() - at).min(40));
    match (rng.random_range(0..6), bytes.get_mut(at)) {
        (0, Some(byte)) => *byte ^= 1 << rng.random_range(0..8),
        (1, Some(byte)) => *byte = [0, 1, 0x7f, 0x80, 0xfe, 0xff][rng.random_range(0..6)],
        (2, _) => bytes.truncate(at),
        (3, _) => drop(bytes.drain(at..at + len)),
        (4, _) => {
            let piece = bytes[at..at + len].to_vec();
            bytes.splice(at..at, piece);
        }
        _ => {
            let other = &seeds[rng.random_range(0..seeds.len())];
            let from = rng.random_range(0..=other.len());
            let piece = other[from..other.len().min(from + 40)].to_vec();
            bytes.splice(at..at + len, piece);
        }
    }
}

/// A target for every decoder, under its name, and for whole files.
#[test]
fn every_decoder_has_a_target() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let manifest = std::fs::read_to_string(place.join("Cargo.toml")).unwrap();
    for decoder in FuzzedDecoder::ALL {
        let name = decoder.name();
        let target = std::fs::read_to_string(place.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(target.contains(&format!("FuzzedDecoder::{decoder:?}.run(")), "{name}");
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
}
