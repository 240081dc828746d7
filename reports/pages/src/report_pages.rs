//! The pages of scheduled reports: the list, one report with its runs, and the form.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Serialize;

use crate::{Error, Language, Vocabulary, frame::framed, saved_query::Reader};

static WORDS: LazyLock<Vocabulary> = LazyLock::new(|| {
    // A test reads the file; one that could not be read would show the names of the words.
    Vocabulary::read(include_str!("../words/reports.yaml"))
        .unwrap_or_else(|_| Vocabulary::default())
});

/// A word of these pages, such as a period or a status.
pub fn report_word(name: &str, language: Language) -> &str {
    WORDS.text(name, language)
}

/// A report in the list.
#[derive(Debug, Clone, Serialize)]
pub struct ListedReport {
    /// The id in addresses.
    pub id: String,
    /// The title.
    pub title: String,
    /// Dashboard and period, in words.
    pub what: String,
    /// The schedules, in words.
    pub schedules: Vec<String>,
    /// The next time, in words.
    pub next: Option<String>,
    /// When the last run was made, and how it went.
    pub last: Option<(String, Status)>,
    /// Its schedules rest.
    pub paused: bool,
}

/// How something went.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The word for programs, such as `sent`.
    pub name: &'static str,
    /// The word for readers.
    pub word: String,
}

/// One report.
#[derive(Debug, Clone, Serialize)]
pub struct ReportPage {
    /// The id in addresses.
    pub id: String,
    /// The title.
    pub title: String,
    /// Labels and what they say.
    pub facts: Vec<(String, String)>,
    /// The next times, in words.
    pub next: Vec<String>,
    /// Its schedules rest.
    pub paused: bool,
    /// Why, if it was not asked for.
    pub paused_reason: Option<String>,
    /// Whether the reader has a mail address.
    pub is_person: bool,
    /// Mail is wanted, and there is no server for it.
    pub lacks_mail: bool,
    /// The runs, the newest first.
    pub runs: Vec<RunRow>,
}

/// A run in the list of a report.
#[derive(Debug, Clone, Serialize)]
pub struct RunRow {
    /// The id in addresses.
    pub id: String,
    /// The period, in words.
    pub period: String,
    /// When it was made, in words.
    pub made: String,
    /// How it went.
    pub status: Status,
    /// Why it was skipped or failed.
    pub reason: Option<String>,
    /// Names and addresses of its files.
    pub files: Vec<(String, String)>,
    /// Its deliveries.
    pub deliveries: Vec<DeliveryRow>,
    /// Whether one failed.
    pub can_be_sent_again: bool,
}

/// A delivery in the list of a run.
#[derive(Debug, Clone, Serialize)]
pub struct DeliveryRow {
    /// To whom.
    pub to: String,
    /// How it went.
    pub status: Status,
    /// It may have arrived twice.
    pub uncertain: bool,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// The form of a report, with what stands in it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ReportForm {
    /// The id of the report that is changed; none for a new one.
    pub id: Option<String>,
    /// Why it was not saved, in English.
    pub failure: Option<String>,
    /// The fields, by their names.
    pub values: BTreeMap<&'static str, String>,
    /// The recipients that the form does not show.
    pub others: usize,
    /// Names and titles of the dashboards.
    pub dashboards: Vec<(String, String)>,
    /// The periods that are offered.
    pub periods: Vec<String>,
    /// Whether the schedules are part of the form.
    pub with_schedule: bool,
}

/// The names of the fields of the form.
pub const FORM_FIELDS: [&str; 14] = [
    "title",
    "dashboard",
    "period",
    "tz",
    "language",
    "recipients",
    "filters",
    "csv",
    "skip_when_empty",
    "skip_when_unchanged",
    "every",
    "on",
    "at",
    "cron",
];

fn page<T: Serialize>(template: &'static str, reader: &Reader, page: &T) -> Result<String, Error> {
    framed(&[], template, reader, &WORDS, page)
}

/// The list of reports.
pub fn reports_page(reader: &Reader, reports: &[ListedReport]) -> Result<String, Error> {
    page("reports.html", reader, &reports)
}

/// The page of one report.
pub fn report_page(reader: &Reader, report: &ReportPage) -> Result<String, Error> {
    page("report.html", reader, report)
}

/// The form of a report.
pub fn report_form(reader: &Reader, form: &ReportForm) -> Result<String, Error> {
    let mut form = form.clone();
    for name in FORM_FIELDS {
        form.values.entry(name).or_default();
    }
    page("report_form.html", reader, &form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_there_in_both_languages() {
        Vocabulary::read(include_str!("../words/reports.yaml")).unwrap();
    }

    #[test]
    fn the_pages_show_their_words_and_strangers_stay_text() {
        let hostile = "<script>alert(1)</script>{{ 7 * 7 }}";
        for language in Language::ALL {
            let reader = Reader {
                language,
                user: Some("a@b.example".into()),
                organization: None,
                asks_sql: true,
            };
            let status =
                Status { name: "failed", word: report_word("failed", language).to_owned() };
            let listed = ListedReport {
                id: "report_1".into(),
                title: hostile.into(),
                what: hostile.into(),
                schedules: vec![hostile.into()],
                next: None,
                last: Some(("2026-11-29".into(), status.clone())),
                paused: true,
            };
            let list = reports_page(&reader, &[listed]).unwrap();
            let delivery = DeliveryRow {
                to: hostile.into(),
                status: status.clone(),
                uncertain: true,
                error: Some(hostile.into()),
            };
            let run = RunRow {
                id: "run_1".into(),
                period: "Nov 22".into(),
                made: "2026-11-29".into(),
                status,
                reason: Some(hostile.into()),
                files: vec![(hostile.into(), "/x".into())],
                deliveries: vec![delivery],
                can_be_sent_again: true,
            };
            let one = ReportPage {
                id: "report_1".into(),
                title: hostile.into(),
                facts: vec![(hostile.into(), hostile.into())],
                next: vec![hostile.into()],
                paused: true,
                paused_reason: Some(hostile.into()),
                is_person: true,
                lacks_mail: true,
                runs: vec![run],
            };
            let one = report_page(&reader, &one).unwrap();
            let form = ReportForm {
                failure: Some(hostile.into()),
                values: BTreeMap::from([("title", hostile.to_owned())]),
                dashboards: vec![("business".into(), hostile.into())],
                periods: vec!["yesterday".into()],
                with_schedule: true,
                ..ReportForm::default()
            };
            let form = report_form(&reader, &form).unwrap();
            for html in [&list, &one, &form] {
                assert!(!html.contains("<script>") && !html.contains("49"), "{html}");
                assert!(html.contains("&lt;script&gt;"), "{html}");
            }
            assert!(one.contains(report_word("send_again", language)));
            assert!(form.contains(report_word("yesterday", language)));
        }
    }
}
