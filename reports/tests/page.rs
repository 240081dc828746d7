//! Whole pages, made from made-up answers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../examples/preview/sample.rs"]
mod sample;

use std::time::{Duration, Instant};

use reports::{
    Address, Dashboard, DashboardAnswers, Error, Forecasts, Language, MetricResult, Page,
    Selection, Tile, Window, render,
};

const SMALL: &str = include_str!("small.yaml");

fn business() -> Dashboard {
    Dashboard::built_in("business").unwrap().unwrap()
}

fn page(language: Language, days: u32) -> Page {
    let generated_at = "2026-11-23T07:05:41Z".parse().unwrap();
    Page {
        language,
        selection: Selection::new(Window::last_days(generated_at, days).unwrap()),
        generated_at,
        as_of: "c1.0a4f".to_owned(),
        organization: None,
        user: Some("ada@example.com".to_owned()),
        asks_sql: false,
        definition: None,
        standalone: false,
        server: Some(String::new()),
        failures: Default::default(),
        annotations: Vec::new(),
        anomalies: Vec::new(),
        tabs: Vec::new(),
        may_change: false,
        address: Address::default(),
    }
}

fn answered(metrics: Vec<MetricResult>, forecasts: Forecasts) -> DashboardAnswers {
    DashboardAnswers { metrics, forecasts, ..DashboardAnswers::default() }
}

fn filled(dashboard: &Dashboard, page: &Page, models: &[&str], currencies: &[&str]) -> String {
    let answers = sample::answers(dashboard, &page.selection, models, currencies);
    let forecasts = sample::forecasts(dashboard, &page.selection, currencies);
    render(dashboard, &answered(answers, forecasts), page).unwrap()
}

fn emptied(dashboard: &Dashboard, page: &Page) -> Vec<MetricResult> {
    let mut answers = sample::answers(dashboard, &page.selection, &sample::MODELS, &["USD"]);
    for answered in &mut answers {
        answered.answer.rows.clear();
    }
    answers
}

/// Without the style sheet, which says nothing about the page's content.
fn content(html: &str) -> String {
    let (head, rest) = html.split_once("<style>").unwrap();
    let (_, tail) = rest.split_once("</style>").unwrap();
    format!("{head}<style></style>{tail}")
}

#[test]
fn a_live_page_in_english() {
    let dashboard = Dashboard::parse(SMALL).unwrap();
    let page = page(Language::En, 7);
    let html = filled(&dashboard, &page, &sample::MODELS[..4], &["EUR", "USD"]);
    insta::assert_snapshot!(content(&html));
}

#[test]
fn a_standalone_file_in_chinese() {
    let dashboard = Dashboard::parse(SMALL).unwrap();
    let page = Page {
        asks_sql: false,
        definition: None,
        standalone: true,
        server: None,
        organization: Some("Müller & Söhne".to_owned()),
        ..page(Language::ZhCn, 7)
    };
    let html = filled(&dashboard, &page, &sample::MODELS[..2], &["CNY"]);
    insta::assert_snapshot!(content(&html));
}

#[test]
fn every_tile_is_on_the_page_in_both_languages() {
    for language in Language::ALL {
        let page = page(language, 30);
        let html = filled(&business(), &page, &sample::MODELS, &["USD"]);
        for tile in &business().tiles {
            let title = format!("<h2>{}</h2>", tile.title().of(language));
            assert!(html.contains(&title), "{title}");
        }
        let charts = business().tiles.iter().filter(|tile| matches!(tile, Tile::Series(_))).count();
        assert_eq!(html.matches("class=\"chart small\"").count(), charts);
        assert_eq!(html.matches("class=\"chart medium\"").count(), charts);
        assert!(html.contains(&format!("<html lang=\"{}\">", language.tag())));
        assert!(html.contains("c1.0a4f") && html.contains("action=\"/sign-out\""));
    }
}

