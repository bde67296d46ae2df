//! Parquet: only the columns that an appointment has are read.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use chrono::{DateTime, NaiveDateTime};
use parquet::{
    basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical},
    data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type},
    errors::ParquetError,
    file::{
        properties::WriterProperties,
        reader::{FileReader, SerializedFileReader},
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    record::{Field as Value, reader::RowIter},
    schema::{parser::parse_message_type, types::Type},
};

use super::{Cell, Columns, FIELDS, Field, Places, Row, Rows, write::said_sex};
use crate::{
    diagnosis::Appointment,
    error::{Error, Result},
};

/// Rows written at a time: a few megabytes of text.
const GROUP_ROWS: usize = 8192;
const DAY_S: i64 = 86_400;
/// What is written; times are those of the clock, in no zone.
const SCHEMA: &str = "message appointments {
    required binary id (STRING);
    required binary patient (STRING);
    required int64 date (TIMESTAMP(MILLIS, false));
    optional int32 age;
    optional binary sex (STRING);
    required binary complaints (STRING);
    required binary tests (STRING);
    required binary conclusion (STRING);
    required binary codes (STRING);
}";

pub(super) struct Parquet {
    rows: RowIter<'static>,
    path: PathBuf,
    places: Places,
    /// Nanoseconds in a unit of the times' column, where it counts them.
    time_unit: Option<i64>,
    number: usize,
    /// Behind a damaged page nothing can be read, and the reader would say so for ever.
    ended: bool,
}

impl Parquet {
    pub fn open(path: &Path, columns: &Columns) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::read(path, e))?;
        let reader = SerializedFileReader::new(file).map_err(|e| damaged(path, 1, &e))?;
        let schema = reader.metadata().file_metadata().schema().clone();
        let names: Vec<&str> = schema.get_fields().iter().map(|column| column.name()).collect();
        let all = columns.places(&names, path)?;
        for ((field, name, _), places) in FIELDS.iter().zip(&all) {
            for &place in places {
                check(*field, name, &schema.get_fields()[place], path)?;
            }
        }
        // The others are not decoded.
        let mut wanted: Vec<usize> = all.iter().flatten().copied().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let fields = wanted.iter().map(|&place| schema.get_fields()[place].clone()).collect();
        let projected = Type::group_type_builder(schema.name()).with_fields(fields).build();
        let places = all.map(|places| places.iter().filter_map(|place| wanted.binary_search(place).ok()).collect());
        let time: &Vec<usize> = &places[Field::Time as usize];
        let time_unit = time.first().and_then(|&place| unit(&schema.get_fields()[wanted[place]]));
        let rows = projected
            .and_then(|projected| RowIter::from_file_into(Box::new(reader)).project(Some(projected)))
            .map_err(|e| damaged(path, 1, &e))?;
        Ok(Self { rows, path: path.to_owned(), places, time_unit, number: 0, ended: false })
    }
}

/// Refuses a column of a type that its field cannot have.
fn check(field: Field, name: &str, column: &Type, path: &Path) -> Result<()> {
    let physical = column.is_primitive().then(|| column.get_physical_type());
    let is_text = physical == Some(Physical::BYTE_ARRAY);
    let is_decimal = matches!(column.get_basic_info().logical_type_ref(), Some(LogicalType::Decimal(_)))
        || column.get_basic_info().converted_type() == ConvertedType::DECIMAL;
    let is_whole = matches!(physical, Some(Physical::INT32 | Physical::INT64)) && !is_decimal;
    let (fits, expected) = match field {
        Field::Complaints | Field::Tests | Field::Conclusion => (is_text, "text"),
        Field::Id | Field::Patient | Field::Sex => (is_text || is_whole, "text or whole numbers"),
        Field::Time => (is_text || unit(column).is_some(), "text, dates or timestamps"),
        Field::Age => {
            let is_real = matches!(physical, Some(Physical::FLOAT | Physical::DOUBLE));
            (is_text || is_whole || is_real, "numbers")
        }
        Field::Codes => (is_text || is_list_of_texts(column), "text or lists of texts"),
    };
    if fits {
        return Ok(());
    }
    let got = match physical {
        None => "a group".to_owned(),
        Some(_) if is_decimal => "decimals".to_owned(),
        Some(physical) => physical.to_string(),
    };
    Err(Error::Parse {
        what: "table",
        path: path.to_owned(),
        line: 1,
        expected: format!("column `{}` ({name}) with {expected}", column.name()),
        got,
    })
}

