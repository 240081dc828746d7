//! The usage that is billed, read from the lake.

use std::collections::HashMap;

use accounts::plans::Currency;
use analytics::{Lake, as_of::CutCipher};
use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::cast,
    datatypes::{DataType, Date32Type, Decimal128Type, Int64Type},
    error::ArrowError,
    record_batch::RecordBatch,
    util::display::{ArrayFormatter, FormatOptions},
};
use billing::{
    DailyUsage, EventsQuestion, ModelUsage, TokenCounts, UsageCut, UsageError, UsageQuestion,
    UsageSource, midnight,
};
use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta, Utc};
use ingest::{grant::SELF_REPORTED, money};
use pipeline::Cut;
use query::{QueryOptions, Request, RowAccess, Zone};
use rest::{principal::Principal, problem::Problem};
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

/// A run reads the usage of months.
const DEADLINE_MS: u64 = 900_000;
const EVENTS_DEADLINE_MS: u64 = 60_000;
/// What is shown of the events behind a line of an invoice.
const EVENT_COLUMNS: &str = "event_id, source, occurred_at, project_id, api_key_id, model, status_code, \
     input_tokens, cached_input_tokens, cache_write_input_tokens, output_tokens, images, list_price, currency";

/// Reads usage from the lake.
#[derive(Debug, Clone)]
pub(crate) struct BilledUsage {
    pub(crate) lake: Lake,
}

#[async_trait::async_trait]
impl UsageSource for BilledUsage {
    async fn cut(&self) -> Result<UsageCut, UsageError> {
        let cut = self.lake.lakehouse.cut();
        let lsn = i64::try_from(cut.lsn).map_err(|_| unreadable("a position in the log"))?;
        Ok(UsageCut { token: CutCipher::for_staff(&cut), log: cut.log, lsn })
    }

    async fn read(
        &self,
        cut: &UsageCut,
        question: &UsageQuestion,
    ) -> Result<HashMap<String, DailyUsage>, UsageError> {
        let cut = self.back_to(&cut.token)?;
        let now = self.lake.state.clock.now().timestamp_micros();
        let access = RowAccess::Staff;
        let sql = usage_sql(question);
        let request = Request::of_ourselves(sql, access, cut, now, DEADLINE_MS);
        let zone = Zone::Named(question.zone);
        let terms = QueryOptions { zone, ..request.terms.clone() };
        let mut rows =
            self.lake.engine.batches(Request { terms, ..request }).await.map_err(failed)?;
        let mut usage = HashMap::new();
        while let Some(rows) = rows.next().await.map_err(failed)? {
            add(&rows, &mut usage).map_err(|error| unreadable(&error.to_string()))?;
        }
        Ok(usage)
    }

    async fn events(&self, cut: &str, question: &EventsQuestion) -> Result<Vec<Value>, UsageError> {
        let cut = self.back_to(cut)?;
        let now = self.lake.state.clock.now().timestamp_micros();
        let (skip, limit) = question.page;
        let sql = format!("{} LIMIT {limit} OFFSET {skip}", self.events_sql(question));
        let access = RowAccess::Organization(question.organization_id.clone());
        let request = Request::of_ourselves(sql, access, cut, now, EVENTS_DEADLINE_MS);
        let mut rows = self.lake.engine.batches(request).await.map_err(failed)?;
        let mut events = Vec::new();
        while let Some(rows) = rows.next().await.map_err(failed)? {
            for row in 0..rows.num_rows() {
                let event = event(&rows, row).map_err(|error| unreadable(&error.to_string()))?;
                events.push(event);
            }
        }
        Ok(events)
    }

    fn token(&self, cut: &str, who: &Principal) -> Result<String, Problem> {
        let cut = self.back_to(cut)?;
        self.lake.cut_cipher.token(&cut, who)
    }

    fn events_sql(&self, question: &EventsQuestion) -> String {
        let models: Vec<String> = question
            .models
            .iter()
            .map(|model| format!("model LIKE '{}'", pattern(model)))
            .collect();
        let models = match models.is_empty() {
            true => String::new(),
            false => format!(" AND ({})", models.join(" OR ")),
        };
        format!(
            "SELECT {EVENT_COLUMNS} FROM usage_events WHERE occurred_at >= {} \
             AND occurred_at < {} AND source NOT LIKE '{SELF_REPORTED}%'{models} \
             ORDER BY occurred_at, source, event_id",
            utc(question.from),
            utc(question.to),
        )
    }
}

impl BilledUsage {
    fn back_to(&self, token: &str) -> Result<Cut, UsageError> {
        let newest = self.lake.lakehouse.cut();
        CutCipher::back_for_staff(token, newest).map_err(|problem| UsageError {
            detail: problem.detail.as_deref().unwrap_or_default().to_owned(),
            problem: Box::new(problem),
        })
    }
}

/// An instant in SQL. A plain `TIMESTAMP` would be a time on the clock of the question's zone.
pub(crate) fn utc(at: DateTime<Utc>) -> String {
    let at = at.to_rfc3339_opts(SecondsFormat::Micros, true);
    format!("arrow_cast('{at}', 'Timestamp(Microsecond, Some(\"UTC\"))')")
}

/// A name or glob of models as a pattern of SQL.
fn pattern(glob: &str) -> String {
    let mut pattern = String::new();
    for letter in glob.chars() {
        match letter {
            '*' => pattern.push('%'),
            '?' => pattern.push('_'),
            '%' | '_' | '\\' => pattern.extend(['\\', letter]),
            '\'' => pattern.push_str("''"),
            letter => pattern.push(letter),
        }
    }
    pattern
}

