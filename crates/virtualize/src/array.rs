//! One array while files are added to it.

use std::collections::BTreeSet;

use firnline::{Error, Result};

use crate::document::ArrayDocument;
use crate::model::{Body, Chunks, Values, Variable, count};
use crate::{Settings, ZarrFormat};

/// A chunk of copied values along the dimension of concatenation has at most so many rows, and about so many bytes.
const COPIED_ROWS: u64 = 1024;
const COPIED_BYTES: u64 = 64 << 10;

/// References of one array that are not staged yet.
#[derive(Debug, Default)]
pub(crate) struct References {
    pub(crate) cells: Vec<u64>,
    pub(crate) url: Vec<u32>,
    pub(crate) offset: Vec<u64>,
    pub(crate) length: Vec<u64>,
}

/// An array: as it is stored, if it is, and what files add to it.
#[derive(Debug)]
pub(crate) struct Array {
    /// Its path below the prefix.
    pub(crate) path: String,
    pub(crate) document: ArrayDocument,
    /// The dimension along which files add to it; `None` if all files must say the same.
    pub(crate) axis: Option<usize>,
    /// Whether its values are copied into the repository.
    pub(crate) is_copied: bool,
    /// How many rows are stored; `None` when the array is new.
    pub(crate) stored_rows: Option<u64>,
    pub(crate) references: References,
    /// Of a copied array: what each file added, with its number of rows.
    pub(crate) blocks: Vec<(u64, Values)>,
    /// The value of elements that were never written, in little-endian order; empty: zero.
    pub(crate) fill: Vec<u8>,
    /// Bytes of one element; 0 for texts.
    pub(crate) element_size: usize,
    /// Attributes of other files that are not kept.
    pub(crate) other_attributes: BTreeSet<String>,
    /// The file that was added first, and the one that was added last.
    pub(crate) first: String,
    last: String,
}

impl Array {
    /// The array that a variable of the first file begins. Nothing is added yet.
    pub(crate) fn begin(variable: &Variable, settings: &Settings) -> Result<Self> {
        let axis = axis(&variable.dims, settings)?;
        let is_copied = matches!(variable.body, Body::Values(_));
        let chunk = match &variable.body {
            Body::Values(_) => copied_chunk(&variable.shape, variable.element.size as u64, axis),
            Body::Contiguous { .. } => contiguous_chunk(variable, axis, settings),
            Body::Chunked(chunks) => trimmed(chunks, &variable.shape),
        };
        let filters = if let Body::Chunked(chunks) = &variable.body { chunks.filters.as_slice() } else { &[] };
        let mut document = ArrayDocument::new(variable, chunk, filters, settings.format);
        if let Some(len) = axis.and_then(|axis| document.shape.get_mut(axis)) {
            *len = 0;
        }
        Ok(Self::with(variable.path.clone(), document, axis, is_copied, None, variable))
    }

    /// An array that is stored, to which the files of a call add.
    pub(crate) fn resume(path: &str, document: ArrayDocument, is_copied: bool, first: &Variable, settings: &Settings) -> Result<Self> {
        let axis = axis(&document.dims, settings)?;
        let rows = axis.and_then(|axis| document.shape.get(axis).copied()).unwrap_or_default();
        Ok(Self::with(path.to_owned(), document, axis, is_copied, Some(rows), first))
    }

    fn with(
        path: String,
        document: ArrayDocument,
        axis: Option<usize>,
        is_copied: bool,
        stored_rows: Option<u64>,
        first: &Variable,
    ) -> Self {
        Self {
            path,
            document,
            axis,
            is_copied,
            stored_rows,
            references: References::default(),
            blocks: Vec::new(),
            fill: first.fill.clone().unwrap_or_else(|| vec![0; first.element.size]),
            element_size: first.element.size,
            other_attributes: BTreeSet::new(),
            first: String::new(),
            last: String::new(),
        }
    }

    /// How many rows the array has now.
    pub(crate) fn rows(&self) -> u64 {
        self.axis.and_then(|axis| self.document.shape.get(axis).copied()).unwrap_or_default()
    }

    /// How many places lie before the dimension of concatenation.
    pub(crate) fn outer(&self) -> u64 {
        count(self.document.shape.get(..self.axis.unwrap_or(0)).unwrap_or_default()).unwrap_or_default()
    }

