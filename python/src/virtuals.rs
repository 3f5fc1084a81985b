//! References into external files.

use std::collections::HashMap;
use std::ops::Range;

use firnline::{Clock as _, Container, Error, Key, KeyColumn, Locator, SystemClock, Timestamp, Validator, VirtualOptions, VirtualRefs};
use pyo3::IntoPyObjectExt as _;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::completion::run;
use crate::failure::{Failure, OrRaise as _};
use crate::session::NativeSession;

/// What is known of a file: its `ETag`, or when it was looked at (microseconds since 1970).
type KnownArguments = (Option<String>, Option<i64>);

fn options((etag, scanned_at): KnownArguments) -> VirtualOptions {
    let mut options = VirtualOptions::default();
    if let Some(etag) = etag {
        let mut validator = Validator::staged_at(SystemClock.now());
        validator.etag = Some(etag.into_bytes());
        options = options.validator(validator);
    }
    match scanned_at {
        Some(time) => options.scanned_at(Timestamp::from_micros(time)),
        None => options,
    }
}

/// `Invalid` unless one of the containers that were defined by name has a place for a URL.
fn require_container(containers: &[Container], url: &str) -> firnline::Result<()> {
    match Locator::new(containers)?.locate(url)?.container {
        None => Ok(()),
        Some(_) => Err(Error::invalid(format!(
            "{url} lies in no container of the session; define one by session.set_container, or pass validate_container=False"
        ))),
    }
}

/// A column of URLs, of which each different one is kept once.
#[pyclass(module = "firnline._firnline")]
#[derive(Default)]
pub(crate) struct Locations {
    urls: Vec<String>,
    numbers: HashMap<String, u32>,
    column: Vec<u32>,
}

impl Locations {
    /// The number of a URL. The empty text stands for a chunk that does not exist.
    fn number(&mut self, url: &str) -> PyResult<u32> {
        if url.is_empty() {
            return Ok(VirtualRefs::ABSENT);
        }
        if let Some(number) = self.numbers.get(url) {
            return Ok(*number);
        }
        let number = u32::try_from(self.urls.len()).ok().filter(|number| *number != VirtualRefs::ABSENT);
        let number = number.ok_or_else(|| PyValueError::new_err("there are too many different locations"))?;
        self.urls.push(url.to_owned());
        self.numbers.insert(url.to_owned(), number);
        Ok(number)
    }
}

#[pymethods]
impl Locations {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Adds the texts of a list.
    fn add_list(&mut self, locations: &Bound<'_, PyList>) -> PyResult<()> {
        let mut last: Option<(Bound<'_, PyAny>, u32)> = None;
        self.column.reserve(locations.len());
        for location in locations {
            // Many references in a row mostly share one text object.
            let number = match &last {
                Some((object, number)) if object.is(&location) => *number,
                _ => self.number(location.cast::<PyString>()?.to_str()?)?,
            };
            self.column.push(number);
            last = Some((location, number));
        }
        Ok(())
    }

    /// Adds the rows of a matrix of code points, each filled up with zeros: a piece of an array of texts of a fixed width.
    fn add_code_points(&mut self, points: &Bound<'_, PyAny>, width: usize) -> PyResult<()> {
        let points = PyBuffer::<u32>::get(points)?.to_vec(points.py())?;
        if width == 0 {
            return Err(PyValueError::new_err("the texts have no width"));
        }
        self.column.reserve(points.len() / width);
        let mut last: Option<(&[u32], u32)> = None;
        for row in points.chunks_exact(width) {
            // Many references in a row mostly point into one file.
            let number = match last {
                Some((before, number)) if before == row => number,
                _ => {
                    let text: Option<String> = row.iter().take_while(|point| **point != 0).map(|point| char::from_u32(*point)).collect();
                    self.number(&text.ok_or_else(|| PyValueError::new_err("a location is not valid text"))?)?
                }
            };
            self.column.push(number);
            last = Some((row, number));
        }
        Ok(())
    }

    fn __len__(&self) -> usize {
        self.column.len()
    }

    /// The different URLs.
    fn urls(&self) -> Vec<String> {
        self.urls.clone()
    }
}

/// A part of a grid of chunks: the text before the coordinates, from where to where, the separator.
type GridArguments = (String, Vec<(u64, u64)>, char);

/// Many references, on their way to the session.
struct References {
    grid: GridArguments,
    urls: Vec<String>,
    column: Vec<u32>,
    offsets: Vec<u64>,
    lengths: Vec<u64>,
}

impl References {
    /// Takes out the references into URLs that no container has a place for, and gives their places in the columns.
    fn without_place(&mut self, containers: &[Container]) -> firnline::Result<Vec<usize>> {
        let locator = Locator::new(containers)?;
        // What cannot be located at all, as a URL that holds a secret, is an error that does not show it.
        let has_place = |url: &String| Ok(locator.locate(url)?.container.is_none());
        let has_place: Vec<bool> = self.urls.iter().map(has_place).collect::<firnline::Result<_>>()?;
        let is_kept = |number: u32| usize::try_from(number).ok().and_then(|at| has_place.get(at)).is_none_or(|kept| *kept);
        let mut failed = Vec::new();
        for (at, number) in self.column.iter_mut().enumerate() {
            if !is_kept(*number) {
                failed.push(at);
                *number = VirtualRefs::ABSENT;
            }
        }
        Ok(failed)
    }

