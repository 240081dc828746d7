//! Totals that no sum of rows overflows, and the values that they are made of.

use std::{
    fmt,
    hash::Hash,
    ops::{AddAssign, SubAssign},
};

use arrow::{
    array::{
        ArrowPrimitiveType,
        types::{
            Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType,
            DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
            DurationSecondType, Int64Type, UInt64Type,
        },
    },
    datatypes::{DataType, i256},
};

/// A total that no sum of rows overflows.
pub(super) trait Total:
    Copy + Default + AddAssign + SubAssign + fmt::Debug + Send + Sync + 'static
{
    type Stored: ArrowPrimitiveType<Native = Self> + DecimalType;

    const DIGITS: u8;
}

impl Total for i128 {
    type Stored = Decimal128Type;

    const DIGITS: u8 = 38;
}

impl Total for i256 {
    type Stored = Decimal256Type;

    const DIGITS: u8 = 76;
}

/// The values of a sum.
pub(super) trait Summed<T: Total>:
    ArrowPrimitiveType<Native: Hash + Eq> + fmt::Debug + Send + Sync
{
    fn widen(value: Self::Native) -> T;

    fn add(total: &mut T, value: T) {
        *total += value;
    }

    fn subtract(total: &mut T, value: T) {
        *total -= value;
    }

    /// `None` where the total does not fit `kind`.
    fn narrow(total: T, kind: &DataType) -> Option<Self::Native>;
}

macro_rules! summed_whole {
    ($($kind:ty),*) => {$(
        impl Summed<i128> for $kind {
            fn widen(value: Self::Native) -> i128 {
                value.into()
            }

            fn narrow(total: i128, _: &DataType) -> Option<Self::Native> {
                total.try_into().ok()
            }
        }
    )*};
}

summed_whole!(
    Int64Type,
    UInt64Type,
    DurationSecondType,
    DurationMillisecondType,
    DurationMicrosecondType,
    DurationNanosecondType
);

/// The digits of a decimal type.
fn precision(kind: &DataType) -> u8 {
    match kind {
        DataType::Decimal32(precision, _)
        | DataType::Decimal64(precision, _)
        | DataType::Decimal128(precision, _)
        | DataType::Decimal256(precision, _) => *precision,
        _ => 0,
    }
}

pub(super) fn scale(kind: &DataType) -> i8 {
    match kind {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => *scale,
        _ => 0,
    }
}

macro_rules! summed_decimal {
    ($kind:ty, $total:ty, $widen:expr, $narrow:expr) => {
        impl Summed<$total> for $kind {
            fn widen(value: Self::Native) -> $total {
                $widen(value)
            }

            fn narrow(total: $total, kind: &DataType) -> Option<Self::Native> {
                let value: Self::Native = $narrow(total)?;
                Self::is_valid_decimal_precision(value, precision(kind)).then_some(value)
            }
        }
    };
}

summed_decimal!(Decimal32Type, i128, i128::from, |total: i128| i32::try_from(total).ok());
summed_decimal!(Decimal64Type, i128, i128::from, |total: i128| i64::try_from(total).ok());
summed_decimal!(Decimal128Type, i256, i256::from_i128, i256::to_i128);

/// There is nothing wider: a total that went beyond all decimals stays there.
impl Summed<i256> for Decimal256Type {
    fn widen(value: i256) -> i256 {
        value
    }

    fn add(total: &mut i256, value: i256) {
        let is_beyond = [*total, value].contains(&i256::MAX);
        *total = total.checked_add(value).filter(|_| !is_beyond).unwrap_or(i256::MAX);
    }

    fn subtract(total: &mut i256, value: i256) {
        let is_beyond = *total == i256::MAX;
        *total = total.checked_sub(value).filter(|_| !is_beyond).unwrap_or(i256::MAX);
    }

    fn narrow(total: i256, kind: &DataType) -> Option<i256> {
        Self::is_valid_decimal_precision(total, precision(kind)).then_some(total)
    }
}
