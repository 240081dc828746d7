//! `/usage`: what the own organization has used this month, and what is left of its quotas.

use actix_web::{HttpRequest, HttpResponse, web};
use ingest::money;
use pages::screen::{Meter, Row, Screen, Section, Table};
use rest::{
    principal::{Gate, ReadMetrics},
    problem::Problem,
};
use rust_decimal::Decimal;
use utoipa_actix_web::service_config::ServiceConfig;

use super::{Asked, Visit, filled, opened, organization::own};
use crate::{
    Directory, keys,
    plans::{Amount, Limits},
    quotas::{Caller, Measure, Month, QuotaStanding, QuotaUnit, Usage},
};

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.route("/usage", web::get().to(show));
}

async fn show(
    request: HttpRequest,
    asked: Asked,
    gate: web::Data<Gate>,
    directory: web::Data<Directory>,
) -> Result<HttpResponse, Problem> {
    let visit = match opened::<ReadMetrics>(&request, &gate, &directory, asked).await? {
        Ok((visit, _)) => visit,
        Err(way_in) => return Ok(way_in),
    };
    let id = own(&visit)?;
    let (mut sections, used) = sections(&directory, &visit, id).await?;
    if let Some(used) = used {
        let month = Month::of(directory.state.clock.now());
        sections.push(by_key(&directory, &visit, id, month, &used).await?);
    }
    visit.shown(Screen { here: "usage", title: visit.word("usage"), sections, ..Screen::default() })
}

/// What an organization has used this month, and its quotas; nothing is known while the usage is counted at a start.
pub async fn sections(
    directory: &Directory,
    visit: &Visit,
    id: &str,
) -> Result<(Vec<Section>, Option<Usage>), Problem> {
    let now = directory.state.clock.now();
    let found = directory.keys.organization(id, now).await?.ok_or_else(Problem::internal)?;
    let limits = directory.plans.limits(&found.plan, &found.overrides, now);
    let month = Month::of(now);
    let Some(used) = directory.quotas.used(id, None, month) else {
        let section = Section {
            title: visit.word("this_month"),
            note: Some(visit.word("counting")),
            ..Section::default()
        };
        return Ok((vec![section], None));
    };
    let caller = Caller { organization_id: id, limits: &limits, key: None };
    let standing = directory.quotas.standing(&caller, now).unwrap_or_default();
    let until = month.end().format("%Y-%m-%d").to_string();
    let this_month = Section {
        title: format!("{} · {} {until}", visit.word("this_month"), visit.word("until")),
        facts: facts(visit, &used),
        ..Section::default()
    };
    let meters: Vec<Meter> = standing.iter().map(|quota| meter(visit, quota)).collect();
    let quotas = Section {
        title: format!("{} · {}", visit.word("quotas"), found.plan),
        note: meters.is_empty().then(|| visit.word("no_quotas")),
        meters,
        facts: rates(visit, &limits),
        ..Section::default()
    };
    Ok((vec![this_month, quotas], Some(used)))
}

fn grouped(number: i128) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

fn spent(usage: &Usage) -> String {
    let spend = usage.spend.iter().filter(|(_, units)| **units != 0);
    let spend: Vec<String> =
        spend.map(|(code, units)| format!("{} {}", rounded(*units), code.as_str())).collect();
    if spend.is_empty() { "0".to_owned() } else { spend.join(", ") }
}

/// To hundredths, as people read money.
fn rounded(units: i128) -> String {
    let exact = Decimal::try_from_i128_with_scale(units, money::SCALE.unsigned_abs().into());
    exact.map_or_else(
        |_| Amount(units).to_string(),
        |exact| format!("{:.2}", money::round(exact, 2)),
    )
}

fn facts(visit: &Visit, used: &Usage) -> Vec<(String, String)> {
    vec![
        (visit.word("requests"), grouped(used.requests.into())),
        (visit.word("tokens"), grouped(used.tokens)),
        (visit.word("spend"), spent(used)),
    ]
}

fn rates(visit: &Visit, limits: &Limits) -> Vec<(String, String)> {
    let rates = [
        ("per_minute", limits.requests_per_minute),
        ("per_day", limits.requests_per_day),
        ("concurrent", limits.concurrent_requests),
    ];
    let shown = |limit: Option<std::num::NonZeroU32>| match limit {
        Some(limit) => grouped(limit.get().into()),
        None => visit.word("no_limit"),
    };
    rates.map(|(name, limit)| (visit.word(name), shown(limit))).to_vec()
}

fn meter(visit: &Visit, quota: &QuotaStanding) -> Meter {
    let title = match quota.unit {
        QuotaUnit::Requests => "requests",
        QuotaUnit::Tokens => "tokens",
        QuotaUnit::Spend => "spend",
    };
    let currency = quota.currency.map(|code| format!(" {}", code.as_str())).unwrap_or_default();
    let shown = |measure: Measure| match measure {
        Measure::Count(number) => grouped(number),
        Measure::Money(units) => rounded(units) + &currency,
    };
    let (used, limit, reserved) = (shown(quota.used), shown(quota.limit), shown(quota.reserved));
    let values = [("used", &*used), ("limit", &*limit), ("reserved", &*reserved)];
    let mut text = filled("quota_stands", &values, visit.reader.language);
    if quota.soft {
        text = format!("{text}. {}", visit.word("soft"));
    }
    let percent = quota.percent().clamp(0, 100);
    Meter {
        title: visit.word(title),
        text,
        percent: u8::try_from(percent).unwrap_or(100),
        is_full: percent >= 100,
    }
}

async fn by_key(
    directory: &Directory,
    visit: &Visit,
    id: &str,
    month: Month,
    total: &Usage,
) -> Result<Section, Problem> {
    let found = keys::list(&directory.state.store).await?.into_iter();
    let found = found.filter(|key| key.organization_id.as_deref() == Some(id));
    let mut keyless = total.clone();
    let mut rows: Vec<(i128, Vec<String>)> = Vec::new();
    let cells = |name: String, start: String, used: &Usage| {
        vec![name, start, grouped(used.requests.into()), grouped(used.tokens), spent(used)]
    };
    for key in found {
        let used = directory.quotas.used(id, Some(&key.api_key_id), month).unwrap_or_default();
        if !used.is_zero() {
            keyless.subtract(&used);
            rows.push((used.tokens, cells(key.name, format!("{}…", key.start), &used)));
        }
    }
    if !keyless.is_zero() {
        rows.push((keyless.tokens, cells(visit.word("no_key"), String::new(), &keyless)));
    }
    rows.sort_by_key(|(tokens, _)| std::cmp::Reverse(*tokens));
    let rows = rows.into_iter().map(|(_, cells)| Row { cells, ..Row::default() }).collect();
    let head = ["name", "key", "requests", "tokens", "spend"].map(|name| visit.word(name)).to_vec();
    Ok(Section {
        title: visit.word("by_key"),
        table: Some(Table { head, rows }),
        empty: Some(visit.word("none_found")),
        ..Section::default()
    })
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (-1_234_567, "-1,234,567")]
        {
            assert_eq!(grouped(number), text);
        }
    }
}
