//! Reference sets that are directories: the documents of Zarr in `.zmetadata`, the references of an array in `NAME/refs.N.parq`.
//!
//! A row of such a file belongs to the chunk whose number is the place of the row, counted over all files of the array in row-major
//! order. A file that does not exist has no chunks.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use data_encoding::BASE64;
use firnline::{Error, Key, Result};
use serde::Deserialize;

use super::records::{RecordFile, RecordRow};
use super::sink::Sink;
use crate::error::{file_error, json_error, shown};
use crate::masked::masked;
use crate::template::quoted;
use crate::zarr_v2::{RegularGrid, write_name_v2, zarray_grid};

/// The longest `.zmetadata`, in bytes.
const LONGEST_DOCUMENT: u64 = 256 << 20;

/// How deep directories may lie.
const DEEPEST: usize = 64;

/// The chunks of one array.
#[derive(Debug)]
struct ImportedArray {
    /// What stands before the first index of a key: the name of the array and `/`.
    before: String,
    separator: char,
    grid: RegularGrid,
    total: u64,
}

/// Puts everything that a directory of references holds into `sink`.
pub(super) fn read_store(root: &Path, sink: &mut Sink) -> Result<()> {
    let path = root.join(".zmetadata");
    let text = read_document(&path)?;
    let masked = masked(&text);
    let document: StoreDocument<'_> = serde_json::from_slice(&masked).map_err(|e| json_error(&path, e))?;
    if document.record_size == 0 {
        return Err(Error::invalid(format!("{} has a record_size of 0", shown(&path))));
    }
    let mut arrays = BTreeMap::new();
    for (key, masked_value) in &document.metadata.0 {
        let value = original(&text, &masked, masked_value.get())?;
        let name = if key == ".zarray" { Some("") } else { key.strip_suffix("/.zarray") };
        if let Some(name) = name {
            let array = ImportedArray::of(name, masked_value.get()).map_err(|e| e.context(format!("{}: {}", shown(&path), quoted(key))))?;
            arrays.insert(name.to_owned(), array);
        }
        let value = match value {
            text if text.starts_with('"') => serde_json::from_str::<String>(text).map_err(|e| json_error(&path, e))?,
            document => document.to_owned(),
        };
        sink.value(key, value.into()).map_err(|e| e.context(shown(&path)))?;
    }
    refuse_strays(root, "", &arrays, 0)?;
    for (name, array) in &arrays {
        for (record, file) in record_files(&root.join(name))? {
            array.read(&file, record, document.record_size, sink)?;
        }
    }
    Ok(())
}

/// `.zmetadata`.
#[derive(Deserialize)]
struct StoreDocument<'t> {
    record_size: u64,
    #[serde(borrow)]
    metadata: RawMembers<'t>,
}

/// The members of an object, each as it is spelt.
struct RawMembers<'t>(Vec<(String, &'t serde_json::value::RawValue)>);

impl<'de: 't, 't> Deserialize<'de> for RawMembers<'t> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> serde::de::Visitor<'de> for MembersVisitor {
            type Value = RawMembers<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of documents")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<RawMembers<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = map.next_entry()? {
                    all.push(member);
                }
                Ok(RawMembers(all))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

fn read_document(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|e| {
        let e = file_error("read", path, e);
        if e.kind() == firnline::ErrorKind::NotFound { e.context("a directory of references holds .zmetadata") } else { e }
    })?;
    let mut text = Vec::new();
    file.take(LONGEST_DOCUMENT + 1).read_to_end(&mut text).map_err(|e| file_error("read", path, e))?;
    if text.len() as u64 > LONGEST_DOCUMENT {
        return Err(Error::invalid(format!("{} is longer than {LONGEST_DOCUMENT} bytes", shown(path))));
    }
    Ok(text)
}

/// What stands in `text` where `part` stands in `masked`.
fn original<'t>(text: &'t [u8], masked: &[u8], part: &str) -> Result<&'t str> {
    let start = part.as_ptr().addr().wrapping_sub(masked.as_ptr().addr());
    let found = text.get(start..start.saturating_add(part.len())).and_then(|bytes| std::str::from_utf8(bytes).ok());
    found.ok_or_else(|| Error::internal("a document lies outside of its text"))
}

