//! The metadata of arrays and groups, as Zarr stores it.

use firnline::{Error, Key, Result};
use serde_json::{Map, Value, json};

use crate::ZarrFormat;
use crate::array::copied_chunk;
use crate::element::Element;
use crate::model::Variable;

/// Attributes that decide what the values mean. They must be equal in all files; of all others those of the first file are kept.
const MEANING: [&str; 11] = [
    "units",
    "calendar",
    "scale_factor",
    "add_offset",
    "_FillValue",
    "missing_value",
    "_Unsigned",
    "flag_values",
    "flag_masks",
    "flag_meanings",
    "positive",
];

/// Where version 2 keeps the names of dimensions.
const DIMENSIONS: &str = "_ARRAY_DIMENSIONS";

/// What Zarr says about one array.
#[derive(Debug, Clone)]
pub(crate) struct ArrayDocument {
    format: ZarrFormat,
    pub(crate) shape: Vec<u64>,
    pub(crate) chunk: Vec<u64>,
    pub(crate) dims: Vec<String>,
    data_type: Value,
    /// Of version 3 the list of codecs; of version 2 the filters and the compressor.
    codecs: Value,
    fill: Value,
    /// Of version 2, where the file has no attribute `_FillValue`: the value of elements that were never written, which `fill` is only if
    /// there are such elements.
    unstated: Option<Value>,
    pub(crate) attributes: Map<String, Value>,
    /// What stands between the array's path and the first coordinate of a chunk, and between two coordinates.
    lead: &'static str,
    separator: char,
    /// The stored documents, of which only the shape changes.
    stored: Option<Stored>,
}

#[derive(Debug, Clone)]
struct Stored {
    main: Map<String, Value>,
}

