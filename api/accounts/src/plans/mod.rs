//! Plans: what the organizations of a plan may call, and how often.

mod limiter;
mod routes;

use std::{collections::BTreeMap, num::NonZeroU32, path::Path};

use pages::Text;
use rest::feature::Feature;
use serde::Deserialize;
use state::clock::Clock;

use crate::{Directory, keys::KeyLimits};
use limiter::{Limiter, PerSpan};

pub use limiter::RateLimit;

/// Plans, as everybody sees them.
pub(crate) const FEATURE: Feature<Directory> = Feature::new("plans").with_routes(routes::routes);

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
    /// Names or globs of models; none: all.
    #[serde(default)]
    pub models: Vec<String>,
}

/// All plans, and the calls that are counted against them. Counts are of one process, and begin anew with it.
#[derive(Debug)]
pub struct Plans(BTreeMap<String, KnownPlan>);

#[derive(Debug)]
struct KnownPlan {
    plan: Plan,
    limits: KeyLimits,
    limiters: Vec<Limiter>,
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
            let limits = KeyLimits::new(&plan.models, &[])
                .map_err(|_| wrong("`models` are names or globs such as gpt-4*"))?;
            let spans = [
                (PerSpan::Minute, plan.requests_per_minute),
                (PerSpan::Day, plan.requests_per_day),
            ];
            let limiters = spans
                .into_iter()
                .filter_map(|(span, limit)| Some(Limiter::new(span, limit?, clock)))
                .collect();
            if known.insert(name.clone(), KnownPlan { plan, limits, limiters }).is_some() {
                return Err(wrong("stands there twice"));
            }
            if known.len() > PLANS_MAX {
                return Err(wrong("there are at most 100 plans"));
            }
        }
        Ok(Self(known))
    }

    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = &Plan> {
        self.0.values().map(|known| &known.plan)
    }

    /// Whether a plan has a model. One that is not known has all.
    pub(crate) fn has_model(&self, plan: &str, model: Option<&str>) -> bool {
        self.0.get(plan).is_none_or(|known| known.limits.allows_model(model))
    }

    /// Counts a call of an organization, unless it is one too many. A plan that is not known has no limits.
    pub(crate) fn admit(&self, plan: &str, organization_id: &str) -> Admission {
        let limiters = self.0.get(plan).map(|known| known.limiters.as_slice()).unwrap_or_default();
        let mut admission = Admission::default();
        for limiter in limiters {
            let (limit, retry_after) = limiter.admit(organization_id);
            admission.limits.push(limit);
            admission.retry_after = admission.retry_after.max(retry_after);
            // What is refused by the minute does not count for the day.
            if retry_after.is_some() {
                break;
            }
        }
        admission
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
            let found = plans.admit("small", organization);
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
        assert_eq!(plans.admit("open", "a"), Admission::default());
        assert_eq!(plans.admit("unknown", "a"), Admission::default());
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
            &format!("- {{name: a, {title}, models: ['[']}}"),
            &format!("- {{name: a, {title}}}\n- {{name: a, {title}}}"),
        ] {
            assert!(Plans::parse(wrong, &Clock::fixed(noon())).is_err(), "{wrong}");
        }
        let missing = Plans::read(Some(Path::new("/nowhere/plans.yaml")), &Clock::fixed(noon()));
        assert!(missing.is_err_and(|error| error.to_string().contains("/nowhere/plans.yaml")));
    }
}
