//! The scale of a chart's value axis: round steps, few of them, printed like every other number.

use query::metric::Unit;

use crate::Language;
use crate::number::{TIMES, currency_sign, steps};

/// A value axis from `min` to `max` in `splits` equal steps, all in plotted numbers: a value of
/// the metric times `factor`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) splits: usize,
    /// What a value is multiplied with before it is plotted, so that the labels stay short.
    pub(crate) factor: f64,
    /// The label of a step; `{t}` is its number.
    pub(crate) label: String,
    /// The room that the labels need, in pixels.
    pub(crate) width: f32,
}

// Four steps or so: enough to read a value, few enough not to be a grid.
const AIMED_SPLITS: f64 = 4.0;

// Labels carry one decimal, so a step is never finer.
const FINEST_STEP: f64 = 0.1;

impl Axis {
    /// The axis that holds all the values and zero.
    pub(crate) fn around(
        values: impl Iterator<Item = f64>,
        unit: Unit,
        currency: Option<&str>,
        language: Language,
    ) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        // The axis ends above the largest value, perhaps at the next step: 1M, not 1,000K.
        let near = Scale::of(low, high, unit, language);
        let far = near.max.max(-near.min) / near.factor;
        let scale = Scale::with(shortening(far, unit, language), low, high, unit);
        let prefix = match (unit, currency) {
            (Unit::Money, Some(code)) => currency_sign(code, language).unwrap_or_default(),
            _ => "",
        };
        Self {
            min: scale.min,
            max: scale.max,
            splits: splits(scale.min, scale.max, scale.step),
            factor: scale.factor,
            label: format!("{prefix}{{t}}{}", scale.sign),
            width: scale.digits_width() + width(prefix) + width(scale.sign),
        }
    }

    /// The label of zero: `0`, not `0M`.
    pub(crate) fn zero(&self) -> String {
        self.label.replace("{t}", "0")
    }
}

/// The steps of an axis, in plotted numbers.
struct Scale {
    min: f64,
    max: f64,
    step: f64,
    factor: f64,
    sign: &'static str,
}

impl Scale {
    fn of(low: f64, high: f64, unit: Unit, language: Language) -> Self {
        let shortening = shortening(high.max(-low), unit, language);
        Self::with(shortening, low, high, unit)
    }