/// Tells whether a column is a list whose innermost values are texts.
fn is_list_of_texts(column: &Type) -> bool {
    let info = column.get_basic_info();
    let is_list =
        info.converted_type() == ConvertedType::LIST || matches!(info.logical_type_ref(), Some(LogicalType::List));
    let mut inner = column;
    while let [only] = if inner.is_group() { inner.get_fields() } else { &[] } {
        inner = only;
    }
    is_list && inner.is_primitive() && inner.get_physical_type() == Physical::BYTE_ARRAY
}

/// Returns the nanoseconds in a unit of a column of dates or timestamps; `None` for any other.
fn unit(column: &Type) -> Option<i64> {
    let info = column.get_basic_info();
    match (info.logical_type_ref(), info.converted_type()) {
        (Some(LogicalType::Timestamp(time)), _) => Some(match time.unit {
            TimeUnit::MILLIS => 1_000_000,
            TimeUnit::MICROS => 1_000,
            TimeUnit::NANOS => 1,
        }),
        (Some(LogicalType::Date), _) | (_, ConvertedType::DATE) => Some(DAY_S * 1_000_000_000),
        (_, ConvertedType::TIMESTAMP_MILLIS) => Some(1_000_000),
        (_, ConvertedType::TIMESTAMP_MICROS) => Some(1_000),
        // Spark's and Impala's old form, which is read as milliseconds.
        _ if column.is_primitive() && column.get_physical_type() == Physical::INT96 => Some(1_000_000),
        _ => None,
    }
}

impl Rows for Parquet {
    fn next_row(&mut self) -> Option<Result<Row>> {
        if self.ended {
            return None;
        }
        let row = self.rows.next()?;
        self.number += 1;
        self.ended = row.is_err();
        Some(match row {
            Ok(row) => {
                let values: Vec<Value> = row.into_columns().into_iter().map(|(_, value)| value).collect();
                Ok(std::array::from_fn(|field| {
                    let unit = self.time_unit.filter(|_| FIELDS[field].0 == Field::Time);
                    Cell::joined(self.places[field].iter().map(|&place| cell(&values[place], unit)).collect())
                }))
            }
            Err(error) => Err(damaged(&self.path, self.number, &error)),
        })
    }

    fn line(&self) -> usize {
        self.number
    }
}

fn cell(value: &Value, unit: Option<i64>) -> Cell {
    let moment = |count: i64, unit: i64| match time(count, unit) {
        Some(time) => Cell::Time(time),
        None => Cell::Missing,
    };
    match value {
        Value::Str(text) => Cell::Text(text.clone()),
        Value::Bytes(bytes) => std::str::from_utf8(bytes.data()).map_or(Cell::Missing, |text| Cell::Text(text.into())),
        Value::Date(days) => moment(i64::from(*days), DAY_S * 1_000_000_000),
        Value::TimestampMillis(count) => moment(*count, 1_000_000),
        Value::TimestampMicros(count) => moment(*count, 1_000),
        Value::Long(count) => unit.map_or(Cell::Whole((*count).into()), |unit| moment(*count, unit)),
        Value::Int(count) => Cell::Whole((*count).into()),
        Value::Short(count) => Cell::Whole((*count).into()),
        Value::Byte(count) => Cell::Whole((*count).into()),
        Value::ULong(count) => Cell::Whole((*count).into()),
        Value::UInt(count) => Cell::Whole((*count).into()),
        Value::UShort(count) => Cell::Whole((*count).into()),
        Value::UByte(count) => Cell::Whole((*count).into()),
        Value::Float(number) => Cell::Number(f64::from(*number)),
        Value::Double(number) => Cell::Number(*number),
        Value::ListInternal(list) => {
            let texts = list.elements().iter().filter_map(|element| cell(element, None).text());
            Cell::List(texts.collect())
        }
        _ => Cell::Missing,
    }
}

