//! The rows of one `refs.N.parq`.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use firnline::{Error, Result};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{FileReader as _, RowGroupReader, SerializedFileReader};

use crate::error::{file_error, parquet_error, shown};

/// How many rows are decoded at once.
const ROWS: usize = 1 << 13;

/// The largest column of a row group, in bytes without compression, as its metadata says. What the header of a page says counts when the
/// page is read, which is up to 2 GiB.
const LARGEST_COLUMN: i64 = 1 << 30;

/// One reference as it is stored.
#[derive(Debug)]
pub(super) struct RecordRow<'r> {
    pub(super) path: Option<&'r [u8]>,
    pub(super) offset: Option<i64>,
    pub(super) size: Option<i64>,
    pub(super) raw: Option<&'r [u8]>,
}

/// The file with the rows of one record.
pub(super) struct RecordFile<'p> {
    path: &'p Path,
    reader: SerializedFileReader<File>,
}

impl<'p> RecordFile<'p> {
    pub(super) fn open(path: &'p Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| file_error("read", path, e))?;
        let reader = guarded(path, || SerializedFileReader::new(file).map_err(|e| parquet_error(path, e)))?;
        Ok(Self { path, reader })
    }

    /// How many rows it says that it has.
    pub(super) fn len(&self) -> Result<u64> {
        u64::try_from(self.reader.metadata().file_metadata().num_rows()).map_err(|_| self.wrong("has a negative number of rows"))
    }

    fn wrong(&self, why: &str) -> Error {
        Error::invalid(format!("{} {why}", shown(self.path)))
    }

    /// Gives every row to `take`, with its number.
    pub(super) fn each_row(&self, mut take: impl FnMut(u64, RecordRow<'_>) -> Result<()>) -> Result<()> {
        let mut number = 0;
        for group in 0..self.reader.num_row_groups() {
            let group = guarded(self.path, || self.reader.get_row_group(group).map_err(|e| parquet_error(self.path, e)))?;
            let count = usize::try_from(group.metadata().num_rows()).map_err(|_| self.wrong("has a negative number of rows"))?;
            let mut columns = guarded(self.path, || RecordColumns::open(self, &*group))?;
            let mut left = count;
            while left > 0 {
                let some = left.min(ROWS);
                let rows = guarded(self.path, || columns.read(self, some))?;
                for n in 0..some {
                    take(number, rows.row(n))?;
                    number += 1;
                }
                left -= some;
            }
        }
        Ok(())
    }
}

/// Runs the reader of Parquet, which panics on some damaged files that its own checks let through; then the file is `Invalid`.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    // What a panic leaves half done is dropped with the file.
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(Error::invalid(format!("{} cannot be read as Parquet: its pages do not fit together", shown(path)))))
}

/// The columns of a row group that have a meaning; the others are passed over.
#[derive(Default)]
struct RecordColumns {
    path: Option<NullableColumn>,
    offset: Option<NullableColumn>,
    size: Option<NullableColumn>,
    raw: Option<NullableColumn>,
}

struct NullableColumn {
    reader: ColumnReader,
    is_nullable: bool,
}

/// Some rows of the columns.
struct RecordRows {
    path: Vec<Option<ByteArray>>,
    offset: Vec<Option<i64>>,
    size: Vec<Option<i64>>,
    raw: Vec<Option<ByteArray>>,
}

impl RecordRows {
    fn row(&self, n: usize) -> RecordRow<'_> {
        fn bytes(column: &[Option<ByteArray>], n: usize) -> Option<&[u8]> {
            column.get(n)?.as_ref().map(ByteArray::data)
        }
        let number = |column: &[Option<i64>]| column.get(n).copied().flatten();
        RecordRow { path: bytes(&self.path, n), offset: number(&self.offset), size: number(&self.size), raw: bytes(&self.raw, n) }
    }
}

