#![no_main]

use firnline::fuzzing::FuzzedDecoder;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    FuzzedDecoder::ChangedKeys.run(bytes);
});
