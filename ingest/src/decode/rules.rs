//! The rules that span the columns of an event.

use std::sync::LazyLock;

use super::{
    data::{Value, Values},
    missing,
};
use crate::{Rejection, RejectionCode, Table, grant::money_refused};

/// Whether an event makes sense as a whole.
pub(super) fn check(
    table: Table,
    word: Option<&str>,
    has_organization: bool,
    values: &Values<'_>,
) -> Result<(), Rejection> {
    let places = &PLACES[table as usize - 1];
    let visitor = values.at(places.visitor).is_some();
    if !has_organization && !visitor {
        return Err(missing("/subject"));
    }
    for name in required(table, word.unwrap_or_default()) {
        if values.get(name).is_none() {
            return Err(missing(&format!("/data/{name}")));
        }
    }
    let invalid = |name: &str, reason: &str| {
        Err(Rejection::new(RejectionCode::InvalidValue, format!("/data/{name}"), reason))
    };
    if let Some(Value::Text(currency)) = values.at(places.currency) {
        if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
            return invalid("currency", "expected an ISO 4217 code such as USD");
        }
    } else if let Some((name, _)) =
        AMOUNTS.iter().zip(places.amounts).find(|(_, place)| values.at(*place).is_some())
    {
        return Err(Rejection::new(
            RejectionCode::MissingField,
            "/data/currency",
            format!("`currency` is required beside `{name}`"),
        ));
    }
    if let Some(Value::Text(interval)) = values.at(places.interval)
        && !matches!(&**interval, "month" | "year")
    {
        return invalid("billing_interval", "expected month or year");
    }
    match values.at(places.status) {
        Some(Value::Count(status)) if !(100..=599).contains(status) => {
            invalid("status_code", "expected an HTTP status from 100 to 599")
        }
        _ => check_tokens(places, values),
    }
}

const AMOUNTS: [&str; 3] = ["cost", "list_price", "amount"];

/// Whether an event states something of money, which only the platform does.
pub(super) fn check_no_money(table: Table, values: &Values<'_>) -> Result<(), Rejection> {
    let places = &PLACES[table as usize - 1];
    let stated = AMOUNTS.iter().zip(places.amounts).chain([(&"currency", places.currency)]);
    match stated.into_iter().find(|(_, place)| values.at(*place).is_some()) {
        Some((name, _)) => Err(money_refused(name)),
        None => Ok(()),
    }
}

pub(super) const INPUT: [&str; 3] =
    ["input_tokens", "cached_input_tokens", "cache_write_input_tokens"];

/// `input_tokens` includes cached and cache-write tokens; `output_tokens` includes reasoning and audio.
const TOTALS: [[&str; 3]; 2] =
    [INPUT, ["output_tokens", "reasoning_tokens", "audio_output_tokens"]];

/// Where the columns are that rules ask for; each event is checked, so they are looked up once.
#[derive(Debug)]
struct ColumnPositions {
    visitor: Option<usize>,
    currency: Option<usize>,
    amounts: [Option<usize>; 3],
    interval: Option<usize>,
    status: Option<usize>,
    totals: [[Option<usize>; 3]; 2],
}

static PLACES: LazyLock<Vec<ColumnPositions>> = LazyLock::new(|| {
    let of = |table: Table| {
        let place = |name| table.place(name, 0);
        ColumnPositions {
            visitor: place("anonymous_id"),
            currency: place("currency"),
            amounts: AMOUNTS.map(place),
            interval: place("billing_interval"),
            status: place("status_code"),
            totals: TOTALS.map(|names| names.map(place)),
        }
    };
    Table::ALL.into_iter().map(of).collect()
});

fn required(table: Table, word: &str) -> &'static [&'static str] {
    match (table, word) {
        (Table::UsageLedger, _) => &["model"],
        (Table::BillingEvents, "subscription_created" | "subscription_changed") => {
            &["subscription_id", "plan", "amount", "billing_interval"]
        }
        (Table::BillingEvents, "subscription_canceled") => &["subscription_id"],
        (Table::BillingEvents, "trial_started") => &["plan"],
        (Table::BillingEvents, "signed_up") => &[],
        (Table::BillingEvents, _) => &["invoice_id", "amount"],
        _ => &[],
    }
}

fn check_tokens(places: &ColumnPositions, values: &Values<'_>) -> Result<(), Rejection> {
    let count = |place| match values.at(place) {
        Some(Value::Count(count)) => i128::from(*count),
        _ => 0,
    };
    for ([name, one, other], [total, parts @ ..]) in TOTALS.into_iter().zip(places.totals) {
        let sum: i128 = parts.into_iter().map(count).sum();
        let total = count(total);
        if sum > total {
            let hint = match name {
                "input_tokens" => {
                    "; say `input_includes_cached`: false where they are not part of it"
                }
                _ => "",
            };
            return Err(Rejection::new(
                RejectionCode::InconsistentTokens,
                format!("/data/{name}"),
                format!("{one} + {other} = {sum} exceed {name} = {total}{hint}"),
            ));
        }
    }
    Ok(())
}