    async fn stage(&self, session: &firnline::WriteSession, options: &VirtualOptions) -> firnline::Result<()> {
        let (prefix, region, separator) = &self.grid;
        let region: Vec<Range<u64>> = region.iter().map(|(start, end)| *start..*end).collect();
        let urls: Vec<&str> = self.urls.iter().map(String::as_str).collect();
        let refs = VirtualRefs {
            keys: KeyColumn::Grid { prefix, region: &region, separator: *separator },
            urls: &urls,
            url: &self.column,
            offset: &self.offsets,
            length: &self.lengths,
            validators: &[],
        };
        if options.validator.is_none() || urls.len() == 1 {
            return session.set_virtual_many(&refs, options).await;
        }
        // One `ETag` was given for all of them.
        let validators = vec![options.validator.clone(); urls.len()];
        let mut each = VirtualOptions::default();
        (each.scanned_at, each.repin) = (options.scanned_at, options.repin);
        session.set_virtual_many(&VirtualRefs { validators: &validators, ..refs }, &each).await
    }
}

#[pymethods]
impl NativeSession {
    /// Stages a reference: the value of a key is a range of the bytes of the file at a URL.
    #[pyo3(signature = (key, location, offset, length, known, validate, is_async, /))]
    #[expect(clippy::too_many_arguments, reason = "as Python passes them")]
    fn set_virtual(
        &self,
        py: Python<'_>,
        key: &str,
        location: String,
        offset: u64,
        length: u64,
        known: KnownArguments,
        validate: bool,
        is_async: bool,
    ) -> PyResult<Py<PyAny>> {
        let key = Key::new(key).or_raise(py)?;
        let (live, options) = (self.live(py)?, options(known));
        let set = async move {
            let session = live.session().await?;
            let end =
                offset.checked_add(length).ok_or_else(|| Error::invalid(format!("{length} bytes from {offset} are an invalid range")));
            let staged = async {
                if validate {
                    require_container(&session.containers(), &location)?;
                }
                session.set_virtual_with(&key, &location, offset..end?, &options).await
            };
            staged.await.map_err(|e| Failure::from(e).at(&key).of_data())
        };
        run(py, is_async, set, |py, ()| Ok(py.None()))
    }

    /// Stages many references: places in the columns of those that were left out, because no container has a place for their URLs.
    #[pyo3(signature = (grid, locations, offsets, lengths, known, validate, is_async, /))]
    #[expect(clippy::too_many_arguments, reason = "as Python passes them")]
    fn set_virtual_many(
        &self,
        py: Python<'_>,
        grid: GridArguments,
        locations: &Bound<'_, Locations>,
        offsets: PyBuffer<u64>,
        lengths: PyBuffer<u64>,
        known: KnownArguments,
        validate: bool,
        is_async: bool,
    ) -> PyResult<Py<PyAny>> {
        let (offsets, lengths) = (offsets.to_vec(py)?, lengths.to_vec(py)?);
        let Locations { urls, column, .. } = std::mem::take(&mut *locations.try_borrow_mut()?);
        let mut references = References { grid, urls, column, offsets, lengths };
        let (live, options) = (self.live(py)?, options(known));
        let set = async move {
            let session = live.session().await?;
            let failed = if validate { references.without_place(&session.containers())? } else { Vec::new() };
            references.stage(&session, &options).await.map_err(|e| Failure::from(e).of_data())?;
            Ok(failed)
        };
        run(py, is_async, set, |py, failed| failed.into_py_any(py))
    }
}
