//! Prices in the database: versions that are frozen once they were used, and what is agreed with single organizations.

mod override_row;
mod overrides;
mod preview;
mod routes;
mod version_row;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rest::feature::Feature;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder,
    sea_query::Expr,
};
use serde::Serialize;
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    migration::Migration,
    store::{StoreContext, StoreError, Write},
};
use utoipa::ToSchema;

use crate::{
    Billing, ModelPrices, PlanPrices, PriceBook, PriceList,
    fault::Fault,
    m0027_billing,
    prices::{ModelVersion, PlanVersion},
};
use version_row as row;

pub(crate) use overrides::{NewOverride, agree, end_agreement, of_organization};
pub(crate) use preview::{PreviewedTotal, PricePreview, preview};

/// Prices.
pub(crate) const FEATURE: Feature<Billing> =
    Feature::new("prices").with_routes(routes::routes).with_migrations(&[Migration {
        name: "m0027_billing",
        up: |m| Box::pin(m0027_billing::up(m)),
    }]);

const PLAN: &str = "plan";
const MODEL: &str = "model";
const TABLE: &str = "price_versions";

/// Prices as they are stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoredPrices {
    pub(crate) list: PriceList,
    /// How many versions of a name were used, the oldest first.
    used: BTreeMap<(&'static str, String), usize>,
}

/// What came of a list that was stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Applied {
    /// Versions that are new, or changed before they were used.
    pub stored: Vec<String>,
    /// Versions that were not used, and are gone.
    pub removed: Vec<String>,
    /// How many stay as they were.
    pub unchanged: usize,
}

/// Reads the list.
pub(crate) async fn read(db: &impl ConnectionTrait) -> Result<StoredPrices, StoreError> {
    let rows = row::Entity::find()
        .order_by_asc(row::Column::Kind)
        .order_by_asc(row::Column::Name)
        .order_by_asc(row::Column::Version)
        .all(db)
        .await
        .doing("reading prices")?;
    let damaged = |_| StoreError::Damaged { table: TABLE, what: "a price that is not readable" };
    let mut stored = StoredPrices::default();
    for row in rows {
        let kind = if row.kind == PLAN { PLAN } else { MODEL };
        if row.used_at.is_some() {
            *stored.used.entry((kind, row.name.clone())).or_default() += 1;
        }
        if kind == PLAN {
            let version = serde_yaml_ng::from_str(&row.definition).map_err(damaged)?;
            match stored.list.plans.last_mut().filter(|last| last.plan == row.name) {
                Some(last) => last.versions.push(version),
                None => {
                    stored.list.plans.push(PlanPrices { plan: row.name, versions: vec![version] });
                }
            }
        } else {
            let version = serde_yaml_ng::from_str(&row.definition).map_err(damaged)?;
            match stored.list.models.last_mut().filter(|last| last.model == row.name) {
                Some(last) => last.versions.push(version),
                None => {
                    let versions = vec![version];
                    stored.list.models.push(ModelPrices { model: row.name, versions });
                }
            }
        }
    }
    Ok(stored)
}

/// Reads the list and all that is agreed.
pub(crate) async fn book(db: &impl ConnectionTrait) -> Result<PriceBook, StoreError> {
    let list = read(db).await?.list;
    Ok(PriceBook { list, overrides: overrides::all(db).await? })
}

/// Stores the plans and models that a list names, in place of what was stored of them. Versions that were used stay as they
/// are, and those after them begin tomorrow or later; what the list does not name stays.
pub(crate) async fn apply(
    write: &Write,
    list: &PriceList,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<Applied, Fault> {
    let stored = read(write.db()).await?;
    let mut applied = Applied::default();
    let today = now.date_naive();
    for prices in &list.plans {
        let of = |one: &&PlanPrices| one.plan == prices.plan;
        let old = stored.list.plans.iter().find(of).map_or(&[][..], |found| &found.versions);
        let named = Named { kind: PLAN, name: &prices.plan, from: |one: &PlanVersion| one.from };
        named.replace(write, &stored, (old, &prices.versions), &mut applied, origin, now).await?;
    }
    for prices in &list.models {
        let of = |one: &&ModelPrices| one.model == prices.model;
        let old = stored.list.models.iter().find(of).map_or(&[][..], |found| &found.versions);
        let named = Named { kind: MODEL, name: &prices.model, from: |one: &ModelVersion| one.from };
        named.replace(write, &stored, (old, &prices.versions), &mut applied, origin, now).await?;
    }
    if !applied.stored.is_empty() || !applied.removed.is_empty() {
        let detail = json!({"stored": applied.stored, "removed": applied.removed, "on": today});
        let act = AuditAction { action: "prices.changed", target: "prices".to_owned(), detail };
        audit::append(write, origin, act, now).await?;
    }
    Ok(applied)
}

/// The day that it is where days begin first: what was rated anywhere is of this day or before it.
pub(crate) fn latest_day(now: DateTime<Utc>) -> NaiveDate {
    (now + TimeDelta::hours(14)).date_naive()
}

/// Versions of one name.
struct Named<'a, V> {
    kind: &'static str,
    name: &'a str,
    from: fn(&V) -> NaiveDate,
}

