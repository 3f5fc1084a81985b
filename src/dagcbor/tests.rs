//! Against the fixtures of the IPLD and DASL projects, where they are, and against inputs that are wrong in one way each.

use ipld_core::ipld::Ipld;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Reader, Writer, decode, encode};
use crate::id::{HashAlgorithm, NodeId};
use crate::testing::{self, alloc};
use crate::{Cid, ErrorKind};

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.bytes().filter_map(|b| char::from(b).to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn fixtures_of_ipld_round_trip_and_have_their_ids() {
    let Some(shared) = testing::shared() else { return testing::skip("dagcbor fixtures of ipld", "../shared is not here") };
    let mut seen = 0;
    for folder in std::fs::read_dir(shared.join("fixtures/dag-cbor/codec-fixtures")).unwrap() {
        let folder = folder.unwrap().path();
        // A README lies beside the folders.
        for file in std::fs::read_dir(folder).into_iter().flatten() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|e| e != "dag-cbor") {
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let value: Ipld = decode(&bytes, "fixture").unwrap_or_else(|e| panic!("{path:?}: {e:?}"));
            assert_eq!(encode(&value), bytes, "{path:?}");
            assert_eq!(NodeId::of(HashAlgorithm::Sha2_256, &bytes).to_string(), path.file_stem().unwrap().to_str().unwrap());
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn fixtures_of_dasl_are_taken_and_refused_as_they_say() {
    let Some(shared) = testing::shared() else { return testing::skip("dagcbor fixtures of dasl", "../shared is not here") };
    let (mut taken, mut refused) = (0, 0);
    for file in std::fs::read_dir(shared.join("fixtures/dag-cbor/dasl")).unwrap() {
        let cases: serde_json::Value = serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        for case in cases.as_array().unwrap() {
            let tagged = |tag: &str| case["tags"].as_array().unwrap().iter().any(|t| t == tag);
            if !tagged("dag-cbor") && !tagged("basic") {
                continue;
            }
            let bytes = unhex(case["data"].as_str().unwrap());
            let result = decode::<Ipld>(&bytes, "fixture");
            if case["type"] == "roundtrip" {
                assert_eq!(encode(&result.unwrap_or_else(|e| panic!("{case}: {e:?}"))), bytes, "{case}");
                taken += 1;
            } else {
                // What may not be written may not be read either.
                assert_eq!(result.expect_err(&case.to_string()).kind(), ErrorKind::Corrupt, "{case}");
                refused += 1;
            }
        }
    }
    assert!(taken >= 15 && refused >= 50, "{taken} {refused}");
}

/// Each is wrong in one way.
const WRONG: &[(&str, &str)] = &[
    ("an integer in two bytes that fits one", "1817"),
    ("an integer in three bytes that fits two", "1900ff"),
    ("an integer in five bytes that fits three", "1a0000ffff"),
    ("an integer in nine bytes that fits five", "1b00000000ffffffff"),
    ("a negative integer that is too long", "3817"),
    ("a text whose length is too long", "780161"),
    ("bytes whose length is too long", "580100"),
    ("an array whose length is too long", "980100"),
    ("a map whose length is too long", "b801616100"),
    ("a link whose tag is too long", "d9002a4100"),
    ("longer keys first", "a2626161006162 01"),
    ("keys out of order", "a2616200616101"),
    ("a key twice", "a2616100616101"),
    ("a key that is no text", "a10000"),
    ("an indefinite array", "9f00ff"),
    ("an indefinite map", "bf616100ff"),
    ("an indefinite text", "7f6161ff"),
    ("indefinite bytes", "5f4161ff"),
    ("a float of 16 bits", "f93c00"),
    ("a float of 32 bits", "fa3f800000"),
    ("NaN", "fb7ff8000000000000"),
    ("minus zero", "fb8000000000000000"),
    ("undefined", "f7"),
    ("a simple value in two bytes", "f8f4"),
    ("a break", "ff"),
    ("tag 0", "c06161"),
    ("a big integer", "c249010000000000000000"),
    ("tag 42 over a text", "d82a6161"),
    ("a link without its zero byte", "d82a5824015512205891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"),
    ("a byte after the value", "0000"),
    ("nothing", ""),
    ("a head cut short", "19ff"),
    ("a text cut short", "6361"),
    ("a text that is not UTF-8", "62c328"),
    ("an array of 2^64 - 1 items", "9bffffffffffffffff"),
    ("an array of 2^30 items", "9a40000000"),
    ("a map of 2^62 pairs", "bb4000000000000000"),
    ("bytes of 2^63", "5b8000000000000000"),
    ("a text of 2^31", "7a80000000"),
];

#[test]
fn what_is_not_canonical_is_refused_at_no_cost() {
    for (what, hex) in WRONG {
        let bytes = unhex(hex);
        let (result, peak) = alloc::peak(|| decode::<Ipld>(&bytes, "value"));
        assert_eq!(result.expect_err(what).kind(), ErrorKind::Corrupt, "{what}");
        assert!(peak < 1 << 20, "{what} took {peak} bytes");
    }
}

#[test]
fn deep_nesting_is_refused_without_overflowing_the_stack() {
    for (open, close) in [("81", "00"), ("a16161", "00"), ("d82a", "4100")] {
        let bytes = unhex(&format!("{}{close}", open.repeat(1 << 20)));
        assert_eq!(decode::<Ipld>(&bytes, "value").unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

/// The walk over any value that [`Reader`] allows, as a second opinion on the library's decoder.
fn walk(r: &mut Reader<'_>, w: &mut Writer, depth: u8) -> Option<()> {
    match r.major().ok()? {
        0 => w.uint(r.uint().ok()?),
        1 => w.int(r.int().ok()?),
        2 => w.bytes(r.bytes(1 << 20).ok()?),
        3 => w.text(r.text(1 << 20).ok()?),
        4 if depth > 0 => {
            let len = r.array(1 << 20, 1).ok()?;
            w.array(len);
            for _ in 0..len {
                walk(r, w, depth - 1)?;
            }
        }
        6 => {
            let cid: [u8; 36] = r.link().ok()?.try_into().ok()?;
            Cid::read_bytes(&cid[..]).ok()?;
            w.link(&cid);
        }
        7 => r.null().ok()?.then(|| w.optional::<()>(None, |_, ()| ()))?,
        _ => return None,
    }
    Some(())
}

#[test]
fn walking_item_by_item_agrees_with_the_library() {
    let mut rng = SmallRng::seed_from_u64(1);
    let heads: &[u8] =
        &[0, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x20, 0x38, 0x39, 0x3b, 0x41, 0x58, 0x61, 0x78, 0x80, 0x81, 0x82, 0x98, 0xf6, 0xff];
    let link = unhex("d82a582500015512205891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
    let (mut good, mut bad) = (0, 0);
    let cases = crate::testing::property_cases(300_000);
    for _ in 0..cases {
        let mut bytes = Vec::new();
        for _ in 0..rng.random_range(1..8) {
            match rng.random_range(0..10) {
                0 => bytes.extend_from_slice(&link),
                1..6 => bytes.push(heads[rng.random_range(0..heads.len())]),
                _ => bytes.push(rng.random()),
            }
        }
        let (mut r, mut w) = (Reader::new(&bytes), Writer::default());
        let walked = walk(&mut r, &mut w, 16).is_some() && r.end().is_ok();
        if walked {
            assert_eq!(w.finish(), bytes);
            good += 1;
        } else {
            bad += 1;
        }
        let library = decode::<Ipld>(&bytes, "value");
        // Maps, booleans, floats and integers below -2^63 are not read item by item.
        let ours = bytes.iter().all(|b| b >> 5 != 5 && !(0xf4..=0xf5).contains(b) && *b != 0xfb) && !bytes.contains(&0x3b);
        if walked || ours {
            assert_eq!(walked, library.is_ok(), "{bytes:02x?} {library:?}");
        }
    }
    assert!(good > cases / 30 && bad > cases / 30, "{good} {bad}");
}