    fn with((factor, sign): (f64, &'static str), low: f64, high: f64, unit: Unit) -> Self {
        let (low, high) = (low * factor, high * factor);
        let finest = match unit {
            Unit::Count | Unit::Milliseconds if factor >= 1.0 => 1.0,
            _ => FINEST_STEP,
        };
        let step = round_step((high - low) / AIMED_SPLITS).max(finest);
        let min = (low / step).floor() * step;
        let mut max = (high / step).ceil() * step;
        if max <= min {
            max = min + AIMED_SPLITS * step;
        }
        Self { min, max, step, factor, sign }
    }

    /// The width of the longest number on the axis.
    fn digits_width(&self) -> f32 {
        let fraction = if self.step.fract() > 1e-9 { ".0" } else { "" };
        [self.min, self.max]
            .map(|end| {
                let digits = format!("{end:.0}");
                let commas = ",".repeat((digits.len().saturating_sub(1)) / 3);
                width(&digits) + width(&commas) + width(fraction)
            })
            .into_iter()
            .fold(0.0, f32::max)
    }
}

/// About how wide a text is at 12 pixels. The font of the page is the reader's, and `charts-rs`
/// knows no Chinese characters at all.
fn width(text: &str) -> f32 {
    text.chars()
        .map(|letter| match letter {
            ',' | '.' | '\u{a0}' => 4.0,
            '0'..='9' | '-' | '$' | '€' | '£' => 7.7,
            'a'..='z' | 'A'..='Z' | '¥' => 9.0,
            _ => 12.5,
        })
        .sum()
}

/// The factor and the sign that keep the labels of values up to `largest` short.
fn shortening(largest: f64, unit: Unit, language: Language) -> (f64, &'static str) {
    match unit {
        Unit::Ratio => match language {
            Language::En => (100.0, "\u{a0}%"),
            Language::ZhCn => (100.0, "%"),
        },
        Unit::Milliseconds => {
            // Few digits: 20 s, not 20,000 ms.
            let unit = TIMES.iter().rev().find(|(of, ..)| largest >= (*of * 10) as f64);
            match (unit, language) {
                (None, _) => (1.0, "\u{a0}ms"),
                (Some((1_000, ..)), Language::En) => (0.001, "\u{a0}s"),
                (Some((1_000, ..)), Language::ZhCn) => (0.001, "\u{a0}秒"),
                (Some((60_000, ..)), Language::En) => (1.0 / 60_000.0, "\u{a0}min"),
                (Some((60_000, ..)), Language::ZhCn) => (1.0 / 60_000.0, "\u{a0}分钟"),
                (Some(_), Language::En) => (1.0 / 3_600_000.0, "\u{a0}h"),
                (Some(_), Language::ZhCn) => (1.0 / 3_600_000.0, "\u{a0}小时"),
            }
        }
        Unit::Count | Unit::Money | Unit::Number => steps(language)
            .iter()
            .rev()
            .map(|(divisor, sign)| (*divisor as f64, *sign))
            .find(|(divisor, _)| largest >= *divisor)
            .map_or((1.0, ""), |(divisor, sign)| (1.0 / divisor, sign)),
    }
}

/// The next of 1, 2, 5 times a power of ten.
fn round_step(raw: f64) -> f64 {
    if raw <= 0.0 || !raw.is_finite() {
        return 0.0;
    }
    let power = 10_f64.powf(raw.log10().floor());
    let lead = raw / power;
    let lead = match lead {
        lead if lead <= 1.0 => 1.0,
        lead if lead <= 2.0 => 2.0,
        lead if lead <= 5.0 => 5.0,
        _ => 10.0,
    };
    lead * power
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "both bounds are multiples of the step, at most a dozen steps apart"
)]
fn splits(min: f64, max: f64, step: f64) -> usize {
    ((max - min) / step).round().clamp(1.0, 20.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[f64], unit: Unit, language: Language, expected: (f64, f64, usize, &str)) {
        let axis = Axis::around(values.iter().copied(), unit, Some("USD"), language);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(axis.min, expected.0) && close(axis.max, expected.1), "{axis:?}");
        assert_eq!((axis.splits, axis.label.as_str()), (expected.2, expected.3));
    }

    #[test]
    fn steps_are_round() {
        let en = Language::En;
        check(&[310.0, 1_234_567.0], Unit::Count, en, (0.0, 1.5, 3, "{t}M"));
        check(&[7_400.0], Unit::Count, en, (0.0, 8.0, 4, "{t}K"));
        check(&[970_000.0], Unit::Count, en, (0.0, 1.0, 2, "{t}M"));
        check(&[640.0], Unit::Count, en, (0.0, 800.0, 4, "{t}"));
        check(&[0.0], Unit::Count, en, (0.0, 4.0, 4, "{t}"));
        check(&[], Unit::Count, en, (0.0, 4.0, 4, "{t}"));
        check(&[0.042], Unit::Ratio, en, (0.0, 6.0, 3, "{t}\u{a0}%"));
        check(&[0.0], Unit::Ratio, en, (0.0, 0.4, 4, "{t}\u{a0}%"));
        check(&[-300.0, 900.0], Unit::Money, en, (-0.5, 1.0, 3, "${t}K"));
        check(&[f64::NAN, 3.0], Unit::Count, en, (0.0, 3.0, 3, "{t}"));
    }

    #[test]
    fn chinese_counts_by_ten_thousands() {
        let zh = Language::ZhCn;
        check(&[1_234_567.0], Unit::Count, zh, (0.0, 150.0, 3, "{t}万"));
        check(&[0.042], Unit::Ratio, zh, (0.0, 6.0, 3, "{t}%"));
    }
}
