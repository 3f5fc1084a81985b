//! Bytes that the engine read, as Python sees them.

use std::ffi::c_int;

use bytes::Bytes;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The bytes of a value, read-only. Supports the buffer protocol, so `memoryview(value)` and `numpy.frombuffer(value, "B")` copy
/// nothing; the memory is freed with the last of them.
#[pyclass(frozen, module = "firnline._firnline")]
pub(crate) struct Value(Bytes);

impl Value {
    pub(crate) const fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

#[pymethods]
impl Value {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0)
    }

    fn __repr__(&self) -> String {
        format!("<firnline value of {} bytes>", self.0.len())
    }

    #[expect(unsafe_code, reason = "the buffer protocol hands out a pointer")]
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let bytes = &slf.get().0;
        let len = ffi::Py_ssize_t::try_from(bytes.len())?;
        // SAFETY: Python passes a valid `view`, which keeps a reference to `slf`. `slf` is frozen, so its bytes neither move nor change
        // while that reference exists. The buffer is filled as read-only, so Python does not write through the pointer.
        let filled = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), bytes.as_ptr().cast_mut().cast(), len, 1, flags) };
        if filled == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}
