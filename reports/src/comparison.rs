//! A value against the one of the previous period.

use query::metric::Unit;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::Language;
use crate::number::{self, Precision};

/// Which way a metric should move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DesiredDirection {
    #[default]
    Higher,
    Lower,
}

/// Which way it moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Direction {
    Up,
    Down,
    Flat,
}

/// What to think of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChangeRating {
    Better,
    Worse,
    Same,
}

/// A change as it is shown: never by color alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    pub(crate) direction: Direction,
    pub(crate) verdict: ChangeRating,
    /// `+12.4 %`, or for a ratio `+0.3 pp`, the difference in percentage points.
    pub(crate) amount: String,
}

/// Compares two values. None where a relative change has no meaning: from nothing, or from below
/// zero.
pub(crate) fn compare(
    now: Decimal,
    before: Decimal,
    unit: Unit,
    better: DesiredDirection,
    language: Language,
) -> Option<Change> {
    let difference = now.checked_sub(before)?;
    let (amount, places) = if unit == Unit::Ratio {
        (difference.checked_mul(Decimal::ONE_HUNDRED)?, 2)
    } else {
        if before <= Decimal::ZERO {
            return None;
        }
        let share = difference.checked_div(before)?;
        (share.checked_mul(Decimal::ONE_HUNDRED)?, 1)
    };
    let amount = number::rounded(amount, places);
    let direction = if amount.is_zero() {
        Direction::Flat
    } else if amount.is_sign_positive() {
        Direction::Up
    } else {
        Direction::Down
    };
    let verdict = match (direction, better) {
        (Direction::Flat, _) => ChangeRating::Same,
        (Direction::Up, DesiredDirection::Higher) | (Direction::Down, DesiredDirection::Lower) => {
            ChangeRating::Better
        }
        _ => ChangeRating::Worse,
    };
    Some(Change { direction, verdict, amount: signed(amount, unit, direction, language) })
}

fn signed(amount: Decimal, unit: Unit, direction: Direction, language: Language) -> String {
    let sign = match direction {
        Direction::Up => "+",
        Direction::Down => "−",
        Direction::Flat => "",
    };
    let size = amount.abs();
    if unit == Unit::Ratio {
        let digits = number::grouped(size, if size < Decimal::ONE { 2 } else { 1 });
        return match language {
            Language::En => format!("{sign}{digits}\u{a0}pp"),
            Language::ZhCn => format!("{sign}{digits} 个百分点"),
        };
    }
    // Twelve times as much is said better than 1,100 %.
    let share = size.checked_div(Decimal::ONE_HUNDRED).unwrap_or(size);
    if direction == Direction::Up && share >= Decimal::TEN {
        return format!(
            "×{}",
            number::print(share + Decimal::ONE, Unit::Count, None, Precision::Short, language)
        );
    }
    format!("{sign}{}", number::ratio(share, Precision::Short, language))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        now: &str,
        before: &str,
        unit: Unit,
        better: DesiredDirection,
        expected: Option<(&str, ChangeRating)>,
    ) {
        let change =
            compare(now.parse().unwrap(), before.parse().unwrap(), unit, better, Language::En);
        let seen =
            change.as_ref().map(|change| (change.amount.replace('\u{a0}', " "), change.verdict));
        let expected = expected.map(|(amount, verdict)| (amount.to_owned(), verdict));
        assert_eq!(seen, expected);
    }

    #[test]
    fn up_is_good_or_bad_by_the_metric() {
        let (higher, lower) = (DesiredDirection::Higher, DesiredDirection::Lower);
        check("112", "100", Unit::Count, higher, Some(("+12.0 %", ChangeRating::Better)));
        check("88", "100", Unit::Count, higher, Some(("−12.0 %", ChangeRating::Worse)));
        check("112", "100", Unit::Milliseconds, lower, Some(("+12.0 %", ChangeRating::Worse)));
        check("0.031", "0.042", Unit::Ratio, lower, Some(("−1.1 pp", ChangeRating::Better)));
        check("0.0433", "0.042", Unit::Ratio, lower, Some(("+0.13 pp", ChangeRating::Worse)));
        check("100.01", "100", Unit::Money, higher, Some(("0.0 %", ChangeRating::Same)));
        check("1300", "100", Unit::Count, higher, Some(("×13", ChangeRating::Better)));
    }

    #[test]
    fn nothing_to_compare_with() {
        check("5", "0", Unit::Count, DesiredDirection::Higher, None);
        check("5", "-5", Unit::Money, DesiredDirection::Higher, None);
        check(
            "0.05",
            "0",
            Unit::Ratio,
            DesiredDirection::Lower,
            Some(("+5.0 pp", ChangeRating::Worse)),
        );
        let most = Decimal::MAX;
        let change =
            compare(most, Decimal::MIN, Unit::Count, DesiredDirection::Higher, Language::En);
        assert_eq!(change, None);
    }
}
