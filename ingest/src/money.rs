//! Money and prices as exact decimals: 38 digits, 12 of them after the point.

use arrow::datatypes::{Decimal128Type, DecimalType};
use rust_decimal::{Decimal, RoundingStrategy};

/// Digits in all, and after the point, of a money column.
pub const PRECISION: u8 = 38;
pub const SCALE: i8 = 12;

/// The unscaled value of a decimal text such as `0.000125`; `None` when it is no decimal number, or when it
/// has more than 12 digits after the point (nothing is rounded on the way in).
pub fn parse(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fits = !whole.is_empty()
        && whole.len() <= 24
        && fraction.len() <= 12
        && (fraction.is_empty() != digits.contains('.'))
        && whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
    if !fits {
        return None;
    }
    let padding = 12 - fraction.len();
    let unscaled =
        whole.bytes().chain(fraction.bytes()).fold(0i128, |n, b| n * 10 + i128::from(b - b'0'));
    let unscaled = unscaled * 10i128.pow(u32::try_from(padding).ok()?);
    Some(if negative { -unscaled } else { unscaled })
}

/// The decimal text of an unscaled value with `scale` digits after the point.
pub fn text(unscaled: i128, scale: i8) -> String {
    Decimal128Type::format_decimal(unscaled, PRECISION, scale)
}

/// The one rounding function: half away from zero, to `digits` after the point.
pub fn round(value: Decimal, digits: u32) -> Decimal {
    value.round_dp_with_strategy(digits, RoundingStrategy::MidpointAwayFromZero)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_parse_exactly() {
        for (text, unscaled) in [
            ("0", 0),
            ("1", 1_000_000_000_000),
            ("-1.5", -1_500_000_000_000),
            ("0.000000000001", 1),
            ("90071992547409.93", 90_071_992_547_409_930_000_000_000),
        ] {
            assert_eq!(parse(text), Some(unscaled), "{text}");
        }
        for bad in ["", "-", ".", "1.", ".5", "1e3", "NaN", "0.0000000000001", "1 ", "+1", "--1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn texts_lead_back() {
        for unscaled in [0, 1, -1_500_000_000_000, 90_071_992_547_409_930_000_000_000] {
            assert_eq!(parse(&text(unscaled, SCALE)), Some(unscaled));
        }
        assert_eq!(text(-15, 1), "-1.5");
    }

    #[test]
    fn halves_round_away_from_zero() {
        let cases =
            [("0.005", "0.01"), ("-0.005", "-0.01"), ("1.23456789", "1.23"), ("1.2355", "1.24")];
        for (value, expected) in cases {
            let value: Decimal = value.parse().unwrap();
            assert_eq!(round(value, 2), expected.parse::<Decimal>().unwrap());
        }
    }
}
