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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ingest::{
        Grant,
        decode::{EventFormat, Sender, decode},
        identity::Pseudonyms,
        time::Window,
    };
    use rand::{Rng, SeedableRng, rngs::StdRng};
    use serde_json::{Value, json};

    use super::*;

    fn record(first_lsn: Lsn, events: &[Value]) -> Record {
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
        let sender = Sender {
            organization: None,
            grant: &Grant::ALL,
            pseudonyms: &Pseudonyms::new([1; 32]),
            window: Window::ANY,
            is_strict: false,
        };
        let decoded = decode(EventFormat::Ndjson, lines.as_bytes(), &sender, 0);
        let batch = decoded.unwrap().unwrap().batches.remove(0);
        Record { table: batch.table, first_lsn, ingested_at: 0, rows: batch.rows }
    }

    fn event(id: usize, organization: &str, time: &str, mut data: Value) -> Value {
        data["model"] = json!("m");
        json!({
            "specversion": "1.0", "id": id.to_string(), "source": "/gateway", "type": "usage.request",
            "subject": organization, "time": time, "data": data,
        })
    }

    fn november() -> Month {
        Month::of(DateTime::parse_from_rfc3339("2026-11-01T00:00:00Z").unwrap().to_utc())
    }

    #[test]
    fn rows_above_the_cut_count_in_their_month_and_currency() {
        let usd = json!({"input_tokens": 5, "output_tokens": 2, "list_price": "0.5", "currency": "USD", "api_key_id": "key_1"});
        let eur = json!({"output_tokens": 3, "list_price": "0.25", "currency": "EUR"});
        let mut own = event(3, "org_a", "2026-11-02T00:00:00Z", json!({"input_tokens": 900}));
        own["source"] = json!("/organizations/org_a/x");
        let record = record(
            11,
            &[
                event(0, "org_a", "2026-11-01T00:00:00Z", usd.clone()),
                event(1, "org_a", "2026-11-30T23:59:59.999999Z", eur),
                event(2, "org_a", "2026-10-31T23:59:59.999999Z", usd.clone()),
                own,
                event(4, "org_b", "2026-12-01T00:00:00Z", json!({})),
            ],
        );
        let mut fold = Fold::new(november(), true);
        fold.add(&record, 10);
        let arrived: Vec<_> = fold.arrived.iter().map(|event| event.id.as_str()).collect();
        assert_eq!(arrived, ["0", "1", "2", "4"]);
        let mut found = fold.counted();
        found.sort_by_key(|one| (one.month, one.api_key_id.is_none()));
        let told: Vec<_> = found
            .iter()
            .map(|one| {
                let spend = one.usage.spend.iter().map(|(code, units)| (code.as_str(), *units));
                let key = one.api_key_id.as_deref();
                (key, one.usage.requests, one.usage.tokens, spend.collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(
            told,
            [
                (Some("key_1"), 1, 7, vec![("USD", 500_000_000_000)]),
                (None, 1, 3, vec![("EUR", 250_000_000_000)]),
                (None, 1, 0, vec![]),
            ]
        );
        // What the ledger has counted is passed over, in the middle of a record, too.
        let mut rest = Fold::new(november(), false);
        rest.add(&record, 11);
        assert_eq!(rest.counted().iter().map(|one| one.usage.requests).sum::<i64>(), 2);
        assert!(rest.arrived.is_empty());
    }

    /// However the log is cut into records and steps, the sums are those of the events.
    #[test]
    fn any_cut_of_the_log_adds_up() {
        let mut random = StdRng::seed_from_u64(7);
        let events: Vec<Value> = (0..500)
            .map(|id| {
                let day = random.random_range(1..=30);
                let time = format!("2026-11-{day:02}T12:00:00Z");
                let tokens = random.random_range(0..100);
                event(id, ["org_a", "org_b"][id % 2], &time, json!({"input_tokens": tokens}))
            })
            .collect();
        let mut expected: BTreeMap<String, (i64, i128)> = BTreeMap::new();
        for event in &events {
            let sum = expected.entry(event["subject"].as_str().unwrap().to_owned()).or_default();
            sum.0 += 1;
            sum.1 += i128::from(event["data"]["input_tokens"].as_i64().unwrap());
        }
        for _ in 0..20 {
            let (mut fold, mut at, mut found) = (Fold::new(november(), false), 0, BTreeMap::new());
            while at < events.len() {
                let size = random.random_range(1..60).min(events.len() - at);
                let record = record(at as Lsn + 1, &events[at..at + size]);
                // A record that was partly read before is read again.
                let split = random.random_range(0..size) as Lsn;
                let rows = record.rows.slice(0, split as usize);
                if split > 0 {
                    fold.add(&Record { rows, ..record.clone() }, at as Lsn);
                }
                fold.add(&record, at as Lsn + split);
                at += size;
            }
            for one in fold.counted() {
                let sum: &mut (i64, i128) = found.entry(one.organization_id).or_default();
                sum.0 += one.usage.requests;
                sum.1 += one.usage.tokens;
            }
            assert_eq!(found, expected);
        }
    }
}
