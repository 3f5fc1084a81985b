#[cfg(feature = "aws")]
mod buckets;
#[cfg(all(feature = "http", feature = "aws"))]
mod credentials;
mod locating;
mod pinning;
#[cfg(feature = "http")]
mod ranges;
mod reading;
mod refusing;
#[cfg(any(feature = "http", feature = "aws"))]
#[path = "../../../tests/support/web.rs"]
mod server;
mod templates;
#[cfg(feature = "http")]
mod web;

use std::collections::BTreeMap;

use crate::format::Container;

fn container(name: &str, template: &str) -> Container {
    Container { name: name.to_owned(), template: template.to_owned(), defaults: BTreeMap::new(), options: BTreeMap::new() }
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The message of an error and the place that it says to allow, as a face may put them together.
pub(super) fn advised(error: &crate::error::Error) -> String {
    match error.remedy() {
        Some(crate::error::Remedy::Allow(place)) => format!("{error}; add --allow {place}"),
        _ => error.to_string(),
    }
}