    /// Adds what a file holds, `url` being its place in the table of files. `Invalid` when it does not fit what came before.
    pub(crate) fn add(&mut self, variable: Variable, file: &str, url: u32, format: ZarrFormat) -> Result<()> {
        let is_values = matches!(variable.body, Body::Values(_));
        if is_values != self.is_copied {
            let how = if self.is_copied {
                "is too large"
            } else {
                "has to be copied, because of where it lies in the file or how its strings are padded"
            };
            return Err(Error::invalid(format!("{how}, so that it cannot be kept as it was before")));
        }
        let document = self.described(&variable, format);
        if let Some(why) = self.document.difference(&document, self.axis, self.is_copied) {
            return Err(Error::invalid(format!("{why}{}", self.before())));
        }
        self.document.take_fill(&document);
        self.other_attributes.extend(self.document.other_attributes(&document));
        let rows = self.axis.and_then(|axis| variable.shape.get(axis).copied()).unwrap_or_default();
        match variable.body {
            Body::Values(values) => self.add_values(values, rows, &variable.shape)?,
            Body::Contiguous { offset } => self.add_contiguous(offset, &variable.shape, url)?,
            Body::Chunked(chunks) => self.add_chunks(&chunks, &variable.shape, url)?,
        }
        if let Some(len) = self.axis.and_then(|axis| self.document.shape.get_mut(axis)) {
            *len = len.checked_add(rows).ok_or_else(|| Error::invalid("has more rows than can be counted"))?;
        }
        if self.first.is_empty() {
            file.clone_into(&mut self.first);
        }
        file.clone_into(&mut self.last);
        Ok(())
    }

    /// What a file says of the variable, in the words of this array.
    fn described(&self, variable: &Variable, format: ZarrFormat) -> ArrayDocument {
        let (chunk, filters) = match &variable.body {
            Body::Values(_) | Body::Contiguous { .. } => (self.document.chunk.clone(), &[][..]),
            Body::Chunked(chunks) => (self.fitting(chunks, &variable.shape), chunks.filters.as_slice()),
        };
        ArrayDocument::new(variable, chunk, filters, format)
    }

    /// Whether references to the variable of a file can be added, because its bytes have the form of those that the array has.
    pub(crate) fn fits(&self, variable: &Variable, format: ZarrFormat) -> bool {
        let is_cut = !matches!(variable.body, Body::Contiguous { .. }) || self.rows_of_piece(&variable.shape).is_some();
        is_cut && self.first_cell().is_ok() && self.document.difference(&self.described(variable, format), self.axis, false).is_none()
    }

    fn before(&self) -> String {
        if self.last.is_empty() { String::new() } else { format!(" ({})", self.last) }
    }

    fn add_values(&mut self, values: Values, rows: u64, shape: &[u64]) -> Result<()> {
        if !count(shape).is_some_and(|n| values.has(n, self.element_size)) {
            return Err(Error::corrupt("does not have as many values as its shape says"));
        }
        if self.axis.is_some() {
            self.blocks.push((rows, values));
        } else if let Some((_, first)) = self.blocks.first() {
            if *first != values {
                return Err(Error::invalid(format!(
                    "has other values than before{}, but does not have the dimension along which files are joined",
                    self.before()
                )));
            }
        } else {
            self.blocks.push((rows, values));
        }
        Ok(())
    }

    /// Whether references of a variable without the dimension of concatenation are needed: those of the first file are.
    fn is_first(&self) -> bool {
        self.axis.is_some() || (self.stored_rows.is_none() && self.last.is_empty())
    }

    /// The chunk along the dimension of concatenation in which the next file begins; `Invalid` within a chunk.
    fn first_cell(&self) -> Result<u64> {
        let Some(axis) = self.axis else { return Ok(0) };
        let chunk = self.document.chunk.get(axis).copied().unwrap_or(1).max(1);
        let rows = self.rows();
        if !rows.is_multiple_of(chunk) {
            let dim = self.document.dims.get(axis).map_or("", String::as_str);
            return Err(Error::invalid(format!(
                "would begin at place {rows} of {dim}, within a chunk of {chunk}: only the last file may end within a chunk{}",
                self.before()
            )));
        }
        Ok(rows / chunk)
    }

    /// The shape of the chunks of a file as the array would have them: a chunk that is longer than the array need not be full.
    fn fitting(&self, chunks: &Chunks, shape: &[u64]) -> Vec<u64> {
        let trimmed = trimmed(chunks, shape);
        if trimmed == self.document.chunk { trimmed } else { chunks.shape.clone() }
    }

