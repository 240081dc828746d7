//! The requests of an organization, read from the lake through the barrier.

use analytics::Lake;
use chrono::{DateTime, Utc};
use ingest::money;
use portal::requests::{LoggedRequest, RequestFilter, RequestSource, RequestSummary, StatusFilter};
use query::{Request, RowAccess};
use rest::problem::Problem;
use rust_decimal::Decimal;
use serde_json::Value;

use crate::billed_usage::{event, utc};

const DEADLINE_MS: u64 = 30_000;
const COLUMNS: &str = "event_id AS request_id, source, occurred_at, api_key_id, project_id, model, \
     CAST(status_code AS BIGINT) AS status_code, error_code, CAST(latency_ms AS BIGINT) AS latency_ms, \
     CAST(input_tokens AS BIGINT) AS input_tokens, CAST(output_tokens AS BIGINT) AS output_tokens, \
     list_price, currency";
const FAILED: &str = "(status_code >= 400 OR error_code IS NOT NULL)";

/// Reads requests from the lake.
#[derive(Debug, Clone)]
pub(crate) struct RequestLog {
    pub(crate) lake: Lake,
}

#[async_trait::async_trait]
impl RequestSource for RequestLog {
    async fn requests(
        &self,
        organization_id: &str,
        filter: &RequestFilter,
    ) -> Result<Vec<LoggedRequest>, Problem> {
        let rows = self.rows(organization_id, requests_sql(filter)).await?;
        rows.into_iter()
            .map(|row| serde_json::from_value(row).map_err(|error| broken(&error)))
            .collect()
    }

    async fn summary(
        &self,
        organization_id: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<RequestSummary, Problem> {
        let window = window(from, to);
        let sql = format!(
            "SELECT count(*) AS requests, count(*) FILTER (WHERE {FAILED}) AS errors, \
             CAST(percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ms) AS BIGINT) AS p50, \
             CAST(percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms) AS BIGINT) AS p95 \
             FROM usage_events WHERE {window}"
        );
        let found = self.rows(organization_id, sql).await?;
        let mut summary = RequestSummary::default();
        if let Some(row) = found.first() {
            summary.requests = row["requests"].as_i64().unwrap_or_default();
            summary.errors = row["errors"].as_i64().unwrap_or_default();
            summary.latency_p50_ms = row["p50"].as_i64();
            summary.latency_p95_ms = row["p95"].as_i64();
        }
        let sql = format!(
            "SELECT currency, sum(list_price) AS cost FROM usage_events \
             WHERE {window} AND list_price IS NOT NULL AND currency IS NOT NULL GROUP BY currency"
        );
        for row in self.rows(organization_id, sql).await? {
            let (Some(currency), Some(cost)) = (row["currency"].as_str(), row["cost"].as_str())
            else {
                continue;
            };
            let cost: Decimal = cost.parse().map_err(|_| broken(&"a sum is no decimal"))?;
            summary.cost.insert(currency.to_owned(), money::round(cost, 6).to_string());
        }
        Ok(summary)
    }
}

impl RequestLog {
    async fn rows(&self, organization_id: &str, sql: String) -> Result<Vec<Value>, Problem> {
        let now = self.lake.state.clock.now().timestamp_micros();
        let access = RowAccess::Organization(organization_id.to_owned());
        let cut = self.lake.lakehouse.cut();
        let request = Request::of_ourselves(sql, access, cut, now, DEADLINE_MS);
        let mut batches =
            self.lake.engine.batches(request).await.map_err(analytics::queries::problem)?;
        let mut rows = Vec::new();
        while let Some(batch) = batches.next().await.map_err(analytics::queries::problem)? {
            for row in 0..batch.num_rows() {
                rows.push(event(&batch, row).map_err(|error| broken(&error))?);
            }
        }
        Ok(rows)
    }
}

fn broken(error: &dyn std::fmt::Display) -> Problem {
    tracing::error!(%error, "the request log cannot be read");
    Problem::internal()
}

fn window(from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    format!("occurred_at >= {} AND occurred_at < {}", utc(from), utc(to))
}

fn requests_sql(filter: &RequestFilter) -> String {
    let mut conditions = vec![window(filter.from, filter.to)];
    let texts = [
        ("event_id", &filter.request_id),
        ("api_key_id", &filter.api_key_id),
        ("model", &filter.model),
    ];
    for (column, text) in texts {
        if let Some(text) = text {
            conditions.push(format!("{column} = '{}'", text.replace('\'', "''")));
        }
    }
    match filter.status {
        Some(StatusFilter::Errors) => conditions.push(FAILED.to_owned()),
        Some(StatusFilter::Status(status)) => conditions.push(format!("status_code = {status}")),
        None => {}
    }
    let (skip, limit) = filter.page;
    format!(
        "SELECT {COLUMNS} FROM usage_events WHERE {} \
         ORDER BY occurred_at DESC, source, event_id LIMIT {limit} OFFSET {skip}",
        conditions.join(" AND ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_filter_end_no_text_of_the_statement() {
        let filter = RequestFilter {
            from: DateTime::UNIX_EPOCH,
            to: DateTime::UNIX_EPOCH,
            request_id: Some("a' OR 'x'='x".into()),
            api_key_id: None,
            model: None,
            status: Some(StatusFilter::Status(429)),
            page: (50, 10),
        };
        let sql = requests_sql(&filter);
        assert!(sql.contains("event_id = 'a'' OR ''x''=''x' AND status_code = 429"), "{sql}");
        assert!(sql.ends_with("LIMIT 10 OFFSET 50"), "{sql}");
    }
}
