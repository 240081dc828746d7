//! Plans: what the organizations of a plan may call, and how often.

mod limiter;
mod limits;
mod m0019_limit_overrides;
mod override_row;
mod overrides;
mod routes;

use std::{collections::BTreeMap, num::NonZeroU32, path::Path};

use chrono::{DateTime, Utc};
use pages::Text;
use rest::feature::Feature;
use serde::Deserialize;
use state::{clock::Clock, migration::Migration};

use crate::{Directory, keys::KeyLimits};
use limiter::Limiters;

pub(crate) use limiter::Limited;
pub use limiter::{LimitScope, PerSpan, RateLimit};
pub use limits::{Amount, CountQuota, Currency, Limits, Monthly, SpendQuota};
pub(crate) use overrides::{LimitOverride, all_current};

/// Plans, as everybody sees them, and what of them is overridden.
pub(crate) const FEATURE: Feature<Directory> =
    Feature::new("plans").with_routes(routes::routes).with_migrations(&[Migration {
        name: "m0019_limit_overrides",
        up: |m| Box::pin(m0019_limit_overrides::up(m)),
    }]);

/// Without a file, these.
const BUILT_IN: &str = include_str!("plans.yaml");
const PLANS_MAX: usize = 100;

/// The plans cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlansError {
    /// The file cannot be read.
    #[error("reading {0}")]
    File(String, #[source] std::io::Error),
    /// It is not what it should be.
    #[error("a list of plans is not readable: {0}")]
    Yaml(#[from] serde_yaml_ng::Error),
    /// A plan makes no sense.
    #[error("the plan `{plan}`: {reason}")]
    Plan {
        /// Its name.
        plan: String,
        /// What is wrong.
        reason: &'static str,
    },
}

/// A plan as it is written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// As organizations name it.
    pub name: String,
    /// As people see it.
    pub title: Text,
    /// Calls of an organization in a minute, refilled evenly.
    #[serde(default)]
    pub requests_per_minute: Option<NonZeroU32>,
    /// Calls of an organization in a day, refilled evenly.
    #[serde(default)]
    pub requests_per_day: Option<NonZeroU32>,
    /// Reservations of an organization that are not settled.
    #[serde(default)]
    pub concurrent_requests: Option<NonZeroU32>,
    /// What an organization may use in a month of UTC.
    #[serde(default)]
    pub monthly: Monthly,
    /// Names or globs of models; none: all.
    #[serde(default)]
    pub models: Vec<String>,
    /// The gateway lets calls through while this service is away.
    #[serde(default)]
    pub fail_open: bool,
}

/// All plans, and the calls that are counted against them. Counts are of one process, and begin anew with it.
#[derive(Debug)]
pub struct Plans {
    known: BTreeMap<String, KnownPlan>,
    limiters: Limiters,
}

#[derive(Debug)]
struct KnownPlan {
    plan: Plan,
    models: KeyLimits,
}

/// A call against the limits of a plan.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Admission {
    /// Every limit with what is left of it.
    pub limits: Vec<RateLimit>,
    /// The call is one too many: seconds until one is possible.
    pub retry_after: Option<u64>,
}

impl Plans {
    /// Reads the plans of a file; without one, those of the program.
    pub fn read(file: Option<&Path>, clock: &Clock) -> Result<Self, PlansError> {
        match file {
            None => Self::parse(BUILT_IN, clock),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| PlansError::File(path.display().to_string(), error))?;
                Self::parse(&text, clock)
            }
        }
    }

    fn parse(yaml: &str, clock: &Clock) -> Result<Self, PlansError> {
        let plans: Vec<Plan> = serde_yaml_ng::from_str(yaml)?;
        let mut known = BTreeMap::new();
        for plan in plans {
            let name = plan.name.clone();
            let wrong = |reason| PlansError::Plan { plan: name.clone(), reason };
            if name.is_empty() || name.len() > 200 || plan.title.lacks_words() {
                return Err(wrong("a plan has a name and a title in every language"));
            }
            let models = KeyLimits::new(&plan.models, &[])
                .map_err(|_| wrong("`models` are names or globs such as gpt-4*"))?;
            if known.insert(name.clone(), KnownPlan { plan, models }).is_some() {
                return Err(wrong("stands there twice"));
            }
            if known.len() > PLANS_MAX {
                return Err(wrong("there are at most 100 plans"));
            }
        }
        Ok(Self { known, limiters: Limiters::new(clock) })
    }

    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = &Plan> {
        self.known.values().map(|known| &known.plan)
    }

    /// The plan of a name.
    pub(crate) fn get(&self, plan: &str) -> Option<&Plan> {
        self.known.get(plan).map(|known| &known.plan)
    }

    /// Whether a plan has a model. One that is not known has all.
    pub(crate) fn has_model(&self, plan: &str, model: Option<&str>) -> bool {
        self.known.get(plan).is_none_or(|known| known.models.allows_model(model))
    }

    /// What an organization of a plan may do, with its overrides. A plan that is not known has no limits.
    pub(crate) fn limits(
        &self,
        plan: &str,
        overrides: &[LimitOverride],
        now: DateTime<Utc>,
    ) -> Limits {
        let of_plan = self.get(plan).map(Plan::limits).unwrap_or_default();
        let current = overrides.iter().filter(|one| one.holds_at(now));
        current.fold(of_plan, |limits, one| limits.overridden(&one.limits))
    }

    /// Counts a call, unless it is one too many for somebody.
    pub(crate) fn admit(&self, all: &[Limited<'_>]) -> Admission {
        let mut admission = Admission::default();
        // What is refused by the minute does not count for the day.
        for span in [PerSpan::Minute, PerSpan::Day] {
            for limited in all {
                let Some((limit, retry_after)) = self.limiters.admit(limited, span) else {
                    continue;
                };
                admission.limits.push(limit);
                if retry_after.is_some() {
                    admission.retry_after = retry_after;
                    return admission;
                }
            }
        }
        admission
    }
}

