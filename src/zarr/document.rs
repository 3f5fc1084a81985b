//! Reading a document: a group, an array, or something that does not parse.

use serde::Deserialize;
use serde_json::Value;

use super::split;

/// What a document says its directory is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ZarrNode {
    /// A group. Nothing in it decides how a chunk is read; consolidated metadata is a copy.
    Group,
    /// An array.
    Array(Structure),
    /// A document that does not parse, or that cannot be read here. Its meaning for the chunks is not known.
    Unreadable,
}

/// The part of an array's metadata that decides how its chunks are read: everything but attributes and names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Structure {
    /// Elements along each dimension.
    pub(crate) shape: Vec<u64>,
    /// The other fields, by name, absent ones as null, equivalent spellings as one.
    pub(super) fields: Vec<(&'static str, Value)>,
}

#[derive(Deserialize)]
struct Version3 {
    zarr_format: u64,
    node_type: String,
    shape: Option<Vec<u64>>,
    #[serde(default)]
    data_type: Value,
    #[serde(default)]
    chunk_grid: Value,
    #[serde(default)]
    chunk_key_encoding: Value,
    #[serde(default)]
    fill_value: Value,
    #[serde(default)]
    codecs: Value,
    #[serde(default)]
    storage_transformers: Value,
}

#[derive(Deserialize)]
struct Array2 {
    zarr_format: u64,
    shape: Vec<u64>,
    #[serde(default)]
    chunks: Value,
    #[serde(default)]
    dtype: Value,
    #[serde(default)]
    compressor: Value,
    #[serde(default)]
    filters: Value,
    #[serde(default)]
    order: Value,
    #[serde(default)]
    fill_value: Value,
    #[serde(default)]
    dimension_separator: Value,
}

#[derive(Deserialize)]
struct Group2 {
    zarr_format: u64,
}

impl ZarrNode {
    /// Reads the document under `key`, which must be one that makes a node.
    pub(crate) fn parse(key: &str, bytes: &[u8]) -> Self {
        let node = match split(key).1 {
            ".zarray" => serde_json::from_slice(bytes).ok().and_then(Array2::node),
            ".zgroup" => serde_json::from_slice(bytes).ok().filter(|g: &Group2| g.zarr_format == 2).map(|_| Self::Group),
            _ => serde_json::from_slice(bytes).ok().and_then(Version3::node),
        };
        node.unwrap_or(Self::Unreadable)
    }

    /// Whether chunks written under one are read alike under the other.
    pub(crate) fn is_alike(&self, other: &Self) -> bool {
        *self != Self::Unreadable && self == other
    }
}

impl Version3 {
    fn node(self) -> Option<ZarrNode> {
        match (self.zarr_format, self.node_type.as_str()) {
            (3, "group") => Some(ZarrNode::Group),
            (3, "array") => Some(ZarrNode::Array(Structure {
                shape: self.shape?,
                fields: vec![
                    ("data_type", named(self.data_type)),
                    ("chunk_grid", named(self.chunk_grid)),
                    ("chunk_key_encoding", named(self.chunk_key_encoding)),
                    ("fill_value", self.fill_value),
                    ("codecs", all_named(self.codecs)),
                    ("storage_transformers", all_named(self.storage_transformers)),
                ],
            })),
            _ => None,
        }
    }
}

impl Array2 {
    fn node(self) -> Option<ZarrNode> {
        let separator = if self.dimension_separator.is_null() { Value::from(".") } else { self.dimension_separator };
        (self.zarr_format == 2).then_some(ZarrNode::Array(Structure {
            shape: self.shape,
            fields: vec![
                ("chunks", self.chunks),
                ("dtype", self.dtype),
                ("compressor", self.compressor),
                ("filters", none_if_empty(self.filters)),
                ("order", self.order),
                ("fill_value", self.fill_value),
                ("dimension_separator", separator),
            ],
        }))
    }
}

/// An extension point of v3: a name alone says the same as an object with that name and no configuration.
fn named(value: Value) -> Value {
    match value {
        Value::String(name) => serde_json::json!({ "name": name }),
        Value::Object(mut object) => {
            if object.get("configuration").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
                object.remove("configuration");
            }
            Value::Object(object)
        }
        other => other,
    }
}

fn all_named(value: Value) -> Value {
    match none_if_empty(value) {
        Value::Array(all) => all.into_iter().map(named).collect(),
        other => other,
    }
}

fn none_if_empty(value: Value) -> Value {
    if value.as_array().is_some_and(Vec::is_empty) { Value::Null } else { value }
}

