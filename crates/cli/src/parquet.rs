//! Tables as Parquet files, for verbs with `--parquet`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as PhysicalType, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

use super::whole::WholeFile;
use firnline::{Error, Existing, Result, Timestamp};

/// How many rows are in memory at once, and in one row group.
const ROWS: usize = 64 << 10;

/// What a column of a table holds. Every cell may be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CellKind {
    /// Text.
    Text,
    /// A whole number up to 2^63 - 1.
    Number,
    /// A moment in microseconds of UTC.
    Time,
    /// True or false.
    Flag,
}

/// One value of a row; must be of the kind of its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Text(Option<String>),
    Number(Option<u64>),
    Time(Option<Timestamp>),
    Flag(Option<bool>),
}

/// A Parquet file that is written row by row, in memory that does not depend on how many there are.
///
/// The file appears under its name when [`finish`](Self::finish) returns; dropping the table before leaves nothing.
pub(super) struct ParquetTable<const N: usize> {
    file: PathBuf,
    whole: WholeFile,
    writer: SerializedFileWriter<File>,
    names: [&'static str; N],
    columns: [CellColumn; N],
    rows: usize,
}

impl<const N: usize> ParquetTable<N> {
    /// Begins a table with these columns in a file that must not exist. `Invalid` if it does, `NotFound` if the directory does not.
    pub(super) fn create(file: &Path, columns: [(&'static str, CellKind); N]) -> Result<Self> {
        let failed = |e| wrong(file, e);
        let schema = schema(&columns).map_err(failed)?;
        let level = ZstdLevel::try_new(3).map_err(failed)?;
        let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).set_created_by("firnline".to_owned());
        let (whole, out) = WholeFile::create(file, Existing::Refuse)?;
        let writer = SerializedFileWriter::new(out, schema, Arc::new(properties.build())).map_err(failed)?;
        let (names, columns) = (columns.map(|(name, _)| name), columns.map(|(_, kind)| CellColumn::new(kind)));
        Ok(Self { file: file.to_owned(), whole, writer, names, columns, rows: 0 })
    }

    /// Adds a row. `Invalid` if a number or a time cannot be written, `Internal` if a cell is not of the kind of its column.
    pub(super) fn push(&mut self, row: [Cell; N]) -> Result<()> {
        for ((column, cell), name) in self.columns.iter_mut().zip(row).zip(self.names) {
            column.push(cell).map_err(|e| e.context(format!("column {name} of {}", self.file.display())))?;
        }
        self.rows += 1;
        if self.rows == ROWS { self.write_group() } else { Ok(()) }
    }

    /// Writes the rest and gives the file its name.
    pub(super) fn finish(mut self) -> Result<()> {
        if self.rows > 0 {
            self.write_group()?;
        }
        let out = self.writer.into_inner().map_err(|e| wrong(&self.file, e))?;
        self.whole.finish(&out)
    }

    fn write_group(&mut self) -> Result<()> {
        let mut group = self.writer.next_row_group().map_err(|e| wrong(&self.file, e))?;
        let written = self.columns.iter_mut().try_for_each(|column| column.write(&mut group));
        written.and_then(|()| group.close().map(drop)).map_err(|e| wrong(&self.file, e))?;
        self.rows = 0;
        Ok(())
    }
}

fn schema(columns: &[(&str, CellKind)]) -> Result<TypePtr, ParquetError> {
    let field = |(name, kind): &(&str, CellKind)| {
        let (physical, logical) = match kind {
            CellKind::Text => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
            CellKind::Number => (PhysicalType::INT64, None),
            CellKind::Time => (PhysicalType::INT64, Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
            CellKind::Flag => (PhysicalType::BOOLEAN, None),
        };
        let field = Type::primitive_type_builder(name, physical).with_logical_type(logical).with_repetition(Repetition::OPTIONAL);
        field.build().map(Arc::new)
    };
    let fields = columns.iter().map(field).collect::<Result<Vec<_>, _>>()?;
    Type::group_type_builder("schema").with_fields(fields).build().map(Arc::new)
}

/// The values of one column that are not written yet, and for every row whether it has one.
#[derive(Debug)]
struct CellColumn {
    /// 1 for a value, 0 for null.
    levels: Vec<i16>,
    values: CellValues,
}

#[derive(Debug)]
enum CellValues {
    Text(Vec<ByteArray>),
    Number(Vec<i64>),
    Time(Vec<i64>),
    Flag(Vec<bool>),
}

impl CellColumn {
    fn new(kind: CellKind) -> Self {
        let values = match kind {
            CellKind::Text => CellValues::Text(Vec::new()),
            CellKind::Number => CellValues::Number(Vec::new()),
            CellKind::Time => CellValues::Time(Vec::new()),
            CellKind::Flag => CellValues::Flag(Vec::new()),
        };
        Self { levels: Vec::new(), values }
    }

    fn push(&mut self, cell: Cell) -> Result<()> {
        let is_some = match (&mut self.values, cell) {
            (CellValues::Text(values), Cell::Text(text)) => add(values, text.map(|text| ByteArray::from(text.into_bytes()))),
            (CellValues::Number(values), Cell::Number(number)) => {
                let signed = |n| i64::try_from(n).map_err(|_| Error::invalid(format!("{n} is more than 2^63 - 1")));
                add(values, number.map(signed).transpose()?)
            }
            (CellValues::Time(values), Cell::Time(time)) => add(values, time.map(Timestamp::micros)),
            (CellValues::Flag(values), Cell::Flag(flag)) => add(values, flag),
            (_, cell) => return Err(Error::internal(format!("{cell:?} is of another kind than its column"))),
        };
        self.levels.push(i16::from(is_some));
        Ok(())
    }

    fn write(&mut self, group: &mut SerializedRowGroupWriter<'_, File>) -> Result<(), ParquetError> {
        match &mut self.values {
            CellValues::Text(values) => write_column::<ByteArrayType>(group, values, &self.levels)?,
            CellValues::Number(values) | CellValues::Time(values) => write_column::<Int64Type>(group, values, &self.levels)?,
            CellValues::Flag(values) => write_column::<BoolType>(group, values, &self.levels)?,
        }
        self.levels.clear();
        Ok(())
    }
}

fn add<T>(values: &mut Vec<T>, value: Option<T>) -> bool {
    let is_some = value.is_some();
    values.extend(value);
    is_some
}

fn write_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &mut Vec<T::T>,
    levels: &[i16],
) -> Result<(), ParquetError> {
    let column = group.next_column()?;
    let mut column = column.ok_or_else(|| ParquetError::General("the schema has fewer columns than the table".to_owned()))?;
    column.typed::<T>().write_batch(values, Some(levels), None)?;
    values.clear();
    column.close()
}

fn wrong(file: &Path, error: ParquetError) -> Error {
    Error::unavailable(format!("{} cannot be written as Parquet", file.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::RowAccessor as _;

    use super::*;

    const COLUMNS: [(&str, CellKind); 4] =
        [("url", CellKind::Text), ("refs", CellKind::Number), ("modified", CellKind::Time), ("racy", CellKind::Flag)];

    fn row(n: u64) -> [Cell; 4] {
        let some = !n.is_multiple_of(3);
        [
            Cell::Text(some.then(|| format!("file:///é/{}", n % 7))),
            Cell::Number(Some(n)),
            Cell::Time(some.then(|| Timestamp::from_micros(-n.cast_signed()))),
            Cell::Flag(some.then_some(n.is_multiple_of(2))),
        ]
    }

    #[test]
    fn every_row_is_read_back_also_over_several_row_groups() {
        let directory = tempfile::tempdir().unwrap();
        for count in [0, 1, ROWS, 2 * ROWS + 1] {
            let file = directory.path().join(count.to_string());
            let mut table = ParquetTable::create(&file, COLUMNS).unwrap();
            (0..count as u64).for_each(|n| table.push(row(n)).unwrap());
            assert!(!file.exists());
            table.finish().unwrap();
            let reader = SerializedFileReader::new(File::open(&file).unwrap()).unwrap();
            assert_eq!(reader.metadata().num_row_groups(), count.div_ceil(ROWS));
            let mut read = 0;
            for (n, found) in reader.get_row_iter(None).unwrap().enumerate() {
                let found = found.unwrap();
                let back = [
                    Cell::Text(found.get_string(0).ok().cloned()),
                    Cell::Number(found.get_long(1).ok().map(i64::cast_unsigned)),
                    Cell::Time(found.get_timestamp_micros(2).ok().map(Timestamp::from_micros)),
                    Cell::Flag(found.get_bool(3).ok()),
                ];
                assert_eq!(back, row(n as u64));
                read += 1;
            }
            assert_eq!(read, count);
        }
    }

    #[test]
    fn a_table_that_is_given_up_leaves_nothing_and_a_wrong_cell_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("t.parquet");
        let mut table = ParquetTable::create(&file, COLUMNS).unwrap();
        let mut large = row(1);
        large[1] = Cell::Number(Some(u64::MAX));
        let error = table.push(large).unwrap_err().to_string();
        assert!(error.contains("column refs of ") && error.contains("18446744073709551615"), "{error}");
        drop(table);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        std::fs::write(&file, "mine").unwrap();
        assert!(ParquetTable::create(&file, COLUMNS).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    }
}