impl ImportedArray {
    fn of(name: &str, document: &str) -> Result<Self> {
        if !name.is_empty() {
            Key::new(name)?;
        }
        let (grid, separator) = zarray_grid(document.as_bytes())?;
        let total = grid.total().ok_or_else(|| Error::invalid("the array has more chunks than can be counted"))?;
        let before = if name.is_empty() { String::new() } else { format!("{name}/") };
        Ok(Self { before, separator, grid, total })
    }

    fn write_key(&self, indices: &[u64], into: &mut String) {
        into.clear();
        into.push_str(&self.before);
        write_name_v2(indices, self.separator, into);
    }

    /// Puts the references of one file into the sink.
    fn read(&self, path: &Path, record: u64, record_size: u64, sink: &mut Sink) -> Result<()> {
        let named = |why: String| Error::invalid(format!("{} {why}", shown(path)));
        let first = record.checked_mul(record_size).filter(|first| *first < self.total);
        let first = first.ok_or_else(|| named(format!("is for chunks after the last of the array, which has {}", self.total)))?;
        let expected = record_size.min(self.total - first);
        let file = RecordFile::open(path)?;
        let found = file.len()?;
        if found < expected || found > record_size {
            return Err(named(format!("has {found} rows; {expected} chunks lie in it, and at most {record_size} rows")));
        }
        let (mut indices, mut key) = (self.grid.indices(first), String::new());
        file.each_row(|n, row| {
            let is_empty = row.path.is_none() && row.raw.is_none();
            if n >= expected {
                return if is_empty { Ok(()) } else { Err(named(format!("has a reference in row {n}, after the last chunk"))) };
            }
            if !is_empty {
                self.write_key(&indices, &mut key);
                take(&key, &row, sink).map_err(|e| e.context(shown(path)))?;
            }
            self.grid.step(&mut indices);
            Ok(())
        })
    }
}

/// Takes one row, of which bytes or a path are there. As for kerchunk, bytes come first, and a path with an offset and a size of 0 is
/// that of a whole file.
fn take(key: &str, row: &RecordRow<'_>, sink: &mut Sink) -> Result<()> {
    let wrong = |sink: &Sink, why: &str| Err(Error::invalid(format!("{}: {why}", sink.shown_key(key))));
    if let Some(raw) = row.raw {
        // fsspec decodes such a value, although it is not text here.
        let Some(encoded) = raw.strip_prefix(b"base64:") else { return sink.value(key, Bytes::copy_from_slice(raw)) };
        let Ok(bytes) = BASE64.decode(encoded.trim_ascii_end()) else { return wrong(sink, "the value is not base64") };
        return sink.value(key, bytes.into());
    }
    let Some(Ok(place)) = row.path.map(std::str::from_utf8) else { return wrong(sink, "the path is not UTF-8") };
    let range = match (row.offset, row.size) {
        (Some(0) | None, Some(0) | None) => None,
        (Some(offset), Some(size)) => match (u64::try_from(offset), u64::try_from(size)) {
            (Ok(offset), Ok(size)) => Some((offset, size)),
            _ => return wrong(sink, &format!("{size} bytes from {offset} are an invalid range")),
        },
        _ => return wrong(sink, "there is one of offset and size"),
    };
    sink.reference(key, place, range, || Ok(None))
}

/// The number in `refs.N.parq`.
fn record_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("refs.")?.strip_suffix(".parq")?;
    let is_plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| is_plain)
}

/// The files of references in a directory, by number; none if it does not exist.
fn record_files(directory: &Path) -> Result<BTreeMap<u64, PathBuf>> {
    let failed = |e| file_error("list", directory, e);
    let listed = match fs::read_dir(directory) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        listed => listed.map_err(failed)?,
    };
    let mut found = BTreeMap::new();
    for entry in listed {
        let entry = entry.map_err(failed)?;
        if let Some(number) = entry.file_name().to_str().and_then(record_number) {
            found.insert(number, entry.path());
        }
    }
    Ok(found)
}

