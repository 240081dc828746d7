//! What the ledger says of this month, at a cut.

use accounts::{
    plans::Currency,
    quotas::{Counted, Month, Usage},
};
use analytics::Lake;
use arrow::{
    array::{Array, AsArray},
    compute::cast,
    datatypes::{DataType, Decimal128Type, Int64Type, TimestampMicrosecondType},
    error::ArrowError,
    record_batch::RecordBatch,
};
use chrono::{DateTime, SecondsFormat};
use ingest::{grant::SELF_REPORTED, money};
use pipeline::Cut;
use query::{Request, RowAccess};

use super::MeteringError;

const DEADLINE_MS: u64 = 900_000;

/// The use of each key in each month from one on, as the metrics of staff count it.
pub(super) async fn counted(
    lake: &Lake,
    cut: &Cut,
    from: Month,
    gives_way: bool,
) -> Result<Vec<Counted>, MeteringError> {
    let start = from.start().to_rfc3339_opts(SecondsFormat::Secs, true);
    let sql = format!(
        "SELECT organization_id, api_key_id, currency, date_trunc('month', occurred_at), count(*), \
         sum(CAST(coalesce(input_tokens, 0) AS DECIMAL(38, 0)) + CAST(coalesce(output_tokens, 0) AS DECIMAL(38, 0))), \
         sum(list_price) \
         FROM usage_events WHERE occurred_at >= TIMESTAMP '{start}' AND organization_id IS NOT NULL \
         AND source NOT LIKE '{SELF_REPORTED}%' GROUP BY 1, 2, 3, 4"
    );
    let now = lake.state.clock.now().timestamp_micros();
    let request = Request::of_ourselves(sql, RowAccess::Staff, cut.clone(), now, DEADLINE_MS);
    let mut rows = lake.engine.batches(Request { gives_way, ..request }).await?;
    let mut found = Vec::new();
    while let Some(rows) = rows.next().await? {
        read(&rows, &mut found)?;
    }
    Ok(found)
}

fn read(rows: &RecordBatch, found: &mut Vec<Counted>) -> Result<(), ArrowError> {
    let column = |at: usize, kind: &DataType| cast(rows.column(at), kind);
    let (organizations, keys, currencies) =
        (column(0, &DataType::Utf8)?, column(1, &DataType::Utf8)?, column(2, &DataType::Utf8)?);
    let text = |texts: &arrow::array::ArrayRef, row: usize| {
        let texts = texts.as_string::<i32>();
        texts.is_valid(row).then(|| texts.value(row).to_owned())
    };
    let micros = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
    let months = column(3, &micros)?;
    let months = months.as_primitive::<TimestampMicrosecondType>();
    let requests = column(4, &DataType::Int64)?;
    let requests = requests.as_primitive::<Int64Type>();
    let tokens = column(5, &DataType::Decimal128(38, 0))?;
    let tokens = tokens.as_primitive::<Decimal128Type>();
    let spend = column(6, &DataType::Decimal128(money::PRECISION, money::SCALE))?;
    let spend = spend.as_primitive::<Decimal128Type>();
    for row in 0..rows.num_rows() {
        let month = DateTime::from_timestamp_micros(months.value(row));
        let month = month.ok_or_else(|| ArrowError::ComputeError("a month is no time".into()))?;
        let mut usage = Usage {
            requests: requests.value(row),
            tokens: if tokens.is_valid(row) { tokens.value(row) } else { 0 },
            ..Usage::default()
        };
        let currency = text(&currencies, row).and_then(|code| Currency::parse(&code));
        if let Some(currency) = currency.filter(|_| spend.is_valid(row)) {
            usage.spend.insert(currency, spend.value(row));
        }
        found.push(Counted {
            month: Month::of(month),
            organization_id: text(&organizations, row).unwrap_or_default(),
            api_key_id: text(&keys, row),
            usage,
        });
    }
    Ok(())
}