/// A file of the documents of a node: its name, and its text.
pub(crate) type DocumentFile = (&'static str, Vec<u8>);

impl ArrayDocument {
    /// Describes a variable whose elements lie in chunks of this shape.
    pub(crate) fn new(variable: &Variable, chunk: Vec<u64>, filters: &[Value], format: ZarrFormat) -> Self {
        let element = variable.element;
        let mut attributes = variable.attributes.clone();
        let fill_attribute = variable.fill_attribute.as_ref();
        let (mut fill, mut unstated) = (element.value(variable.fill.as_deref()), None);
        let (codecs, lead, separator) = match format {
            ZarrFormat::V3 => {
                let stated = fill_attribute.filter(|_| element.can_state_fill(format));
                let encoded = stated.and_then(|value| element.fill_attribute(value));
                attributes.extend(encoded.map(|value| ("_FillValue".to_owned(), value)));
                (v3_codecs(element, filters), "/c/", '/')
            }
            ZarrFormat::V2 => {
                // Readers take it for the attribute: without the attribute it is given only where elements were never written.
                let stated = fill_attribute.and_then(|value| element.fill_number(value));
                unstated = if stated.is_none() { Some(fill.clone()) } else { None };
                fill = stated.unwrap_or(if variable.may_lack_elements() { fill } else { Value::Null });
                attributes.insert(DIMENSIONS.to_owned(), json!(variable.dims));
                (v2_codecs(element, filters), "/", '.')
            }
        };
        let data_type = element.data_type(format);
        let (shape, dims) = (variable.shape.clone(), variable.dims.clone());
        Self { format, shape, chunk, dims, data_type, codecs, fill, unstated, attributes, lead, separator, stored: None }
    }

    /// Reads stored documents: `zarr.json`, or `.zarray` and `.zattrs`.
    pub(crate) fn read(format: ZarrFormat, main: &[u8], attributes: Option<&[u8]>) -> Result<Self> {
        let main = object(main)?;
        let field = |name: &str| main.get(name).cloned().unwrap_or(Value::Null);
        let shape = numbers(&field("shape"), "shape")?;
        let refused = |what: &str| Error::unsupported(format!("has {what}, so nothing can be appended to it"));
        let (chunk, data_type, codecs, attributes, lead, separator) = match format {
            ZarrFormat::V3 => {
                let grid = field("chunk_grid");
                if grid.get("name").and_then(Value::as_str) != Some("regular") {
                    return Err(refused("no regular grid of chunks"));
                }
                let chunk = numbers(grid.pointer("/configuration/chunk_shape").unwrap_or(&Value::Null), "chunk_shape")?;
                if field("storage_transformers").as_array().is_some_and(|all| !all.is_empty()) {
                    return Err(refused("storage transformers"));
                }
                let encoding = encoding(&field("chunk_key_encoding"));
                let (lead, separator) = encoding.ok_or_else(|| refused("names of chunks in a form that is not known"))?;
                (chunk, field("data_type"), field("codecs"), field("attributes"), lead, separator)
            }
            ZarrFormat::V2 => {
                if shape.len() > 1 && !matches!(field("order").as_str(), None | Some("C")) {
                    return Err(refused(&format!("chunks in the order {}, and files have theirs in the order \"C\"", field("order"))));
                }
                let separator = match field("dimension_separator").as_str() {
                    None | Some(".") => '.',
                    Some("/") => '/',
                    Some(_) => return Err(refused("names of chunks in a form that is not known")),
                };
                let codecs = json!({"filters": field("filters"), "compressor": field("compressor")});
                let attributes = attributes.map(object).transpose()?.map_or(Value::Null, Value::Object);
                (numbers(&field("chunks"), "chunks")?, field("dtype"), codecs, attributes, "/", separator)
            }
        };
        let attributes = if let Value::Object(map) = attributes { map } else { Map::new() };
        let names =
            if format == ZarrFormat::V3 { field("dimension_names") } else { attributes.get(DIMENSIONS).cloned().unwrap_or_default() };
        let dims: Option<Vec<String>> = names.as_array().map(|names| names.iter().filter_map(|n| n.as_str().map(str::to_owned)).collect());
        let dims = dims.unwrap_or_default();
        if dims.len() != shape.len() || chunk.len() != shape.len() || chunk.contains(&0) {
            return Err(Error::unsupported("does not name each of its dimensions, so nothing can be appended to it"));
        }
        let fill = field("fill_value");
        let stored = Some(Stored { main });
        Ok(Self { format, shape, chunk, dims, data_type, codecs, fill, unstated: None, attributes, lead, separator, stored })
    }

    /// The texts of the documents as they are now.
    pub(crate) fn files(&self) -> Vec<DocumentFile> {
        if let Some(Stored { main }) = &self.stored {
            let mut main = main.clone();
            main.insert("shape".to_owned(), json!(self.shape));
            let name = if self.format == ZarrFormat::V3 { "zarr.json" } else { ".zarray" };
            return vec![(name, text(&Value::Object(main)))];
        }
        match self.format {
            ZarrFormat::V3 => vec![(
                "zarr.json",
                text(&json!({
                    "zarr_format": 3,
                    "node_type": "array",
                    "shape": self.shape,
                    "data_type": self.data_type,
                    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": self.chunk}},
                    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
                    "fill_value": self.fill,
                    "codecs": self.codecs,
                    "attributes": self.attributes,
                    "dimension_names": self.dims,
                })),
            )],
            ZarrFormat::V2 => vec![
                (
                    ".zarray",
                    text(&json!({
                        "zarr_format": 2,
                        "shape": self.shape,
                        "chunks": self.chunk,
                        "dtype": self.data_type,
                        "compressor": self.codecs.get("compressor"),
                        "filters": self.codecs.get("filters"),
                        "fill_value": self.fill,
                        "order": "C",
                        "dimension_separator": ".",
                    })),
                ),
                (".zattrs", text(&json!(self.attributes))),
            ],
        }
    }

    /// What stands before the first coordinate of a chunk of the array at `path`.
    pub(crate) fn chunk_prefix(&self, path: &str) -> String {
        format!("{path}{}", self.lead)
    }

    /// What stands between two coordinates.
    pub(crate) const fn separator(&self) -> char {
        self.separator
    }

    /// The key of one chunk of the array at `path`.
    pub(crate) fn chunk_key(&self, path: &str, cell: &[u64]) -> Result<Key> {
        let prefix = self.chunk_prefix(path);
        if cell.is_empty() {
            return Key::new(if self.lead.starts_with("/c") { format!("{path}/c") } else { format!("{prefix}0") });
        }
        let cell: Vec<String> = cell.iter().map(u64::to_string).collect();
        Key::new(prefix + &cell.join(&self.separator.to_string()))
    }

    /// Says in words what does not allow `other` to be a part of this array, or to be this array again: `other` may differ in its
    /// length along `axis`. `copies`: the values are copied, so the chunks of the file do not count.
    pub(crate) fn difference(&self, other: &Self, axis: Option<usize>, copies: bool) -> Option<String> {
        let differs = |what: &str, is: &Value, was: &Value| (is != was).then(|| format!("has {what} {is}, not {was} as before"));
        let lengths = |doc: &Self| doc.shape.iter().enumerate().map(|(n, len)| if Some(n) == axis { 0 } else { *len }).collect::<Vec<_>>();
        let dims = differs("the dimensions", &json!(other.dims), &json!(self.dims));
        let shapes = dims.or_else(|| {
            let is_equal = lengths(self) == lengths(other);
            (!is_equal).then(|| format!("has the shape {:?}, which does not fit {:?} as before", other.shape, self.shape))
        });
        let types = shapes.or_else(|| differs("elements of type", &other.data_type, &self.data_type));
        let chunks = types.or_else(|| if copies { None } else { differs("chunks of", &json!(other.chunk), &json!(self.chunk)) });
        let codecs = chunks.or_else(|| differs("the codecs", &other.codecs, &self.codecs));
        let fills = codecs.or_else(|| self.fill_difference(other));
        fills.or_else(|| {
            let null = Value::Null;
            let of = |doc: &Self, name: &str| doc.attributes.get(name).unwrap_or(&null).clone();
            MEANING.iter().find_map(|name| differs(&format!("the attribute {name}"), &of(other, name), &of(self, name)))
        })
    }

    fn fill_difference(&self, other: &Self) -> Option<String> {
        let differs = |is: &Value, was: &Value| (is != was).then(|| format!("has the fill value {is}, not {was} as before"));
        match (&other.unstated, &self.unstated) {
            (Some(is), Some(was)) => differs(is, was),
            // What is stored does not say whether a file stated it. Readers take elements for written if they are told no value.
            (Some(is), None) if self.stored.is_some() => match (&self.fill, &other.fill) {
                (Value::Null, Value::Null) => None,
                (Value::Null, _) => Some(format!("lacks chunks, whose elements are {is}, and the stored fill value is null")),
                (was, _) => differs(is, was),
            },
            _ => differs(&other.fill, &self.fill),
        }
    }

    /// Takes over the value of elements that were never written, when this is the first file of new ones that has such elements.
    pub(crate) fn take_fill(&mut self, other: &Self) {
        if self.stored.is_none() && self.unstated.is_some() && self.fill.is_null() {
            self.fill = other.fill.clone();
        }
    }

    /// Whether the array has the form in which values are copied into the repository, joined along `axis`. Of a coordinate other tools
    /// may have chosen the chunks.
    pub(crate) fn is_as_copied(&self, axis: Option<usize>, is_coordinate: bool) -> bool {
        let is_plain = match self.format {
            ZarrFormat::V3 => match self.codecs.as_array().map(Vec::as_slice) {
                Some([codec]) => {
                    let name = codec.get("name").and_then(Value::as_str);
                    let is_big = codec.pointer("/configuration/endian").and_then(Value::as_str) == Some("big");
                    matches!(name, Some("bytes" | "vlen-utf8")) && !is_big
                }
                _ => false,
            },
            ZarrFormat::V2 => {
                let is_text = self.codecs.get("filters") == Some(&json!([{"id": "vlen-utf8"}]));
                let is_big = self.data_type.as_str().is_none_or(|name| name.starts_with('>'));
                self.codecs.get("compressor").is_none_or(Value::is_null)
                    && (is_text || (!is_big && self.codecs.get("filters").is_none_or(Value::is_null)))
            }
        };
        // Only strings of a fixed length have elements whose size counts.
        let size = match self.format {
            ZarrFormat::V3 => self.data_type.pointer("/configuration/length_bytes").and_then(Value::as_u64),
            ZarrFormat::V2 => self.data_type.as_str().and_then(|name| name.strip_prefix("|S")).and_then(|size| size.parse().ok()),
        };
        is_plain && (is_coordinate || self.chunk == copied_chunk(&self.shape, size.unwrap_or_default(), axis))
    }

    /// The names of attributes that `other` has with another value, or this array has alone.
    pub(crate) fn other_attributes(&self, other: &Self) -> Vec<String> {
        let names = self.attributes.keys().chain(other.attributes.keys().filter(|name| !self.attributes.contains_key(*name)));
        names.filter(|name| self.attributes.get(*name) != other.attributes.get(*name)).cloned().collect()
    }
}

/// How the keys of chunks are made in version 3; `None` if in no way that is known.
fn encoding(document: &Value) -> Option<(&'static str, char)> {
    let separator = document.pointer("/configuration/separator").map_or(Some(None), |text| text.as_str().map(Some));
    match (document.get("name").and_then(Value::as_str)?, separator?) {
        ("v2", None | Some(".")) => Some(("/", '.')),
        ("v2", Some("/")) => Some(("/", '/')),
        ("default", None | Some("/")) => Some(("/c/", '/')),
        ("default", Some(".")) => Some(("/c.", '.')),
        _ => None,
    }
}

fn v3_codecs(element: Element, filters: &[Value]) -> Value {
    let filters = filters.iter().map(|filter| {
        let mut configuration = filter.as_object().cloned().unwrap_or_default();
        let id = configuration.remove("id").unwrap_or_default();
        json!({"name": format!("numcodecs.{}", id.as_str().unwrap_or_default()), "configuration": configuration})
    });
    std::iter::once(element.bytes_codec()).chain(filters).collect()
}

fn v2_codecs(element: Element, filters: &[Value]) -> Value {
    if element == Element::TEXT {
        return json!({"filters": [{"id": "vlen-utf8"}], "compressor": null});
    }
    let is_compressor = |filter: &&Value| matches!(filter.get("id").and_then(Value::as_str), Some("zlib" | "zstd" | "blosc" | "bz2"));
    let compressor = filters.last().filter(is_compressor);
    let filters = filters.get(..filters.len() - usize::from(compressor.is_some())).filter(|rest| !rest.is_empty());
    json!({"filters": filters, "compressor": compressor})
}

/// The documents of a group.
pub(crate) fn group(format: ZarrFormat, attributes: &Map<String, Value>) -> Vec<DocumentFile> {
    match format {
        ZarrFormat::V3 => vec![("zarr.json", text(&json!({"zarr_format": 3, "node_type": "group", "attributes": attributes})))],
        ZarrFormat::V2 => {
            let mut files = vec![(".zgroup", text(&json!({"zarr_format": 2})))];
            if !attributes.is_empty() {
                files.push((".zattrs", text(&json!(attributes))));
            }
            files
        }
    }
}

pub(crate) fn text(document: &Value) -> Vec<u8> {
    serde_json::to_vec(document).unwrap_or_default()
}

pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>> {
    let wrong = |why: String| Error::invalid(format!("its metadata is no document of Zarr: {why}"));
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(wrong("it is no object".to_owned())),
        Err(e) => Err(wrong(e.to_string())),
    }
}

fn numbers(value: &Value, name: &str) -> Result<Vec<u64>> {
    let numbers = value.as_array().and_then(|all| all.iter().map(Value::as_u64).collect());
    numbers.ok_or_else(|| Error::invalid(format!("its metadata has no list of numbers {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chunk_of_a_single_value_is_named_by_the_encoding_alone() {
        for (name, separator, key) in [("default", "/", "v/c"), ("default", ".", "v/c"), ("v2", ".", "v/0"), ("v2", "/", "v/0")] {
            let document = json!({
                "shape": [], "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": []}}, "dimension_names": [],
                "chunk_key_encoding": {"name": name, "configuration": {"separator": separator}},
            });
            let document = ArrayDocument::read(ZarrFormat::V3, &text(&document), None).unwrap();
            assert_eq!(document.chunk_key("v", &[]).unwrap().as_str(), key, "{name} {separator}");
        }
    }
}
