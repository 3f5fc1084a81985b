//! Files that are valid but rarely written.

use firnline_virtualize::VirtualizeOptions;

use crate::tools::{Comparison, Place, Python};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_written_has_the_value_that_the_file_states_and_not_that_of_an_attribute() {
    let Some(python) = Python::find("what_was_never_written_has_the_value_that_the_file_states") else { return };
    let (mut comparisons, mut places) = (Vec::new(), Vec::new());
    for limit in [0, 1 << 20] {
        let (place, file) = (Place::new().await, python.file("unwritten.h5"));
        let mut options = VirtualizeOptions::default();
        options.inline_limit = limit;
        place.add(&[&file], &options).await.unwrap();
        comparisons.push(Comparison::new(&place.checkout("zarr").await, "-", &[&file]));
        places.push(place);
    }
    assert_eq!(python.compare_all(&comparisons), [17, 17]);
}