#[test]
fn the_page_runs_and_loads_nothing_of_others() {
    for standalone in [false, true] {
        let server = (!standalone).then(String::new);
        let page = Page { standalone, server, ..page(Language::En, 30) };
        let html = filled(&business(), &page, &sample::MODELS, &["USD"]);
        for forbidden in ["<script", "javascript:", "@import", "url(", "<img", "onload", "http://"]
        {
            // The one address is the name of a namespace.
            let html = html.replace("http://www.w3.org/2000/svg", "");
            // The one script is ours, and a file has none.
            let script = "<script src=\"/dashboard.js\" defer></script>";
            assert_eq!(html.matches(script).count(), usize::from(!standalone));
            let html = html.replace(script, "");
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        assert_eq!(html.contains("<form"), !standalone);
        assert_eq!(html.contains("<a "), !standalone);
    }
    // A report leads to the server, if it knows where that is.
    let server = Some("https://example.com".to_owned());
    let page = Page { standalone: true, server, ..page(Language::En, 30) };
    let html = filled(&business(), &page, &sample::MODELS, &["USD"]);
    let links: Vec<&str> = html.split("<a ").skip(1).collect();
    assert!(!links.is_empty());
    for link in links {
        assert!(link.replace("&#x2f;", "/").contains("href=\"https://example.com/why/"), "{link}");
    }
}

#[test]
fn links_keep_the_period_and_the_language() {
    let pairs = [("days", "30"), ("tz", "Europe/Berlin"), ("filter", "model=a b")];
    let pairs = pairs.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let page = Page { address: Address::new(pairs.to_vec()), ..page(Language::En, 30) };
    let html = filled(&business(), &page, &["a"], &["USD"]);
    let kept = "&amp;tz=Europe%2FBerlin&amp;filter=model%3Da%20b";
    assert!(html.contains(&format!("href=\"?lang=zh-CN&amp;days=30{kept}\"")));
    assert!(html.contains(&format!("href=\"?lang=en{kept}&amp;days=30\" aria-current=\"page\"")));
    assert!(html.contains(&format!("href=\"?lang=en{kept}&amp;days=7\"")));
    // One model, by a click on its name.
    let drilled = "href=\"?lang=en&amp;days=30&amp;tz=Europe%2FBerlin&amp;filter=model%3Da\"";
    assert!(html.contains(drilled));
}

#[test]
fn hostile_names_stay_text() {
    let hostile = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "</svg></title></style>",
        "{{ 7 * 7 }}",
    ];
    let page = Page {
        organization: Some("<script>o</script>".to_owned()),
        user: Some("<script>u</script>".to_owned()),
        as_of: "<script>c</script>".to_owned(),
        ..page(Language::En, 30)
    };
    let html = filled(&business(), &page, &hostile, &["<i>", "USD"]);
    let html = html.replace("<script src=\"/dashboard.js\" defer></script>", "");
    for tag in ["<script", "<img", "<i>", "</svg></title>"] {
        assert!(!html.contains(tag), "{tag}");
    }
    assert_eq!(html.matches("</style>").count(), 1);
    assert!(html.contains("&lt;script&gt;alert(1)"));
    assert!(html.contains("{{ 7 * 7 }}"));
}

#[test]
fn the_largest_page_is_small_and_quick() {
    let page = page(Language::ZhCn, 90);
    let answers = sample::answers(&business(), &page.selection, &sample::MODELS, &["EUR", "USD"]);
    let forecasts = sample::forecasts(&business(), &page.selection, &["EUR", "USD"]);
    let started = Instant::now();
    let html = render(&business(), &answered(answers, forecasts), &page).unwrap();
    let taken = started.elapsed();
    assert!(html.len() < 300_000, "{} bytes", html.len());
    // Twenty times what it takes without optimization on a machine that does nothing else.
    assert!(taken < Duration::from_millis(500), "{taken:?}");
}

#[test]
fn no_data_is_a_friendly_page() {
    for language in Language::ALL {
        let page = page(language, 30);
        let answers = emptied(&business(), &page);
        let html = render(&business(), &answered(answers, Forecasts::default()), &page).unwrap();
        assert!(html.contains("class=\"empty\""));
        assert!(!html.contains("class=\"chart") && !html.contains("NaN"));
    }
}

#[test]
fn hours_and_weeks_are_drawn_without_forecast() {
    for days in [1, 365] {
        let html = filled(&business(), &page(Language::En, days), &["a"], &["USD"]);
        assert!(html.contains("class=\"chart small\"") && !html.contains("class=\"legend\""));
    }
}

#[test]
fn a_question_without_answer_is_an_error() {
    let page = page(Language::En, 30);
    let mut answers = emptied(&business(), &page);
    answers.remove(0);
    let error = render(&business(), &answered(answers, Forecasts::default()), &page).unwrap_err();
    assert!(matches!(error, Error::Unanswered { metric, .. } if metric == "requests"));
}
