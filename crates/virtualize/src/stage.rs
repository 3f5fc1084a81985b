//! Stages what the files of one call hold.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use firnline::{Amount, Error, Key, KeyColumn, Result, Validator, VirtualOptions, VirtualRefs, WriteSession};
use serde_json::{Map, Value};

use crate::array::{Array, References};
use crate::document::{self, DocumentFile};
use crate::model::{ParsedGroup, Values, count};
use crate::open::OpenedFile;
use crate::options::Settings;
use crate::stored::StoredHierarchy;
use crate::{VirtualizeSummary, ZarrFormat, join, time};

/// So many references are held before they are staged.
const HELD: usize = 1 << 18;

/// The number of rows of arrays with these paths, of the outermost group; `Invalid` unless those of each group are equal.
fn equal_rows<'a>(arrays: impl Iterator<Item = (&'a str, u64)>) -> Result<Option<u64>> {
    // Groups may each have a dimension of the name.
    let mut groups: BTreeMap<(usize, &str), (&str, u64)> = BTreeMap::new();
    for (path, is) in arrays {
        let group = path.rsplit_once('/').map_or("", |(group, _)| group);
        let depth = path.matches('/').count();
        let (other, was) = *groups.entry((depth, group)).or_insert((path, is));
        if was != is {
            return Err(Error::invalid(format!("{path} has {is} rows after this file, and {other} has {was}")));
        }
    }
    Ok(groups.first_key_value().map(|(_, (_, rows))| *rows))
}

/// Adds files one after the other and stages what they hold.
pub(crate) struct Stager<'s> {
    session: &'s WriteSession,
    prefix: String,
    settings: Settings,
    arrays: BTreeMap<String, Array>,
    /// The files that references point into which are not staged yet.
    urls: Vec<String>,
    validators: Vec<Option<Validator>>,
    pub(crate) summary: VirtualizeSummary,
}

impl<'s> Stager<'s> {
    pub(crate) fn new(session: &'s WriteSession, prefix: String, settings: Settings, arrays: BTreeMap<String, Array>) -> Self {
        let summary = VirtualizeSummary {
            arrays: arrays.len() as u64,
            copied: arrays.values().filter(|array| array.is_copied).count() as u64,
            ..VirtualizeSummary::default()
        };
        Self { session, prefix, settings, arrays, urls: Vec::new(), validators: Vec::new(), summary }
    }

    /// Adds one file to the arrays; errors begin with its URL.
    pub(crate) async fn add(&mut self, opened: OpenedFile) -> Result<()> {
        let OpenedFile { file, mut parsed } = opened;
        let url = u32::try_from(self.urls.len()).map_err(|_| Error::invalid("there are too many files"))?;
        let mut missing: BTreeSet<&str> = self.arrays.values().filter(|a| a.axis.is_some()).map(|a| a.path.as_str()).collect();
        for variable in &parsed.variables {
            missing.remove(variable.path.as_str());
            if !self.arrays.contains_key(&variable.path) {
                return Err(Error::invalid(format!("{}: {} is not in the files before; leave it out", file.url(), variable.path)));
            }
        }
        if let Some(path) = missing.first() {
            return Err(Error::invalid(format!("{}: there is no variable {path}, which the files before have", file.url())));
        }
        time::fit(&mut parsed.variables, &self.arrays).map_err(|e| e.context(file.url()))?;
        for variable in parsed.variables {
            let path = variable.path.clone();
            if variable.fill_attribute.is_some() && !variable.element.can_state_fill(self.settings.format) {
                self.summary.dropped_attributes.insert(format!("{path}@_FillValue"));
            }
            let Some(array) = self.arrays.get_mut(&path) else { continue };
            let added = array.add(variable, file.url(), url, self.settings.format);
            added.map_err(|e| e.context(&path).context(file.url()))?;
        }
        self.summary.files += 1;
        if let Some(progress) = self.session.base().repository().progress() {
            progress.advance(Amount { items: 1, bytes: 0 });
        }
        self.summary.reads += file.reads();
        self.summary.dropped_attributes.extend(parsed.dropped);
        self.summary.links.extend(parsed.left_out);
        self.urls.push(file.url().to_owned());
        self.validators.push(Some(file.validator()));
        self.check_rows(file.url())?;
        if self.arrays.values().map(|array| array.references.url.len()).sum::<usize>() >= HELD {
            self.flush().await?;
        }
        Ok(())
    }

