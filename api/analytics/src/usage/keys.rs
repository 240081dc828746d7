//! `GET /v1/usage/keys`: what each API key has used, and when and where it was used last.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, get, web};
use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::cast,
    datatypes::{DataType, Decimal128Type, Int64Type, TimeUnit, TimestampMicrosecondType},
    error::ArrowError,
    record_batch::RecordBatch,
};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use ingest::{grant::SELF_REPORTED, money};
use query::quoted;
use rest::{
    principal::{Authorized, ReadMetrics},
    problem::{Denied, Problem, parameters},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Lake;

/// The window without `start_time`.
const DAYS: i64 = 30;
const DAYS_MAX: i64 = 366;
const KEYS_MAX: usize = 100;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyUsageParameters {
    /// Unix seconds. Left out: 30 days before the end.
    start_time: Option<i64>,
    /// Unix seconds, not included. Left out: now.
    end_time: Option<i64>,
    /// Only these keys, separated by commas: at most 100.
    api_key_ids: Option<String>,
}

/// The use of all keys in a window.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyUsageList {
    /// Unix time in seconds.
    start_time: i64,
    /// Unix time in seconds, not included.
    end_time: i64,
    /// Those that were used, the most used first.
    keys: Vec<KeyUsage>,
    as_of: String,
}

/// The use of a key.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct KeyUsage {
    api_key_id: String,
    /// Requests, whatever their outcome.
    requests: i64,
    /// Those answered with a status of 400 or above.
    errors: i64,
    /// Tokens of input and output.
    tokens: i64,
    /// Money at list price by currency: decimals as text.
    spend: BTreeMap<String, String>,
    /// When the last request was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<DateTime<Utc>>,
    /// The region of the last request that named one.
    last_region: Option<String>,
}

/// What each API key in reach has used, from the events: requests, errors, tokens, money, and its last use.
#[utoipa::path(
    operation_id = "get_usage_by_key",
    tag = "usage",
    params(KeyUsageParameters),
    responses((status = 200, body = KeyUsageList), (status = 400, body = Problem), Denied),
)]
#[get("/v1/usage/keys")]
pub(super) async fn usage_by_key(
    principal: Authorized<ReadMetrics>,
    asked: Result<web::Query<KeyUsageParameters>, actix_web::Error>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let asked = parameters(asked)?;
    let (from, to) = window(&asked, lake.state.clock.now()).map_err(Problem::invalid_parameters)?;
    let ids: Vec<String> = asked
        .api_key_ids
        .iter()
        .flat_map(|text| text.split(','))
        .map(|id| id.trim().to_owned())
        .filter(|id| !id.is_empty())
        .collect();
    if ids.len() > KEYS_MAX {
        return Err(Problem::invalid_parameters(format!("`api_key_ids` are at most {KEYS_MAX}")));
    }
    let is_staff = principal.reach.organization_id().is_none();
    let (cut, rows) = lake.ask(&principal, statement((from, to), &ids, is_staff)).await?;
    let mut found = BTreeMap::new();
    for batch in &rows.batches {
        read(batch, &mut found).map_err(|error| {
            tracing::error!(%error, "the use of keys is not readable");
            Problem::internal()
        })?;
    }
    let mut keys: Vec<KeyUsage> = found.into_values().collect();
    keys.sort_by(|one, other| {
        other.requests.cmp(&one.requests).then_with(|| one.api_key_id.cmp(&other.api_key_id))
    });
    let as_of = lake.cut_cipher.token(&cut, &principal)?;
    let (start_time, end_time) = (from.timestamp(), to.timestamp());
    Ok(HttpResponse::Ok().json(KeyUsageList { start_time, end_time, keys, as_of }))
}

fn window(
    asked: &KeyUsageParameters,
    now: DateTime<Utc>,
) -> Result<(DateTime<Utc>, DateTime<Utc>), String> {
    let time = |name: &str, seconds: i64| {
        let at = DateTime::from_timestamp(seconds, 0).filter(|_| seconds >= 0);
        at.ok_or_else(|| format!("`{name}` is a Unix time in seconds"))
    };
    let to = asked.end_time.map_or(Ok(now), |seconds| time("end_time", seconds))?.min(now);
    let from = match asked.start_time {
        Some(seconds) => time("start_time", seconds)?,
        None => to - TimeDelta::days(DAYS),
    };
    match from < to && to - from <= TimeDelta::days(DAYS_MAX) {
        true => Ok((from, to)),
        false => Err(format!("`start_time` is before `end_time`, by at most {DAYS_MAX} days")),
    }
}

