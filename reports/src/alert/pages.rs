//! The pages of alerts: the list with what is open, one alert with its history, and the form.

use std::collections::BTreeMap;

use pages::{report_pages::Status, saved_query::Reader};
use serde::Serialize;

use super::words::WORDS;
use crate::Error;

const TEMPLATES: &[pages::Template] = &[
    ("alerts.html", include_str!("../../templates/alerts.html")),
    ("alert.html", include_str!("../../templates/alert.html")),
    ("alert_form.html", include_str!("../../templates/alert_form.html")),
];

/// The list.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AlertsPage {
    pub open: Vec<IncidentRow>,
    pub alerts: Vec<ListedAlert>,
}

/// An alert in the list.
#[derive(Debug, Clone, Serialize)]
pub struct ListedAlert {
    pub id: String,
    pub title: String,
    pub status: Status,
    pub shipped: bool,
    pub condition: String,
    pub rhythm: String,
    pub error: Option<String>,
}

/// An incident, in words.
#[derive(Debug, Clone, Serialize)]
pub struct IncidentRow {
    pub id: String,
    pub alert_id: String,
    pub title: String,
    pub series: String,
    pub value: String,
    pub limit: String,
    pub opened: String,
    pub resolved: String,
    pub status: Status,
    /// Who did something about it.
    pub by: String,
}

/// One alert.
#[derive(Debug, Clone, Serialize)]
pub struct AlertPage {
    pub id: String,
    pub title: String,
    pub status: Status,
    pub condition: String,
    pub rhythm: String,
    pub paused: bool,
    pub paused_reason: Option<String>,
    pub error: Option<String>,
    pub may_change: bool,
    /// Labels and what they say.
    pub facts: Vec<(String, String)>,
    /// The verdict of each interval and its values in words, the oldest first.
    pub strip: Vec<(&'static str, String)>,
    /// What was found, the newest first.
    pub found: Vec<FoundRow>,
    pub incidents: Vec<IncidentRow>,
}

/// What was found of an interval, in words.
#[derive(Debug, Clone, Serialize)]
pub struct FoundRow {
    pub from: String,
    pub series: String,
    pub value: String,
    pub limit: String,
    pub status: Status,
}

/// The form of an alert, with what stands in it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AlertForm {
    /// The id of the alert that is changed; none for a new one.
    pub id: Option<String>,
    /// Why it was not saved, in English.
    pub failure: Option<String>,
    pub values: BTreeMap<&'static str, String>,
    /// Whether there is something that the form does not show.
    pub others: bool,
    /// Names and titles.
    pub metrics: Vec<(String, String)>,
    pub kinds: Vec<&'static str>,
    pub trial: Option<TrialSection>,
}

/// When the alert would have fired, in words.
#[derive(Debug, Clone, Serialize)]
pub struct TrialSection {
    pub said: String,
    pub unknown: String,
    pub more: String,
    pub firings: Vec<IncidentRow>,
}

/// The names of the fields of the form.
pub const ALERT_FIELDS: [&str; 18] = [
    "title",
    "metric",
    "interval",
    "kind",
    "number",
    "against",
    "within",
    "for",
    "recover_after",
    "by",
    "filters",
    "least_metric",
    "least_value",
    "recipients",
    "renotify_after_hours",
    "tz",
    "language",
    "act",
];

/// The kinds of conditions that the form offers.
pub const CONDITION_KINDS: [&str; 12] = [
    "above",
    "below",
    "rises",
    "falls",
    "above_norm",
    "goal_missed",
    "no_data",
    "forecast_above",
    "forecast_below",
    "anomaly",
    "anomaly_above",
    "anomaly_below",
];

fn page<T: Serialize>(template: &'static str, reader: &Reader, page: &T) -> Result<String, Error> {
    Ok(pages::framed(TEMPLATES, template, reader, &WORDS, page)?)
}

/// The list of alerts.
pub fn alerts_page(reader: &Reader, alerts: &AlertsPage) -> Result<String, Error> {
    page("alerts.html", reader, alerts)
}

/// The page of one alert.
pub fn alert_page(reader: &Reader, alert: &AlertPage) -> Result<String, Error> {
    page("alert.html", reader, alert)
}

/// The form of an alert.
pub fn alert_form(reader: &Reader, form: &AlertForm) -> Result<String, Error> {
    let mut form = form.clone();
    for name in ALERT_FIELDS {
        form.values.entry(name).or_default();
    }
    page("alert_form.html", reader, &form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Language;

    const HOSTILE: &str = "<script>alert(1)</script>{{ 7 * 7 }}";

    fn status() -> Status {
        Status { name: "open", word: "Open".into() }
    }

    fn row() -> IncidentRow {
        IncidentRow {
            id: "incident_1".into(),
            alert_id: "alert_1".into(),
            title: HOSTILE.into(),
            series: HOSTILE.into(),
            value: "1".into(),
            limit: "1".into(),
            opened: "2026-03-02".into(),
            resolved: String::new(),
            status: status(),
            by: HOSTILE.into(),
        }
    }

    fn list() -> AlertsPage {
        let listed = ListedAlert {
            id: "alert_1".into(),
            title: HOSTILE.into(),
            status: status(),
            shipped: true,
            condition: HOSTILE.into(),
            rhythm: "each day".into(),
            error: Some(HOSTILE.into()),
        };
        AlertsPage { open: vec![row()], alerts: vec![listed] }
    }

    fn one() -> AlertPage {
        AlertPage {
            id: "alert_1".into(),
            title: HOSTILE.into(),
            status: status(),
            condition: HOSTILE.into(),
            rhythm: "each day".into(),
            paused: true,
            paused_reason: Some(HOSTILE.into()),
            error: Some(HOSTILE.into()),
            may_change: true,
            facts: vec![(HOSTILE.into(), HOSTILE.into())],
            strip: vec![("met", HOSTILE.into())],
            found: vec![FoundRow {
                from: "2026-03-02".into(),
                series: HOSTILE.into(),
                value: "1".into(),
                limit: "1".into(),
                status: status(),
            }],
            incidents: vec![row()],
        }
    }

    fn form() -> AlertForm {
        AlertForm {
            failure: Some(HOSTILE.into()),
            values: BTreeMap::from([("title", HOSTILE.to_owned())]),
            metrics: vec![("requests".into(), HOSTILE.into())],
            kinds: CONDITION_KINDS.to_vec(),
            trial: Some(TrialSection {
                said: HOSTILE.into(),
                unknown: HOSTILE.into(),
                more: HOSTILE.into(),
                firings: vec![row()],
            }),
            ..AlertForm::default()
        }
    }

    #[test]
    fn the_pages_show_their_words_and_strangers_stay_text() {
        for language in Language::ALL {
            let reader = Reader {
                language,
                user: Some("a@b.example".into()),
                organization: Some(HOSTILE.into()),
                asks_sql: true,
            };
            let pages = [
                alerts_page(&reader, &list()).unwrap(),
                alert_page(&reader, &one()).unwrap(),
                alert_form(&reader, &form()).unwrap(),
            ];
            for html in &pages {
                assert!(!html.contains("<script>") && !html.contains("49"), "{html}");
                assert!(html.contains("&lt;script&gt;"), "{html}");
            }
            for kind in CONDITION_KINDS {
                let offered = WORDS.text(&format!("kind_{kind}"), language).to_owned();
                assert!(pages[2].contains(&offered), "{kind}");
            }
        }
    }
}
