//! What is asked of usage.

use chrono::{DateTime, TimeDelta, Utc};
use query::metric::{Fill, Filter, Grain, Groups, MetricRequest};
use serde::Deserialize;
use utoipa::IntoParams;

/// Our metrics, and what OpenAI's usage endpoint calls them.
pub(super) const METRICS: [(&str, &str); 6] = [
    ("input_tokens", "input_tokens"),
    ("output_tokens", "output_tokens"),
    ("cached_input_tokens", "input_cached_tokens"),
    ("audio_input_tokens", "input_audio_tokens"),
    ("audio_output_tokens", "output_audio_tokens"),
    ("requests", "num_model_requests"),
];

/// What usage can be split by. `organization_id` is for staff.
pub(super) const DIMENSIONS: [&str; 5] =
    ["organization_id", "project_id", "api_key_id", "model", "service_tier"];
const OF_STAFF: &str = "organization_id";
const DIMENSIONS_MAX: usize = 3;
/// The year 3000.
const TIME_MAX: i64 = 32_503_680_000;

/// What is asked.
#[derive(Debug, Default, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct UsageParameters {
    /// The first bucket holds this time: Unix seconds. Left out: the buckets until now.
    start_time: Option<i64>,
    /// Unix seconds: the last bucket holds the moment before it. Left out: now.
    end_time: Option<i64>,
    /// `1m`, `1h` or `1d` (days of UTC). Left out: `1d`.
    bucket: Option<String>,
    /// The same, under OpenAI's name.
    bucket_width: Option<String>,
    /// At most 3 of `project_id`, `api_key_id`, `model`, `service_tier`, and for staff `organization_id`.
    group_by: Option<String>,
    /// Only these models.
    models: Option<String>,
    /// Only these projects.
    project_ids: Option<String>,
    /// Only these keys.
    api_key_ids: Option<String>,
    /// Buckets of a page. `1m`: 60, at most 1440; `1h`: 24, at most 168; `1d`: 7, at most 31.
    limit: Option<u32>,
    /// `next_page` of the page before.
    page: Option<String>,
}

/// What is asked, checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    from: DateTime<Utc>,
    /// The end of the last bucket of this page.
    to: DateTime<Utc>,
    /// The end of all pages.
    end: DateTime<Utc>,
    width: Width,
    pub(super) by: Vec<String>,
    filter: Option<Filter>,
    /// The cut of the first page.
    pub(super) as_of: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Width {
    grain: Grain,
    seconds: i64,
    limit: u32,
    limit_max: u32,
}

const WIDTHS: [(&str, Width); 3] = [
    ("1m", Width { grain: Grain::Minute, seconds: 60, limit: 60, limit_max: 1_440 }),
    ("1h", Width { grain: Grain::Hour, seconds: 3_600, limit: 24, limit_max: 168 }),
    ("1d", Width { grain: Grain::Day, seconds: 86_400, limit: 7, limit_max: 31 }),
];

impl Width {
    fn times(self, count: u32) -> TimeDelta {
        TimeDelta::seconds(self.seconds * i64::from(count))
    }

    /// The start of the bucket that holds a time.
    fn start(self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(at.timestamp().div_euclid(self.seconds) * self.seconds, 0)
    }
}

fn list(text: &Option<String>) -> Vec<String> {
    let entries = text.iter().flat_map(|text| text.split(','));
    entries.map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}

impl Question {
    pub(super) fn of(
        asked: &UsageParameters,
        now: DateTime<Utc>,
        is_staff: bool,
    ) -> Result<Self, String> {
        let width = match (&asked.bucket, &asked.bucket_width) {
            (Some(_), Some(_)) => return Err("send `bucket` or `bucket_width`".to_owned()),
            (Some(name), None) | (None, Some(name)) => name.as_str(),
            (None, None) => "1d",
        };
        let known = WIDTHS.iter().find(|(name, _)| *name == width);
        let width = known.ok_or("`bucket` is 1m, 1h or 1d")?.1;
        let limit = asked.limit.unwrap_or(width.limit);
        if !(1..=width.limit_max).contains(&limit) {
            return Err(format!("`limit` is 1 to {}", width.limit_max));
        }
        let time = |name: &str, seconds: i64| {
            let at =
                DateTime::from_timestamp(seconds, 0).filter(|_| (0..=TIME_MAX).contains(&seconds));
            at.ok_or_else(|| format!("`{name}` is a Unix time in seconds"))
        };
        let end = asked.end_time.map_or(Ok(now), |seconds| time("end_time", seconds))?.min(now);
        let last = width.start(end - TimeDelta::microseconds(1)).ok_or("a time is out of range")?;
        let first = match asked.start_time {
            Some(seconds) => time("start_time", seconds)?,
            None => last - width.times(limit - 1),
        };
        let (first, as_of) = match asked.page.as_deref().map(|page| page.split_once('~')) {
            None => (first, None),
            Some(Some((seconds, as_of))) => {
                let seconds = seconds.parse().map_err(|_| "`page` is no `next_page`")?;
                (time("page", seconds)?, Some(as_of.to_owned()))
            }
            Some(None) => return Err("`page` is no `next_page`".to_owned()),
        };
        let from = width.start(first).ok_or("`start_time` is out of range")?;
        if first >= end {
            return Err("`start_time` is before `end_time`, and not in the future".to_owned());
        }
        let end = last + width.times(1);
        Ok(Self {
            from,
            to: end.min(from + width.times(limit)),
            end,
            width,
            by: Self::by(asked, is_staff)?,
            filter: Self::filter(asked)?,
            as_of,
        })
    }

