//! Alerts in words: the condition of one, and the message that it sends.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use pages::Vocabulary;
use query::{Zone, metric::Unit};
use rust_decimal::Decimal;

use super::{Against, AlertRule, Condition, Side, Watched};
use crate::{
    Language,
    number::{Precision, print_or_absent, ratio},
};

/// The words of alerts.
pub(crate) static WORDS: LazyLock<Vocabulary> = LazyLock::new(|| {
    // A test reads the file; one that could not be read would show the names of the words.
    Vocabulary::read(include_str!("../../words/alerts.yaml")).unwrap_or_default()
});

/// A word of alerts.
pub fn alert_word(name: &str, language: Language) -> &str {
    WORDS.text(name, language)
}

/// A word with its places filled in.
pub fn alert_text(name: &str, places: &[(&str, &str)], language: Language) -> String {
    WORDS.filled(name, places, language)
}

/// An alert as it is put in words.
#[derive(Debug, Clone, Copy)]
pub struct InWords<'a> {
    pub rule: &'a AlertRule,
    pub watched: &'a Watched,
    /// The title of the metric.
    pub metric: &'a str,
    pub zone: Zone,
    pub language: Language,
}

impl InWords<'_> {
    /// The condition: `Error rate above 5.0 %`.
    pub fn condition(&self) -> String {
        let text = |name, places: &[(&str, &str)]| alert_text(name, places, self.language);
        let share = |by: Decimal| match self.watched.unit {
            Unit::Ratio => self.number(Some(by), None),
            _ => ratio(by, Precision::Short, self.language),
        };
        let against = |against| {
            let name = match against {
                Against::Previous => "previous",
                Against::DayBefore => "day_before",
                Against::WeekBefore => "week_before",
            };
            alert_word(name, self.language)
        };
        let condition = match &self.rule.condition {
            Condition::Above { value } => {
                text("above", &[("number", &self.number(Some(*value), None))])
            }
            Condition::Below { value } => {
                text("below", &[("number", &self.number(Some(*value), None))])
            }
            Condition::Rises { by, against: with } => {
                text("rises", &[("number", &share(*by)), ("against", against(*with))])
            }
            Condition::Falls { by, against: with } => {
                text("falls", &[("number", &share(*by)), ("against", against(*with))])
            }
            Condition::AboveNorm { times } => {
                text("above_norm", &[("number", &times.normalize().to_string())])
            }
            Condition::GoalMissed => text("goal_missed", &[]),
            Condition::NoData => text("no_data", &[]),
            Condition::ForecastAbove { value, within } => {
                self.ahead("forecast_above", *value, *within)
            }
            Condition::ForecastBelow { value, within } => {
                self.ahead("forecast_below", *value, *within)
            }
            Condition::Anomaly { direction: Side::Both, .. } => text("anomaly", &[]),
            Condition::Anomaly { direction: Side::Above, .. } => text("anomaly_above", &[]),
            Condition::Anomaly { direction: Side::Below, .. } => text("anomaly_below", &[]),
        };
        text("in_words", &[("metric", self.metric), ("condition", &condition)])
    }

    fn ahead(&self, name: &str, value: Decimal, within: u32) -> String {
        let places =
            [("number", &*self.number(Some(value), None)), ("within", &within.to_string())];
        alert_text(name, &places, self.language)
    }

    /// How often it is looked at: `each hour, 2 in a row`.
    pub fn rhythm(&self) -> String {
        let interval = alert_word(self.rule.interval.name(), self.language);
        let each = alert_text("each", &[("interval", interval)], self.language);
        if self.rule.for_intervals == 1 {
            return each;
        }
        let count = self.rule.for_intervals.to_string();
        let count = alert_text("for_count", &[("count", &count)], self.language);
        let separator = if self.language == Language::En { ", " } else { "，" };
        format!("{each}{separator}{count}")
    }

    /// A value of the metric.
    pub fn number(&self, value: Option<Decimal>, currency: Option<&str>) -> String {
        print_or_absent(value, self.watched.unit, currency, Precision::Short, self.language)
    }

    /// The start of an interval on the clock of the alert.
    pub fn time(&self, at: DateTime<Utc>) -> String {
        self.zone.local(at).format("%Y-%m-%d %H:%M").to_string()
    }

    /// What was found of a series: `gpt-4o: 7.1 % in the hour from 2026-03-02 13:00 (limit 5.0 %)`.
    pub fn line(
        &self,
        series: &str,
        currency: Option<&str>,
        at: DateTime<Utc>,
        value: Option<Decimal>,
        limit: Option<Decimal>,
    ) -> String {
        let series = if series.is_empty() { alert_word("all", self.language) } else { series };
        let places = [
            ("value", &*self.number(value, currency)),
            ("interval", alert_word(self.rule.interval.name(), self.language)),
            ("at", &*self.time(at)),
            // A name is filled in last: what stands in it is no place.
            ("series", series),
        ];
        let line = alert_text("message_line", &places, self.language);
        match limit {
            None => line,
            Some(limit) => {
                let limit = self.number(Some(limit), currency);
                let limit = alert_text("message_limit", &[("limit", &limit)], self.language);
                match self.language {
                    Language::En => format!("{line} ({limit})"),
                    Language::ZhCn => format!("{line}（{limit}）"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::DesiredDirection;

    #[test]
    fn every_word_is_there_in_both_languages() {
        Vocabulary::read(include_str!("../../words/alerts.yaml")).unwrap();
    }

    #[track_caller]
    fn check(unit: Unit, condition: Value, english: &str, chinese: &str) {
        let rule = json!({"metric": "m", "interval": "hour", "condition": condition, "for": 2});
        let rule: AlertRule = serde_json::from_value(rule).unwrap();
        let better = DesiredDirection::Higher;
        let watched = Watched { unit, better, goal: None, matures_days: 0 };
        for (language, expected) in [(Language::En, english), (Language::ZhCn, chinese)] {
            let words = InWords {
                rule: &rule,
                watched: &watched,
                metric: "Rate",
                zone: Zone::UTC,
                language,
            };
            assert_eq!(words.condition().replace('\u{a0}', " "), expected);
        }
    }

    #[test]
    fn conditions_are_sentences() {
        let above = json!({"kind": "above", "value": "0.05"});
        check(Unit::Ratio, above, "Rate above 5.0 %", "Rate高于 5.0%");
        let falls = json!({"kind": "falls", "by": "0.3", "against": "week_before"});
        check(
            Unit::Money,
            falls,
            "Rate more than 30.0 % below the week before",
            "Rate较上周同一时段下降超过 30.0%",
        );
        let norm = json!({"kind": "above_norm", "times": 20});
        check(Unit::Count, norm, "Rate above 20 times its norm", "Rate超过常态的 20 倍");
    }

    #[test]
    fn a_line_says_what_was_found_and_names_stay_names() {
        let rule = json!({"metric": "m", "interval": "hour", "condition": {"kind": "no_data"}});
        let rule: AlertRule = serde_json::from_value(rule).unwrap();
        let better = DesiredDirection::Lower;
        let watched = Watched { unit: Unit::Ratio, better, goal: None, matures_days: 0 };
        let words = InWords {
            rule: &rule,
            watched: &watched,
            metric: "Rate",
            zone: "Asia/Shanghai".parse().unwrap(),
            language: Language::En,
        };
        let at = "2026-03-02T05:00:00Z".parse().unwrap();
        let (value, limit) = ("0.071".parse().ok(), "0.05".parse().ok());
        let line = words.line("{value}", None, at, value, limit).replace('\u{a0}', " ");
        assert_eq!(line, "{value}: 7.1 % in the hour from 2026-03-02 13:00 (limit 5.0 %)");
        assert!(words.line("", None, at, None, None).starts_with("All: – in the hour"));
        assert_eq!(words.rhythm(), "each hour");
    }
}
