//! Parquet, row by row through the format's own record reader: no Arrow.

use std::path::Path;

use parquet::basic::ConvertedType;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::RowIter;
use serde_json::{Number, Value};

use super::{Each, Place, Row};
use crate::error::{Error, Result};
use crate::fs;

/// Reads a Parquet file.
pub(super) fn read(path: &Path, each: &mut Each<'_>) -> Result<()> {
    let wrong = |e: parquet::errors::ParquetError| Error::file(path, e.to_string());
    let file = fs::open(path)?.into_inner();
    let reader = SerializedFileReader::new(file).map_err(wrong)?;
    for column in reader.metadata().file_metadata().schema_descr().columns() {
        if column.converted_type() == ConvertedType::INTERVAL {
            let what = format!(
                "column `{}` is an interval, which is not read",
                column.path()
            );
            return Err(Error::file(path, what));
        }
    }
    for (index, record) in RowIter::from_file_into(Box::new(reader)).enumerate() {
        let place = Place {
            path,
            row: index + 1,
            line: None,
            line_says_it: false,
        };
        let record = record.map_err(|e| place.error(e.to_string()))?;
        let row = row(record).map_err(|what| place.error(what))?;
        each(&place, row)?;
    }
    Ok(())
}

fn row(record: parquet::record::Row) -> Result<Row, String> {
    let cell = |(name, field)| {
        let value = value(field).map_err(|what| format!("column `{name}` {what}"))?;
        Ok((name, value))
    };
    record.into_columns().into_iter().map(cell).collect()
}

fn value(field: Field) -> Result<Value, String> {
    // What JSON has no number for is null, as pandas writes it.
    let float = |x: f64| Number::from_f64(x).map_or(Value::Null, Value::Number);
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(x) => x.into(),
        Field::Byte(x) => x.into(),
        Field::Short(x) => x.into(),
        Field::Int(x) => x.into(),
        Field::Long(x) => x.into(),
        Field::UByte(x) => x.into(),
        Field::UShort(x) => x.into(),
        Field::UInt(x) => x.into(),
        Field::ULong(x) => x.into(),
        Field::Float16(x) => float(x.into()),
        // The shortest digits that mean the same 32 bits, not their exact 64-bit value.
        Field::Float(x) => float(x.to_string().parse().unwrap_or(f64::from(x))),
        Field::Double(x) => float(x),
        Field::Str(text) => text.into(),
        Field::Bytes(bytes) => String::from_utf8(bytes.data().to_vec())
            .map_err(|_| "holds bytes that are no UTF-8 text")?
            .into(),
        Field::Group(group) => Value::Object(row(group)?),
        Field::ListInternal(list) => {
            let elements = list.elements().iter().cloned().map(value);
            Value::Array(elements.collect::<Result<_, _>>()?)
        }
        Field::MapInternal(map) => {
            let entries = map.entries().iter().map(|(key, element)| {
                let key = match value(key.clone())? {
                    Value::String(key) => key,
                    other => other.to_string(),
                };
                Ok::<_, String>((key, value(element.clone())?))
            });
            Value::Object(entries.collect::<Result<_, _>>()?)
        }
        // Dates, times and decimals as they are written.
        other => other.to_string().into(),
    })
}
