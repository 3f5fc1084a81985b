//! What a parser finds in one file.

use serde_json::{Map, Value};

use crate::element::{Element, Scalar};

/// What one file holds, below the group that was asked for.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) groups: Vec<ParsedGroup>,
    pub(crate) variables: Vec<Variable>,
    /// Attributes that JSON cannot hold, by variable and name.
    pub(crate) dropped: Vec<String>,
    /// Links that were not followed, by path.
    pub(crate) left_out: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct ParsedGroup {
    /// Empty for the group that was asked for.
    pub(crate) path: String,
    pub(crate) attributes: Map<String, Value>,
}

/// One variable of a file.
#[derive(Debug)]
pub(crate) struct Variable {
    /// Its name behind the names of its groups.
    pub(crate) path: String,
    pub(crate) dims: Vec<String>,
    pub(crate) shape: Vec<u64>,
    pub(crate) element: Element,
    /// The value of elements that were never written, in little-endian order; `None`: zero.
    pub(crate) fill: Option<Vec<u8>>,
    /// The attribute `_FillValue`.
    pub(crate) fill_attribute: Option<Scalar>,
    /// All other attributes that users see.
    pub(crate) attributes: Map<String, Value>,
    pub(crate) body: Body,
}

/// Where the elements of a variable are.
#[derive(Debug)]
pub(crate) enum Body {
    /// Read already.
    Values(Values),
    /// One after the other in row-major order; `None` where none was ever written.
    Contiguous {
        offset: Option<u64>,
    },
    Chunked(Chunks),
}

/// Elements in row-major order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Values {
    /// In little-endian order.
    Bytes(Vec<u8>),
    Texts(Vec<String>),
}

/// A table of chunks, in the order of their cells.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    pub(crate) shape: Vec<u64>,
    /// The filters in the order in which they were applied, as configurations of numcodecs.
    pub(crate) filters: Vec<Value>,
    /// The cells of all chunks, one after the other.
    pub(crate) cells: Vec<u64>,
    pub(crate) offset: Vec<u64>,
    pub(crate) length: Vec<u64>,
}

/// Whether a variable with this path and these dimensions holds the coordinates of the dimension of its own name.
pub(crate) fn is_coordinate(path: &str, dims: &[String]) -> bool {
    matches!(dims, [dim] if path.rsplit('/').next() == Some(dim))
}

/// How many elements an array of this shape has; `None` beyond 2^63.
pub(crate) fn count(shape: &[u64]) -> Option<u64> {
    shape.iter().try_fold(1_u64, |n, len| n.checked_mul(*len)).filter(|n| i64::try_from(*n).is_ok())
}

impl Variable {
    /// Whether some of its elements may never have been written.
    pub(crate) fn may_lack_elements(&self) -> bool {
        match &self.body {
            Body::Values(_) => false,
            Body::Contiguous { offset } => offset.is_none(),
            Body::Chunked(chunks) => {
                let cells: Vec<u64> = self.shape.iter().zip(&chunks.shape).map(|(len, chunk)| len.div_ceil((*chunk).max(1))).collect();
                count(&cells) != Some(chunks.offset.len() as u64)
            }
        }
    }
}
