//! Charges: what is billed, and by which model.

use glob::Pattern;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    BillingError,
    decimal::{read, read_optional},
};

/// Something that is billed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    /// As it stands on the bill.
    pub name: String,
    /// What is counted; none for a flat charge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<String>,
    /// Names or globs of the models whose usage is counted; none: all. For price lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// A flat charge that is billed when the period begins, and not when it ends. For price lists.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_advance: bool,
    /// How it is priced.
    #[serde(with = "serde_yaml_ng::with::singleton_map")]
    pub price: ChargeModel,
    /// So much of the quantity is free.
    #[serde(default, deserialize_with = "read", skip_serializing_if = "Decimal::is_zero")]
    pub included: Decimal,
    /// Percent that are taken off each line.
    #[serde(default, deserialize_with = "read", skip_serializing_if = "Decimal::is_zero")]
    pub discount_percent: Decimal,
    /// The charge costs at most this in a period.
    #[serde(default, deserialize_with = "read_optional", skip_serializing_if = "Option::is_none")]
    pub maximum: Option<Decimal>,
    /// The charge costs at least this in a period.
    #[serde(default, deserialize_with = "read_optional", skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Decimal>,
}

/// How a charge is priced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ChargeModel {
    /// An amount, whatever is used.
    Flat(#[serde(deserialize_with = "read")] Decimal),
    /// An amount for each unit.
    PerUnit(UnitPrice),
    /// An amount for each package that was begun.
    Package(PackagePrice),
    /// Each unit costs what the tier costs that it falls into.
    Graduated(Vec<Tier>),
    /// All units cost what the tier costs that the last one falls into.
    Volume(Vec<Tier>),
}

/// The price of units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnitPrice {
    /// The amount.
    #[serde(deserialize_with = "read")]
    pub amount: Decimal,
    /// For so many: prices of tokens are mostly for a million.
    #[serde(default = "one", deserialize_with = "read")]
    pub per: Decimal,
}

/// The price of packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PackagePrice {
    /// The amount for each package that was begun.
    #[serde(deserialize_with = "read")]
    pub amount: Decimal,
    /// So many units are a package.
    #[serde(deserialize_with = "read")]
    pub size: Decimal,
}

/// A range of quantities with one price: above the tier before, up to and with `up_to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// The largest quantity; none for the last tier.
    #[serde(default, deserialize_with = "read_optional", skip_serializing_if = "Option::is_none")]
    pub up_to: Option<Decimal>,
    /// The amount for each unit.
    #[serde(default, deserialize_with = "read")]
    pub unit: Decimal,
    /// The amount for entering the tier. That of the first tier is due without any use.
    #[serde(default, deserialize_with = "read")]
    pub flat: Decimal,
}

fn one() -> Decimal {
    Decimal::ONE
}

impl Charge {
    /// Whether it can be rated at all.
    pub fn check(&self) -> Result<(), BillingError> {
        let wrong = |reason: &str| {
            Err(BillingError::Charge { charge: self.name.clone(), reason: reason.to_owned() })
        };
        let is_flat = matches!(self.price, ChargeModel::Flat(_));
        if self.name.trim().is_empty() {
            return wrong("needs a name");
        }
        if is_flat == self.meter.is_some() {
            return wrong("has a `meter`, unless its price is `flat`");
        }
        if self.in_advance && !is_flat {
            return wrong("`in_advance` is for flat charges");
        }
        if is_flat && !self.models.is_empty() {
            return wrong("`models` is for what is counted");
        }
        let is_glob = |model: &String| Pattern::new(model).is_ok() && !model.contains(['[', '\\']);
        if !self.models.iter().all(is_glob) {
            return wrong("`models` are names or globs with `*` and `?`, such as gpt-5*");
        }
        if is_flat && !self.included.is_zero() {
            return wrong("`included` is for what is counted");
        }
        let amounts = [Some(self.included), self.maximum, self.minimum];
        if amounts.into_iter().flatten().any(|amount| amount.is_sign_negative()) {
            return wrong("`included`, `minimum` and `maximum` are not negative");
        }
        if !(Decimal::ZERO..=Decimal::ONE_HUNDRED).contains(&self.discount_percent) {
            return wrong("`discount_percent` is 0 to 100");
        }
        if self.maximum.zip(self.minimum).is_some_and(|(most, least)| most < least) {
            return wrong("`minimum` is above `maximum`");
        }
        match self.price.fault() {
            Some(reason) => wrong(reason),
            None => Ok(()),
        }
    }
}

impl ChargeModel {
    fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Flat(amount) if amount.is_sign_negative() => Some("an amount is not negative"),
            Self::PerUnit(UnitPrice { amount, per })
                if amount.is_sign_negative() || *per <= Decimal::ZERO =>
            {
                Some("`amount` is not negative, and `per` is above 0")
            }
            Self::Package(PackagePrice { amount, size })
                if amount.is_sign_negative() || *size <= Decimal::ZERO =>
            {
                Some("`amount` is not negative, and `size` is above 0")
            }
            Self::Graduated(tiers) | Self::Volume(tiers) => fault_of_tiers(tiers),
            _ => None,
        }
    }
}

fn fault_of_tiers(tiers: &[Tier]) -> Option<&'static str> {
    let Some((last, others)) = tiers.split_last() else { return Some("has at least one tier") };
    if last.up_to.is_some() || others.iter().any(|tier| tier.up_to.is_none()) {
        return Some("the last tier, and no other, is without `up_to`");
    }
    let mut from = Decimal::ZERO;
    for tier in tiers {
        if tier.unit.is_sign_negative() || tier.flat.is_sign_negative() {
            return Some("`unit` and `flat` are not negative");
        }
        if let Some(up_to) = tier.up_to {
            if up_to <= from {
                return Some("each `up_to` is above the one before");
            }
            from = up_to;
        }
    }
    None
}
