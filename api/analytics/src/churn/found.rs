//! What was found, as it is kept.

use chrono::{DateTime, Utc};
use reports::churn::{Assessment, Reason};
use sea_orm::{ActiveValue::Set, EntityTrait, sea_query::OnConflict};
use serde::{Deserialize, Serialize};
use state::store::{Store, StoreContext, StoreError, Write, time_of};
use utoipa::ToSchema;

use super::row;

/// What was found last.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(super) struct Found {
    /// Months of customers that were learned from, and those of them in which the customer left.
    pub(super) learned: usize,
    pub(super) left: usize,
    /// Why nothing is foretold: `left` or `stayed` has too few.
    pub(super) refused: Option<String>,
    /// How the probabilities did on the last 30 days, by a model that had not seen them.
    pub(super) scores: Option<FoundScores>,
    pub(super) risks: Vec<FoundRisk>,
    /// The share of paying organizations that still pay, by days since the first payment.
    pub(super) survival: Vec<SurvivalPoint>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub(super) struct FoundScores {
    pub(super) auc: f64,
    pub(super) brier: f64,
    pub(super) ece: f64,
    pub(super) lift: f64,
}

/// A customer that may leave.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct FoundRisk {
    pub(super) organization_id: String,
    /// The name of the organization, if it has one.
    pub(super) name: Option<String>,
    /// That it leaves within 30 days, from 0 to 1.
    pub(super) probability: f64,
    /// What it brings in a month, in `currency`: what it pays, and what it used in the last 30 days.
    pub(super) revenue: f64,
    /// The probability times the revenue.
    pub(super) at_risk: f64,
    pub(super) currency: Option<String>,
    /// `feature`, `value`, and `part`: what it adds to the logarithm of the odds.
    pub(super) reasons: Vec<Reason>,
}

/// A step of the survival curve.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub(super) struct SurvivalPoint {
    pub(super) days: f64,
    pub(super) at_risk: usize,
    pub(super) share: f64,
    /// The standard error of the share.
    pub(super) error: f64,
}

impl Found {
    pub(super) fn of(assessment: Assessment, name: impl Fn(&str) -> Option<String>) -> Self {
        let risk = |risk: reports::churn::Risk| FoundRisk {
            name: name(&risk.organization),
            at_risk: risk.at_risk(),
            organization_id: risk.organization,
            probability: risk.probability,
            revenue: risk.revenue,
            currency: risk.currency,
            reasons: risk.reasons,
        };
        let scores = assessment.scores.map(|scores| FoundScores {
            auc: scores.auc,
            brier: scores.brier,
            ece: scores.ece,
            lift: scores.lift,
        });
        let point = |step: forecast::churn::Survival| SurvivalPoint {
            days: step.age,
            at_risk: step.at_risk,
            share: step.share,
            error: step.error,
        };
        Self {
            learned: assessment.rows,
            left: assessment.left,
            refused: None,
            scores,
            risks: assessment.risks.into_iter().map(risk).collect(),
            survival: assessment.survival.into_iter().map(point).collect(),
        }
    }

    /// Too few of one kind.
    pub(super) fn refused(kind: &str, count: usize) -> Self {
        let (learned, left) = if kind == "left" { (0, count) } else { (count, 0) };
        Self { learned, left, refused: Some(kind.to_owned()), ..Self::default() }
    }
}

/// What was found, with when and at which cut.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) made_at: DateTime<Utc>,
    pub(super) as_of: String,
    pub(super) found: Found,
}

const ONLY: i32 = 1;

pub(super) async fn last(store: &Store) -> Result<Option<Kept>, StoreError> {
    let row = row::Entity::find_by_id(ONLY).one(store.db()).await.doing("reading the churn")?;
    let Some(row) = row else { return Ok(None) };
    let made_at = time_of("churn", row.made_at)?;
    // Another version of the program wrote it: it is found anew within the day.
    let Ok(found) = serde_json::from_str(&row.found) else { return Ok(None) };
    Ok(Some(Kept { made_at, as_of: row.as_of, found }))
}

pub(super) async fn keep(
    write: &Write,
    found: &Found,
    as_of: String,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let row = row::ActiveModel {
        id: Set(ONLY),
        made_at: Set(now.timestamp_micros()),
        as_of: Set(as_of),
        found: Set(serde_json::to_string(found).unwrap_or_default()),
    };
    let columns = [row::Column::MadeAt, row::Column::AsOf, row::Column::Found];
    let conflict = OnConflict::column(row::Column::Id).update_columns(columns).to_owned();
    row::Entity::insert(row)
        .on_conflict(conflict)
        .exec_without_returning(write.db())
        .await
        .doing("keeping the churn")?;
    Ok(())
}
