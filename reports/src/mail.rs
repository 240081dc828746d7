//! A dashboard as a mail: styles in each element, charts as PNG, and the same in plain text.

use base64::{Engine, engine::general_purpose::STANDARD};
use pages::words::Words;
use serde::Serialize;

use crate::{
    Dashboard, DashboardAnswers, Error, Language, Page,
    answer::Answers,
    page, summary,
    tile::{ChartFormat, Charts, TileContext, View},
    words,
};

const TEMPLATES: &[pages::Template] = &[
    ("mail.html", include_str!("../templates/mail.html")),
    ("mail.txt", include_str!("../templates/mail.txt")),
    ("mail_end.txt", include_str!("../templates/mail_end.txt")),
];

/// A dashboard as a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DashboardMail {
    pub subject: String,
    /// The key figures, and the link.
    pub brief: String,
    /// The same, and why one gets it.
    pub text: String,
    pub html: String,
    /// The PNGs, by the names that the HTML calls them.
    pub images: Vec<(String, Vec<u8>)>,
}

impl DashboardMail {
    /// The HTML with its images in it, for a browser.
    pub fn with_inline_images(&self) -> String {
        self.images.iter().fold(self.html.clone(), |html, (name, png)| {
            let data = format!("data:image/png;base64,{}", STANDARD.encode(png));
            html.replace(&format!("cid:{name}"), &data)
        })
    }
}

/// What a mail says besides the dashboard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailFrame {
    /// The title of the report.
    pub title: String,
    /// The page with the same numbers.
    pub link: String,
    /// The end of the mail: why one gets it.
    pub reason: String,
    /// Where one says that one does not want it any more; empty where there is no such place.
    pub unsubscribe: String,
}

#[derive(Serialize)]
struct Values<'a> {
    lang: &'static str,
    words: &'static Words,
    title: &'a str,
    dashboard: &'a str,
    organization: &'a str,
    period: &'a str,
    previous_period: Option<String>,
    summary: Vec<String>,
    tiles: &'a [View],
    link: &'a str,
    open: &'static str,
    reason: &'a str,
    unsubscribe: &'a str,
    stop: &'static str,
    times: String,
    as_of: &'a str,
}

/// Writes a dashboard as a mail, by the same answers as the page.
pub fn mail(
    dashboard: &Dashboard,
    answers: &DashboardAnswers,
    page: &Page,
    frame: &MailFrame,
) -> Result<DashboardMail, Error> {
    let language = page.language;
    let scene = TileContext {
        selection: &page.selection,
        answers: Answers(&answers.metrics),
        analyses: &answers.analyses,
        system: &answers.system,
        queries: &answers.queries,
        annotations: &page.annotations,
        anomalies: &page.anomalies,
        forecasts: &answers.forecasts,
        language,
        charts: Charts::File(ChartFormat::Png),
        links: None,
        server: None,
    };
    let mut images = Vec::new();
    let mut tiles = Vec::new();
    for (index, tile) in dashboard.tiles.iter().enumerate() {
        let mut view = page::view(index, tile, &scene, page)?;
        images.extend(view.take_files(images.len() + 1));
        tiles.push(view);
    }
    let fixed = Words::of(language);
    let period = page.selection.window.label(language);
    let values = Values {
        lang: language.tag(),
        words: fixed,
        title: &frame.title,
        dashboard: dashboard.title.of(language),
        organization: page.organization.as_deref().unwrap_or(fixed.all_organizations),
        period: &period,
        previous_period: page.selection.compared().map(|window| window.label(language)),
        summary: summary::sentences(dashboard, &scene),
        tiles: &tiles,
        link: &frame.link,
        open: match language {
            Language::En => "Open the dashboard",
            Language::ZhCn => "打开仪表板",
        },
        reason: &frame.reason,
        unsubscribe: &frame.unsubscribe,
        stop: match language {
            Language::En => "Unsubscribe",
            Language::ZhCn => "退订",
        },
        times: words::times_of(&page.selection.window.zone().to_string(), language),
        as_of: &page.as_of,
    };
    let brief = pages::fill(TEMPLATES, "mail.txt", &values)?;
    Ok(DashboardMail {
        subject: format!("{} · {period}", frame.title),
        text: format!("{brief}{}", pages::fill(TEMPLATES, "mail_end.txt", &values)?),
        brief,
        html: pages::fill(TEMPLATES, "mail.html", &values)?,
        images,
    })
}
