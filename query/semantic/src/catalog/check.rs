//! Whether a metric is what its kind needs.

use super::Catalog;
use crate::{
    Audience, Error, Metric, MetricKind, Unit,
    kind::{self, conversion, derived},
    privacy,
};

/// What stands in the place of a metric's name in addresses.
const RESERVED: [&str; 3] = ["check", "query", "summary"];

/// The columns of statements.
const COLUMNS: [&str; 6] = ["at", "by0", "by1", "by2", "currency", "other"];

/// Metrics that are derived from metrics that are derived.
const DERIVED_DEPTH_MAX: usize = 4;

impl Catalog {
    /// Whether a metric says all that its kind needs, and nothing more.
    pub(super) fn check_metric(&self, metric: &Metric) -> Result<(), String> {
        let refuse = |reason: &str| Err(format!("the metric `{}` {reason}", metric.name));
        let is_letter =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if metric.name.is_empty() || metric.name.len() > 64 || !metric.name.bytes().all(is_letter) {
            return refuse("has a name that is not of a to z, 0 to 9 and _, up to 64 of them");
        }
        self.check_conversion(metric).or_else(|reason| refuse(&reason))?;
        if metric.kind == MetricKind::Derived {
            self.check_derived(metric).or_else(|reason| refuse(&reason))?;
        } else if self.source(metric).is_none() {
            return refuse(&format!("names the source `{}`, which is not there", metric.source));
        } else if metric.value.is_empty() != (metric.kind == MetricKind::Conversion) {
            return refuse("needs a `value`, unless it is a conversion");
        }
        if RESERVED.iter().chain(&COLUMNS).any(|name| *name == metric.name) {
            return refuse("has a name that stands for something else");
        }
        if self.metrics.iter().filter(|other| other.name == metric.name).count() > 1 {
            return refuse("is there twice");
        }
        if (metric.kind == MetricKind::Ratio) != metric.over.is_some() {
            return refuse("needs `over` as a ratio, and has none otherwise");
        }
        if (metric.kind == MetricKind::Percentile) != metric.percentile.is_some() {
            return refuse("needs `percentile` as a percentile, and has none otherwise");
        }
        if metric.percentile.is_some_and(|rank| !(rank > 0.0 && rank <= 1.0)) {
            return refuse("has a `percentile` that is not above 0 and at most 1");
        }
        if let Some(unknown) = metric
            .options
            .iter()
            .find(|name| self.options(metric).all(|option| option.name != **name))
        {
            return refuse(&format!(
                "names the option `{unknown}`, which its source does not have"
            ));
        }
        if metric.matures_days > 366 {
            return refuse("has `matures_days` above 366");
        }
        if metric.filter.is_some()
            && !matches!(metric.kind, MetricKind::Aggregate | MetricKind::Distinct)
        {
            return refuse("has a `filter`, which only an aggregate and a distinct count have");
        }
        if metric.kind != MetricKind::Derived
            && self.is_of_persons(metric)
            && !privacy::is_countable(metric)
        {
            return refuse(
                "is of persons, who must be countable: `value` and `over` are one call each, such as \
                 count(*) FILTER (WHERE …)",
            );
        }
        let is_bucketed = self.source(metric).is_some_and(|source| source.query.is_some());
        if is_bucketed && !kind::shares(metric.kind) {
            return refuse(
                "is of a source with a query: it is an aggregate, a distinct count or a ratio",
            );
        }
        if !unit_fits(metric) {
            return refuse("has a unit that does not fit its kind");
        }
        Ok(())
    }

    fn check_derived(&self, metric: &Metric) -> Result<(), String> {
        if !metric.source.is_empty() || metric.filter.is_some() {
            return Err("is derived: it has no `source` and no `filter`".into());
        }
        let names = derived::names(&metric.value);
        derived::check(&names)?;
        let mut has_currency = false;
        for name in &names {
            let Some(operand) = self.metric(name) else {
                return Err(format!(
                    "is derived from `{name}`, which is no metric; words of SQL are in capitals"
                ));
            };
            if operand.kind == MetricKind::Cumulative {
                return Err(format!(
                    "is derived from `{name}`, a stock, which has no value of its own in a bucket"
                ));
            }
            if operand.audience > metric.audience {
                return Err(format!(
                    "is derived from `{name}`, which is for staff: it is for staff too"
                ));
            }
            has_currency |= operand.has_currency();
        }
        if has_currency != metric.has_currency() {
            return Err(match has_currency {
                true => "is derived from amounts: its unit is money, or it is `by_currency`".into(),
                false => "has a currency, but nothing that it is derived from does".into(),
            });
        }
        self.check_depth(metric, 0)
    }

    /// Metrics that are derived from one another end somewhere.
    fn check_depth(&self, metric: &Metric, depth: usize) -> Result<(), String> {
        if depth > DERIVED_DEPTH_MAX {
            return Err(format!(
                "is derived through more than {DERIVED_DEPTH_MAX} metrics, or from itself"
            ));
        }
        self.operands(metric)
            .into_iter()
            .try_for_each(|operand| self.check_depth(operand, depth + 1))
    }

    fn check_conversion(&self, metric: &Metric) -> Result<(), String> {
        let Some(conversion) = &metric.conversion else {
            return match metric.kind {
                MetricKind::Conversion => Err("needs `conversion`".into()),
                _ => Ok(()),
            };
        };
        if metric.kind != MetricKind::Conversion {
            return Err("has a `conversion`, which only that kind has".into());
        }
        if !(1..=366).contains(&conversion.within_days) {
            return Err("has `within_days` that are not 1 to 366".into());
        }
        conversion::query("{start}{goal}", conversion, Audience::Staff).map(|_| ())
    }

    /// Whether a metric has an option, and that value of it.
    pub(super) fn check_option(
        &self,
        metric: &Metric,
        name: &str,
        value: &str,
    ) -> Result<(), Error> {
        let Some(option) = self.options(metric).find(|option| option.name == name) else {
            let known: Vec<_> = self.options(metric).map(|option| option.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Error::Invalid(format!(
                "`{}` has no option `{name}`; it has {known}",
                metric.name
            )));
        };
        let known: Vec<_> = option.values.iter().map(|value| value.name.as_str()).collect();
        match known.contains(&value) {
            true => Ok(()),
            false => Err(Error::Invalid(format!(
                "the option `{name}` of `{}` is one of {}",
                metric.name,
                known.join(", ")
            ))),
        }
    }
}

/// Whether what a kind gives can be of that unit.
fn unit_fits(metric: &Metric) -> bool {
    match metric.kind {
        MetricKind::Ratio => metric.unit != Unit::Count,
        MetricKind::Conversion => metric.unit == Unit::Ratio,
        MetricKind::Distinct => metric.unit == Unit::Count,
        _ => true,
    }
}
