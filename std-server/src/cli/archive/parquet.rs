//! Entries as Apache Parquet: a column for each field, the payload as JSON.
//!
//! Rows are gathered up to a row group of some megabytes, so that memory stays bounded.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use strandline::archive::{ArchiveError, Entry};

use super::Failure;
use super::export::{Take, payload_text};

pub(super) fn write(
    out: impl Write + Send,
    each: impl FnOnce(Take<'_>) -> Result<(), ArchiveError>,
) -> Result<(), Failure> {
    let schema = Arc::new(parse_message_type(SCHEMA).map_err(|error| failed(&error))?);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let file = SerializedFileWriter::new(out, schema, Arc::new(properties));
    let mut file = file.map_err(|error| failed(&error))?;
    let mut group = Group::default();
    each(&mut |entry| {
        group.push(entry)?;
        if group.bytes > GROUP_BYTES {
            group.flush(&mut file).map_err(|error| failed(&error))
        } else {
            Ok(())
        }
    })?;
    let closed = group.flush(&mut file).and_then(|()| file.close());
    closed.map(drop).map_err(|error| failed(&error).into())
}

fn failed(error: &ParquetError) -> ArchiveError {
    ArchiveError::Other(format!("Parquet: {error}"))
}

/// Rows that are not written yet, column by column.
#[derive(Default)]
struct Group {
    numbers: [Vec<i64>; 2],
    texts: [Vec<ByteArray>; 3],
    /// Values where they are known, and for each row whether they are.
    known: [(Vec<i64>, Vec<i16>); 3],
    bytes: usize,
}

impl Group {
    fn push(&mut self, entry: &Entry<'_>) -> Result<(), ArchiveError> {
        let payload = payload_text(entry)?;
        self.bytes += 64 + payload.len() + entry.context.len() + entry.event_type.len();
        for (column, number) in self.numbers.iter_mut().zip([entry.timestamp, entry.event_id]) {
            column.push(number.cast_signed());
        }
        let texts = [entry.context.into(), entry.event_type.into(), payload.into_bytes().into()];
        for (column, text) in self.texts.iter_mut().zip(texts) {
            column.push(text);
        }
        let stamp = entry.stamp;
        for (column, number) in self.known.iter_mut().zip([stamp.lsn.0, stamp.time.0, stamp.commit.0]) {
            column.1.push(i16::from(number != 0));
            if number != 0 {
                column.0.push(number.cast_signed());
            }
        }
        Ok(())
    }

    fn flush(&mut self, file: &mut SerializedFileWriter<impl Write + Send>) -> Result<(), ParquetError> {
        let Self { numbers: [timestamps, ids], texts: [contexts, types, payloads], known, bytes: _ } = self;
        let mut group = file.next_row_group()?;
        let mut number = 0;
        while let Some(mut column) = group.next_column()? {
            match number {
                0 => column.typed::<Int64Type>().write_batch(timestamps, None, None)?,
                1 => column.typed::<ByteArrayType>().write_batch(contexts, None, None)?,
                2 => column.typed::<ByteArrayType>().write_batch(types, None, None)?,
                3 => column.typed::<ByteArrayType>().write_batch(payloads, None, None)?,
                4 => column.typed::<Int64Type>().write_batch(ids, None, None)?,
                known_column => {
                    let (values, there) = &known[known_column - 5];
                    column.typed::<Int64Type>().write_batch(values, Some(there), None)?
                }
            };
            column.close()?;
            number += 1;
        }
        group.close()?;
        *self = Self::default();
        Ok(())
    }
}

const GROUP_BYTES: usize = 8 << 20;

/// In the order of the columns of the other formats.
const SCHEMA: &str = "message entry {
    required int64 timestamp (INTEGER(64, false));
    required binary context_id (STRING);
    required binary event_type (STRING);
    required binary payload (JSON);
    required int64 event_id (INTEGER(64, false));
    optional int64 lsn (INTEGER(64, false));
    optional int64 time_ms (TIMESTAMP(MILLIS, true));
    optional int64 commit_ms (TIMESTAMP(MILLIS, true));
}";
