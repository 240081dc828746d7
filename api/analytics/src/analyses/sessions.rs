//! Sessions.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use query::{
    QueryError,
    analysis::{AnalysisScope, Sessions},
    metric::Grain,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    AnalysisHead, AnalysisQuestion, ResultColumns,
    question::{Event, events_or_acts, length},
    rows::share,
};

/// What is asked of sessions.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct SessionsQuestion {
    /// What is an act, any of 1 to 10 events; `activity.*` without it.
    #[serde(default)]
    events: Vec<Event>,
    /// A session ends after so long without an act: `30m` (the default), at most `24h`.
    #[serde(default)]
    timeout: Option<String>,
    /// `minute`, `hour`, `day`, `week`, `month`, `quarter` or `year` of the beginnings. Left out: one row for the window.
    #[serde(default)]
    grain: Option<String>,
}

/// How often and how long units are there.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionsView {
    #[serde(flatten)]
    head: AnalysisHead,
    timeout_seconds: i64,
    #[schema(value_type = Option<String>)]
    grain: Option<Grain>,
    rows: Vec<SessionsRow>,
}

/// The sessions that began in a bucket.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionsRow {
    /// The start of the bucket; null without a grain.
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<DateTime<Utc>>,
    sessions: u64,
    units: u64,
    acts_per_session: Option<f64>,
    /// The share of sessions with one act only.
    bounce_rate: Option<f64>,
    /// From the first act to the last.
    mean_seconds: Option<f64>,
    median_seconds: Option<f64>,
    /// The bucket is not over yet, or its last sessions may still go on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
}

impl AnalysisQuestion for SessionsQuestion {
    type Analysis = Sessions;
    type View = SessionsView;

    fn resolve(self, scope: AnalysisScope) -> Result<Sessions, QueryError> {
        Ok(Sessions {
            scope,
            grain: self.grain.as_deref().map(crate::metrics::grain).transpose()?,
            events: events_or_acts(self.events),
            timeout: length("timeout", self.timeout.as_deref().unwrap_or("30m"))?,
        })
    }

    fn view(
        question: Sessions,
        head: AnalysisHead,
        rows: &ResultColumns,
    ) -> Result<SessionsView, QueryError> {
        let buckets = rows.integers("bucket")?.into_iter().flatten();
        let (sessions, units) = (rows.counts("sessions")?, rows.counts("units")?);
        let (acts, bounces) = (rows.counts("acts")?, rows.counts("bounces")?);
        let (means, medians) = (rows.numbers("mean")?, rows.numbers("median")?);
        let places: BTreeMap<i64, usize> = buckets.zip(0..).collect();
        let row = |at: Option<DateTime<Utc>>| {
            let start = at.unwrap_or(question.scope.window.from);
            let place = places.get(&start.timestamp_micros()).copied();
            let count = |counts: &[u64]| place.map_or(0, |place| counts[place]);
            let part = |part: u64| share(Some(part), Some(count(&sessions)));
            let end = match (at, question.grain) {
                (Some(at), Some(grain)) => grain.end(at, question.scope.window.zone),
                _ => question.scope.window.to,
            };
            let seconds = |times: &[Option<f64>]| place.and_then(|place| times[place]);
            SessionsRow {
                at,
                sessions: count(&sessions),
                units: count(&units),
                acts_per_session: part(count(&acts)),
                bounce_rate: part(count(&bounces)),
                mean_seconds: seconds(&means),
                median_seconds: seconds(&medians),
                incomplete: rows.is_incomplete(end + Sessions::FOLLOWED),
            }
        };
        let rows = question.scope.window.buckets(question.grain).into_iter().map(row).collect();
        let timeout_seconds = question.timeout.num_seconds();
        Ok(SessionsView { head, timeout_seconds, grain: question.grain, rows })
    }
}