/// Returns the moment that lies `count` units of `unit` nanoseconds behind 1970.
fn time(count: i64, unit: i64) -> Option<NaiveDateTime> {
    let nanoseconds = i128::from(count) * i128::from(unit);
    let seconds = i64::try_from(nanoseconds.div_euclid(1_000_000_000)).ok()?;
    Some(DateTime::from_timestamp(seconds, 0)?.naive_utc())
}

fn damaged(path: &Path, row: usize, error: &ParquetError) -> Error {
    Error::Parse {
        what: "table",
        path: path.to_owned(),
        line: row,
        expected: "a whole Parquet file with compression by Snappy, gzip or Zstandard, or none".into(),
        got: match error {
            ParquetError::EOF(_) => "one that is cut short".into(),
            ParquetError::NYI(_) => "a form that is not read".into(),
            _ => "a damaged one, or another compression".into(),
        },
    }
}

/// Writes rows in groups.
pub(super) struct ParquetWriter {
    writer: SerializedFileWriter<File>,
    path: PathBuf,
    rows: Vec<Appointment>,
}

impl ParquetWriter {
    pub fn new(file: File, path: &Path) -> Result<Self> {
        let schema = parse_message_type(SCHEMA).map_err(|e| unwritten(path, e))?;
        let properties = WriterProperties::builder().set_compression(parquet::basic::Compression::SNAPPY).build();
        let writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties));
        Ok(Self { writer: writer.map_err(|e| unwritten(path, e))?, path: path.to_owned(), rows: Vec::new() })
    }

    pub fn write(&mut self, appointment: &Appointment) -> Result<()> {
        self.rows.push(appointment.clone());
        if self.rows.len() < GROUP_ROWS { Ok(()) } else { self.flush() }
    }

    pub fn finish(mut self) -> Result<()> {
        if !self.rows.is_empty() {
            self.flush()?;
        }
        self.writer.close().map(drop).map_err(|e| unwritten(&self.path, e))
    }

    fn flush(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let mut write = || {
            let mut group = self.writer.next_row_group()?;
            texts(&mut group, rows.iter().map(|row| Some(row.id.as_str())))?;
            texts(&mut group, rows.iter().map(|row| Some(row.patient.as_str())))?;
            let times = rows.iter().map(|row| row.time.and_utc().timestamp_millis()).collect();
            column::<Int64Type>(&mut group, times, None)?;
            let (ages, known) = (rows.iter().filter_map(|row| row.age), rows.iter().map(|row| row.age.is_some()));
            column::<Int32Type>(&mut group, ages.map(i32::from).collect(), Some(known.map(i16::from).collect()))?;
            texts(&mut group, rows.iter().map(|row| row.sex.map(|sex| said_sex(Some(sex)))))?;
            texts(&mut group, rows.iter().map(|row| Some(row.complaints.as_str())))?;
            texts(&mut group, rows.iter().map(|row| Some(row.tests.as_str())))?;
            texts(&mut group, rows.iter().map(|row| Some(row.conclusion.as_str())))?;
            let codes: Vec<String> = rows.iter().map(|row| row.codes.join("; ")).collect();
            texts(&mut group, codes.iter().map(|codes| Some(codes.as_str())))?;
            group.close().map(drop)
        };
        write().map_err(|e| unwritten(&self.path, e))
    }
}

fn texts<'a>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    texts: impl Iterator<Item = Option<&'a str>> + Clone,
) -> std::result::Result<(), ParquetError> {
    let there = texts.clone().map(|text| i16::from(text.is_some())).collect();
    let values = texts.flatten().map(ByteArray::from).collect();
    column::<ByteArrayType>(group, values, Some(there))
}

/// Writes the next column; `there` says of each row whether it has a value.
fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: Vec<T::T>,
    there: Option<Vec<i16>>,
) -> std::result::Result<(), ParquetError> {
    if let Some(mut column) = group.next_column()? {
        column.typed::<T>().write_batch(&values, there.as_deref(), None)?;
        column.close()?;
    }
    Ok(())
}

fn unwritten(path: &Path, error: ParquetError) -> Error {
    Error::write(path, std::io::Error::other(error))
}