fn statement((from, to): (DateTime<Utc>, DateTime<Utc>), ids: &[String], is_staff: bool) -> String {
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let mut only = String::new();
    if !ids.is_empty() {
        let ids: Vec<String> = ids.iter().map(|id| quoted(id)).collect();
        only = format!(" AND api_key_id IN ({})", ids.join(", "));
    }
    // As the metrics of staff count.
    if is_staff {
        only += &format!(" AND source NOT LIKE '{SELF_REPORTED}%'");
    }
    format!(
        "SELECT api_key_id, currency, count(*), count(*) FILTER (WHERE status_code >= 400), \
         sum(CAST(coalesce(input_tokens, 0) AS DECIMAL(38, 0)) + CAST(coalesce(output_tokens, 0) AS DECIMAL(38, 0))), \
         sum(list_price), max(occurred_at), \
         last_value(region ORDER BY occurred_at) FILTER (WHERE region IS NOT NULL) \
         FROM usage_events WHERE api_key_id IS NOT NULL \
         AND occurred_at >= TIMESTAMP '{}' AND occurred_at < TIMESTAMP '{}'{only} GROUP BY 1, 2",
        time(from),
        time(to)
    )
}

/// Adds the rows of a batch: one for each key and currency.
fn read(rows: &RecordBatch, found: &mut BTreeMap<String, KeyUsage>) -> Result<(), ArrowError> {
    let column = |at: usize, kind: &DataType| cast(rows.column(at), kind);
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let (keys, currencies, regions) =
        (column(0, &DataType::Utf8)?, column(1, &DataType::Utf8)?, column(7, &DataType::Utf8)?);
    let (requests, errors) = (column(2, &DataType::Int64)?, column(3, &DataType::Int64)?);
    let tokens = column(4, &DataType::Decimal128(38, 0))?;
    let spend = column(5, &DataType::Decimal128(money::PRECISION, money::SCALE))?;
    let last = column(6, &micros)?;
    let text = |texts: &ArrayRef, row: usize| {
        let texts = texts.as_string::<i32>();
        texts.is_valid(row).then(|| texts.value(row).to_owned())
    };
    let count = |counts: &ArrayRef, row: usize| counts.as_primitive::<Int64Type>().value(row);
    let decimal = |decimals: &ArrayRef, row: usize| {
        let decimals = decimals.as_primitive::<Decimal128Type>();
        decimals.is_valid(row).then(|| decimals.value(row))
    };
    for row in 0..rows.num_rows() {
        let Some(id) = text(&keys, row) else { continue };
        let one = found
            .entry(id.clone())
            .or_insert_with(|| KeyUsage { api_key_id: id, ..KeyUsage::default() });
        one.requests += count(&requests, row);
        one.errors += count(&errors, row);
        let sum = decimal(&tokens, row).unwrap_or_default();
        one.tokens = one.tokens.saturating_add(i64::try_from(sum).unwrap_or(i64::MAX));
        if let (Some(currency), Some(units)) = (text(&currencies, row), decimal(&spend, row)) {
            one.spend.insert(currency, money::text(units, money::SCALE));
        }
        let at = last.as_primitive::<TimestampMicrosecondType>().value(row);
        let at = DateTime::from_timestamp_micros(at);
        if at > one.last_used_at {
            one.last_used_at = at;
            one.last_region = text(&regions, row).or(one.last_region.take());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use state::scratch::noon;

    use super::*;

    #[test]
    fn a_window_is_thirty_days_unless_said() {
        let of = |start_time, end_time| {
            window(&KeyUsageParameters { start_time, end_time, api_key_ids: None }, noon())
        };
        assert_eq!(of(None, None), Ok((noon() - TimeDelta::days(30), noon())));
        let now = noon().timestamp();
        assert_eq!(of(Some(now - 60), Some(now + 60)).map(|(_, to)| to), Ok(noon()));
        for (from, to) in [
            (Some(now), None),
            (Some(now - 400 * 86_400), None),
            (Some(-1), None),
            (None, Some(i64::MAX)),
            (Some(i64::MIN), None),
        ] {
            assert!(of(from, to).is_err(), "{from:?} {to:?}");
        }
    }
}
