//! What an alert tells people.

use chrono::{DateTime, Utc};
use delivery::{Channel, Content, Part};
use reports::alert::{InWords, alert_text, alert_word};
use serde_json::{Value, json};

use super::{alert::Alert, incident::Incident};

/// What is told of incidents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Opened,
    StillOpen,
    Resolved,
}

impl Told {
    /// The word for programs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::StillOpen => "still_open",
            Self::Resolved => "resolved",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Opened => "message_opened",
            Self::StillOpen => "message_still",
            Self::Resolved => "message_resolved",
        }
    }
}

/// What a message is written from.
pub(super) struct Message<'a> {
    pub(super) alert: &'a Alert,
    pub(super) told: Told,
    pub(super) incidents: &'a [&'a Incident],
    pub(super) words: &'a InWords<'a>,
    pub(super) link: &'a str,
    pub(super) now: DateTime<Utc>,
}

/// Incidents that a message lists.
const LISTED: usize = 20;

/// The message for a channel. A folder gets it as a file.
pub(super) fn content(message: &Message<'_>, channel: Channel) -> Content {
    let Message { alert, told, incidents, words, link, now } = message;
    let head = alert_word(told.word(), words.language);
    let line = |incident: &&Incident| {
        let currency = incident.series.currency.as_deref();
        let (value, limit) = (incident.value, incident.limit);
        words.line(&incident.series.name(), currency, incident.interval_from, value, limit)
    };
    let mut lines: Vec<String> = incidents.iter().take(LISTED).map(line).collect();
    if incidents.len() > LISTED {
        let more = (incidents.len() - LISTED).to_string();
        lines.push(alert_text("message_more", &[("count", &more)], words.language));
    }
    let json = json!({
        "alert_id": alert.alert_id,
        "title": alert.new.title,
        "state": told.name(),
        "metric": alert.new.rule.metric,
        "condition": alert.new.rule.condition,
        "incidents": incidents.iter().map(|incident| one(incident)).collect::<Vec<_>>(),
        "link": link,
    });
    let time = now.format("%Y%m%dT%H%M%S%3fZ");
    let file = (channel == Channel::Folder).then(|| Part {
        name: format!("{}-{time}-{}.json", alert.alert_id, told.name()),
        content_type: "application/json".into(),
        bytes: json.to_string().into_bytes(),
    });
    Content {
        subject: format!("{head}: {}", alert.new.title),
        text: format!(
            "{head}: {}\n{}\n\n{}\n\n{link}\n",
            alert.new.title,
            words.condition(),
            lines.join("\n")
        ),
        attachments: file.into_iter().collect(),
        json,
        ..Content::default()
    }
}

fn one(incident: &Incident) -> Value {
    json!({
        "incident_id": incident.incident_id,
        "group": incident.series.group,
        "currency": incident.series.currency,
        "from": incident.interval_from,
        "value": incident.value.map(|value| value.normalize()),
        "limit": incident.limit.map(|limit| limit.normalize()),
    })
}