    fn add_chunks(&mut self, chunks: &Chunks, shape: &[u64], url: u32) -> Result<()> {
        if !self.is_first() {
            return Ok(());
        }
        let first = self.first_cell()?;
        // Of a trimmed chunk the first rows are meant.
        let is_trimmed = chunks.shape != self.document.chunk;
        let whole = count(&self.document.chunk).and_then(|n| n.checked_mul(self.element_size as u64)).unwrap_or_default();
        let rank = shape.len();
        for (n, (offset, length)) in chunks.offset.iter().zip(&chunks.length).enumerate() {
            let cell = chunks.cells.get(n * rank..(n + 1) * rank).unwrap_or_default();
            let cell = cell.iter().enumerate().map(|(dim, at)| if Some(dim) == self.axis { at + first } else { *at });
            self.references.cells.extend(cell);
            self.references.url.push(url);
            self.references.offset.push(*offset);
            self.references.length.push(if is_trimmed { whole } else { *length });
        }
        Ok(())
    }

    /// How many rows each of the parts has into which one piece of this shape is cut; `None` if it cannot be cut into chunks of the array.
    fn rows_of_piece(&self, shape: &[u64]) -> Option<u64> {
        let (mut chunk, len) = (self.document.chunk.clone(), shape.first().copied().unwrap_or(1));
        let rows = chunk.first().copied().unwrap_or(1).max(1);
        if let Some(first) = chunk.first_mut() {
            *first = len;
        }
        let is_cut = self.axis == Some(0) && len.is_multiple_of(rows);
        (chunk == shape && (is_cut || len == rows)).then_some(rows)
    }

    /// One piece, which is cut along the first dimension if that is the one of concatenation.
    fn add_contiguous(&mut self, offset: Option<u64>, shape: &[u64], url: u32) -> Result<()> {
        if !self.is_first() {
            return Ok(());
        }
        let first = self.first_cell()?;
        let Some(offset) = offset.filter(|_| !shape.contains(&0)) else { return Ok(()) };
        let whole = count(&self.document.chunk).and_then(|n| n.checked_mul(self.element_size as u64)).unwrap_or_default();
        let len = shape.first().copied().unwrap_or(1);
        let Some(rows) = self.rows_of_piece(shape) else {
            return Err(Error::invalid(format!(
                "lies in one piece of shape {shape:?}, which cannot be cut into chunks of {:?}; begin anew with shorter chunks (--rows)",
                self.document.chunk
            )));
        };
        for n in 0..len / rows {
            let cell = (0..shape.len()).map(|dim| if dim == 0 { n } else { 0 } + if Some(dim) == self.axis { first } else { 0 });
            self.references.cells.extend(cell);
            self.references.url.push(url);
            self.references.offset.push(offset + n * whole);
            self.references.length.push(whole);
        }
        Ok(())
    }
}

/// Which of the dimensions is the one of concatenation.
fn axis(dims: &[String], settings: &Settings) -> Result<Option<usize>> {
    let Some(concat) = &settings.concat else { return Ok(None) };
    let mut found = dims.iter().enumerate().filter(|(_, dim)| *dim == concat).map(|(n, _)| n);
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(Error::invalid(format!("has the dimension {concat} twice, so files cannot be joined along it"))),
        (first, None) => Ok(first),
    }
}

/// The shape of the chunks in which the values of an array are copied, whose elements have `size` bytes.
pub(crate) fn copied_chunk(shape: &[u64], size: u64, axis: Option<usize>) -> Vec<u64> {
    let mut chunk: Vec<u64> = shape.iter().map(|len| (*len).max(1)).collect();
    if let Some(len) = axis.and_then(|axis| chunk.get_mut(axis)) {
        *len = 1;
        let row = count(&chunk).and_then(|n| n.checked_mul(size.max(16))).unwrap_or(u64::MAX);
        if let Some(len) = axis.and_then(|axis| chunk.get_mut(axis)) {
            *len = (COPIED_BYTES / row.max(1)).clamp(1, COPIED_ROWS);
        }
    }
    chunk
}

fn contiguous_chunk(variable: &Variable, axis: Option<usize>, settings: &Settings) -> Vec<u64> {
    let mut chunk: Vec<u64> = variable.shape.iter().map(|len| (*len).max(1)).collect();
    if let (Some(0), Some(rows), Some(len)) = (axis, settings.rows, chunk.first_mut()) {
        *len = rows;
    }
    chunk
}

/// The shape of chunks, shortened along the first dimension to that of the array where the rest of a chunk can be left unread.
fn trimmed(chunks: &Chunks, shape: &[u64]) -> Vec<u64> {
    let mut trimmed = chunks.shape.clone();
    if let (Some(chunk), Some(len)) = (trimmed.first_mut(), shape.first())
        && chunks.filters.is_empty()
        && *len > 0
    {
        *chunk = (*chunk).min(*len);
    }
    trimmed
}
