//! Extension points of Zarr v3: a name, with or without a configuration.

use firnline::{Error, Result};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// What stands at an extension point: `"name"`, or an object with a name and perhaps a configuration.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Extension {
    pub(super) name: String,
    pub(super) configuration: Map<String, Value>,
}

impl Extension {
    /// Removes a member of the configuration; null counts as absent.
    pub(super) fn take(&mut self, member: &str) -> Option<Value> {
        self.configuration.remove(member).filter(|value| !value.is_null())
    }

    /// Removes a whole number, which may be absent.
    pub(super) fn take_number(&mut self, member: &str) -> Result<Option<u64>> {
        let value = self.take(member);
        value.map(|value| value.as_u64().ok_or_else(|| self.wrong(member))).transpose()
    }

    /// Removes a text, which may be absent.
    pub(super) fn take_text(&mut self, member: &str) -> Result<Option<String>> {
        match self.take(member) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(member)),
        }
    }

    /// Removes a member that must be there.
    pub(super) fn need<T>(&mut self, member: &str, take: impl FnOnce(&mut Self, &str) -> Result<Option<T>>) -> Result<T> {
        let found = take(self, member)?;
        found.ok_or_else(|| Error::invalid(format!("its {} has no {member}", self.name)))
    }

    /// Refuses what is left of the configuration: it might change what the chunks mean.
    pub(super) fn finish(self) -> Result<()> {
        match self.configuration.keys().next() {
            Some(member) => Err(super::unsupported(format!("the option {member:?} of its {} is not known", self.name))),
            None => Ok(()),
        }
    }

    pub(super) fn wrong(&self, member: &str) -> Error {
        Error::invalid(format!("the option {member:?} of its {} is wrong", self.name))
    }
}

impl<'de> Deserialize<'de> for Extension {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Named {
            name: String,
            #[serde(default)]
            configuration: Option<Map<String, Value>>,
            #[serde(default)]
            #[expect(dead_code, reason = "a reader that knows the name has understood it")]
            must_understand: Option<bool>,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Name(String),
            Named(Named),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::Name(name) => Self { name, configuration: Map::new() },
            Either::Named(Named { name, configuration, .. }) => Self { name, configuration: configuration.unwrap_or_default() },
        })
    }
}

/// Whether a reader that does not know a field of a document must refuse the document: always, unless it says otherwise.
pub(super) fn must_be_understood(value: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Optional {
        must_understand: bool,
    }
    value.get() != "null" && serde_json::from_str::<Optional>(value.get()).map_or(true, |field| field.must_understand)
}
