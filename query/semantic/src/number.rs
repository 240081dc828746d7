//! The value of a metric.

use std::fmt;

use ingest::money;
use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An exact decimal with at most 12 digits after the point and 26 before it: the sum of 10¹² events, each with as much
/// as an event may have. [`Decimal`] has 28 digits in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(i128);

impl Number {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// A number of 10⁻¹².
    pub fn from_unscaled(unscaled: i128) -> Self {
        Self(unscaled)
    }

    /// The number in 10⁻¹².
    pub fn unscaled(self) -> i128 {
        self.0
    }

    /// Rounds half away from zero what has more digits after the point. `None` beyond the range.
    pub fn from_decimal(value: Decimal) -> Option<Self> {
        let rounded = money::round(value, money::SCALE.unsigned_abs().into());
        let digits = u32::from(money::SCALE.unsigned_abs()).checked_sub(rounded.scale())?;
        rounded.mantissa().checked_mul(10_i128.pow(digits)).map(Self)
    }

    /// The exact sum; `None` where it does not fit into 128 bits.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// For reading: digits beyond the 28th are rounded half away from zero.
    pub fn to_decimal(self) -> Decimal {
        let (mut unscaled, mut scale) = (self.0, u32::from(money::SCALE.unsigned_abs()));
        loop {
            match Decimal::try_from_i128_with_scale(unscaled, scale) {
                Ok(value) => return value.normalize(),
                Err(_) if scale > 0 => {
                    unscaled = unscaled / 10 + (unscaled % 10) / 5;
                    scale -= 1;
                }
                // An unscaled value has 39 digits, and 27 of them are left: it does not come to this.
                Err(_) => return if unscaled < 0 { Decimal::MIN } else { Decimal::MAX },
            }
        }
    }

    /// The number as a float of 64 bits, which keeps about 16 digits: for shares and charts, not for exact sums.
    pub fn to_f64(self) -> f64 {
        self.to_decimal().to_f64().unwrap_or(f64::NAN)
    }

    /// `None` when it is no whole number, or beyond 64 bits.
    pub fn to_i64(self) -> Option<i64> {
        let one = 10_i128.pow(u32::from(money::SCALE.unsigned_abs()));
        (self.0 % one == 0).then(|| i64::try_from(self.0 / one).ok())?
    }
}

impl From<i64> for Number {
    fn from(whole: i64) -> Self {
        Self(i128::from(whole) * 10_i128.pow(u32::from(money::SCALE.unsigned_abs())))
    }
}

/// Every digit, without zeros at the end.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = money::text(self.0, money::SCALE);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        money::parse(&text).map(Self).ok_or_else(|| de::Error::custom("no decimal number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digit_is_shown_and_the_first_28_are_read() {
        for (unscaled, text, decimal) in [
            (0, "0", "0"),
            (1, "0.000000000001", "0.000000000001"),
            (-1_500_000_000_000, "-1.5", "-1.5"),
            (100_000_000_000_000, "100", "100"),
            (
                99_999_999_999_999_999_999_999_999_999_999_999_999,
                "99999999999999999999999999.999999999999",
                "100000000000000000000000000",
            ),
            (
                -123_456_789_012_345_678_901_234_567_890_123_456,
                "-123456789012345678901234.567890123456",
                "-123456789012345678901234.56789",
            ),
        ] {
            let number = Number::from_unscaled(unscaled);
            assert_eq!(number.to_string(), text);
            assert_eq!(number.to_decimal().to_string(), decimal);
            let json = serde_json::to_string(&number).unwrap();
            assert_eq!(serde_json::from_str::<Number>(&json).unwrap(), number);
        }
        assert_eq!(Number::from(-7).to_i64(), Some(-7));
        assert_eq!(Number::from(i64::MAX).to_i64(), Some(i64::MAX));
        assert_eq!(Number::from_unscaled(1).to_i64(), None);
        let third: Decimal = "0.3333333333335".parse().unwrap();
        assert_eq!(Number::from_decimal(third).unwrap().to_string(), "0.333333333334");
        assert_eq!(Number::from_decimal(Decimal::MAX), None);
    }
}
