//! Money and prices as exact decimals: 38 digits, 12 of them after the point.

use arrow::datatypes::{Decimal128Type, DecimalType};
use rust_decimal::{Decimal, RoundingStrategy};

/// Digits in all, and after the point, of a money column.
pub const PRECISION: u8 = 38;
pub const SCALE: i8 = 12;

/// The unscaled value of a decimal text such as `0.000125` or `1.25e-4`; `None` when it is no decimal number, when it
/// has more than 12 digits after the point (nothing is rounded on the way in), or more than 26 before it.
pub fn parse(text: &str) -> Option<i128> {
    scaled(text, SCALE.unsigned_abs().into())
}

/// A whole number however it is written: `812`, `812.0`, `8.12e2`.
pub fn whole(text: &str) -> Option<i64> {
    // Nearly all are written so.
    text.parse()
        .ok()
        .filter(|_| !text.starts_with('+'))
        .or_else(|| scaled(text, 0)?.try_into().ok())
}

/// A decimal number of any scale that 38 digits hold, as its unscaled value and the digits after its point, no more than
/// it needs.
pub(crate) fn decimal(text: &str) -> Option<(i128, i8)> {
    let (value, power) = number(text)?;
    let places = u8::try_from(power.min(0).unsigned_abs()).ok().filter(|n| *n <= PRECISION)?;
    Some((raised(value, power.max(0))?, i8::try_from(places).ok()?))
}

/// The longest text that is read as a number.
const TEXT_BYTES_MAX: usize = 128;

/// The number times 10 to the power of `scale`, if that is a whole number of at most 38 digits.
fn scaled(text: &str, scale: i64) -> Option<i128> {
    let (value, power) = number(text)?;
    raised(value, power.checked_add(scale)?)
}

/// The value times a power of 10, if that is a whole number of at most 38 digits.
fn raised(value: i128, power: i64) -> Option<i128> {
    if value == 0 {
        return Some(0);
    }
    let value = value.checked_mul(10_i128.checked_pow(u32::try_from(power).ok()?)?)?;
    (value.unsigned_abs() < 10_u128.pow(PRECISION.into())).then_some(value)
}

/// A number as a whole one that does not end with a zero, and the power of 10 that it is multiplied with.
fn number(text: &str) -> Option<(i128, i64)> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            (mantissa, exponent.parse::<i64>().ok().filter(|_| is_number)?)
        }
        None => (rest, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (mantissa, ""),
    };
    let digits = || whole.bytes().chain(fraction.bytes());
    if whole.is_empty() || !digits().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Zeros at the end say nothing.
    let zeros = digits().rev().take_while(|b| *b == b'0').count();
    let significant = whole.len() + fraction.len() - zeros;
    let value = digits().take(significant).try_fold(0_i128, |value, digit| {
        value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))
    })?;
    let places = i64::try_from(fraction.len()).ok()? - i64::try_from(zeros).ok()?;
    let power = if value == 0 { 0 } else { exponent.checked_sub(places)? };
    Some((if negative { -value } else { value }, power))
}

/// The decimal text of an unscaled value with `scale` digits after the point.
pub fn text(unscaled: i128, scale: i8) -> String {
    Decimal128Type::format_decimal(unscaled, PRECISION, scale)
}

/// The one rounding function: half away from zero, to `digits` after the point.
pub fn round(value: Decimal, digits: u32) -> Decimal {
    value.round_dp_with_strategy(digits, RoundingStrategy::MidpointAwayFromZero)
}

/// A decimal with more digits after the point than money has, rounded to as many; `None` where nothing is to be done.
/// Such costs were computed in binary fractions, and say no more than a double does.
pub(crate) fn rounded(text: &str) -> Option<String> {
    let number: f64 = text.trim().parse().ok()?;
    let is_long = parse(text.trim()).is_none() && (0.0..1e13).contains(&number);
    is_long.then(|| format!("{number:.*}", usize::from(SCALE.unsigned_abs())))
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
            ("1.25e-05", 12_500_000),
            ("1.25E-5", 12_500_000),
            ("1e3", 1_000_000_000_000_000),
            ("-2.5e+1", -25_000_000_000_000),
            ("0.5000000000000000", 500_000_000_000),
            ("0e999999", 0),
            ("-0", 0),
            ("007", 7_000_000_000_000),
            ("99999999999999999999999999.999999999999", 10_i128.pow(38) - 1),
        ] {
            assert_eq!(parse(text), Some(unscaled), "{text}");
        }
        for bad in [
            "",
            "-",
            ".",
            "1.",
            ".5",
            "1.e3",
            "e3",
            "1e",
            "1e+",
            "1e3.0",
            "1e--3",
            "NaN",
            "inf",
            "0.0000000000001",
            "1e-13",
            "1 ",
            " 1",
            "+1",
            "--1",
            "1_000",
            "0x10",
            "1e26",
            "1e400",
            "1e99999999999999999999",
            "100000000000000000000000000",
            "١",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse(&"0".repeat(200)), None);
    }

    #[test]
    fn a_decimal_has_the_digits_that_it_needs() {
        for (text, unscaled, digits) in [
            ("0", 0, 0),
            ("0.000", 0, 0),
            ("0e-99", 0, 0),
            ("1000", 1_000, 0),
            ("1.2500", 125, 2),
            ("-1e-6", -1, 6),
            ("2.5e3", 2_500, 0),
            ("1e-38", 1, 38),
        ] {
            assert_eq!(decimal(text), Some((unscaled, digits)), "{text}");
        }
        for bad in ["", "x", "1e-39", "1e38", "1e-9999999999999999999"] {
            assert_eq!(decimal(bad), None, "{bad}");
        }
    }

    #[test]
    fn whole_numbers_are_whole_however_they_are_written() {
        for (text, number) in [
            ("812", 812),
            ("812.0", 812),
            ("8.12e2", 812),
            ("1e3", 1000),
            ("-0", 0),
            ("-0.0", 0),
            ("-5", -5),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("120e-1", 12),
        ] {
            assert_eq!(whole(text), Some(number), "{text}");
        }
        for bad in ["812.5", "1e-1", "9223372036854775808", "1e19", "", "+5", "5.", "true", "\"5\""]
        {
            assert_eq!(whole(bad), None, "{bad}");
        }
    }

    #[test]
    fn texts_lead_back() {
        for unscaled in
            [0, 1, 10_i128.pow(38) - 1, -1_500_000_000_000, 90_071_992_547_409_930_000_000_000]
        {
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
