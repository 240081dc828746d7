//! Sources that are a query: their rows are of buckets, such as what each organization paid at the start and the end of
//! one.

use std::fmt::Write;

use chrono::{DateTime, Utc};

use crate::{
    Audience, Error, Grain, MetricRequest, Rollups, Source, event::sent_by_staff, grain::literal,
    rollup,
};

/// Queries within queries.
const DEPTH_MAX: usize = 4;

/// The common table expressions that a statement begins with: the buckets, and the rows of the source as `cells`.
pub(crate) fn tables(
    source: &Source,
    sources: &[Source],
    request: &MetricRequest,
    audience: Audience,
) -> Result<String, Error> {
    let template = Template { sources, request, audience, rollups: None };
    Ok(with(request, &template.expand(source, 0)?))
}

/// The same, where its usage is read from rollups; nothing if they do not have it.
pub(crate) fn tables_over(
    source: &Source,
    sources: &[Source],
    request: &MetricRequest,
    audience: Audience,
    rollups: &Rollups<'_>,
) -> Option<String> {
    let is_read = source.query.as_ref().is_some_and(|query| query.contains("{usage:"));
    let template = Template { sources, request, audience, rollups: Some(rollups) };
    // One that has no such rows is an error here, and is read as it is.
    let query = template.expand(source, 0).ok().filter(|_| is_read)?;
    Some(with(request, &query))
}

fn with(request: &MetricRequest, query: &str) -> String {
    format!("WITH buckets AS ({}), cells AS ({query}) ", buckets(request))
}

/// The buckets of a question, each with its start, what of it is in the window, and the start of the one before.
fn buckets(request: &MetricRequest) -> String {
    let starts: Vec<_> = match request.grain {
        Some(grain) => grain.buckets(request.from, request.to, request.zone).collect(),
        None => vec![request.from],
    };
    let mut values = String::new();
    for (i, start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).copied().unwrap_or(request.to);
        let before = match i.checked_sub(1) {
            Some(before) => starts[before],
            None => before(request),
        };
        let comma = if i == 0 { "" } else { ", " };
        let whole = request.grain.is_none()
            || (*start >= request.from && bucket_end(request, *start) <= request.to);
        let until = end.min(request.to);
        let year_before = request.zone.months_before(until, 12);
        let micros = [*start, (*start).max(request.from), until, before, year_before]
            .map(|at| at.timestamp_micros());
        let [at, since, until, before, year_before] = micros;
        // Writing to a text does not fail.
        let _ = write!(values, "{comma}({at}, {since}, {until}, {before}, {year_before}, {whole})");
    }
    let time = |name: &str| {
        format!("arrow_cast({name}, 'Timestamp(Microsecond, Some(\"UTC\"))') AS {name}")
    };
    let columns = ["at", "since", "until", "before", "year_before"].map(time).join(", ");
    format!(
        "SELECT {columns}, whole FROM (VALUES {values}) AS listed (at, since, until, before, year_before, whole)"
    )
}

/// Where a bucket ends, whether the window does before or not.
fn bucket_end(request: &MetricRequest, start: DateTime<Utc>) -> DateTime<Utc> {
    request.grain.map_or(request.to, |grain| grain.end(start, request.zone))
}

/// The start of the bucket before the first; without a grain, of the window of the same length.
pub(crate) fn before(request: &MetricRequest) -> DateTime<Utc> {
    match request.grain {
        Some(grain) => {
            let first = grain.start(request.from, request.zone);
            grain.start(first - chrono::TimeDelta::microseconds(1), request.zone)
        }
        None => request.from - (request.to - request.from),
    }
}

struct Template<'a> {
    sources: &'a [Source],
    request: &'a MetricRequest,
    audience: Audience,
    /// What usage is read from instead of the events.
    rollups: Option<&'a Rollups<'a>>,
}

impl Template<'_> {
    /// The query of a source with everything in braces filled in.
    fn expand(&self, source: &Source, depth: usize) -> Result<String, Error> {
        let wrong = |what: &str| {
            Error::Invalid(format!("the query of the source `{}` {what}", source.name))
        };
        let mut rest = source.query.as_deref().ok_or_else(|| wrong("is not there"))?.trim();
        if depth > DEPTH_MAX {
            return Err(wrong("names itself"));
        }
        let mut text = String::new();
        while let Some((plain, found)) = rest.split_once('{') {
            text += plain;
            let (name, after) =
                found.split_once('}').ok_or_else(|| wrong("has a { without a }"))?;
            let value = match name.strip_prefix("option:") {
                Some(option) => self.option(source, option).map(Ok),
                None => self.value(name, depth),
            };
            text += &value.ok_or_else(|| wrong(&format!("names `{name}`")))??;
            rest = after;
        }
        Ok(text + rest)
    }

    /// The SQL of the chosen value of an option, else of its first one.
    fn option(&self, source: &Source, name: &str) -> Option<String> {
        let option = source.options.iter().find(|option| option.name == name)?;
        let chosen = self.request.options.get(name);
        let value = option.values.iter().find(|value| Some(&value.name) == chosen);
        value.or(option.values.first()).map(|value| value.sql.clone())
    }

    fn value(&self, name: &str, depth: usize) -> Option<Result<String, Error>> {
        let MetricRequest { from, to, grain, zone, .. } = *self.request;
        let first = before(self.request);
        Some(Ok(match name.split_once(':') {
            None => match name {
                "from" => literal(from),
                "to" => literal(to),
                "from_before" => literal(first),
                // Rows of rollups are those already.
                "sent_by_staff" if self.rollups.is_some() => "true".into(),
                "sent_by_staff" => sent_by_staff(self.audience).unwrap_or_else(|| "true".into()),
                _ => return None,
            },
            Some(("bucket", time)) => match grain {
                Some(grain) => grain.sql(time, first, to, zone),
                // Two windows: this one and the one before.
                None => format!(
                    "CASE WHEN {time} < {} THEN {} ELSE {} END",
                    literal(from),
                    literal(first),
                    literal(from)
                ),
            },
            // With the days before the window that a rolling count looks at.
            Some(("day", time)) => {
                Grain::Day.sql(time, from - chrono::TimeDelta::days(92), to, zone)
            }
            Some(("usage", columns)) => match self.rollups {
                Some(rollups) => {
                    let columns: Vec<_> = columns.split(',').collect();
                    rollup::usage(self.request, self.audience, &columns, rollups)?
                }
                None => "usage_events".to_owned(),
            },
            Some(("of", name)) => {
                let source = self.sources.iter().find(|source| source.name == name)?;
                return Some(self.expand(source, depth + 1).map(|query| format!("({query})")));
            }
            Some(_) => return None,
        }))
    }
}
