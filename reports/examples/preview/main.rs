//! Renders the business dashboard with made-up numbers, to look at it:
//! `cargo run -p reports --example preview -- OUT.html [en|zh-CN] [days] [live|standalone|empty|two]`,
//! or `OUT.html [lang] 0 sign-in`.

mod sample;

use std::error::Error;
use std::time::Instant;

use pages::{SignIn, sign_in_page};
use reports::{
    Address, Dashboard, DashboardAnswers, Forecasts, Language, Page, Selection, Window, render,
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |index: usize| arguments.get(index).map(String::as_str);
    let path = argument(0).ok_or("where to?")?;
    let language = Language::from_tag(argument(1).unwrap_or("en")).ok_or("which language?")?;
    let days = argument(2).unwrap_or("30").parse()?;
    let mode = argument(3).unwrap_or("live");
    if mode == "sign-in" {
        let error = Some("The e-mail or the password is wrong.".to_owned());
        let next = "/dashboards/business".to_owned();
        std::fs::write(path, sign_in_page(&SignIn { language, error, next, can_register: true })?)?;
        return Ok(());
    }

    let dashboard = Dashboard::built_in("business").ok_or("no such dashboard")??;
    let generated_at = "2026-11-23T07:05:41Z".parse()?;
    let selection = Selection::new(Window::last_days(generated_at, days)?);
    let currencies: &[&str] = if mode == "two" { &["USD", "EUR"] } else { &["USD"] };
    let mut answers = sample::answers(&dashboard, &selection, &sample::MODELS, currencies);
    let mut forecasts = sample::forecasts(&dashboard, &selection, currencies);
    if mode == "empty" {
        answers.iter_mut().for_each(|answered| answered.answer.rows.clear());
        forecasts = Forecasts::default();
    }
    let page = Page {
        language,
        selection,
        generated_at,
        as_of: "c1.0a4f.19c2".to_owned(),
        organization: None,
        user: Some("ada@example.com".to_owned()),
        asks_sql: false,
        definition: None,
        standalone: mode == "standalone",
        server: (mode != "standalone").then(String::new),
        failures: Default::default(),
        annotations: Vec::new(),
        anomalies: Vec::new(),
        tabs: Vec::new(),
        may_change: false,
        address: Address::default(),
    };
    let started = Instant::now();
    let html = render(
        &dashboard,
        &DashboardAnswers { metrics: answers, forecasts, ..DashboardAnswers::default() },
        &page,
    )?;
    println!("{} bytes in {:?}", html.len(), started.elapsed());
    std::fs::write(path, html)?;
    Ok(())
}