impl RecordColumns {
    fn open(file: &RecordFile<'_>, group: &dyn RowGroupReader) -> Result<Self> {
        let metadata: &RowGroupMetaData = group.metadata();
        let mut columns = Self::default();
        for at in 0..metadata.num_columns() {
            let column = metadata.column(at);
            let described = column.column_descr();
            let place = match described.path().parts() {
                [name] if name == "path" => &mut columns.path,
                [name] if name == "offset" => &mut columns.offset,
                [name] if name == "size" => &mut columns.size,
                [name] if name == "raw" => &mut columns.raw,
                _ => continue,
            };
            if described.max_rep_level() > 0 || described.max_def_level() > 1 {
                return Err(file.wrong(&format!("has lists in the column {}", described.name())));
            }
            if column.uncompressed_size() > LARGEST_COLUMN {
                return Err(file.wrong(&format!("has more than {LARGEST_COLUMN} bytes in the column {}", described.name())));
            }
            let offsets = [Some(column.data_page_offset()), column.dictionary_page_offset(), Some(column.compressed_size())];
            // The crate takes these for checked.
            if offsets.into_iter().flatten().any(|n| n < 0) {
                return Err(file.wrong(&format!("has no valid place for the column {}", described.name())));
            }
            let is_nullable = described.max_def_level() > 0;
            let reader = group.get_column_reader(at).map_err(|e| parquet_error(file.path, e))?;
            *place = Some(NullableColumn { reader, is_nullable });
        }
        Ok(columns)
    }

    fn read(&mut self, file: &RecordFile<'_>, count: usize) -> Result<RecordRows> {
        let failed = |e| parquet_error(file.path, e);
        Ok(RecordRows {
            path: texts(&mut self.path, count).map_err(failed)?,
            offset: numbers(&mut self.offset, count).map_err(failed)?,
            size: numbers(&mut self.size, count).map_err(failed)?,
            raw: texts(&mut self.raw, count).map_err(failed)?,
        })
    }
}

/// The next values of a column of bytes; a column that is not there has none.
fn texts(column: &mut Option<NullableColumn>, count: usize) -> Result<Vec<Option<ByteArray>>, ParquetError> {
    let Some(NullableColumn { reader, is_nullable }) = column else { return Ok(vec![None; count]) };
    match reader {
        ColumnReader::ByteArrayColumnReader(reader) => next_values(reader, *is_nullable, count),
        _ => Err(ParquetError::General("a column of texts holds something else".to_owned())),
    }
}

/// The next values of a column of integers.
fn numbers(column: &mut Option<NullableColumn>, count: usize) -> Result<Vec<Option<i64>>, ParquetError> {
    let Some(NullableColumn { reader, is_nullable }) = column else { return Ok(vec![None; count]) };
    match reader {
        ColumnReader::Int64ColumnReader(reader) => next_values(reader, *is_nullable, count),
        ColumnReader::Int32ColumnReader(reader) => {
            Ok(next_values(reader, *is_nullable, count)?.into_iter().map(|n| n.map(i64::from)).collect())
        }
        _ => Err(ParquetError::General("a column of integers holds something else".to_owned())),
    }
}

fn next_values<T: DataType>(reader: &mut ColumnReaderImpl<T>, is_nullable: bool, count: usize) -> Result<Vec<Option<T::T>>, ParquetError> {
    let (mut levels, mut values) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut read = 0;
    while read < count {
        let (records, _, _) = reader.read_records(count - read, is_nullable.then_some(&mut levels), None, &mut values)?;
        if records == 0 {
            return Err(ParquetError::EOF(format!("a column has fewer than the {count} values that follow")));
        }
        read += records;
    }
    if !is_nullable {
        return Ok(values.into_iter().map(Some).collect());
    }
    let mut values = values.into_iter();
    let each = levels.iter().map(|level| match level {
        0 => Ok(None),
        _ => values.next().map(Some).ok_or_else(|| ParquetError::General("a column has fewer values than it says".to_owned())),
    });
    let all: Vec<_> = each.collect::<Result<_, _>>()?;
    if all.len() == count { Ok(all) } else { Err(ParquetError::General("a column has another number of values than it says".to_owned())) }
}