impl<V: PartialEq + Serialize> Named<'_, V> {
    async fn replace(
        &self,
        write: &Write,
        stored: &StoredPrices,
        (old, new): (&[V], &[V]),
        applied: &mut Applied,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) -> Result<(), Fault> {
        let Self { kind, name, from } = *self;
        let used = stored.used.get(&(kind, name.to_owned())).copied().unwrap_or(0);
        let said = |place: usize| format!("{name}@{}", place + 1);
        let frozen = |place: usize, reason: &str| Fault::Frozen {
            version: said(place),
            reason: reason.to_owned(),
        };
        for (place, version) in old.iter().enumerate().take(used) {
            if new.get(place) != Some(version) {
                return Err(frozen(place, "was used, and stays as it is"));
            }
        }
        let tomorrow = latest_day(now).succ_opt();
        for (place, version) in new.iter().enumerate().skip(used) {
            let is_same = old.get(place) == Some(version);
            // A model that is named anew may have been priced by a glob.
            let is_after_use = used > 0 || kind == MODEL && stored.uses_models();
            if is_after_use && !is_same && Some(from(version)) < tomorrow {
                let reason =
                    "follows what was used, so it begins tomorrow or later, where days begin first";
                return Err(frozen(place, reason));
            }
        }
        row::Entity::delete_many()
            .filter(row::Column::Kind.eq(kind))
            .filter(row::Column::Name.eq(name))
            .filter(row::Column::UsedAt.is_null())
            .exec(write.db())
            .await
            .doing("replacing prices")?;
        applied.unchanged += used;
        for (place, version) in new.iter().enumerate().skip(used) {
            let definition = serde_yaml_ng::to_string(version).map_err(|_| {
                StoreError::Damaged { table: TABLE, what: "a price does not encode" }
            })?;
            let stored = row::ActiveModel {
                kind: Set(kind.to_owned()),
                name: Set(name.to_owned()),
                version: Set(i32::try_from(place + 1).unwrap_or(i32::MAX)),
                starts_on: Set(from(version).to_string()),
                definition: Set(definition),
                created_by: Set(origin.actor.clone()),
                created_at: Set(now.timestamp_micros()),
                used_at: Set(None),
            };
            row::Entity::insert(stored)
                .exec_without_returning(write.db())
                .await
                .doing("storing a price")?;
            match old.get(place) == Some(version) {
                true => applied.unchanged += 1,
                false => applied.stored.push(said(place)),
            }
        }
        applied.removed.extend((new.len()..old.len()).map(said));
        Ok(())
    }
}

/// Freezes the versions that something was rated by, such as `pro@2`. With one that prices models, all prices of models that
/// have begun are frozen.
pub(crate) async fn freeze(
    write: &Write,
    used: &BTreeSet<String>,
    uses_models: bool,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let at = now.timestamp_micros();
    let mark = || {
        row::Entity::update_many()
            .col_expr(row::Column::UsedAt, Expr::value(at))
            .filter(row::Column::UsedAt.is_null())
    };
    for version in used {
        let Some((name, number)) = version.rsplit_once('@') else { continue };
        let number: i32 = number.parse().unwrap_or(0);
        // Those before it were used up.
        mark()
            .filter(row::Column::Kind.eq(PLAN))
            .filter(row::Column::Name.eq(name))
            .filter(row::Column::Version.lte(number))
            .exec(write.db())
            .await
            .doing("freezing prices")?;
    }
    if uses_models {
        mark()
            .filter(row::Column::Kind.eq(MODEL))
            .filter(row::Column::StartsOn.lte(now.date_naive().to_string()))
            .exec(write.db())
            .await
            .doing("freezing prices")?;
    }
    Ok(())
}

impl StoredPrices {
    /// Whether tokens were priced by any of the models.
    fn uses_models(&self) -> bool {
        self.used.keys().any(|(kind, _)| *kind == MODEL)
    }

    /// Whether a version was used, by its number from 1.
    pub(crate) fn is_used(&self, is_plan: bool, name: &str, number: usize) -> bool {
        let kind = if is_plan { PLAN } else { MODEL };
        self.used.get(&(kind, name.to_owned())).is_some_and(|used| number <= *used)
    }
}
