//! A report as it is drawn: the page, the mail and the values, of one cut.

use actix_web::HttpResponse;
use chrono::SecondsFormat;
use delivery::{Channel, Content, Part};
use pages::Language;
use reports::{Address, DashboardMail, MailFrame, Page, Selection, Window};
use rest::{page::html_page, principal::Principal, problem::Problem};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    report::{Format, Report},
    work::{RunError, reader},
};
use crate::{
    Lake,
    dashboards::{self, Answered, DashboardContext},
    persons,
    queries::reach,
};

/// A report, drawn for those who see the same rows.
pub(super) struct Drawn {
    mail: DashboardMail,
    html: Vec<u8>,
    csv: Vec<u8>,
    json: Value,
    pub(super) is_empty: bool,
    pub(super) digest: [u8; 32],
    pub(super) as_of: String,
}

pub(super) async fn draw(
    lake: &Lake,
    report: &Report,
    owner: &Principal,
    reader: &Principal,
    selection: &Selection,
) -> Result<Drawn, RunError> {
    let dashboard = dashboards::definition(&report.new.dashboard, lake, owner, reader).await?;
    let (cut, now) = (lake.lakehouse.cut(), lake.state.clock.now());
    let as_of = lake.cut_cipher.token(&cut, reader)?;
    let who = (owner, reader);
    let queries = dashboards::saved_rows_of(lake, who, &dashboard, selection, &cut, true).await?;
    let reading = DashboardContext {
        engine: &lake.engine,
        catalog: &lake.catalog,
        reach: reach(reader),
        cut,
        persons: persons::are_shown_to(&lake.state.store, reader).await?,
        min_persons: lake.min_persons(reader),
        now,
        deadline_ms: lake.limits.deadline_seconds * 1_000,
        gives_way: true,
        lateness: lake.metrics.lateness,
        system: dashboards::reported_tables(lake, reader, &dashboard).await?,
        queries,
        lenient: false,
    };
    let page = Page {
        language: report.new.language,
        selection: selection.clone(),
        generated_at: now,
        as_of: as_of.clone(),
        organization: reader.reach.organization_id().map(str::to_owned),
        user: None,
        asks_sql: false,
        definition: None,
        standalone: true,
        server: Some(lake.reporting.links.to("")),
        failures: Default::default(),
        annotations: dashboards::annotations(lake, reader, selection).await?,
        anomalies: Vec::new(),
        tabs: Vec::new(),
        may_change: false,
        address: Address::default(),
    };
    let frame = MailFrame {
        title: report.new.title.clone(),
        link: live_link(lake, report, selection),
        reason: reason(report.new.language, &report.new.title),
        unsubscribe: "%%unsubscribe%%".to_owned(),
    };
    let title = report.new.title.clone();
    let make = move |answered: &Answered| {
        let digest = Sha256::digest(format!("{:?}", answered.values()));
        Ok(Drawn {
            mail: answered.mail(&frame)?,
            html: answered.html()?.into_bytes(),
            csv: reports::csv(answered.shown()),
            json: json!({"title": title, "link": frame.link, "values": answered.values()}),
            is_empty: answered.is_empty(),
            digest: digest.into(),
            as_of,
        })
    };
    Ok(reading.draw(dashboard, page, make).await?)
}

/// The page with the same window and filters.
fn live_link(lake: &Lake, report: &Report, selection: &Selection) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("lang", report.new.language.tag());
    let (window, zone) = (&selection.window, selection.window.zone());
    query.append_pair("from", &window.from().to_rfc3339_opts(SecondsFormat::Secs, true));
    query.append_pair("to", &window.to().to_rfc3339_opts(SecondsFormat::Secs, true));
    query.append_pair("tz", &zone.to_string());
    for filter in selection.filters() {
        query.append_pair("filter", filter);
    }
    lake.reporting.links.to(&format!("/dashboards/{}?{}", report.new.dashboard, query.finish()))
}

/// Why somebody gets a mail.
fn reason(language: Language, title: &str) -> String {
    match language {
        Language::En => {
            format!("You get this mail because %%address%% is a recipient of the report “{title}”.")
        }
        Language::ZhCn => format!("您收到此邮件，因为 %%address%% 是报告“{title}”的收件人。"),
    }
}

impl Drawn {
    /// The files of the report, with their names.
    pub(super) fn files(
        &self,
        report: &Report,
        window: &Window,
        organization: Option<&str>,
    ) -> Vec<(String, Vec<u8>)> {
        let file = |format: &Format| match format {
            Format::Html => (report.file_name(window, organization, "html"), self.html.clone()),
            Format::Csv => (report.file_name(window, organization, "csv"), self.csv.clone()),
        };
        report.new.formats.iter().map(file).collect()
    }

    /// What a channel sends of it.
    pub(super) fn content(
        &self,
        report: &Report,
        window: &Window,
        organization: Option<&str>,
        channel: Channel,
    ) -> Content {
        let part = |(name, bytes): (String, Vec<u8>)| {
            let is_html = name.ends_with(".html");
            let content_type = if is_html { "text/html" } else { "text/csv" };
            Part { name, content_type: format!("{content_type}; charset=utf-8"), bytes }
        };
        let attachments =
            || self.files(report, window, organization).into_iter().map(part).collect();
        let image = |(name, bytes): &(String, Vec<u8>)| Part {
            name: name.clone(),
            content_type: "image/png".into(),
            bytes: bytes.clone(),
        };
        let DashboardMail { subject, brief, text, html, images } = &self.mail;
        let base = Content { subject: subject.clone(), ..Content::default() };
        match channel {
            Channel::Mail => Content {
                text: text.clone(),
                html: Some(html.clone()),
                images: images.iter().map(image).collect(),
                attachments: attachments(),
                ..base
            },
            Channel::Slack => Content { text: brief.clone(), ..base },
            Channel::Webhook => Content { json: self.json.clone(), ..base },
            Channel::Folder => Content { attachments: attachments(), ..base },
        }
    }
}

/// The report as it would be made now.
pub(super) async fn preview(
    lake: &Lake,
    report: &Report,
    format: &str,
) -> Result<HttpResponse, Problem> {
    let owner = lake.authenticator.by_id(&report.owner_id).await?;
    let gone = || Problem::not_found("the owner of the report cannot sign in any more");
    let owner = owner.ok_or_else(gone)?;
    let first = report.new.recipients.first().and_then(|to| to.organization_id.as_deref());
    let refused = |error: RunError| match error {
        RunError::Problem(problem) => problem,
        RunError::Final(reason) => Problem::invalid_parameters(reason),
        RunError::Dashboard(error) => dashboards::problem_of(error),
        RunError::Store(error) => error.into(),
        RunError::File(_) => Problem::internal(),
    };
    let reader = reader(&owner, first).map_err(refused)?;
    let selection = report.new.selection(lake, &owner, lake.state.clock.now())?;
    let drawn = draw(lake, report, &owner, &reader, &selection).await.map_err(refused)?;
    match format {
        "html" => Ok(html_page(String::from_utf8_lossy(&drawn.html).into_owned())),
        "mail" => Ok(html_page(drawn.mail.with_inline_images())),
        "csv" => Ok(HttpResponse::Ok().content_type("text/csv; charset=utf-8").body(drawn.csv)),
        other => Err(Problem::invalid_parameters(format!("`format={other}` is not possible"))),
    }
}