impl Structure {
    /// The shape of a shard, if the chunks of the array are shards. Writers of different shards do not conflict.
    pub(crate) fn shard(&self) -> Option<Vec<u64>> {
        let field = |name: &str| self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value);
        let codecs = field("codecs")?.as_array()?;
        if !codecs.iter().any(|codec| codec.get("name").and_then(Value::as_str) == Some("sharding_indexed")) {
            return None;
        }
        let shape = field("chunk_grid")?.pointer("/configuration/chunk_shape")?;
        shape.as_array()?.iter().map(Value::as_u64).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::zarr) fn array3(change: impl FnOnce(&mut Value)) -> ZarrNode {
        let mut document = serde_json::json!({
            "zarr_format": 3, "node_type": "array", "shape": [10, 20], "data_type": "int32",
            "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": [5, 5] } },
            "chunk_key_encoding": { "name": "default", "configuration": { "separator": "/" } },
            "fill_value": 0, "codecs": [{ "name": "bytes", "configuration": { "endian": "little" } }],
            "attributes": {}
        });
        change(&mut document);
        ZarrNode::parse("a/zarr.json", document.to_string().as_bytes())
    }

    pub(in crate::zarr) fn array2(change: impl FnOnce(&mut Value)) -> ZarrNode {
        let mut document = serde_json::json!({
            "zarr_format": 2, "shape": [10, 20], "chunks": [5, 5], "dtype": "<i4", "compressor": { "id": "zlib", "level": 1 },
            "filters": null, "order": "C", "fill_value": 0
        });
        change(&mut document);
        ZarrNode::parse("a/.zarray", document.to_string().as_bytes())
    }

    #[test]
    fn spellings_that_mean_the_same_are_equal() {
        let plain = array3(|_| ());
        assert!(matches!(plain, ZarrNode::Array(_)));
        assert_eq!(plain, array3(|d| d["data_type"] = serde_json::json!({ "name": "int32", "configuration": {} })));
        assert_eq!(plain, array3(|d| d["storage_transformers"] = serde_json::json!([])));
        assert_eq!(plain, array3(|d| d["dimension_names"] = serde_json::json!(["y", "x"])));
        assert_eq!(array2(|_| ()), array2(|d| d["filters"] = serde_json::json!([])));
        assert_eq!(array2(|_| ()), array2(|d| d["dimension_separator"] = ".".into()));
        assert_ne!(array2(|_| ()), array2(|d| d["dimension_separator"] = "/".into()));
    }

    #[test]
    fn what_does_not_parse_is_said_to_be_unreadable() {
        for (key, text) in [
            ("zarr.json", ""),
            ("zarr.json", "[]"),
            ("zarr.json", r#"{"zarr_format":3}"#),
            ("zarr.json", r#"{"zarr_format":4,"node_type":"group"}"#),
            ("zarr.json", r#"{"zarr_format":3,"node_type":"array"}"#),
            ("zarr.json", r#"{"zarr_format":3,"node_type":"array","shape":[-1]}"#),
            ("zarr.json", r#"{"zarr_format":3,"node_type":"group","node_type":"array","shape":[1]}"#),
            (".zarray", r#"{"zarr_format":3,"shape":[1]}"#),
            (".zarray", r#"{"zarr_format":2}"#),
            (".zgroup", r#"{"zarr_format":3}"#),
        ] {
            assert_eq!(ZarrNode::parse(key, text.as_bytes()), ZarrNode::Unreadable, "{key}: {text}");
        }
        assert!(!ZarrNode::Unreadable.is_alike(&ZarrNode::Unreadable));
        assert_eq!(ZarrNode::parse("g/.zgroup", br#"{"zarr_format":2}"#), ZarrNode::Group);
        let consolidated = br#"{"zarr_format":3,"node_type":"group","consolidated_metadata":{"metadata":{"a":{"shape":[-1]}}}}"#;
        assert_eq!(ZarrNode::parse("zarr.json", consolidated), ZarrNode::Group);
    }

    #[test]
    fn the_grid_of_shards_is_the_outer_one() {
        let sharded = array3(|d| {
            let inner = serde_json::json!({ "chunk_shape": [1, 5], "codecs": ["bytes"] });
            d["codecs"] = serde_json::json!([{ "name": "sharding_indexed", "configuration": inner }]);
        });
        let ZarrNode::Array(structure) = sharded else { panic!("{sharded:?}") };
        assert_eq!(structure.shard(), Some(vec![5, 5]));
        let ZarrNode::Array(plain) = array3(|_| ()) else { panic!() };
        assert_eq!(plain.shard(), None);
    }
}
