//! Charges as people read them.

use rust_decimal::Decimal;

use super::Desk;
use crate::{Charge, ChargeModel, Meter, Tier};

impl Desk<'_> {
    /// A charge in words: what it counts, its price, and what is included.
    pub(super) fn priced(&self, charge: &Charge, currency: &str) -> String {
        let meter = charge.meter.as_deref().and_then(Meter::parse);
        let is_money = matches!(meter, Some(Meter::ListPrice | Meter::ModelPrice));
        let money = |amount: Decimal| format!("{} {currency}", amount.normalize());
        let mut parts = vec![match &charge.price {
            ChargeModel::Flat(amount) => money(*amount),
            ChargeModel::PerUnit(price) if is_money && price.per == Decimal::ONE => {
                let times = price.amount.normalize().to_string();
                match price.amount == Decimal::ONE {
                    true => String::new(),
                    false => self.filled("money_price", &[("amount", &times)]),
                }
            }
            ChargeModel::PerUnit(price) if price.per == Decimal::ONE => {
                self.filled("unit_price", &[("amount", &money(price.amount))])
            }
            ChargeModel::PerUnit(price) => {
                let per = price.per.normalize().to_string();
                self.filled("unit_price_per", &[("amount", &money(price.amount)), ("per", &per)])
            }
            ChargeModel::Package(price) => {
                let size = price.size.normalize().to_string();
                self.filled("package_price", &[("amount", &money(price.amount)), ("size", &size)])
            }
            ChargeModel::Graduated(tiers) => self.tiers("graduated", tiers, currency),
            ChargeModel::Volume(tiers) => self.tiers("volume", tiers, currency),
        }];
        if let Some(meter) = meter {
            parts.insert(0, self.word(meter.as_str()));
        }
        if !charge.models.is_empty() {
            parts.push(charge.models.join(", "));
        }
        let amount = |amount: Decimal| match is_money {
            true => money(amount),
            false => amount.normalize().to_string(),
        };
        if !charge.included.is_zero() {
            parts.push(self.filled("included", &[("quantity", &amount(charge.included))]));
        }
        for (name, bound) in [("minimum", charge.minimum), ("maximum", charge.maximum)] {
            parts.extend(bound.map(|bound| self.filled(name, &[("amount", &money(bound))])));
        }
        if !charge.discount_percent.is_zero() {
            let percent = charge.discount_percent.normalize().to_string();
            parts.push(self.filled("discount", &[("percent", &percent)]));
        }
        if charge.in_advance {
            parts.push(self.word("in_advance"));
        }
        parts.retain(|part| !part.is_empty());
        parts.join(" · ")
    }

    fn tiers(&self, name: &str, tiers: &[Tier], currency: &str) -> String {
        let price = |tier: &Tier| {
            let unit = format!("{} {currency}", tier.unit.normalize());
            match (tier.flat.is_zero(), tier.unit.is_zero()) {
                (true, _) => unit,
                (false, true) => format!("{} {currency}", tier.flat.normalize()),
                (false, false) => format!("{} + {unit}", tier.flat.normalize()),
            }
        };
        let said = tiers.iter().map(|tier| match tier.up_to {
            Some(to) => {
                let to = to.normalize().to_string();
                self.filled("tier", &[("to", &to), ("price", &price(tier))])
            }
            None => self.filled("tier_last", &[("price", &price(tier))]),
        });
        format!("{} ({})", self.word(name), said.collect::<Vec<_>>().join("; "))
    }
}
