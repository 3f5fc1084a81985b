#![no_main]

use std::sync::LazyLock;

use firnline_fuzz::Place;
use firnline_kerchunk::{KerchunkImport, import_references};

static PLACE: LazyLock<Place> = LazyLock::new(Place::new);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let set = PLACE.put("set.json", bytes);
    PLACE.runtime.block_on(async {
        let session = PLACE.repository.write("main").await.expect("a session");
        let _ = import_references(&session, &set, &KerchunkImport::default().allow_missing()).await;
    });
});
