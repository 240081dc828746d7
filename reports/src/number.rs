//! Printing numbers, so that a manager reads them at a glance: `1.2M`, `12,345`, `4.2 %`,
//! `320 ms`, `$12.3K`; in Chinese by 万 and 亿. Rounding is half away from zero, as on invoices.

use query::metric::Unit;
use rust_decimal::{Decimal, RoundingStrategy, prelude::FromPrimitive};

use crate::Language;

/// How much of a number to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// For a tile or a bar: large numbers are shortened.
    Short,
    /// For a column of numbers: shortened sooner, so that neighbors look alike.
    Column,
    /// For a data table: every digit that matters.
    Exact,
}

/// What stands for a value that does not exist, such as an error rate of no requests.
pub const ABSENT: &str = "–";

// Between a number and its unit a line must not break.
const NO_BREAK: char = '\u{a0}';

/// Prints a value of a metric. `currency` is an ISO 4217 code and read for money only.
pub fn print(
    value: Decimal,
    unit: Unit,
    currency: Option<&str>,
    precision: Precision,
    language: Language,
) -> String {
    match unit {
        Unit::Count => count(value, precision, language),
        Unit::Ratio => ratio(value, precision, language),
        Unit::Milliseconds => milliseconds(value, precision, language),
        Unit::Number => grouped(value, if precision == Precision::Exact { 4 } else { 2 }),
        Unit::Money => money(value, currency, precision, language),
    }
}

/// Prints a value that may be absent.
pub fn print_or_absent(
    value: Option<Decimal>,
    unit: Unit,
    currency: Option<&str>,
    precision: Precision,
    language: Language,
) -> String {
    value.map_or_else(
        || ABSENT.to_owned(),
        |value| print(value, unit, currency, precision, language),
    )
}

/// A number that was computed, short.
pub fn print_float(
    value: Option<f64>,
    unit: Unit,
    currency: Option<&str>,
    language: Language,
) -> String {
    let value = value.and_then(Decimal::from_f64);
    print_or_absent(value, unit, currency, Precision::Short, language)
}

/// Prints a difference with its sign; of ratios, in percentage points.
pub fn print_difference(
    value: f64,
    unit: Unit,
    currency: Option<&str>,
    language: Language,
) -> String {
    let sign = match value {
        _ if value > 0.0 => "+",
        _ if value < 0.0 => "−",
        _ => "",
    };
    if unit == Unit::Ratio {
        let points = Decimal::from_f64(value.abs() * 100.0).unwrap_or_default();
        let digits = grouped(points, if points < Decimal::new(1, 1) { 3 } else { 2 });
        return match language {
            Language::En => format!("{sign}{digits}\u{a0}pp"),
            Language::ZhCn => format!("{sign}{digits} 个百分点"),
        };
    }
    format!("{sign}{}", print_float(Some(value.abs()), unit, currency, language))
}

/// Prints a share of 1 as a percentage: `0.042` is `4.2 %`; below one percent with two decimals.
pub fn ratio(value: Decimal, precision: Precision, language: Language) -> String {
    let Some(percent) = value.checked_mul(Decimal::ONE_HUNDRED) else {
        return ABSENT.to_owned();
    };
    let small = percent.abs() < Decimal::ONE && !percent.is_zero();
    let places = match precision {
        Precision::Exact => 3,
        Precision::Short | Precision::Column if small => 2,
        Precision::Short | Precision::Column => 1,
    };
    let digits = grouped(percent, places);
    match language {
        Language::En => format!("{digits}{NO_BREAK}%"),
        Language::ZhCn => format!("{digits}%"),
    }
}

/// The sign or code of a currency as it stands before an amount.
pub(crate) fn currency_sign(currency: &str, language: Language) -> Option<&'static str> {
    match (currency, language) {
        ("USD", Language::En) => Some("$"),
        ("USD", Language::ZhCn) => Some("US$"),
        ("CNY", Language::En) => Some("CN¥"),
        ("CNY", Language::ZhCn) => Some("¥"),
        ("EUR", _) => Some("€"),
        ("GBP", _) => Some("£"),
        ("JPY", _) => Some("JP¥"),
        _ => None,
    }
}

