//! A request to rate something: charges and quantities in a file, so that anybody can check a price.

use std::collections::{BTreeMap, BTreeSet};

use accounts::plans::Currency;
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, de::Error};
use serde_yaml_ng::Value;

use crate::{
    Bill, BillingError, Charge, ChargeModel, Coupon, Progress,
    bill::{Terms, invalid},
    currency::digits,
    decimal::read,
    rate::rate,
};

/// Charges with what was used.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateRequest {
    /// The currency of all prices: ISO 4217.
    pub currency: Currency,
    /// What is billed, in the order of the bill.
    pub charges: Vec<Charge>,
    /// Quantities by meter. A meter that is left out was not used.
    #[serde(default)]
    usage: BTreeMap<String, MeterUsage>,
    /// Amounts that were billed before in the same period, by the name of the charge.
    #[serde(default)]
    billed: BTreeMap<String, Given>,
    /// Whether nothing follows in this period, so that minimums are due.
    #[serde(default = "yes")]
    is_last: bool,
    #[serde(default, with = "serde_yaml_ng::with::singleton_map")]
    coupon: Option<Coupon>,
    #[serde(default, deserialize_with = "read")]
    tax_percent: Decimal,
    #[serde(default, deserialize_with = "read")]
    credit: Decimal,
}

/// A decimal in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct Given(#[serde(deserialize_with = "read")] Decimal);

/// How much of a meter was used: a quantity, or one that comes after another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct MeterUsage {
    quantity: Decimal,
    before: Decimal,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Later {
    #[serde(deserialize_with = "read")]
    quantity: Decimal,
    #[serde(default, deserialize_with = "read")]
    before: Decimal,
}

impl<'de> Deserialize<'de> for MeterUsage {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match Value::deserialize(from)? {
            value @ Value::Mapping(_) => {
                let Later { quantity, before } =
                    Later::deserialize(value).map_err(D::Error::custom)?;
                Ok(Self { quantity, before })
            }
            value => {
                let quantity = read(value).map_err(D::Error::custom)?;
                Ok(Self { quantity, before: Decimal::ZERO })
            }
        }
    }
}

fn yes() -> bool {
    true
}

impl RateRequest {
    /// Reads a request in YAML.
    pub fn parse(yaml: &str) -> Result<Self, BillingError> {
        serde_yaml_ng::from_str(yaml).map_err(|error| BillingError::Yaml(error.to_string()))
    }

    /// Rates it.
    pub fn bill(&self) -> Result<Bill, BillingError> {
        let digits = digits(self.currency)?;
        self.check_names()?;
        let mut lines = Vec::new();
        for charge in &self.charges {
            if charge.in_advance || !charge.models.is_empty() {
                return Err(invalid(
                    &charge.name,
                    "has `in_advance` or `models`, which are for price lists",
                ));
            }
            let used = match (&charge.price, &charge.meter) {
                // It is due once, unless it was billed.
                (ChargeModel::Flat(_), _) => {
                    let was_billed = self.billed.contains_key(&charge.name);
                    let quantity = if was_billed { Decimal::ZERO } else { Decimal::ONE };
                    MeterUsage { quantity, before: Decimal::ZERO }
                }
                (_, Some(meter)) => self.usage.get(meter).copied().unwrap_or_default(),
                (_, None) => MeterUsage::default(),
            };
            let given = self.billed.get(&charge.name);
            let depends = charge.maximum.is_some()
                || charge.minimum.is_some()
                || matches!(charge.price, ChargeModel::Volume(_));
            if used.before > Decimal::ZERO && given.is_none() && depends {
                let reason = "was billed before: what follows depends on how much";
                return Err(invalid(&format!("billed {}", charge.name), reason));
            }
            let billed = given.map_or(Decimal::ZERO, |given| given.0);
            let progress = Progress { before: used.before, billed, is_last: self.is_last };
            lines.extend(rate(charge, used.quantity, &progress, digits)?);
        }
        let Self { coupon, tax_percent, credit, .. } = *self;
        Bill::of(self.currency, lines, &Terms { coupon, tax_percent, credit }, digits)
    }

    /// What is named in vain was meant to be something else.
    fn check_names(&self) -> Result<(), BillingError> {
        let mut names = BTreeSet::new();
        if let Some(charge) = self.charges.iter().find(|charge| !names.insert(charge.name.as_str()))
        {
            return Err(invalid(&charge.name, "is the name of two charges"));
        }
        let meters: BTreeSet<&str> =
            self.charges.iter().filter_map(|charge| charge.meter.as_deref()).collect();
        if let Some(meter) = self.usage.keys().find(|meter| !meters.contains(meter.as_str())) {
            return Err(invalid(&format!("usage of {meter}"), "has no charge"));
        }
        match self.billed.keys().find(|name| !names.contains(name.as_str())) {
            Some(name) => Err(invalid(&format!("billed {name}"), "is no charge")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
