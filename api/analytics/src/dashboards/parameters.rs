//! The address of a dashboard.

use chrono::{DateTime, Utc};
use query::{
    Zone,
    metric::{Compare, Grain, WindowRequest, audience},
};
use reports::{Selection, Window};
use rest::{principal::Principal, problem::Problem};

use crate::{Lake, queries::reach};

/// What a dashboard's address may say.
#[derive(Debug, Default, Clone)]
pub(crate) struct DashboardParameters {
    pub(crate) days: Option<u32>,
    pub(crate) range: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) tz: Option<String>,
    /// `previous_period`, `previous_year` or `none`.
    pub(crate) compare: Option<String>,
    pub(crate) grain: Option<String>,
    /// Conditions such as `model=gpt-4o`.
    pub(crate) filters: Vec<String>,
    pub(crate) lang: Option<String>,
    /// All of it but the language, for links.
    pub(super) kept: Vec<(String, String)>,
}

/// A field of the form for a dimension begins so: `f.model=gpt-4o` is `filter=model=gpt-4o`.
const FIELD: &str = "f.";

impl DashboardParameters {
    pub(crate) fn read(pairs: Vec<(String, String)>) -> Result<Self, Problem> {
        let mut asked = Self::default();
        let mut of_form = false;
        for (name, text) in pairs {
            let text = text.trim().to_owned();
            // A field of the form that was left empty says nothing.
            if text.is_empty() {
                continue;
            }
            let (name, text) = match name.strip_prefix(FIELD) {
                Some(dimension) => ("filter".to_owned(), format!("{dimension}={text}")),
                None => (name, text),
            };
            match name.as_str() {
                "lang" | "form" => {}
                _ => asked.kept.push((name.clone(), text.clone())),
            }
            let refuse = || Problem::invalid_parameters(format!("`{name}={text}` is not possible"));
            let place = match name.as_str() {
                "filter" => {
                    asked.filters.push(text);
                    continue;
                }
                "days" => {
                    asked.days = Some(text.parse().map_err(|_| refuse())?);
                    continue;
                }
                "form" => {
                    of_form = true;
                    continue;
                }
                "range" => &mut asked.range,
                "from" => &mut asked.from,
                "to" => &mut asked.to,
                "tz" => &mut asked.tz,
                "compare" => &mut asked.compare,
                "grain" => &mut asked.grain,
                "lang" => &mut asked.lang,
                _ => return Err(refuse()),
            };
            *place = Some(text);
        }
        // In the form, dates say more than the range that is chosen beside them.
        if of_form && (asked.from.is_some() || asked.to.is_some()) {
            asked.range = None;
            asked.kept.retain(|(name, _)| name != "range");
        }
        Ok(asked)
    }

    pub(super) fn names_a_period(&self) -> bool {
        self.days.is_some() || self.range.is_some() || self.from.is_some() || self.to.is_some()
    }

    /// What the address chooses.
    pub(crate) fn selection(
        &self,
        now: DateTime<Utc>,
        lake: &Lake,
        principal: &Principal,
    ) -> Result<Selection, Problem> {
        let invalid = |error: String| Problem::invalid_parameters(error);
        let zone = match &self.tz {
            Some(name) => name.parse::<Zone>().map_err(|error| invalid(error.to_string()))?,
            None => lake.metrics.zone,
        };
        let window = match self.days {
            Some(_) if self.range.is_some() || self.from.is_some() || self.to.is_some() => {
                return Err(invalid(
                    "`days` stands for a period: send the one or the other".into(),
                ));
            }
            Some(days) => Window::last_days_in(now, days, zone),
            None => {
                let (range, from) = (self.range.as_deref(), self.from.as_deref());
                let to = self.to.as_deref();
                Window::resolve(&WindowRequest { range, from, to, zone, today: false }, now)
            }
        };
        let window = window.map_err(|error| invalid(error.to_string()))?;
        let compare = match self.compare.as_deref() {
            None => Some(Compare::PreviousPeriod),
            Some("none") => None,
            Some(text) => Some(text.parse().map_err(|_| {
                invalid(format!(
                    "`compare`: `{text}` is not previous_period, previous_year or none"
                ))
            })?),
        };
        let selection = Selection::new(window).compared_with(compare);
        let of_filter = |error: reports::Error| invalid(error.to_string());
        let selection = selection
            .with_filters(&self.filters, &lake.catalog, audience(&reach(principal)))
            .map_err(of_filter)?;
        match &self.grain {
            Some(text) => {
                let grain: Grain =
                    text.parse().map_err(|_| invalid(format!("`grain`: `{text}` is none")))?;
                selection.with_grain(grain).map_err(of_filter)
            }
            None => Ok(selection),
        }
    }
}