/// The steps of short numbers, ascending: a divisor and its sign.
pub(crate) fn steps(language: Language) -> &'static [(i64, &'static str)] {
    match language {
        Language::En => {
            &[(1_000, "K"), (1_000_000, "M"), (1_000_000_000, "B"), (1_000_000_000_000, "T")]
        }
        Language::ZhCn => &[(10_000, "万"), (100_000_000, "亿"), (1_000_000_000_000, "万亿")],
    }
}

fn count(value: Decimal, precision: Precision, language: Language) -> String {
    // 12,345 is as short as 12.3K and says more.
    let least = match precision {
        Precision::Short => Some(100_000),
        Precision::Column => Some(10_000),
        Precision::Exact => None,
    };
    if least.is_some_and(|least| value.abs() >= Decimal::from(least)) {
        return shortened(value, language);
    }
    let places = if value.is_integer() { 0 } else { 1 };
    grouped(value, places)
}

/// Milliseconds of each unit of time, and what it is called.
pub(crate) const TIMES: [(i64, &str, &str); 3] =
    [(1_000, "s", "秒"), (60_000, "min", "分钟"), (3_600_000, "h", "小时")];

fn milliseconds(value: Decimal, precision: Precision, language: Language) -> String {
    if precision != Precision::Exact {
        // From ten seconds, ten minutes and ten hours on, in the larger unit.
        let unit = TIMES.iter().rev().find(|(of, ..)| value.abs() >= Decimal::from(of * 10));
        if let Some((of, english, chinese)) = unit {
            let amount = grouped(value / Decimal::from(*of), 1);
            let unit = match language {
                Language::En => english,
                Language::ZhCn => chinese,
            };
            return format!("{amount}{NO_BREAK}{unit}");
        }
    }
    let places = if value.abs() < Decimal::TEN { 1 } else { 0 };
    format!("{}{NO_BREAK}ms", grouped(value, places))
}

fn money(
    value: Decimal,
    currency: Option<&str>,
    precision: Precision,
    language: Language,
) -> String {
    let size = value.abs();
    let minor_digits = match currency {
        Some("JPY" | "KRW") => 0,
        _ => 2,
    };
    let digits = match precision {
        // A price of a token is a small part of a cent.
        Precision::Exact if size < Decimal::ONE && !size.is_zero() => grouped(size, 4),
        Precision::Exact => grouped(size, minor_digits),
        _ if size >= Decimal::from(10_000) => shortened(size, language),
        _ if size >= Decimal::ONE_THOUSAND => grouped(size, 0),
        _ => grouped(size, minor_digits),
    };
    let minus = if value.is_sign_negative() && digits.contains(|digit| matches!(digit, '1'..='9')) {
        "−"
    } else {
        ""
    };
    match currency {
        None => format!("{minus}{digits}"),
        Some(code) => match currency_sign(code, language) {
            Some(sign) => format!("{minus}{sign}{digits}"),
            None => format!("{code}{NO_BREAK}{minus}{digits}"),
        },
    }
}

/// `1234567` as `1.2M`: one decimal below a hundred of the step, none above.
fn shortened(value: Decimal, language: Language) -> String {
    let steps = steps(language);
    for (index, (divisor, sign)) in steps.iter().enumerate() {
        let scaled = value / Decimal::from(*divisor);
        let places = if scaled.abs() < Decimal::ONE_HUNDRED { 1 } else { 0 };
        let scaled = rounded(scaled, places);
        // Rounding may reach the next step: 999,960 is 1M, not 1000K.
        let fits = match steps.get(index + 1) {
            Some((next, _)) => scaled.abs() < Decimal::from(next / divisor),
            None => true,
        };
        if fits {
            let digits = grouped(scaled, places);
            let digits = digits.strip_suffix(".0").unwrap_or(&digits);
            return format!("{digits}{sign}");
        }
    }
    grouped(value, 0)
}

pub(crate) fn rounded(value: Decimal, places: u32) -> Decimal {
    value.round_dp_with_strategy(places, RoundingStrategy::MidpointAwayFromZero)
}

/// Digits in groups of three, with exactly `places` decimals.
pub(crate) fn grouped(value: Decimal, places: u32) -> String {
    let value = rounded(value, places);
    let text = format!("{:.*}", places as usize, value.abs());
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text.as_str(), None),
    };
    let mut out = String::with_capacity(text.len() + whole.len() / 3 + 3);
    if value.is_sign_negative() && !value.is_zero() {
        out.push('−');
    }
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

#[cfg(test)]
mod tests;
