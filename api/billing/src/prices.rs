//! The price list: plans and models, each with versions from a day on.

use std::collections::BTreeSet;

use accounts::plans::Currency;
use chrono::NaiveDate;
use glob::Pattern;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    BillingError, Charge, Meter, TokenPrices, bill::invalid, currency::digits, rate::in_digits,
};

/// What plans and models cost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceList {
    /// The prices of plans.
    #[serde(default)]
    pub plans: Vec<PlanPrices>,
    /// The prices of models.
    #[serde(default)]
    pub models: Vec<ModelPrices>,
}

/// What a plan costs, from one day on and from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanPrices {
    /// The name of the plan, as in the list of plans.
    pub plan: String,
    /// The oldest first.
    pub versions: Vec<PlanVersion>,
}

/// A price of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanVersion {
    /// The first day.
    pub from: NaiveDate,
    /// The currency of all charges.
    #[schema(value_type = String)]
    pub currency: Currency,
    /// Between two bills.
    #[serde(default)]
    pub interval: Interval,
    /// Days without charge at the beginning.
    #[serde(default)]
    pub trial_days: u16,
    /// What is billed.
    pub charges: Vec<Charge>,
}

/// How long a billing period is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BillingInterval)]
pub enum Interval {
    /// A month.
    #[default]
    Month,
    /// Twelve months.
    Year,
}

/// What the tokens of models cost, from one day on and from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelPrices {
    /// The name of a model, or a glob such as `gpt-5*`.
    pub model: String,
    /// The oldest first.
    pub versions: Vec<ModelVersion>,
}

/// A price of models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelVersion {
    /// The first day.
    pub from: NaiveDate,
    /// The currency of the prices.
    #[schema(value_type = String)]
    pub currency: Currency,
    /// For a million tokens.
    pub tokens: TokenPrices,
}

impl PriceList {
    /// Reads a list in YAML, and checks it.
    pub fn parse(yaml: &str) -> Result<Self, BillingError> {
        let list: Self =
            serde_yaml_ng::from_str(yaml).map_err(|error| BillingError::Yaml(error.to_string()))?;
        let mut names = BTreeSet::new();
        for PlanPrices { plan, versions } in &list.plans {
            if plan.trim().is_empty() || !names.insert(("plan", plan)) {
                return Err(invalid(&format!("plan `{plan}`"), "needs a name of its own"));
            }
            let days: Vec<NaiveDate> = versions.iter().map(|version| version.from).collect();
            check_days(&format!("plan `{plan}`"), &days)?;
            versions.iter().try_for_each(|version| version.check(plan))?;
            let same = |version: &PlanVersion| (version.currency, version.interval);
            if versions.iter().any(|version| same(version) != same(&versions[0])) {
                let reason = "has one currency and one interval in all its versions: another one is another plan";
                return Err(invalid(&format!("plan `{plan}`"), reason));
            }
        }
        for ModelPrices { model, versions } in &list.models {
            if model.trim().is_empty() || !names.insert(("model", model)) {
                return Err(invalid(&format!("model `{model}`"), "needs a name of its own"));
            }
            if Pattern::new(model).is_err() {
                return Err(invalid(&format!("model `{model}`"), "is no name and no glob"));
            }
            let days: Vec<NaiveDate> = versions.iter().map(|version| version.from).collect();
            check_days(&format!("model `{model}`"), &days)?;
            for version in versions {
                digits(version.currency)?;
                version.tokens.check(model)?;
            }
        }
        Ok(list)
    }

    /// The price of a plan on a day, with its number, from 1.
    pub fn plan_on(&self, plan: &str, day: NaiveDate) -> Option<(usize, &PlanVersion)> {
        let found = self.plans.iter().find(|prices| prices.plan == plan)?;
        last_of(&found.versions, day, |version| version.from)
    }

    /// The price of a model on a day, with its number, from 1. A name comes before a glob, and of globs the one with the most
    /// letters besides its wildcards. What has no price on the day yet does not count.
    pub fn model_on(&self, model: &str, day: NaiveDate) -> Option<(usize, &ModelVersion)> {
        let fits = |prices: &&ModelPrices| {
            prices.model == model
                || Pattern::new(&prices.model).is_ok_and(|pattern| pattern.matches(model))
        };
        let letters = |glob: &str| glob.chars().filter(|letter| !"*?[]".contains(*letter)).count();
        let mut found: Vec<_> = self.models.iter().filter(fits).collect();
        found.sort_by_key(|prices| {
            let glob = prices.model.as_str();
            (glob != model, std::cmp::Reverse(letters(glob)), glob)
        });
        found.into_iter().find_map(|prices| last_of(&prices.versions, day, |version| version.from))
    }
}

impl Interval {
    /// How many months it is.
    pub fn months(self) -> u32 {
        match self {
            Self::Month => 1,
            Self::Year => 12,
        }
    }
}

impl PlanVersion {
    pub(crate) fn check(&self, plan: &str) -> Result<(), BillingError> {
        let digits = digits(self.currency)?;
        let mut names = BTreeSet::new();
        for charge in &self.charges {
            charge.check()?;
            for bound in [charge.minimum, charge.maximum].into_iter().flatten() {
                in_digits(&format!("a bound of `{}`", charge.name), bound, digits)?;
            }
            if let Some(meter) = &charge.meter
                && Meter::parse(meter).is_none()
            {
                let known: Vec<_> = Meter::ALL.iter().map(|meter| meter.as_str()).collect();
                let reason = format!("`{meter}` is none of the meters {}", known.join(", "));
                return Err(BillingError::Charge { charge: charge.name.clone(), reason });
            }
            if !names.insert(charge.name.as_str()) {
                let name = format!("plan `{plan}` of {}", self.from);
                return Err(invalid(&name, "has two charges of one name"));
            }
        }
        Ok(())
    }
}

