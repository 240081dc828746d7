//! What the events of the log add to the counters: the rule.

use std::collections::HashMap;

use accounts::{
    plans::Currency,
    quotas::{Counted, EventName, Month, Usage},
};
use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType},
};
use chrono::DateTime;
use ingest::{
    Table,
    decode::correction::REVERSAL,
    grant::SELF_REPORTED,
    log::{Lsn, Record},
};

/// Sums of events.
#[derive(Debug)]
pub(super) struct Fold {
    /// Months before it do not count.
    from: Month,
    /// Whether reservations wait for events.
    awaited: bool,
    sums: HashMap<(Month, String, Option<String>), Usage>,
    /// The events that came.
    pub(super) arrived: Vec<EventName>,
}

impl Fold {
    pub(super) fn new(from: Month, awaited: bool) -> Self {
        Self { from, awaited, sums: HashMap::new(), arrived: Vec::new() }
    }

    /// Adds the rows of a record above an LSN. What an organization states of itself does not count.
    pub(super) fn add(&mut self, record: &Record, after: Lsn) {
        if record.table != Table::UsageLedger {
            return;
        }
        let column = |name: &str| record.rows.column_by_name(name);
        let text = |name: &str| column(name).and_then(|column| column.as_string_opt::<i32>());
        let (Some(organizations), Some(sources), Some(ids)) =
            (text("organization_id"), text("source"), text("event_id"))
        else {
            return;
        };
        let times = column("occurred_at")
            .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        let Some(times) = times else { return };
        let count = |name: &str, row: usize| value::<Int64Type>(column(name), row).unwrap_or(0);
        let (keys, currencies, corrected) =
            (text("api_key_id"), text("currency"), text("corrects_id"));
        let at = |texts: Option<&arrow::array::StringArray>, row: usize| {
            texts.filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row).to_owned())
        };
        let skipped = usize::try_from((after + 1).saturating_sub(record.first_lsn)).unwrap_or(0);
        for row in skipped..record.rows.num_rows() {
            if organizations.is_null(row) || sources.value(row).starts_with(SELF_REPORTED) {
                continue;
            }
            let organization_id = organizations.value(row).to_owned();
            if self.awaited {
                self.arrived.push(EventName {
                    organization_id: organization_id.clone(),
                    source: sources.value(row).to_owned(),
                    id: ids.value(row).to_owned(),
                });
            }
            let Some(time) = DateTime::from_timestamp_micros(times.value(row)) else { continue };
            let month = Month::of(time);
            if month < self.from {
                continue;
            }
            let is_correction = corrected.is_some_and(|corrected| corrected.is_valid(row));
            let is_reversal = is_correction && ids.value(row).starts_with(REVERSAL);
            let sum = self.sums.entry((month, organization_id, at(keys, row))).or_default();
            // Quantities of a reversal are negative.
            sum.requests += if is_reversal { -1 } else { 1 };
            sum.tokens +=
                i128::from(count("input_tokens", row)) + i128::from(count("output_tokens", row));
            let price = value::<Decimal128Type>(column("list_price"), row);
            let currency = at(currencies, row).and_then(|code| Currency::parse(&code));
            if let (Some(price), Some(currency)) = (price, currency) {
                *sum.spend.entry(currency).or_default() += price;
            }
        }
    }

    /// The sums.
    pub(super) fn counted(&mut self) -> Vec<Counted> {
        let sums = std::mem::take(&mut self.sums).into_iter();
        sums.map(|((month, organization_id, api_key_id), usage)| Counted {
            month,
            organization_id,
            api_key_id,
            usage,
        })
        .collect()
    }
}

fn value<T: arrow::datatypes::ArrowPrimitiveType>(
    column: Option<&ArrayRef>,
    row: usize,
) -> Option<T::Native> {
    let values = column?.as_primitive_opt::<T>()?;
    values.is_valid(row).then(|| values.value(row))
}
