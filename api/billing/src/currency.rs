//! Currencies: how many digits after the point their amounts have.

use accounts::plans::Currency;

use crate::BillingError;

/// The digits after the point of amounts in a currency (ISO 4217): 2 for USD, 0 for JPY, 3 for KWD. Fails for what is no
/// currency of ISO 4217, and for those without such digits, such as gold.
pub fn digits(currency: Currency) -> Result<u32, BillingError> {
    let known = iso_currency::Currency::from_code(currency.as_str());
    let digits = known.and_then(iso_currency::Currency::exponent).map(u32::from);
    digits.ok_or_else(|| BillingError::Invalid {
        name: "currency".to_owned(),
        reason: format!("`{}` is no currency of ISO 4217 with amounts", currency.as_str()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_iso_4217() {
        for (code, expected) in [("USD", 2), ("EUR", 2), ("CNY", 2), ("JPY", 0), ("KWD", 3)] {
            let currency = Currency::try_from(code.to_owned()).unwrap();
            assert_eq!(digits(currency), Ok(expected), "{code}");
        }
        for code in ["XAU", "QQQ"] {
            assert!(digits(Currency::try_from(code.to_owned()).unwrap()).is_err(), "{code}");
        }
    }
}
