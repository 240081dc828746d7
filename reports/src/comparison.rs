//! A value against the one of the previous period.

use query::metric::Unit;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Language,
    number::{self, Precision},
    selection::CHANGES_MIN,
};

/// Which way a metric should move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DesiredDirection {
    #[default]
    Higher,
    Lower,
}

impl From<query::metric::Direction> for DesiredDirection {
    fn from(direction: query::metric::Direction) -> Self {
        match direction {
            query::metric::Direction::Down => Self::Lower,
            query::metric::Direction::Up | query::metric::Direction::Neutral => Self::Higher,
        }
    }
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
    /// It is no larger than its noise, or nobody can say.
    Usual,
}

/// A change as it is shown: never by color alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    pub(crate) direction: Direction,
    pub(crate) verdict: ChangeRating,
    /// `+12.4 %`, or for a ratio `+0.3 pp`, the difference in percentage points.
    pub(crate) amount: String,
}

/// The noise of a change: this many standard deviations, which the median absolute deviation (MAD) of a normal
/// distribution is multiplied by 1.48 for.
const NOISE_MADS: Decimal = Decimal::from_parts(296, 0, 0, false, 2);

/// From one value to another: of its former value, or of a ratio the difference. None where a relative change has no
/// meaning: from nothing, or from below zero.
pub(crate) fn change(now: Decimal, before: Decimal, unit: Unit) -> Option<Decimal> {
    let difference = now.checked_sub(before)?;
    match unit {
        Unit::Ratio => Some(difference),
        _ if before <= Decimal::ZERO => None,
        _ => difference.checked_div(before),
    }
}

/// Whether a change is no larger than those that are usual: within two standard deviations, by the MAD of earlier
/// changes. So is every change where too few are known.
fn is_noise(size: Decimal, earlier: &[Decimal]) -> bool {
    if earlier.len() < CHANGES_MIN {
        return true;
    }
    let Some(center) = median(earlier) else { return true };
    let deviations: Vec<Decimal> = earlier.iter().map(|change| (*change - center).abs()).collect();
    let width = median(&deviations).and_then(|mad| mad.checked_mul(NOISE_MADS));
    width.is_none_or(|width| size.abs() <= width)
}

/// The changes from each value to the one after it. The values are of windows one after the other, the last first.
pub(crate) fn changes(values: &[Option<Decimal>], unit: Unit) -> Vec<Decimal> {
    let change_of = |pair: &[Option<Decimal>]| match pair {
        [now, before] => change((*now)?, (*before)?, unit),
        _ => None,
    };
    values.windows(2).filter_map(change_of).collect()
}

/// Whether the change to a value, from that of the window before, is no larger than those before it. None where nobody can
/// say. The values are of windows one after the other, the last first.
pub fn is_usual_change(values: &[Option<Decimal>], unit: Unit) -> Option<bool> {
    let now = changes(values.get(..2)?, unit);
    let earlier = changes(&values[1..], unit);
    (earlier.len() >= CHANGES_MIN).then_some(())?;
    now.first().map(|size| is_noise(*size, &earlier))
}

pub(crate) fn median(values: &[Decimal]) -> Option<Decimal> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let (low, high) =
        (sorted.get(sorted.len().saturating_sub(1) / 2)?, sorted.get(sorted.len() / 2)?);
    low.checked_add(*high)?.checked_div(Decimal::TWO)
}

/// Compares two values. What to think of it is only said of a change beyond its noise, by the changes of earlier periods.
pub(crate) fn compare(
    now: Decimal,
    before: Decimal,
    earlier: &[Decimal],
    unit: Unit,
    better: DesiredDirection,
    language: Language,
) -> Option<Change> {
    let size = change(now, before, unit)?;
    let places = if unit == Unit::Ratio { 2 } else { 1 };
    let amount = number::rounded(size.checked_mul(Decimal::ONE_HUNDRED)?, places);
    let direction = if amount.is_zero() {
        Direction::Flat
    } else if amount.is_sign_positive() {
        Direction::Up
    } else {
        Direction::Down
    };
    let verdict = match (direction, better) {
        (Direction::Flat, _) => ChangeRating::Same,
        _ if is_noise(size, earlier) => ChangeRating::Usual,
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

    /// Changes that say that every change is unusual.
    fn steady() -> Vec<Decimal> {
        vec![Decimal::ZERO; 8]
    }

    #[track_caller]
    fn check(
        now: &str,
        before: &str,
        unit: Unit,
        better: DesiredDirection,
        expected: Option<(&str, ChangeRating)>,
    ) {
        let change = compare(
            now.parse().unwrap(),
            before.parse().unwrap(),
            &steady(),
            unit,
            better,
            Language::En,
        );
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
        let change = compare(
            most,
            Decimal::MIN,
            &steady(),
            Unit::Count,
            DesiredDirection::Higher,
            Language::En,
        );
        assert_eq!(change, None);
    }

    #[test]
    fn only_a_change_beyond_its_noise_is_good_or_bad() {
        // Their median is 0.01, the median deviation from it 0.02: the noise is 0.0592.
        let usual = [-1, 3, -3, 1, 4].map(|percent| Decimal::new(percent, 2));
        let verdict = |now: i64, earlier: &[Decimal]| {
            let (now, before) = (Decimal::from(now), Decimal::from(10_000));
            compare(now, before, earlier, Unit::Count, DesiredDirection::Higher, Language::En)
                .map(|change| change.verdict)
        };
        assert_eq!(verdict(10_592, &usual), Some(ChangeRating::Usual));
        assert_eq!(verdict(10_593, &usual), Some(ChangeRating::Better));
        assert_eq!(verdict(9_408, &usual), Some(ChangeRating::Usual));
        assert_eq!(verdict(9_407, &usual), Some(ChangeRating::Worse));
        assert_eq!(verdict(20_000, &usual[..3]), Some(ChangeRating::Usual), "too few to know");
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_change_is_usual_by_those_before_it() {
        let of = |values: &[i64]| {
            let values: Vec<_> = values.iter().map(|value| Some(Decimal::from(*value))).collect();
            is_usual_change(&values, Unit::Count)
        };
        assert_eq!(of(&[103, 100, 98, 101, 99, 102]), Some(true));
        assert_eq!(of(&[150, 100, 98, 101, 99, 102]), Some(false));
        assert_eq!(of(&[150, 100, 98, 101, 99]), None, "three earlier changes are too few");
        assert_eq!(of(&[150, 0, 98, 101, 99, 102, 103]), None, "from nothing");
        assert_eq!(of(&[150]), None);
    }
}