impl Plan {
    fn limits(&self) -> Limits {
        Limits {
            requests_per_minute: self.requests_per_minute,
            requests_per_day: self.requests_per_day,
            concurrent_requests: self.concurrent_requests,
            monthly: self.monthly.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use state::scratch::noon;

    use super::*;

    const SMALL: &str = "
- {name: small, title: {en: Small, zh-CN: 小}, requests_per_minute: 3, requests_per_day: 5, models: ['gpt-*']}
- {name: open, title: {en: Open, zh-CN: 开}}
";

    #[test]
    fn the_built_in_plans_are_those_that_are_documented() {
        let plans = Plans::read(None, &Clock::fixed(noon())).unwrap();
        let names: Vec<&str> = plans.all().map(|plan| plan.name.as_str()).collect();
        assert_eq!(names, ["enterprise", "free", "pro", "team"]);
    }

    #[test]
    fn calls_are_refilled_evenly_and_of_each_organization() {
        let clock = Clock::fixed(noon());
        let plans = Plans::parse(SMALL, &clock).unwrap();
        let left = |organization: &str| {
            let limits = plans.limits("small", &[], noon());
            let scope = LimitScope::Organization;
            let found = plans.admit(&[Limited { scope, id: organization, limits: &limits }]);
            let left: Vec<u32> = found.limits.iter().map(|limit| limit.remaining).collect();
            (left, found.retry_after)
        };
        for expected in [vec![2, 4], vec![1, 3], vec![0, 2]] {
            assert_eq!(left("a"), (expected, None));
        }
        assert_eq!(left("a"), (vec![0], Some(20)));
        assert_eq!(left("b"), (vec![2, 4], None), "of another organization");
        clock.advance(Duration::from_secs(20));
        assert_eq!(left("a"), (vec![0, 1], None));
        clock.advance(Duration::from_secs(60));
        assert_eq!(left("a"), (vec![2, 0], None));
        let (left, retry_after) = left("a");
        assert_eq!(left, [1, 0]);
        // The day's calls come back one by one, a fifth of a day apart.
        assert!(
            retry_after.is_some_and(|seconds| (17_000..17_280).contains(&seconds)),
            "{retry_after:?}"
        );
        for plan in ["open", "unknown"] {
            assert!(plans.limits(plan, &[], noon()).is_unlimited());
        }
        assert!(
            plans.has_model("small", Some("gpt-4")) && !plans.has_model("small", Some("merlin-3"))
        );
        assert!(plans.has_model("open", Some("merlin-3")) && plans.has_model("unknown", None));
    }

    #[test]
    fn a_list_that_makes_no_sense_is_refused() {
        let title = "title: {en: A, zh-CN: B}";
        for wrong in [
            "x",
            "- {name: a}",
            &format!("- {{name: '', {title}}}"),
            &format!("- {{name: a, {title}, requests_per_minute: 0}}"),
            &format!("- {{name: a, {title}, color: red}}"),
            &format!("- {{name: a, {title}, monthly: {{tokens: {{limit: -1}}}}}}"),
            &format!("- {{name: a, {title}, monthly: {{spend: {{limit: '1', currency: usd}}}}}}"),
            &format!("- {{name: a, {title}, models: ['[']}}"),
            &format!("- {{name: a, {title}}}\n- {{name: a, {title}}}"),
        ] {
            assert!(Plans::parse(wrong, &Clock::fixed(noon())).is_err(), "{wrong}");
        }
        let missing = Plans::read(Some(Path::new("/nowhere/plans.yaml")), &Clock::fixed(noon()));
        assert!(missing.is_err_and(|error| error.to_string().contains("/nowhere/plans.yaml")));
    }
}
