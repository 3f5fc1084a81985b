//! Where the chunks of an array lie, as columns.

use std::collections::BTreeMap;

use bytes::Bytes;
use firnline::{Entry, Error, FileKey, Key, Prefix, Result, Snapshot, VirtualRefs};
use futures::TryStreamExt as _;
use pyo3::prelude::*;

use crate::failure::OrRaise as _;
use crate::runtime::wait;
use crate::session::NativeSession;
use crate::value::Value;
use crate::view::{Live, View};

/// Marks a cell whose value the repository stores.
const NATIVE: u32 = u32::MAX - 1;

/// The most cells that a grid may have: the columns take 20 bytes for each.
const MOST_CELLS: u64 = 1 << 32;

/// URLs; number of the URL, offset and length of each cell as little-endian numbers; the inline values by cell.
type ReferenceColumns = (Vec<String>, (Py<Value>, Py<Value>, Py<Value>), BTreeMap<u64, Py<Value>>);

/// The columns while they are filled.
struct Columns {
    grid: Vec<u64>,
    numbers: BTreeMap<FileKey, u32>,
    urls: Vec<String>,
    url: Vec<u32>,
    offset: Vec<u64>,
    length: Vec<u64>,
    inline: BTreeMap<u64, Bytes>,
}

impl Columns {
    fn new(grid: Vec<u64>) -> Result<Self> {
        let cells = grid.iter().try_fold(1_u64, |all, size| all.checked_mul(*size)).filter(|cells| *cells <= MOST_CELLS);
        let cells = cells.and_then(|cells| usize::try_from(cells).ok());
        let cells = cells.ok_or_else(|| Error::invalid(format!("a grid of {grid:?} chunks has too many cells")))?;
        let (url, offset, length) = (vec![VirtualRefs::ABSENT; cells], vec![0; cells], vec![0; cells]);
        Ok(Self { grid, numbers: BTreeMap::new(), urls: Vec::new(), url, offset, length, inline: BTreeMap::new() })
    }

    /// The place of a cell in the columns; `None` when the rest of a key names no cell of the grid.
    fn place(&self, rest: &str) -> Option<u64> {
        if self.grid.is_empty() {
            return rest.is_empty().then_some(0);
        }
        let mut coordinates = rest.strip_prefix('/')?.split('/');
        let place = self.grid.iter().try_fold(0_u64, |place, size| {
            let at: u64 = coordinates.next()?.parse().ok()?;
            (at < *size).then(|| place * size + at)
        })?;
        coordinates.next().is_none().then_some(place)
    }

    fn take(&mut self, snapshot: &Snapshot, rest: &str, entry: Entry) -> Result<()> {
        let Some(place) = self.place(rest) else { return Ok(()) };
        let length = entry.size();
        let (url, offset) = match entry {
            Entry::Virtual { file, offset, .. } => (self.number(snapshot, file)?, offset),
            Entry::Inline(value) => {
                self.inline.insert(place, value);
                (NATIVE, 0)
            }
            Entry::Chunk { .. } => (NATIVE, 0),
        };
        let at = usize::try_from(place).unwrap_or(usize::MAX);
        for (column, value) in [(&mut self.offset, offset), (&mut self.length, length)] {
            if let Some(cell) = column.get_mut(at) {
                *cell = value;
            }
        }
        if let Some(cell) = self.url.get_mut(at) {
            *cell = url;
        }
        Ok(())
    }

    fn number(&mut self, snapshot: &Snapshot, file: FileKey) -> Result<u32> {
        if let Some(number) = self.numbers.get(&file) {
            return Ok(*number);
        }
        let number = u32::try_from(self.urls.len()).ok().filter(|number| *number < NATIVE);
        let number = number.ok_or_else(|| Error::invalid("an array points into too many files"))?;
        self.urls.push(file.url(&snapshot.record().containers)?);
        self.numbers.insert(file, number);
        Ok(number)
    }

    fn into_python(self, py: Python<'_>) -> PyResult<ReferenceColumns> {
        let value = |bytes: Vec<u8>| Py::new(py, Value::new(bytes.into()));
        let long = |column: Vec<u64>| value(column.into_iter().flat_map(u64::to_le_bytes).collect());
        let url = value(self.url.into_iter().flat_map(u32::to_le_bytes).collect())?;
        let inline = self.inline.into_iter().map(|(place, bytes)| Ok((place, Py::new(py, Value::new(bytes))?)));
        Ok((self.urls, (url, long(self.offset)?, long(self.length)?), inline.collect::<PyResult<_>>()?))
    }
}

async fn read(live: Live, path: String, grid: Vec<u64>) -> Result<Columns> {
    let View::Snapshot(snapshot) = live.view().await? else {
        return Err(Error::invalid("the references of a session with changes cannot be listed; commit it first"));
    };
    let mut columns = Columns::new(grid)?;
    let array = if path.is_empty() { "c".to_owned() } else { format!("{path}/c") };
    if columns.grid.is_empty() {
        if let Some(entry) = snapshot.entry(&Key::new(array.as_str())?).await? {
            columns.take(&snapshot, "", entry)?;
        }
        return Ok(columns);
    }
    let mut chunks = std::pin::pin!(snapshot.list(&Prefix::new(array.as_str())?));
    while let Some((key, entry)) = chunks.try_next().await? {
        let rest = key.as_str().get(array.len()..).unwrap_or_default();
        columns.take(&snapshot, rest, entry)?;
    }
    Ok(columns)
}

#[pymethods]
impl NativeSession {
    /// Where the chunks of an array lie: for each cell of its grid, in row-major order, the number of a URL, an offset and a length.
    ///
    /// The number is `0xFFFFFFFF` where there is no chunk and `0xFFFFFFFE` where the repository stores it. The values of cells
    /// that are kept inline come along. Only for read-only sessions, and chunk keys of the form `c/0/1`.
    fn references(&self, py: Python<'_>, path: String, grid: Vec<u64>) -> PyResult<ReferenceColumns> {
        let live = self.live(py)?;
        wait(py, read(live, path, grid))?.or_raise(py)?.into_python(py)
    }
}