    /// `Invalid` unless all arrays along the dimension of concatenation are equally long.
    fn check_rows(&mut self, url: &str) -> Result<()> {
        let arrays = self.arrays.values().filter(|array| array.axis.is_some());
        let rows = equal_rows(arrays.map(|array| (array.path.as_str(), array.rows())));
        self.summary.rows = rows.map_err(|e| e.context(url))?;
        Ok(())
    }

    /// Stages the references that are held.
    async fn flush(&mut self) -> Result<()> {
        let urls: Vec<&str> = self.urls.iter().map(String::as_str).collect();
        for array in self.arrays.values_mut() {
            let References { cells, url, offset, length } = std::mem::take(&mut array.references);
            if url.is_empty() {
                continue;
            }
            let prefix = array.document.chunk_prefix(&join(&self.prefix, &array.path));
            let (rank, separator) = (array.document.shape.len(), array.document.separator());
            let keys = KeyColumn::Cells { prefix: &prefix, rank, coordinates: &cells, separator };
            let refs = VirtualRefs { keys, urls: &urls, url: &url, offset: &offset, length: &length, validators: &self.validators };
            self.session.set_virtual_many(&refs, &VirtualOptions::default()).await?;
            self.summary.references += url.len() as u64;
            self.summary.bytes += length.iter().sum::<u64>();
        }
        self.urls.clear();
        self.validators.clear();
        Ok(())
    }

    /// Stages everything else: copied values and metadata.
    pub(crate) async fn finish(mut self, groups: &[ParsedGroup], stored: &StoredHierarchy) -> Result<VirtualizeSummary> {
        self.flush().await?;
        let arrays = std::mem::take(&mut self.arrays);
        for mut array in arrays.into_values() {
            let whole = join(&self.prefix, &array.path);
            let names = array.other_attributes.iter().map(|name| format!("{}@{name}", array.path));
            self.summary.other_attributes.extend(names);
            let staged = self.values(&mut array, &whole).await.map_err(|e| e.context(&whole));
            staged.map_err(|e| if array.first.is_empty() { e } else { e.context(&array.first) })?;
            if array.axis.is_some() || array.stored_rows.is_none() {
                self.documents(&whole, array.document.files()).await?;
            }
        }
        if !stored.is_appended {
            self.groups(groups).await?;
        }
        let groups = groups.iter().map(|group| &group.path).chain(&stored.groups).map(|path| join(&self.prefix, path));
        self.forget_consolidated(groups.collect()).await?;
        Ok(self.summary)
    }

    async fn documents(&mut self, path: &str, files: Vec<DocumentFile>) -> Result<()> {
        for (name, text) in files {
            self.session.set(&Key::new(join(path, name))?, text).await?;
            self.summary.values += 1;
        }
        Ok(())
    }

    /// The groups of the file, and those above them that do not exist.
    async fn groups(&mut self, groups: &[ParsedGroup]) -> Result<()> {
        let mut all: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
        for group in groups {
            all.insert(join(&self.prefix, &group.path), group.attributes.clone());
        }
        for (end, _) in self.prefix.match_indices('/') {
            all.entry(self.prefix.get(..end).unwrap_or_default().to_owned()).or_default();
        }
        all.entry(String::new()).or_default();
        let name = if self.settings.format == ZarrFormat::V3 { "zarr.json" } else { ".zgroup" };
        for (path, attributes) in all {
            // A group that exists keeps its attributes.
            if self.session.entry(&Key::new(join(&path, name))?).await?.is_none() {
                self.documents(&path, document::group(self.settings.format, &attributes)).await?;
            }
        }
        Ok(())
    }

    /// Removes copies of the metadata in these groups and those above, which would not show what was added.
    async fn forget_consolidated(&mut self, mut groups: BTreeSet<String>) -> Result<()> {
        let above = std::iter::once("").chain(self.prefix.match_indices('/').filter_map(|(end, _)| self.prefix.get(..end)));
        groups.extend(above.chain(std::iter::once(self.prefix.as_str())).map(str::to_owned));
        for path in groups {
            self.session.delete(&Key::new(join(&path, ".zmetadata"))?).await?;
            let key = Key::new(join(&path, "zarr.json"))?;
            let Some(bytes) = self.session.get(&key).await? else { continue };
            let Ok(mut object) = document::object(&bytes) else { continue };
            if object.remove("consolidated_metadata").is_some() {
                self.session.set(&key, document::text(&Value::Object(object))).await?;
            }
        }
        Ok(())
    }