/// The newest version that has begun.
fn last_of<V>(
    versions: &[V],
    day: NaiveDate,
    from: impl Fn(&V) -> NaiveDate,
) -> Option<(usize, &V)> {
    let begun = versions.iter().take_while(|version| from(version) <= day).count();
    Some((begun, versions.get(begun.checked_sub(1)?)?))
}

fn check_days(name: &str, days: &[NaiveDate]) -> Result<(), BillingError> {
    match days {
        [] => Err(invalid(name, "needs at least one version")),
        days if days.is_sorted_by(|a, b| a < b) => Ok(()),
        _ => Err(invalid(name, "has its versions by day, each on a day of its own")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "
plans:
  - plan: pro
    versions:
      - {from: 2026-01-01, currency: USD, trial_days: 14, charges: [{name: Base, price: {flat: 49}}]}
      - from: 2026-07-01
        currency: USD
        charges:
          - {name: Base, price: {flat: 59}}
          - {name: Tokens, meter: tokens, included: 1000000, price: {per_unit: {amount: '2.50', per: 1000000}}}
models:
  - model: gpt-5*
    versions: [{from: 2026-01-01, currency: USD, tokens: {input: '1.25', cached_input: '0.125', output: 10}}]
  - model: gpt-5-mini
    versions: [{from: 2026-03-01, currency: USD, tokens: {input: '0.25', output: 2}}]
";

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn the_price_is_the_one_of_then() {
        let list = PriceList::parse(LIST).unwrap();
        let version = |on| list.plan_on("pro", day(on)).map(|(number, _)| number);
        assert_eq!(version("2025-12-31"), None);
        assert_eq!(version("2026-01-01"), Some(1));
        assert_eq!(version("2026-06-30"), Some(1));
        assert_eq!(version("2026-07-01"), Some(2));
        assert_eq!(list.plan_on("gone", day("2026-07-01")), None);
        let input = |model, on| {
            list.model_on(model, day(on)).map(|(_, found)| found.tokens.input.to_string())
        };
        assert_eq!(input("gpt-5.1", "2026-04-01").as_deref(), Some("1.25"));
        assert_eq!(input("gpt-5-mini", "2026-04-01").as_deref(), Some("0.25"));
        // The name has no price yet.
        assert_eq!(input("gpt-5-mini", "2026-02-01").as_deref(), Some("1.25"));
        assert_eq!(input("claude", "2026-04-01"), None);
    }

    /// However a list is ordered, the same glob counts.
    #[test]
    fn the_glob_that_says_most_counts() {
        let price = |input: u32| {
            format!(
                "versions: [{{from: 2026-01-01, currency: USD, tokens: {{input: {input}, output: 1}}}}]"
            )
        };
        let mut models: Vec<_> = [("gpt-*", 3), ("gpt-5-mini*", 1), ("*", 9), ("gpt-5*", 2)]
            .map(|(glob, input)| format!("  - {{model: '{glob}', {}}}", price(input)))
            .to_vec();
        for _ in 0..2 {
            let list = PriceList::parse(&format!("models:\n{}", models.join("\n"))).unwrap();
            for (model, input) in
                [("gpt-5-mini-x", "1"), ("gpt-5", "2"), ("gpt-4", "3"), ("claude", "9")]
            {
                let (_, found) = list.model_on(model, day("2026-02-01")).unwrap();
                assert_eq!(found.tokens.input.to_string(), input, "{model}");
            }
            models.reverse();
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let list = PriceList::parse(LIST).unwrap();
        let text = serde_yaml_ng::to_string(&list).unwrap();
        assert_eq!(PriceList::parse(&text).unwrap(), list);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (from, to, part) in [
            ("plan: pro", "plan: ''", "needs a name"),
            ("from: 2026-07-01", "from: 2026-01-01", "a day of its own"),
            ("from: 2026-07-01", "from: 2025-07-01", "by day"),
            ("gpt-5-mini", "gpt-5*", "needs a name of its own"),
            ("gpt-5*", "gpt-[", "no glob"),
            ("flat: 49", "flat: -49", "not negative"),
            ("input: '1.25'", "input: -1", "not negative"),
            ("input: '1.25'", "input: 1.25", "in quotes"),
            ("name: Tokens", "name: Base", "two charges"),
            ("currency: USD, trial", "currency: XAU, trial", "ISO 4217"),
            ("trial_days: 14", "trial_days: -1", "trial_days"),
            ("currency: USD, trial", "currency: EUR, trial", "one currency"),
            ("currency: USD, trial", "interval: year, currency: USD, trial", "one interval"),
            ("meter: tokens", "meter: tokenz", "none of the meters"),
            ("included: 1000000", "maximum: '0.001'", "more digits"),
            ("included: 1000000", "in_advance: true", "for flat charges"),
            ("included: 1000000", "models: ['[']", "globs"),
        ] {
            let text = LIST.replacen(from, to, 1);
            let said = PriceList::parse(&text).expect_err(to).to_string();
            assert!(said.contains(part), "{to}: {said}");
        }
        let none = "plans: [{plan: pro, versions: []}]";
        assert!(
            PriceList::parse(none).is_err_and(|error| error.to_string().contains("at least one"))
        );
    }
}
