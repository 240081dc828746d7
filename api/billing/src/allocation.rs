//! Splits an amount by weights, without losing a cent.

use rust_decimal::Decimal;

use crate::{BillingError, decimal::Checked, rate::amount};

/// Splits an amount by weights: each gets its whole cents, and those that are left go one each to the largest remainders; of
/// equal ones, the first gets it. The parts add up to the amount, in the digits of the currency.
pub fn allocate(
    whole: Decimal,
    weights: &[Decimal],
    digits: u32,
) -> Result<Vec<Decimal>, BillingError> {
    let whole = amount(whole, digits);
    let is_negative = weights.iter().any(|weight| *weight < Decimal::ZERO);
    let sum = weights.iter().try_fold(Decimal::ZERO, |sum, weight| sum.plus(*weight))?;
    if sum.is_zero() || is_negative {
        let reason = "are not negative, and not all 0".to_owned();
        return Err(BillingError::Invalid { name: "weights".to_owned(), reason });
    }
    let cent = Decimal::new(1, digits);
    let mut parts = Vec::with_capacity(weights.len());
    for (place, weight) in weights.iter().enumerate() {
        let exact = whole.times(*weight)?.over(sum)?;
        let down = exact.trunc_with_scale(digits);
        parts.push((place, down, (exact - down).abs()));
    }
    let given = parts.iter().try_fold(Decimal::ZERO, |sum, (_, part, _)| sum.plus(*part))?;
    let left = (whole - given).over(cent)?;
    let step = if left.is_sign_negative() { -cent } else { cent };
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by(|a, b| parts[*b].2.cmp(&parts[*a].2));
    let mut amounts: Vec<Decimal> = parts.into_iter().map(|(_, part, _)| part).collect();
    let mut left = left.abs();
    for place in order {
        if left < Decimal::ONE {
            break;
        }
        amounts[place] += step;
        left -= Decimal::ONE;
    }
    Ok(amounts.into_iter().map(|part| amount(part, digits)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimals(texts: &[&str]) -> Vec<Decimal> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn no_cent_is_lost() {
        // The first three are of OpenMeter's tests of its allocation.
        for (whole, weights, digits, expected) in [
            ("6.00", &["10", "5"][..], 2, &["4.00", "2.00"][..]),
            ("0.05", &["1", "1", "1"], 2, &["0.02", "0.02", "0.01"]),
            ("5", &["1", "1", "1"], 0, &["2", "2", "1"]),
            ("-0.05", &["1", "1", "1"], 2, &["-0.02", "-0.02", "-0.01"]),
            ("1.00", &["0", "3"], 2, &["0.00", "1.00"]),
            ("0.01", &["1", "3"], 2, &["0.00", "0.01"]),
        ] {
            let parts = allocate(whole.parse().unwrap(), &decimals(weights), digits).unwrap();
            assert_eq!(parts, decimals(expected), "{whole} {weights:?}");
        }
        assert!(allocate(Decimal::ONE, &[], 2).is_err());
        assert!(allocate(Decimal::ONE, &decimals(&["1", "-1", "2"]), 2).is_err());
    }
}