    /// Stages the values of a copied array; of one that is stored and does not grow they are compared.
    async fn values(&mut self, array: &mut Array, whole: &str) -> Result<()> {
        if !array.is_copied || array.blocks.is_empty() {
            return Ok(());
        }
        let mut blocks = std::mem::take(&mut array.blocks);
        let document = &array.document;
        let Some(axis) = array.axis else {
            let key = document.chunk_key(whole, &vec![0; document.shape.len()])?;
            let Some((_, values)) = blocks.first() else { return Ok(()) };
            if document.shape.contains(&0) {
                return Ok(());
            }
            if array.stored_rows.is_none() {
                return self.set(key, values.encoded()).await;
            }
            let is_same = document.chunk == document.shape && self.session.get(&key).await?.as_deref() == Some(&values.encoded());
            return if is_same { Ok(()) } else { Err(Error::invalid("has other values than are stored, and does not grow")) };
        };
        if document.shape.iter().enumerate().any(|(n, len)| n != axis && *len == 0) {
            return Ok(());
        }
        let (chunk, start) = (document.chunk.get(axis).copied().unwrap_or(1).max(1), array.stored_rows.unwrap_or_default());
        let first = start / chunk;
        if let Some(block) = self.partial(array, whole, axis, chunk).await? {
            blocks.insert(0, block);
        }
        let joined = Values::joined(array.outer(), &blocks)?;
        let rows: u64 = blocks.iter().map(|(rows, _)| rows).sum();
        for n in 0..rows.div_ceil(chunk) {
            let window = (n * chunk, ((n + 1) * chunk).min(rows));
            let mut cell = vec![0; document.shape.len()];
            if let Some(at) = cell.get_mut(axis) {
                *at = first + n;
            }
            let values = joined.cut(array.outer(), rows, window, chunk, &array.fill);
            self.set(document.chunk_key(whole, &cell)?, values.encoded()).await?;
        }
        Ok(())
    }

    /// The rows of the last stored chunk, if it is not full.
    async fn partial(&self, array: &Array, whole: &str, axis: usize, chunk: u64) -> Result<Option<(u64, Values)>> {
        let document = &array.document;
        let start = array.stored_rows.unwrap_or_default();
        let other = |shape: &[u64]| shape.iter().enumerate().filter(|(n, _)| *n != axis).map(|(_, len)| *len).collect::<Vec<_>>();
        if array.stored_rows.is_some() && other(&document.chunk) != other(&document.shape) {
            return Err(Error::unsupported("is stored in chunks that divide other dimensions, so copied values cannot be appended to it"));
        }
        let rows = start % chunk;
        if rows == 0 {
            return Ok(None);
        }
        let mut cell = vec![0; document.shape.len()];
        if let Some(at) = cell.get_mut(axis) {
            *at = start / chunk;
        }
        let elements = count(&document.chunk).unwrap_or_default();
        let values = match self.session.get(&document.chunk_key(whole, &cell)?).await? {
            Some(bytes) => Values::decoded(&bytes, elements, array.element_size)?,
            None => return Err(Error::unsupported("has a last chunk that was never written, so nothing can be appended to it")),
        };
        Ok(Some((rows, values.cut(array.outer(), chunk, (0, rows), rows, &array.fill))))
    }

    async fn set(&mut self, key: Key, value: Vec<u8>) -> Result<()> {
        self.session.set(&key, Bytes::from(value)).await?;
        self.summary.values += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_one_group_are_equally_long_whatever_lies_between_them() {
        let equal = [("a", 2), ("g/x", 3), ("h", 2)];
        assert_eq!(equal_rows(equal.into_iter()).unwrap(), Some(2));
        let refused = equal_rows([("a", 2), ("g/x", 3), ("h", 3)].into_iter()).unwrap_err().to_string();
        assert!(refused.contains("h has 3 rows after this file, and a has 2"), "{refused}");
        assert_eq!(equal_rows([("g/x", 3), ("g/y/z", 4)].into_iter()).unwrap(), Some(3));
        assert_eq!(equal_rows(std::iter::empty()).unwrap(), None);
    }
}
