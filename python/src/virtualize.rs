//! NetCDF and HDF5 files as virtual arrays.

use firnline_virtualize::{VirtualizeOptions, VirtualizeSummary, ZarrFormat, virtualize};
use futures::FutureExt as _;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::failure::OrRaise as _;
use crate::session::NativeSession;

/// What Python says about the files; the keys of a dictionary.
#[derive(Debug, FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct VirtualizeArguments {
    prefix: String,
    concat: Option<String>,
    append: bool,
    zarr_format: u8,
    inline_limit: u64,
    group: String,
    drop: Vec<String>,
    rows: Option<u64>,
}

impl VirtualizeArguments {
    fn into_options(self) -> firnline::Result<VirtualizeOptions> {
        let format = self.zarr_format.to_string().parse::<ZarrFormat>()?;
        let mut options = VirtualizeOptions::default().prefix(&self.prefix).group(&self.group).zarr_format(format);
        options.concat = self.concat;
        options.append = self.append;
        options.inline_limit = self.inline_limit;
        options.drop = self.drop.into_iter().collect();
        options.rows = self.rows;
        Ok(options)
    }
}

fn summary_dict(py: Python<'_>, summary: VirtualizeSummary) -> PyResult<Py<PyDict>> {
    let told = PyDict::new(py);
    let VirtualizeSummary { files, arrays, copied, references, bytes, values, rows, reads, .. } = summary;
    for (name, count) in [
        ("files", files),
        ("arrays", arrays),
        ("copied", copied),
        ("references", references),
        ("bytes", bytes),
        ("values", values),
        ("reads", reads),
    ] {
        told.set_item(name, count)?;
    }
    told.set_item("rows", rows)?;
    told.set_item("other_attributes", summary.other_attributes.into_iter().collect::<Vec<_>>())?;
    told.set_item("dropped_attributes", summary.dropped_attributes.into_iter().collect::<Vec<_>>())?;
    told.set_item("links", summary.links.into_iter().collect::<Vec<_>>())?;
    Ok(told.unbind())
}

#[pymethods]
impl NativeSession {
    /// Stages virtual arrays for files.
    fn virtualize(
        &self,
        py: Python<'_>,
        files: Vec<String>,
        arguments: VirtualizeArguments,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Py<PyDict>> {
        let options = arguments.into_options().or_raise(py)?;
        let done = self.stage_watching(py, progress, move |session| async move { virtualize(session, &files, &options).await }.boxed())?;
        summary_dict(py, done)
    }
}