/// `Invalid` unless the directory `root` is a reference set and nothing else: `.zmetadata` says how many references a file has, and all
/// other files are named like files of references. The first that is not is named. Links are no such files. Blocks.
pub(crate) fn require_set_alone(root: &Path) -> Result<()> {
    /// What tells `.zmetadata` of a reference set from that of Zarr.
    #[derive(Deserialize)]
    struct Mark {
        #[serde(rename = "record_size")]
        _record_size: u64,
    }
    let path = root.join(".zmetadata");
    serde_json::from_slice::<Mark>(&masked(&read_document(&path)?)).map_err(|e| json_error(&path, e))?;
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        let failed = |e| file_error("list", &directory, e);
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (kind, path, name) = (entry.file_type().map_err(failed)?, entry.path(), entry.file_name());
            let is_document = directory == root && name == ".zmetadata";
            if kind.is_dir() {
                left.push(path);
            } else if !(kind.is_file() && (is_document || name.to_str().and_then(record_number).is_some())) {
                return Err(Error::invalid(format!("{} is no file of a reference set", shown(&path))));
            }
        }
    }
    Ok(())
}

/// Refuses references below `directory` that belong to no array: they would be left out. Links are not followed.
fn refuse_strays(directory: &Path, name: &str, arrays: &BTreeMap<String, ImportedArray>, depth: usize) -> Result<()> {
    let failed = |e| file_error("list", directory, e);
    if depth > DEEPEST {
        return Err(Error::invalid(format!("{} lies more than {DEEPEST} directories deep", shown(directory))));
    }
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let file_name = entry.file_name();
        if entry.file_type().map_err(failed)?.is_dir() {
            let below = format!("{name}{}{}", if name.is_empty() { "" } else { "/" }, file_name.display());
            refuse_strays(&entry.path(), &below, arrays, depth + 1)?;
        } else if file_name.to_str().is_some_and(|file_name| record_number(file_name).is_some()) && !arrays.contains_key(name) {
            return Err(Error::invalid(format!(
                "{} belongs to no array: .zmetadata has no {}",
                shown(&entry.path()),
                quoted(&format!("{name}/.zarray"))
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_where_it_stood() {
        let text = br#"{"a": NaN, "b": [-Infinity, Infinity], "NaN\"Infinity": "NaN"}"#;
        let masked = masked(text);
        let part: std::collections::HashMap<String, &serde_json::value::RawValue> = serde_json::from_slice(&masked).unwrap();
        assert_eq!(original(text, &masked, part["b"].get()).unwrap(), "[-Infinity, Infinity]");
    }

    #[test]
    fn chunks_are_numbered_in_row_major_order() {
        let array = ImportedArray::of("a/b", r#"{"shape":[5,0,3],"chunks":[2,1,3]}"#).unwrap();
        assert_eq!(array.total, 0);
        let array = ImportedArray::of("a/b", r#"{"shape":[5,4],"chunks":[2,3],"dimension_separator":"/"}"#).unwrap();
        let (mut indices, mut key) = (array.grid.indices(1), String::new());
        for expected in ["a/b/0/1", "a/b/1/0", "a/b/1/1", "a/b/2/0", "a/b/2/1"] {
            array.write_key(&indices, &mut key);
            assert_eq!(key, expected);
            array.grid.step(&mut indices);
        }
        let (scalar, mut key) = (ImportedArray::of("s", r#"{"shape":[],"chunks":[]}"#).unwrap(), String::new());
        scalar.write_key(&scalar.grid.indices(0), &mut key);
        assert_eq!((scalar.total, &*key), (1, "s/0"));
        for bad in [
            "{}",
            r#"{"shape":[1],"chunks":[0]}"#,
            r#"{"shape":[1],"chunks":[1,1]}"#,
            r#"{"shape":[-1],"chunks":[1]}"#,
            r#"{"shape":[1],"chunks":[1],"dimension_separator":"-"}"#,
            r#"{"shape":[1],"chunks":[1],"zarr_format":3}"#,
            r#"{"shape":[4294967296,4294967296,4294967296],"chunks":[1,1,1]}"#,
        ] {
            assert_eq!(ImportedArray::of("a", bad).unwrap_err().kind(), firnline::ErrorKind::Invalid, "{bad}");
        }
        assert!(ImportedArray::of("a/../b", r#"{"shape":[1],"chunks":[1]}"#).is_err());
    }

    #[test]
    fn names_of_files_are_read_in_one_spelling() {
        assert_eq!(record_number("refs.0.parq"), Some(0));
        assert_eq!(record_number("refs.120.parq"), Some(120));
        for other in ["refs.parq", "refs..parq", "refs.01.parq", "refs.+1.parq", "refs.1.parquet", "refs.99999999999999999999.parq"] {
            assert_eq!(record_number(other), None, "{other}");
        }
    }
}
