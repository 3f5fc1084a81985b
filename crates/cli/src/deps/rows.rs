//! Long lists, printed while they come: as a table, as JSON, as CSV or into a Parquet file.

use std::path::PathBuf;

use clap::Args;

use crate::failure::Stop;
use crate::output::{Format, Output, Show, Table};
use crate::parquet::{Cell, CellKind, ParquetTable};
use firnline::Error;

/// How a list is printed, besides `--json`.
#[derive(Debug, Args)]
pub(super) struct ListFormat {
    /// Print CSV with a line of names; text is not escaped
    #[arg(long)]
    csv: bool,
    /// Write a Parquet file, which must not exist, and print nothing
    #[arg(long, value_name = "FILE", conflicts_with = "csv")]
    parquet: Option<PathBuf>,
}

impl ListFormat {
    /// Whether nothing of it was given.
    pub(super) fn is_plain(&self) -> bool {
        !self.csv && self.parquet.is_none()
    }
}

/// A row with `N` columns for programs and `T` for people.
pub(super) trait ListRow<const N: usize, const T: usize>: Show {
    /// What CSV and Parquet files call the columns, and what they hold.
    const COLUMNS: [(&'static str, CellKind); N];
    /// What begins a table.
    const HEAD: [&'static str; T];

    /// The values for programs.
    fn cells(&self) -> [Cell; N];

    /// The values for people.
    fn texts(&self) -> [String; T];
}

/// How many bytes of CSV are printed at once.
const CSV_BYTES: usize = 64 << 10;

/// A list that is being printed.
pub(super) enum ListPrinter<const N: usize, const T: usize> {
    Table(Table<T>),
    Json,
    Csv(Box<csv::Writer<Vec<u8>>>),
    Parquet(Box<ParquetTable<N>>),
}

impl<const N: usize, const T: usize> ListPrinter<N, T> {
    /// Begins a list of rows. `Invalid` when two formats are asked for, and when the Parquet file cannot be made.
    pub(super) fn begin<R: ListRow<N, T>>(format: &ListFormat, out: &mut Output) -> Result<Self, Stop> {
        let is_json = out.format() == Format::Json;
        if is_json && (format.csv || format.parquet.is_some()) {
            return Err(Error::invalid("--json cannot be given together with --csv or --parquet").into());
        }
        if let Some(file) = &format.parquet {
            return Ok(Self::Parquet(Box::new(ParquetTable::create(file, R::COLUMNS)?)));
        }
        if format.csv {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(R::COLUMNS.map(|(name, _)| name)).map_err(|e| lost(&e))?;
            return Ok(Self::Csv(Box::new(writer)));
        }
        Ok(if is_json { Self::Json } else { Self::Table(Table::new(R::HEAD)) })
    }

    /// Prints a row, or keeps it for a moment.
    pub(super) fn push<R: ListRow<N, T>>(&mut self, out: &mut Output, row: &R) -> Result<(), Stop> {
        match self {
            Self::Table(table) => out.table_row(table, row.texts()),
            Self::Json => out.show(row),
            Self::Csv(writer) => {
                writer.write_record(row.cells().map(plain)).map_err(|e| lost(&e))?;
                if writer.get_ref().len() < CSV_BYTES {
                    return Ok(());
                }
                let full = std::mem::replace(&mut **writer, csv::Writer::from_writer(Vec::new()));
                out.bytes(&full.into_inner().map_err(|e| lost(&e.into_error().into()))?)
            }
            Self::Parquet(table) => Ok(table.push(row.cells())?),
        }
    }

    /// Prints what is left.
    pub(super) fn end(self, out: &mut Output) -> Result<(), Stop> {
        match self {
            Self::Table(table) => out.end_table(table),
            Self::Json => Ok(()),
            // A list without rows has its line of names.
            Self::Csv(writer) => out.bytes(&writer.into_inner().map_err(|e| lost(&e.into_error().into()))?),
            Self::Parquet(table) => Ok(table.finish()?),
        }
    }
}

fn lost(error: &csv::Error) -> Stop {
    Error::internal(format!("a row cannot be written as CSV: {error}")).into()
}

/// A value as CSV has it: nothing where it is not known.
fn plain(cell: Cell) -> String {
    match cell {
        Cell::Text(text) => text.unwrap_or_default(),
        Cell::Number(number) => number.map(|n| n.to_string()).unwrap_or_default(),
        Cell::Time(time) => time.map(|time| time.to_string()).unwrap_or_default(),
        Cell::Flag(flag) => flag.map(|flag| flag.to_string()).unwrap_or_default(),
    }
}