fn usage_sql(question: &UsageQuestion) -> String {
    let (from, to) = (midnight(question.from, question.zone), midnight(question.to, question.zone));
    let organization = match &question.organization_id {
        Some(id) => format!(" AND organization_id = '{}'", id.replace('\'', "''")),
        None => " AND organization_id IS NOT NULL".to_owned(),
    };
    let sum = |column: &str| format!("sum(CAST(coalesce({column}, 0) AS DECIMAL(38, 0)))");
    format!(
        "SELECT organization_id, CAST(occurred_at AS DATE), model, currency, count(*), {}, {}, {}, {}, {}, \
         sum(list_price), count(*) FILTER (WHERE list_price IS NULL AND \
         (coalesce(input_tokens, 0) > 0 OR coalesce(output_tokens, 0) > 0 OR coalesce(images, 0) > 0)) \
         FROM usage_events WHERE occurred_at >= {} AND occurred_at < {} \
         AND source NOT LIKE '{SELF_REPORTED}%'{organization} GROUP BY 1, 2, 3, 4",
        sum("input_tokens"),
        sum("cached_input_tokens"),
        sum("cache_write_input_tokens"),
        sum("output_tokens"),
        sum("images"),
        utc(from),
        utc(to),
    )
}

/// Adds rows of the statement to what is known.
fn add(rows: &RecordBatch, usage: &mut HashMap<String, DailyUsage>) -> Result<(), ArrowError> {
    let column = |at: usize, kind: &DataType| cast(rows.column(at), kind);
    let texts = [0, 2, 3].map(|at| column(at, &DataType::Utf8));
    let [organizations, models, currencies] = texts;
    let (organizations, models, currencies) = (organizations?, models?, currencies?);
    let days = column(1, &DataType::Date32)?;
    let days = days.as_primitive::<Date32Type>();
    let whole = DataType::Decimal128(38, 0);
    let counts: Vec<ArrayRef> = [4, 5, 6, 7, 8, 9, 11]
        .into_iter()
        .map(|at| column(at, &whole))
        .collect::<Result<_, _>>()?;
    let prices = column(10, &DataType::Decimal128(money::PRECISION, money::SCALE))?;
    let prices = prices.as_primitive::<Decimal128Type>();
    let wrong = |what: &str| ArrowError::ComputeError(format!("{what} is out of range"));
    for row in 0..rows.num_rows() {
        let count = |place: usize| {
            let counts: &ArrayRef = &counts[place];
            let counts = counts.as_primitive::<Decimal128Type>();
            u64::try_from(counts.value(row)).map_err(|_| wrong("a quantity"))
        };
        let mut used = ModelUsage {
            requests: count(0)?,
            tokens: TokenCounts {
                input_tokens: count(1)?,
                cached_input_tokens: count(2)?,
                cache_write_input_tokens: count(3)?,
                output_tokens: count(4)?,
            },
            images: count(5)?,
            unpriced_requests: count(6)?,
            ..ModelUsage::default()
        };
        let currency = text(&currencies, row).and_then(Currency::parse);
        if let Some(currency) = currency.filter(|_| prices.is_valid(row)) {
            let scale = money::SCALE.unsigned_abs().into();
            let price = Decimal::try_from_i128_with_scale(prices.value(row), scale);
            used.list_price.insert(currency, price.map_err(|_| wrong("a price"))?);
        } else if prices.is_valid(row) {
            // A price without a currency is none.
            used.unpriced_requests = used.requests;
        }
        let day = NaiveDate::default().checked_add_signed(TimeDelta::days(days.value(row).into()));
        let day = day.ok_or_else(|| wrong("a day"))?;
        let organization = text(&organizations, row).unwrap_or_default().to_owned();
        let model = text(&models, row).unwrap_or_default().to_owned();
        let known = usage.entry(organization).or_default().entry(day).or_default();
        known.entry(model).or_default().add(&used).map_err(|_| wrong("a sum"))?;
    }
    Ok(())
}

fn text(texts: &ArrayRef, row: usize) -> Option<&str> {
    let texts = texts.as_string::<i32>();
    texts.is_valid(row).then(|| texts.value(row))
}

/// An event as JSON: decimals as text.
pub(crate) fn event(rows: &RecordBatch, row: usize) -> Result<Value, ArrowError> {
    let options = FormatOptions::new().with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.6fZ"));
    let mut event = Map::new();
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        let value = match column.data_type() {
            _ if column.is_null(row) => Value::Null,
            DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
            _ => json!(ArrayFormatter::try_new(column, &options)?.value(row).to_string()),
        };
        event.insert(field.name().clone(), value);
    }
    Ok(Value::Object(event))
}

fn failed(error: query::QueryError) -> UsageError {
    UsageError {
        detail: format!("reading usage: {}", error.message),
        problem: Box::new(Problem::unavailable(5).explained("the usage cannot be read now")),
    }
}

fn unreadable(what: &str) -> UsageError {
    tracing::error!(what, "usage cannot be read");
    UsageError { detail: format!("reading usage: {what}"), problem: Box::new(Problem::internal()) }
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn globs_are_patterns() {
        for (glob, expected) in
            [("gpt-5*", "gpt-5%"), ("a?b", "a_b"), ("50%_x", "50\\%\\_x"), ("o'x", "o''x")]
        {
            assert_eq!(pattern(glob), expected);
        }
    }
}
