#![no_main]

use std::sync::LazyLock;

use firnline_fuzz::Place;
use firnline_virtualize::{VirtualizeOptions, virtualize};

static PLACE: LazyLock<Place> = LazyLock::new(Place::new);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let file = PLACE.put("file.h5", bytes);
    let Some(path) = file.to_str() else { return };
    PLACE.runtime.block_on(async {
        let session = PLACE.repository.write("main").await.expect("a session");
        // A panic of a parser is caught by the engine, but not by the fuzzer, which ends at it.
        let _ = virtualize(&session, &[path], &VirtualizeOptions::default()).await;
    });
});
