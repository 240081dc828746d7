//! What every analysis is asked with.

use chrono::{DateTime, TimeDelta, Utc};
use query::{
    QueryError, Reason, Zone,
    analysis::{AnalysisUnit, EventFilter},
    metric::{Window, WindowRequest},
};
use serde::{Deserialize, Deserializer, Serialize, de, de::DeserializeOwned};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::AnalysisQuestion;
use crate::metrics::parse_filter;

/// An analysis as it is asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AnalysisBody<Q> {
    #[serde(flatten)]
    pub(super) parameters: AnalysisParameters,
    #[serde(flatten)]
    pub(super) question: Q,
}

/// Who, and when.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(super) struct AnalysisParameters {
    /// `visitor` (the default), `user` or `organization`.
    pub unit: Option<String>,
    /// RFC 3339, or a date: its midnight in `tz`. Left out: 30 days before `to`.
    pub from: Option<String>,
    /// Not included itself. Left out: the midnight that began today.
    pub to: Option<String>,
    /// A named range instead of `from` and `to`, as for metrics: `last_30_days`, `previous_month` …
    pub range: Option<String>,
    /// `true`: the window ends with today, as far as it is.
    pub today: bool,
    /// The time zone of dates and periods. Left out: the setting `metrics.zone`.
    pub tz: Option<String>,
    /// An earlier answer's `as_of`.
    pub as_of: Option<String>,
}

const PARAMETERS: [&str; 7] = ["unit", "from", "to", "range", "today", "tz", "as_of"];

impl<Q: AnalysisQuestion> AnalysisBody<Q> {
    /// Reads a body. What neither part knows is an error.
    pub(super) fn read(body: Value) -> Result<Self, QueryError> {
        let Value::Object(members) = body else { return Err(refused("the body is a JSON object")) };
        let (parameters, question): (Map<_, _>, Map<_, _>) =
            members.into_iter().partition(|(name, _)| PARAMETERS.contains(&name.as_str()));
        Ok(Self { parameters: known(parameters.into())?, question: known(question.into())? })
    }
}

/// Reads a value that has no member which nobody knows.
fn known<T: DeserializeOwned>(value: Value) -> Result<T, QueryError> {
    let mut unknown = Vec::new();
    let read = serde_ignored::deserialize(value, |path| unknown.push(path.to_string()));
    let read = read.map_err(|error: serde_json::Error| refused(error.to_string()))?;
    match unknown.first() {
        Some(name) => Err(refused(format!("there is no member `{name}` in this question"))),
        None => Ok(read),
    }
}

impl AnalysisParameters {
    pub(super) fn unit(&self) -> Result<AnalysisUnit, QueryError> {
        word("unit", self.unit.as_deref(), "visitor, user, organization")
    }

    pub(super) fn window(&self, zone: Zone, now: DateTime<Utc>) -> Result<Window, QueryError> {
        let zone = self.tz.as_deref().map(str::parse).transpose()?.unwrap_or(zone);
        let (from, to, range) = (self.from.as_deref(), self.to.as_deref(), self.range.as_deref());
        Ok(WindowRequest { from, to, range, today: self.today, zone }.resolve(now)?)
    }
}

/// A question that is none.
pub(super) fn refused(message: impl Into<String>) -> QueryError {
    QueryError::new(Reason::Parameters, message.into())
}

/// How an event is written.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
#[serde(untagged)]
enum EventOrFilter {
    Text(String),
    Filter(EventFilter),
}

/// Events in a body: a text such as `activity.page_viewed:country=DE`, or an object with `event` and `filter`.
#[derive(Debug, Clone, ToSchema)]
#[schema(value_type = EventOrFilter, as = AnalysisEvent)]
pub(super) struct Event(pub(super) EventFilter);

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let said = "an event is a text such as activity.page_viewed or activity.page_viewed:country=DE, or \
                    {\"event\", \"filter\"}";
        match Value::deserialize(deserializer)? {
            Value::String(text) => {
                let (event, filter) = match text.split_once(':') {
                    Some((event, filter)) => (event.to_owned(), Some(filter)),
                    None => (text, None),
                };
                let filter = filter.map(parse_filter).transpose();
                let filter = filter.map_err(|error| de::Error::custom(error.message))?;
                Ok(Self(EventFilter { event, filter }))
            }
            object => serde_json::from_value(object).map(Self).map_err(|_| de::Error::custom(said)),
        }
    }
}

/// The events of a list.
pub(super) fn events(events: Vec<Event>) -> Vec<EventFilter> {
    events.into_iter().map(|Event(event)| event).collect()
}

/// The events of a list, or all acts.
pub(super) fn events_or_acts(given: Vec<Event>) -> Vec<EventFilter> {
    match given.is_empty() {
        true => vec![EventFilter::of("activity.*")],
        false => events(given),
    }
}

/// A length of time such as `30m`, `12h`, `14d` or `2w`.
pub(super) fn length(name: &str, text: &str) -> Result<TimeDelta, QueryError> {
    let wrong =
        || refused(format!("`{name}` is a length such as 30m, 12h, 14d or 2w, not `{text}`"));
    let unit = text.chars().last().ok_or_else(wrong)?;
    let number: i64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    let length = match unit {
        'm' => TimeDelta::try_minutes(number),
        'h' => TimeDelta::try_hours(number),
        'd' => TimeDelta::try_days(number),
        'w' => TimeDelta::try_weeks(number),
        _ => None,
    };
    length.filter(|length| length.num_microseconds().is_some()).ok_or_else(wrong)
}

/// A word of a closed list, or what stands without it.
pub(super) fn word<T: std::str::FromStr + Default>(
    name: &str,
    text: Option<&str>,
    words: &str,
) -> Result<T, QueryError> {
    let Some(text) = text else { return Ok(T::default()) };
    text.parse().map_err(|_| refused(format!("`{name}` is one of {words}")))
}
