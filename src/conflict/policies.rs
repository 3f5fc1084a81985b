//! Which side wins where.

use std::collections::BTreeMap;

use super::OnConflict;
use crate::error::{Error, Result};
use crate::key::Prefix;
use crate::zarr;

/// The policies by prefix, of which the longest decides.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policies {
    otherwise: OnConflict,
    by_prefix: BTreeMap<Prefix, OnConflict>,
}

impl Policies {
    /// `Invalid` when a prefix is given two policies.
    pub(crate) fn new(otherwise: OnConflict, by_prefix: &[(Prefix, OnConflict)]) -> Result<Self> {
        let mut policies = Self { otherwise, by_prefix: BTreeMap::new() };
        for (prefix, policy) in by_prefix {
            if policies.by_prefix.insert(prefix.clone(), *policy).is_some_and(|other| other != *policy) {
                return Err(Error::invalid(format!("two policies are given for conflicts at {:?}", prefix.as_str())));
            }
        }
        Ok(policies)
    }

    /// The policy for a key, or for everything below a prefix. A prefix decides also about the key of its name.
    pub(super) fn of(&self, place: &str) -> OnConflict {
        if self.by_prefix.is_empty() {
            return self.otherwise;
        }
        let find = |text: &str| self.by_prefix.get(&Prefix::new(text).ok()?).copied();
        find(place).or_else(|| zarr::directories(place).rev().find_map(find)).unwrap_or(self.otherwise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use OnConflict::{Ours, Refuse, Theirs};

    #[test]
    fn the_longest_prefix_decides() {
        let prefix = |text: &str| Prefix::new(text).unwrap();
        let given = [(prefix("a"), Ours), (prefix("a/b"), Theirs), (prefix("a/b/zarr.json"), Refuse)];
        let policies = Policies::new(Refuse, &given).unwrap();
        let asked = ["a", "a/", "a/x", "a/b/c/0", "a/b/", "a/b/zarr.json", "ab", "", "b/a/b"];
        assert_eq!(asked.map(|place| policies.of(place)), [Ours, Ours, Ours, Theirs, Theirs, Refuse, Refuse, Refuse, Refuse]);
        assert_eq!(Policies::new(Theirs, &[(Prefix::all(), Ours)]).unwrap().of("x"), Ours);
        let twice = [(prefix("a"), Ours), (prefix("a/"), Theirs)];
        assert_eq!(Policies::new(Refuse, &twice).unwrap_err().kind(), crate::ErrorKind::Invalid);
    }
}
