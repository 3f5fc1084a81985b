//! Tables of the engine that Python takes piece by piece.

use std::sync::{Mutex, PoisonError};

use firnline::Error;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyTuple};

use crate::failure::Failure;
use crate::runtime::{OfProcess, wait};

const FORKED: &str = "these rows were asked for before this process was forked; ask for them again";
const IN_USE: &str = "another thread reads these rows, or their reading was interrupted; ask for them again";

/// How many rows are handed over at once.
const PIECE: usize = 4096;

/// One value of a row.
#[derive(Debug)]
pub(crate) enum Cell {
    Absent,
    Text(String),
    Word(&'static str),
    Number(u64),
    Signed(i64),
    Flag(bool),
    List(Vec<String>),
    Pairs(Vec<(String, String)>),
    Table(Vec<Row>),
}

/// A row: a tuple in Python.
#[derive(Debug)]
pub(crate) struct Row(pub(crate) Vec<Cell>);

/// A row of values that are cells, or become cells.
macro_rules! row {
    ($($value:expr),* $(,)?) => { $crate::stream::Row(vec![$($crate::stream::Cell::from($value)),*]) };
}
pub(crate) use row;

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&'static str> for Cell {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Signed(number)
    }
}

impl From<bool> for Cell {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Vec<String>> for Cell {
    fn from(list: Vec<String>) -> Self {
        Self::List(list)
    }
}

impl From<Vec<Row>> for Cell {
    fn from(rows: Vec<Row>) -> Self {
        Self::Table(rows)
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Into::into)
    }
}

impl<'py> IntoPyObject<'py> for Cell {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Absent => Ok(py.None().into_bound(py)),
            Self::Text(text) => text.into_bound_py_any(py),
            Self::Word(word) => word.into_bound_py_any(py),
            Self::Number(number) => number.into_bound_py_any(py),
            Self::Signed(number) => number.into_bound_py_any(py),
            Self::Flag(flag) => Ok(PyBool::new(py, flag).to_owned().into_any()),
            Self::List(list) => list.into_bound_py_any(py),
            Self::Pairs(pairs) => pairs.into_iter().collect::<std::collections::BTreeMap<_, _>>().into_bound_py_any(py),
            Self::Table(rows) => rows.into_bound_py_any(py),
        }
    }
}

impl<'py> IntoPyObject<'py> for Row {
    type Target = PyTuple;
    type Output = Bound<'py, PyTuple>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.0)
    }
}

type Pieces = BoxStream<'static, Vec<Result<Row, Box<Failure>>>>;

/// Where a table stands.
enum Place {
    Open(Pieces),
    /// The rows before an error were handed over; this is the error.
    Failed(Box<Failure>),
    Ended,
    /// No rows can be had, for this reason.
    Lost(&'static str),
}

/// A table that is read while it is used.
#[pyclass(frozen, module = "firnline._firnline")]
pub(crate) struct NativeRows {
    /// Locked only while the interpreter's lock is held.
    place: OfProcess<Mutex<Place>>,
}

impl NativeRows {
    /// Reads `rows` as they are asked for.
    pub(crate) fn new<E: Into<Failure>>(rows: impl Stream<Item = Result<Row, E>> + Send + 'static) -> Self {
        let pieces = rows.map(|row| row.map_err(|error| Box::new(error.into()))).ready_chunks(PIECE).boxed();
        Self { place: OfProcess::new(Mutex::new(Place::Open(pieces))) }
    }

    /// Says where the table stands from now on, and tells where it stood.
    fn stands(&self, py: Python<'_>, now: Place) -> PyResult<Place> {
        let place = self.place.get().ok_or_else(|| Failure::from(Error::invalid(FORKED)).raise(py))?;
        Ok(std::mem::replace(&mut *place.lock().unwrap_or_else(PoisonError::into_inner), now))
    }
}

#[pymethods]
impl NativeRows {
    /// The next rows, as many as are there once one is there; none at the end.
    fn next_piece(&self, py: Python<'_>) -> PyResult<Vec<Row>> {
        let mut pieces = match self.stands(py, Place::Lost(IN_USE))? {
            Place::Open(pieces) => pieces,
            Place::Failed(failure) => {
                self.stands(py, Place::Ended)?;
                return Err(failure.raise(py));
            }
            Place::Ended => {
                self.stands(py, Place::Ended)?;
                return Ok(Vec::new());
            }
            Place::Lost(why) => return Err(Failure::from(Error::invalid(why)).raise(py)),
        };
        // A signal drops the stream, of which nobody knows then what it has given out.
        let (piece, pieces) = wait(py, async move { (pieces.next().await, pieces) })?;
        let (mut rows, mut after) = (Vec::new(), if piece.is_some() { Place::Open(pieces) } else { Place::Ended });
        for row in piece.into_iter().flatten() {
            match row {
                Ok(row) => rows.push(row),
                Err(failure) => {
                    after = Place::Failed(failure);
                    break;
                }
            }
        }
        match after {
            Place::Failed(failure) if rows.is_empty() => {
                self.stands(py, Place::Ended)?;
                Err(failure.raise(py))
            }
            after => {
                self.stands(py, after)?;
                Ok(rows)
            }
        }
    }
}
