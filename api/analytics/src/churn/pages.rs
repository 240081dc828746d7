//! `/churn`: who is likely to leave, as a page for people.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use pages::Language;
use query::metric::Unit;
use reports::{
    churn::{ChurnPage, ChurnRow, churn_page, churn_word, reason_said},
    number::print_float,
};
use rest::{principal::Gate, problem::Problem};

use super::found::{self, Found, FoundRisk, Kept};
use crate::{
    Lake,
    queries::staff_only,
    reporting::{Asked, opened, page_of},
};

/// Customers of the page.
const SHOWN: usize = 50;
/// Days of the survival curve that are shown.
const DAYS: [f64; 6] = [30.0, 60.0, 90.0, 180.0, 365.0, 730.0];

pub(super) async fn show(
    request: HttpRequest,
    asked: Asked,
    gate: web::Data<Gate>,
    lake: web::Data<Lake>,
) -> Result<HttpResponse, Problem> {
    let (principal, _, reader) = match opened(&request, asked, &gate).await? {
        Ok(opened) => opened,
        Err(way_in) => return Ok(way_in),
    };
    staff_only(&principal, "who is likely to leave")?;
    let kept = found::last(&lake.state.store).await?;
    let page = match &kept {
        None => ChurnPage {
            empty: Some(churn_word("not_yet", &[], reader.language)),
            ..ChurnPage::default()
        },
        Some(kept) => page(&lake, kept, reader.language),
    };
    page_of(churn_page(&reader, &page))
}

fn page(lake: &Lake, kept: &Kept, language: Language) -> ChurnPage {
    let found = &kept.found;
    let percent = |share: f64| print_float(Some(share), Unit::Ratio, None, language);
    if let Some(kind) = &found.refused {
        let (word, count) = match kind.as_str() {
            "left" => ("too_few", found.left),
            _ => ("too_few_stayed", found.learned),
        };
        let empty = churn_word(word, &[("count", &count.to_string())], language);
        return ChurnPage { empty: Some(empty), ..ChurnPage::default() };
    }
    let shown = found.risks.len().min(SHOWN);
    let (shown_text, all) = (shown.to_string(), found.risks.len().to_string());
    let mut lead = sums(found, language);
    lead.push(churn_word("shown", &[("shown", &shown_text), ("all", &all)], language));
    let made = lake.metrics.zone.local(kept.made_at).format("%Y-%m-%d %H:%M").to_string();
    let (rows, left) = (found.learned.to_string(), found.left.to_string());
    let places = [("rows", &*rows), ("left", &*left), ("at", &*made)];
    let mut notes = vec![churn_word("learned", &places, language)];
    notes.push(match found.scores {
        None => churn_word("unmeasured", &[], language),
        Some(scores) => {
            let number = |value: f64| format!("{value:.3}");
            let [auc, brier, ece] = [scores.auc, scores.brier, scores.ece].map(number);
            let lift = format!("{:.1}", scores.lift);
            let places = [("auc", &*auc), ("brier", &*brier), ("ece", &*ece), ("lift", &*lift)];
            churn_word("scores", &places, language)
        }
    });
    let at = |days: f64| {
        // A curve says nothing beyond its end.
        found.survival.last().filter(|last| last.days >= days)?;
        let step = found.survival.iter().rev().find(|step| step.days <= days);
        let (share, error) = step.map_or((1.0, 0.0), |step| (step.share, step.error));
        let [low, high] = [-2.0, 2.0].map(|times| percent((share + times * error).clamp(0.0, 1.0)));
        let days = format!("{days:.0}");
        let days = churn_word("days", &[("days", &days)], language);
        Some([days, percent(share), format!("{low} – {high}")])
    };
    ChurnPage {
        rows: found.risks.iter().take(SHOWN).map(|risk| row(risk, language)).collect(),
        lead,
        notes,
        empty: None,
        survival: DAYS.into_iter().filter_map(at).collect(),
    }
}

/// The revenue at risk, for each currency.
fn sums(found: &Found, language: Language) -> Vec<String> {
    let mut sums = BTreeMap::<Option<&str>, (f64, f64)>::new();
    for risk in &found.risks {
        let sum = sums.entry(risk.currency.as_deref()).or_default();
        *sum = (sum.0 + risk.at_risk, sum.1 + risk.revenue);
    }
    let said = |(currency, (at_risk, revenue)): (Option<&str>, (f64, f64))| {
        let amount = money(at_risk, currency, language);
        let revenue = money(revenue, currency, language);
        churn_word("sum", &[("amount", &amount), ("revenue", &revenue)], language)
    };
    sums.into_iter().filter(|(_, (_, revenue))| *revenue > 0.0).map(said).collect()
}

fn money(amount: f64, currency: Option<&str>, language: Language) -> String {
    let unit = if currency.is_some() { Unit::Money } else { Unit::Number };
    print_float(Some(amount), unit, currency, language)
}

fn row(risk: &FoundRisk, language: Language) -> ChurnRow {
    let currency = risk.currency.as_deref();
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("lang", language.tag());
    query.append_pair("filter", &format!("organization_id={}", risk.organization_id));
    ChurnRow {
        name: risk.name.clone().unwrap_or_else(|| risk.organization_id.clone()),
        href: format!("/dashboards/organization?{}", query.finish()),
        probability: print_float(Some(risk.probability), Unit::Ratio, None, language),
        side: if risk.probability > 0.5 { "high" } else { "low" },
        money: churn_word(
            "money",
            &[
                ("at_risk", &money(risk.at_risk, currency, language)),
                ("revenue", &money(risk.revenue, currency, language)),
            ],
            language,
        ),
        reasons: risk.reasons.iter().map(|reason| reason_said(reason, language)).collect(),
    }
}