    fn by(asked: &UsageParameters, is_staff: bool) -> Result<Vec<String>, String> {
        let by = list(&asked.group_by);
        let known = |name: &&str| is_staff || *name != OF_STAFF;
        if let Some(other) = by
            .iter()
            .find(|name| !DIMENSIONS.iter().filter(|one| known(one)).any(|one| one == name))
        {
            let known: Vec<&str> = DIMENSIONS.into_iter().filter(|one| known(one)).collect();
            return Err(format!("`group_by`: `{other}` is none of {}", known.join(", ")));
        }
        let mut once = by.clone();
        once.sort();
        once.dedup();
        if once.len() != by.len() || by.len() > DIMENSIONS_MAX {
            return Err(format!("`group_by` names at most {DIMENSIONS_MAX}, each once"));
        }
        Ok(by)
    }

    fn filter(asked: &UsageParameters) -> Result<Option<Filter>, String> {
        let lists = [
            ("model", &asked.models),
            ("project_id", &asked.project_ids),
            ("api_key_id", &asked.api_key_ids),
        ];
        let mut filters = Vec::new();
        for (dimension, text) in lists {
            let values = list(text);
            if !values.is_empty() {
                let condition = format!("{dimension}={}", values.join(","));
                filters.push(Filter::parse(&condition).map_err(|error| error.to_string())?);
            }
        }
        Ok((!filters.is_empty()).then(|| Filter::all(filters)))
    }

    /// One question for each metric.
    pub(super) fn requests(&self) -> Vec<MetricRequest> {
        let by: Vec<&str> = self.by.iter().map(String::as_str).collect();
        let request = |(metric, _): &(&str, &str)| {
            let request = MetricRequest::new(metric, self.from, self.to)
                .with_grain(self.width.grain)
                .split_by(&by);
            let filter = self.filter.clone();
            MetricRequest { filter, fill: Fill::None, groups: Groups::All, ..request }
        };
        METRICS.iter().map(request).collect()
    }

    /// The buckets of this page, as Unix seconds.
    pub(super) fn buckets(&self) -> Vec<(i64, i64)> {
        let step = self.width.seconds;
        let starts = std::iter::successors(Some(self.from.timestamp()), |at| Some(at + step));
        let starts = starts.take_while(|at| *at < self.to.timestamp());
        starts.map(|at| (at, at + step)).collect()
    }

    /// How the next page is asked for, if there is one.
    pub(super) fn next_page(&self, as_of: &str) -> Option<String> {
        (self.to < self.end).then(|| format!("{}~{as_of}", self.to.timestamp()))
    }
}

#[cfg(test)]
mod tests {
    use state::scratch::noon;

    use super::*;

    fn asked(change: impl FnOnce(&mut UsageParameters)) -> Result<Question, String> {
        let mut asked = UsageParameters::default();
        change(&mut asked);
        Question::of(&asked, noon(), false)
    }

    #[test]
    fn buckets_are_whole_and_pages_follow_each_other() {
        let week = asked(|_| {}).unwrap();
        assert_eq!(week.buckets().len(), 7);
        assert_eq!(week.buckets()[6], (1_795_392_000, 1_795_478_400), "today, as far as it is");
        assert_eq!(week.next_page("c"), None);
        // An end on the edge of a bucket is that of the bucket before.
        let ended = |seconds: i64, limit: u32| {
            asked(|asked| (asked.end_time, asked.limit) = (Some(seconds), Some(limit))).unwrap()
        };
        let midnight = week.buckets()[6].0;
        assert_eq!(ended(midnight, 1).buckets(), [(midnight - 86_400, midnight)]);
        assert_eq!(ended(midnight + 1, 1).buckets(), [(midnight, midnight + 86_400)]);
        assert_eq!(ended(midnight, 7).buckets().len(), 7);
        // A minute past nine until noon: three hours and the one that begins it.
        let start = noon().timestamp() - 3 * 3_600 + 60;
        let of = |page: Option<String>| {
            asked(|asked| {
                asked.start_time = Some(start);
                asked.bucket_width = Some("1h".into());
                asked.limit = Some(2);
                asked.page = page;
            })
            .unwrap()
        };
        let first = of(None);
        assert_eq!(first.buckets()[0].0, start - 60);
        let next = first.next_page("cut.1").unwrap();
        let second = of(Some(next));
        assert_eq!(second.as_of.as_deref(), Some("cut.1"));
        assert_eq!(second.buckets(), [(start - 60 + 7_200, start - 60 + 10_800)]);
        assert_eq!(second.next_page("cut.1"), None);
        assert_eq!(first.requests().len(), METRICS.len());
    }

    #[test]
    fn what_is_no_question_is_refused() {
        let text = |text: &str| Some(text.to_owned());
        let wrong: [fn(&mut UsageParameters); 11] = [
            |asked| asked.bucket = Some("5m".into()),
            |asked| (asked.bucket, asked.bucket_width) = (Some("1m".into()), Some("1m".into())),
            |asked| asked.limit = Some(0),
            |asked| asked.limit = Some(32),
            |asked| asked.start_time = Some(noon().timestamp() + 1),
            |asked| asked.start_time = Some(i64::MAX),
            |asked| asked.end_time = Some(-8_334_601_228_800),
            |asked| asked.end_time = Some(-1),
            |asked| asked.group_by = Some("organization_id".into()),
            |asked| asked.group_by = Some("model,model".into()),
            |asked| asked.page = Some("x".into()),
        ];
        for (place, wrong) in wrong.into_iter().enumerate() {
            assert!(asked(wrong).is_err(), "{place}");
        }
        assert!(asked(|asked| asked.group_by = text("model, api_key_id")).is_ok());
        let staff = UsageParameters { group_by: text("organization_id"), ..Default::default() };
        assert!(Question::of(&staff, noon(), true).is_ok());
    }
}
