//! Sessions.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use query::{QueryError, analysis::Sessions, metric::Grain};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    AnalysisHead, Asked, Rows, Scope,
    question::{Event, events_or_acts, length},
    rows::share,
};

/// What is asked of sessions.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct SessionsQuestion {
    /// What is an act, any of 1 to 10 events; `activity.*` without it.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    events: Vec<Event>,
    /// A longer pause ends a session: `30m` (the default), at most `24h`.
    #[serde(default)]
    pause: Option<String>,
    /// `hour`, `day`, `week`, `month`, `quarter` or `year` of the beginnings. Left out: one row for the window.
    #[serde(default)]
    grain: Option<String>,
}

/// How often and how long units are there.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionsView {
    #[serde(flatten)]
    head: AnalysisHead,
    pause_seconds: i64,
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

/// A session that began in a bucket is followed for a day.
const FOLLOWED: TimeDelta = TimeDelta::days(1);

impl Asked for SessionsQuestion {
    type Question = Sessions;
    type View = SessionsView;

    fn question(self, Scope { unit, window, .. }: Scope) -> Result<Sessions, QueryError> {
        Ok(Sessions {
            unit,
            window,
            grain: self.grain.as_deref().map(crate::metrics::grain).transpose()?,
            events: events_or_acts(self.events),
            pause: length("pause", self.pause.as_deref().unwrap_or("30m"))?,
        })
    }

    fn view(
        question: Sessions,
        head: AnalysisHead,
        rows: &Rows,
    ) -> Result<SessionsView, QueryError> {
        let buckets = rows.integers("bucket")?.into_iter().flatten();
        let (sessions, units) = (rows.counts("sessions")?, rows.counts("units")?);
        let (acts, bounces) = (rows.counts("acts")?, rows.counts("bounces")?);
        let (means, medians) = (rows.numbers("mean")?, rows.numbers("median")?);
        let places: BTreeMap<i64, usize> = buckets.zip(0..).collect();
        let row = |at: Option<DateTime<Utc>>| {
            let start = at.unwrap_or(question.window.from);
            let place = places.get(&start.timestamp_micros()).copied();
            let count = |counts: &[u64]| place.map_or(0, |place| counts[place]);
            let part = |part: u64| share(Some(part), Some(count(&sessions)));
            let end = match (at, question.grain) {
                (Some(at), Some(grain)) => grain.end(at, question.window.zone),
                _ => question.window.to,
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
                incomplete: rows.is_incomplete(end + FOLLOWED),
            }
        };
        let rows = question.window.buckets(question.grain).into_iter().map(row).collect();
        let pause_seconds = question.pause.num_seconds();
        Ok(SessionsView { head, pause_seconds, grain: question.grain, rows })
    }
}
