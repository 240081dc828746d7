//! A table of metrics in Arrow: one column per key and per value.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch,
        StringArray, TimestampMicrosecondArray,
    },
    datatypes::{Field, Schema},
    error::ArrowError,
    ipc::writer::StreamWriter,
};
use bytes::Bytes;
use ingest::money;
use semantic::{Number, Unit};

use super::{MetricTable, TableRow};
use crate::{AnswerFormat, Encoder, QueryError, QuerySummary, Reason};

impl MetricTable {
    /// The table in a format: `at` (with a grain), a column per dimension, `other` and `currency` where there may be
    /// one, a column per metric and its `_before`, and `incomplete`. A metric with suppressed values has `_suppressed` beside it.
    pub fn encode(
        &self,
        format: AnswerFormat,
        is_spreadsheet: bool,
    ) -> Result<Vec<u8>, QueryError> {
        let batch = self.batch()?;
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "metrics cannot be written");
            QueryError::new(Reason::Failed, "the metrics cannot be written in this format")
        };
        let stream = || -> Result<Vec<u8>, ArrowError> {
            let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
            writer.write(&batch)?;
            writer.into_inner()
        };
        let stream = stream().map_err(|error| failed(&error))?;
        let mut out = Vec::new();
        let mut encoder = Encoder::new(format, String::new()).with_spreadsheet(is_spreadsheet);
        let summary = QuerySummary { rows: batch.num_rows() as u64, ..QuerySummary::default() };
        encoder.rows(Bytes::from(stream), &mut out).map_err(|error| failed(&error))?;
        encoder.end(&summary, &mut out).map_err(|error| failed(&error))?;
        Ok(out)
    }

    fn batch(&self) -> Result<RecordBatch, QueryError> {
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        if self.grain.is_some() {
            let times = self.rows.iter().map(|row| row.at.map(|at| at.timestamp_micros()));
            let times = times.collect::<TimestampMicrosecondArray>().with_timezone("UTC");
            columns.push(("at".into(), Arc::new(times)));
        }
        for (i, name) in self.by.iter().enumerate() {
            let names = self.rows.iter().map(|row| row.group[i].as_deref());
            columns.push((name.clone(), Arc::new(names.collect::<StringArray>())));
        }
        if self.rows.iter().any(|row| row.other) {
            let other = self.rows.iter().map(|row| Some(row.other));
            columns.push(("other".into(), Arc::new(other.collect::<BooleanArray>())));
        }
        if self.columns.iter().any(|column| column.metric.has_currency()) {
            let currency = self.rows.iter().map(|row| row.currency.as_deref());
            columns.push(("currency".into(), Arc::new(currency.collect::<StringArray>())));
        }
        for (i, column) in self.columns.iter().enumerate() {
            let (name, unit) = (&column.metric.name, column.metric.unit);
            columns.push((name.clone(), self.numbers(unit, |row| row.values[i])?));
            if self.rows.iter().any(|row| row.suppressed.contains(&i)) {
                let suppressed = self.rows.iter().map(|row| Some(row.suppressed.contains(&i)));
                let suppressed = suppressed.collect::<BooleanArray>();
                columns.push((format!("{name}_suppressed"), Arc::new(suppressed)));
            }
            if self.compared.is_some() {
                let before = |row: &TableRow| row.before.as_ref().and_then(|before| before[i]);
                columns.push((format!("{name}_before"), self.numbers(unit, before)?));
            }
        }
        let incomplete = self.rows.iter().map(|row| Some(row.incomplete));
        columns.push(("incomplete".into(), Arc::new(incomplete.collect::<BooleanArray>())));
        let field = |(name, column): &(String, ArrayRef)| {
            Field::new(name, column.data_type().clone(), true)
        };
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        let columns = columns.into_iter().map(|(_, column)| column).collect();
        RecordBatch::try_new(Arc::new(schema), columns)
            .map_err(|error| QueryError::new(Reason::Failed, error.to_string()))
    }

    /// Counts are whole numbers, amounts decimals with all their digits, shares and latencies doubles.
    fn numbers(
        &self,
        unit: Unit,
        value: impl Fn(&TableRow) -> Option<Number>,
    ) -> Result<ArrayRef, QueryError> {
        let values = self.rows.iter().map(value);
        Ok(match unit {
            Unit::Count => {
                let whole = |value: Option<Number>| {
                    let whole = value.map(|value| value.to_i64().ok_or_else(too_large));
                    whole.transpose()
                };
                Arc::new(values.map(whole).collect::<Result<Int64Array, _>>()?)
            }
            Unit::Money => {
                let amounts = values.map(|value| value.map(Number::unscaled));
                let amounts = amounts.collect::<Decimal128Array>();
                let amounts = amounts.with_precision_and_scale(money::PRECISION, money::SCALE);
                Arc::new(amounts.map_err(|_| too_large())?)
            }
            Unit::Ratio | Unit::Milliseconds | Unit::Number => {
                Arc::new(values.map(|value| value.map(Number::to_f64)).collect::<Float64Array>())
            }
        })
    }
}

fn too_large() -> QueryError {
    let error = QueryError::new(Reason::OutOfRange, "a value does not fit its column");
    QueryError { hint: Some("ask for JSON, which has all digits".into()), ..error }
}
