//! Places that a call has looked at and is about to change, so that it notices what other calls stage there meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::key::Prefix;
use crate::snapshot::KeyOrPrefix;

/// Notes whether anything was staged at or below some places since it was made.
#[derive(Debug)]
pub(crate) struct PlaceWatch {
    places: Vec<KeyOrPrefix>,
    is_touched: AtomicBool,
}

impl PlaceWatch {
    pub(super) const fn new(places: Vec<KeyOrPrefix>) -> Self {
        Self { places, is_touched: AtomicBool::new(false) }
    }

    /// Whether anything was staged there. Asked and answered under the lock of what is staged.
    pub(crate) fn is_touched(&self) -> bool {
        self.is_touched.load(Ordering::Relaxed)
    }

    /// Forgets what was staged until now: the holder's own change. Called under the lock of what is staged.
    pub(super) fn reset(&self) {
        self.is_touched.store(false, Ordering::Relaxed);
    }

    /// Notes that something is staged for `key`.
    pub(super) fn see_key(&self, key: &str) {
        self.touch_if(|place| match place {
            KeyOrPrefix::Key(watched) => watched.as_str() == key,
            KeyOrPrefix::Prefix(watched) => watched.contains(key),
        });
    }

    /// Notes that everything below `prefix` is deleted.
    pub(super) fn see_prefix(&self, prefix: &Prefix) {
        self.touch_if(|place| match place {
            KeyOrPrefix::Key(watched) => prefix.contains(watched.as_str()),
            KeyOrPrefix::Prefix(watched) => prefix.contains(watched.as_str()) || watched.contains(prefix.as_str()),
        });
    }

    /// Notes that something is staged somewhere.
    pub(super) fn see_any(&self) {
        self.is_touched.store(true, Ordering::Relaxed);
    }

    fn touch_if(&self, is_it: impl Fn(&KeyOrPrefix) -> bool) {
        if self.places.iter().any(is_it) {
            self.see_any();
        }
    }
}
