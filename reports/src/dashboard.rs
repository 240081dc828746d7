//! The definition of a dashboard, and the questions it asks.

mod set;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use query::metric::{Audience, Catalog, MetricRequest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use set::DashboardSet;

use crate::{AnalysisRequest, Error, Selection, SystemTopic, Text, Tile, Window};

/// The dashboards that come with the program, by name.
const BUILT_IN: [(&str, &str); 7] = [
    ("business", include_str!("../dashboards/business.yaml")),
    ("users", include_str!("../dashboards/users.yaml")),
    ("usage", include_str!("../dashboards/usage.yaml")),
    ("quality", include_str!("../dashboards/quality.yaml")),
    ("churn", include_str!("../dashboards/churn.yaml")),
    (ORGANIZATION, include_str!("../dashboards/organization.yaml")),
    ("operations", include_str!("../dashboards/operations.yaml")),
];

/// The dashboard that the name of an organization leads to.
pub(crate) const ORGANIZATION: &str = "organization";

/// A page of more tiles is not read.
const MOST_TILES: usize = 40;

/// A dashboard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Dashboard {
    /// The name in addresses and commands. A body to save may leave it out.
    #[schema(required = false)]
    pub name: String,
    pub title: Text,
    pub tiles: Vec<Tile>,
}

/// A forecast that a tile shows: made from the answer to `history`, this many days ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForecastRequest {
    pub history: MetricRequest,
    pub horizon_days: u32,
}

impl Dashboard {
    /// Reads a definition. An unknown field is an error, and so is what could not be shown.
    pub fn parse(yaml: &str) -> Result<Self, Error> {
        let dashboard: Self = serde_yaml_ng::from_str(yaml).map_err(Error::Unreadable)?;
        match dashboard.fault() {
            Some(reason) => Err(Error::Definition { dashboard: dashboard.name, reason }),
            None => Ok(dashboard),
        }
    }

    /// A dashboard that comes with the program; none if there is none of this name.
    pub fn built_in(name: &str) -> Option<Result<Self, Error>> {
        BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, yaml)| Self::parse(yaml))
    }

    /// The names for [`Self::built_in`].
    pub fn built_in_names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// Every question that must be answered to render the selection, each once: this period, the
    /// one it is compared with, and the history of each forecast.
    pub fn requests(&self, selection: &Selection) -> Vec<MetricRequest> {
        let histories =
            self.forecast_requests(selection).into_iter().map(|outlook| outlook.history);
        let mut requests: Vec<MetricRequest> = vec![];
        for request in self.shown(selection).into_iter().chain(histories) {
            if !requests.contains(&request) {
                requests.push(request);
            }
        }
        requests
    }

    /// The first name that somebody does not know, if there is one.
    pub fn unknown(&self, catalog: &Catalog, audience: Audience) -> Option<String> {
        self.tiles.iter().enumerate().find_map(|(index, tile)| {
            let unknown = tile.unknown(catalog, audience)?;
            Some(format!("tile {} ({}): {unknown}", index + 1, tile.title().en))
        })
    }

    /// The analyses over the last week: to see whether they can be asked.
    pub fn analyses_of_a_week(&self, now: DateTime<Utc>) -> Vec<AnalysisRequest> {
        let week = Window::last_days(now, 7);
        week.map(|window| self.analyses(&Selection::new(window))).unwrap_or_default()
    }

    /// The definition as it is read.
    pub fn yaml(&self) -> String {
        serde_yaml_ng::to_string(self).unwrap_or_default()
    }

    /// With the tiles that somebody may see; none if that is none.
    pub fn visible(mut self, catalog: &Catalog, audience: Audience) -> Option<Self> {
        self.tiles.retain(|tile| tile.is_for(catalog, audience));
        (!self.tiles.is_empty()).then_some(self)
    }

    /// What the tiles show of the server itself.
    pub fn system_topics(&self) -> BTreeSet<SystemTopic> {
        let topic = |tile: &Tile| match tile {
            Tile::System(tile) => Some(tile.of),
            _ => None,
        };
        self.tiles.iter().filter_map(topic).collect()
    }

    /// The names of the saved queries that the tiles show, each once.
    pub fn saved_queries(&self) -> BTreeSet<&str> {
        self.tiles
            .iter()
            .filter_map(|tile| match tile {
                Tile::Query(tile) => Some(tile.query.as_str()),
                _ => None,
            })
            .collect()
    }

    /// The analyses that the tiles show of the selection, each once.
    pub fn analyses(&self, selection: &Selection) -> Vec<AnalysisRequest> {
        let mut analyses: Vec<AnalysisRequest> = vec![];
        for request in self.tiles.iter().filter_map(|tile| tile.analysis(selection)) {
            if !analyses.contains(&request) {
                analyses.push(request);
            }
        }
        analyses
    }

    /// The forecasts that the tiles show of the selection, each once.
    pub fn forecast_requests(&self, selection: &Selection) -> Vec<ForecastRequest> {
        let mut forecast_requests: Vec<ForecastRequest> = vec![];
        for tile in &self.tiles {
            let Tile::Series(tile) = tile else { continue };
            let Some(history) = tile.history(selection) else { continue };
            let horizon_days = tile.horizon_days(&selection.window);
            match forecast_requests.iter_mut().find(|other| other.history == history) {
                Some(other) => other.horizon_days = other.horizon_days.max(horizon_days),
                None => forecast_requests.push(ForecastRequest { history, horizon_days }),
            }
        }
        forecast_requests
    }

    /// The questions whose answers are printed on the page as they are.
    pub(crate) fn shown(&self, selection: &Selection) -> Vec<MetricRequest> {
        self.tiles.iter().flat_map(|tile| tile.requests(selection)).collect()
    }

    /// Why the definition cannot be right, if so.
    pub fn fault(&self) -> Option<String> {
        if self.name.is_empty()
            || !self.name.chars().all(|letter| {
                letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-'
            })
        {
            return Some("a name is made of a-z, 0-9 and -".to_owned());
        }
        if self.title.lacks_words() {
            return Some("the title needs words in every language".to_owned());
        }
        if !(1..=MOST_TILES).contains(&self.tiles.len()) {
            return Some(format!("a dashboard has 1 to {MOST_TILES} tiles"));
        }
        self.tiles.iter().enumerate().find_map(|(index, tile)| {
            tile.fault().map(|fault| format!("tile {} ({}): {fault}", index + 1, tile.title().en))
        })
    }
}

#[cfg(test)]
mod tests;
