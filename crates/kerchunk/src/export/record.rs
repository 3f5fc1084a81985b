//! One Parquet file of references: rows for neighbouring chunks of an array.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::BASE64;
use firnline::{Error, ErrorKind, Result};
use parquet::basic::{Compression, LogicalType, Repetition, Type as PhysicalType, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnPath, Type, TypePtr};

use super::json::MARK;
use super::place::ByteRange;
use super::walk::ExportValue;
use crate::error::file_error;

/// The columns of a file and how they are written, as fsspec reads them: the places are a dictionary, and everything is compressed by zstd.
#[derive(Debug, Clone)]
pub(super) struct RecordFormat {
    schema: TypePtr,
    properties: WriterPropertiesPtr,
}

impl RecordFormat {
    pub(super) fn new() -> Result<Self> {
        Self::build().map_err(|e| Error::internal("the columns of references are wrong").caused_by(e))
    }

    fn build() -> Result<Self, ParquetError> {
        let bytes = |name, logical| {
            Type::primitive_type_builder(name, PhysicalType::BYTE_ARRAY).with_repetition(Repetition::OPTIONAL).with_logical_type(logical)
        };
        let number = |name| Type::primitive_type_builder(name, PhysicalType::INT64).with_repetition(Repetition::REQUIRED);
        let fields = [bytes("path", Some(LogicalType::String)), number("offset"), number("size"), bytes("raw", None)];
        let fields = fields.into_iter().map(|field| field.build().map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        let schema = Type::group_type_builder("schema").with_fields(fields).build()?;
        let properties = WriterProperties::builder()
            .set_created_by("firnline".to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .set_statistics_enabled(EnabledStatistics::None)
            // fastparquet reads numbers without statistics as floating-point numbers, which are no offsets.
            .set_column_statistics_enabled(ColumnPath::from("offset"), EnabledStatistics::Chunk)
            .set_column_statistics_enabled(ColumnPath::from("size"), EnabledStatistics::Chunk)
            .set_dictionary_enabled(false)
            .set_column_dictionary_enabled(ColumnPath::from("path"), true)
            // Beyond the usual limit values would follow that are in no dictionary, and where pyarrow is installed fastparquet reads those
            // as
            // nulls, which are absent chunks. Callers add rows in groups, so that a dictionary is not too large.
            .set_column_dictionary_page_size_limit(ColumnPath::from("path"), i32::MAX as usize);
        Ok(Self { schema: Arc::new(schema), properties: Arc::new(properties.build()) })
    }

    /// Makes a file without rows. Blocks.
    pub(super) fn create(&self, path: PathBuf) -> Result<RecordWriter> {
        let file = File::create_new(&path).map_err(|e| file_error("make", &path, e))?;
        let writer = SerializedFileWriter::new(file, Arc::clone(&self.schema), Arc::clone(&self.properties));
        Ok(RecordWriter { writer: writer.map_err(|e| write_error(&path, e))?, path, rows: 0 })
    }
}

/// A file that is being written, one group of rows after the other.
pub(super) struct RecordWriter {
    writer: SerializedFileWriter<File>,
    path: PathBuf,
    /// How many rows it has.
    rows: usize,
}

impl RecordWriter {
    /// Adds rows until there are `end`, as a group with a dictionary of its own, which must stay below 2 GiB; of which those are not null
    /// whose numbers in the file are given, in their order. Blocks.
    pub(super) fn add(&mut self, end: usize, entries: &[(usize, ExportValue)]) -> Result<()> {
        let columns = ExportColumns::of(self.rows..end, entries)?;
        self.write(&columns).map_err(|e| write_error(&self.path, e))?;
        self.rows = end;
        Ok(())
    }

    fn write(&mut self, columns: &ExportColumns) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        add_column::<ByteArrayType>(&mut group, &columns.places, Some(&columns.has_place))?;
        add_column::<Int64Type>(&mut group, &columns.offsets, None)?;
        add_column::<Int64Type>(&mut group, &columns.sizes, None)?;
        add_column::<ByteArrayType>(&mut group, &columns.raws, Some(&columns.has_raw))?;
        group.close().map(drop)
    }

    /// Adds what is left as [`add`](Self::add) does, and ends the file. Blocks.
    pub(super) fn finish(mut self, end: usize, entries: &[(usize, ExportValue)]) -> Result<()> {
        if self.rows < end {
            self.add(end, entries)?;
        }
        self.writer.close().map(drop).map_err(|e| write_error(&self.path, e))
    }
}

fn write_error(path: &Path, error: ParquetError) -> Error {
    Error::unavailable(format!("cannot write {}", crate::error::shown(path))).caused_by(error)
}

/// The values of neighbouring rows. `has_…` says for each row whether it has a value: 1 or 0.
struct ExportColumns {
    places: Vec<ByteArray>,
    has_place: Vec<i16>,
    offsets: Vec<i64>,
    sizes: Vec<i64>,
    raws: Vec<ByteArray>,
    has_raw: Vec<i16>,
}

impl ExportColumns {
    fn of(place: Range<usize>, entries: &[(usize, ExportValue)]) -> Result<Self> {
        let rows = place.len();
        let mut columns = Self {
            places: Vec::with_capacity(entries.len()),
            has_place: vec![0; rows],
            offsets: vec![0; rows],
            sizes: vec![0; rows],
            raws: Vec::new(),
            has_raw: vec![0; rows],
        };
        let mut last: Option<(Arc<str>, ByteArray)> = None;
        for (row, value) in entries {
            let row = row.wrapping_sub(place.start);
            match value {
                ExportValue::Bytes(bytes) => columns.raw(row, bytes)?,
                // fsspec takes offset 0 and size 0 for the whole file.
                ExportValue::Range(ByteRange { offset: 0, length: 0, .. }) => columns.raw(row, &Bytes::new())?,
                ExportValue::Range(ByteRange { place, offset, length }) => {
                    let shared = last.take().filter(|(known, _)| Arc::ptr_eq(known, place) || known == place);
                    let (known, bytes) = shared.unwrap_or_else(|| (Arc::clone(place), ByteArray::from(&**place)));
                    columns.places.push(bytes.clone());
                    last = Some((known, bytes));
                    *cell(&mut columns.has_place, row)? = 1;
                    *cell(&mut columns.offsets, row)? = signed(*offset)?;
                    *cell(&mut columns.sizes, row)? = signed(*length)?;
                }
            }
        }
        Ok(columns)
    }

    fn raw(&mut self, row: usize, bytes: &Bytes) -> Result<()> {
        // fsspec decodes such a value, although it is not text here.
        let bytes = if bytes.starts_with(MARK.as_bytes()) { format!("{MARK}{}", BASE64.encode(bytes)).into() } else { bytes.clone() };
        self.raws.push(ByteArray::from(bytes));
        *cell(&mut self.has_raw, row)? = 1;
        Ok(())
    }
}

fn cell<T>(column: &mut [T], row: usize) -> Result<&mut T> {
    column.get_mut(row).ok_or_else(|| Error::internal("a reference lies outside of its record"))
}

fn signed(number: u64) -> Result<i64> {
    let wrong = |_| Error::new(ErrorKind::Unsupported, format!("{number} is 2^63 or more, which a Parquet set cannot hold; export JSON"));
    i64::try_from(number).map_err(wrong)
}

fn add_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let column = group.next_column()?;
    let mut column = column.ok_or_else(|| ParquetError::General("a column is missing".to_owned()))?;
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()
}
