//! Every decoder that is fuzzed takes what the engine writes; mutated inputs are in `src/**/tests` and in `tests/fuzz`.

use std::collections::BTreeSet;
use std::path::Path;

use firnline::fuzzing::FuzzedDecoder;

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
