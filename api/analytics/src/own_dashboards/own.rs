//! An own dashboard: a definition under a name, with its earlier versions.

use chrono::{DateTime, Utc};
use query::metric::{audience, viewer};
use reports::{Dashboard, Text};
use rest::{
    principal::{Ability, Principal, Role},
    problem::{Code, Problem},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    ids::{base62, random_bytes},
    store::{Store, StoreContext, StoreError, Write, time_of},
};

use super::row::{dashboard as row, link, version};
use crate::{
    Lake, analyses,
    queries::{self, reach},
};

/// An own dashboard as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OwnDashboard {
    pub(super) dashboard_id: String,
    pub(super) scope: Option<String>,
    pub(super) owner_id: String,
    pub(crate) definition: Dashboard,
    /// Roles that see it besides its owner and administrators.
    pub(super) shared_with: Vec<String>,
    pub(super) version: i64,
    pub(super) updated_at: DateTime<Utc>,
}

/// An earlier state of a dashboard.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Version {
    pub(super) version: i64,
    pub(super) definition: String,
    pub(super) created_by: String,
    pub(super) created_at: DateTime<Utc>,
}

/// Dashboards of one organization, or of staff.
const DASHBOARDS_MAX: u64 = 200;
/// Earlier versions that are kept of one.
pub(super) const VERSIONS_MAX: u64 = 50;
const NAME_BYTES_MAX: usize = 64;

fn scope_of(who: &Principal) -> String {
    who.reach.organization_id().unwrap_or_default().to_owned()
}

/// An own dashboard in a list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ListedDashboard {
    pub(crate) name: String,
    pub(crate) title: Text,
    pub(super) owner_id: String,
    pub(super) shared_with: Vec<String>,
    pub(super) version: i64,
    pub(super) updated_at: DateTime<Utc>,
    pub(crate) may_change: bool,
}

/// Whether somebody of its scope may change a dashboard.
fn may_change(owner_id: &str, who: &Principal) -> bool {
    owner_id == who.id || who.may(Ability::Administer)
}

/// Whether somebody of its scope may see a dashboard.
fn may_see(row: &row::Model, who: &Principal) -> bool {
    let role = who.role();
    may_change(&row.owner_id, who) || row.shared_with.split(',').any(|one| one == role.as_str())
}

fn roles(shared_with: &str) -> Vec<String> {
    shared_with.split(',').filter(|role| !role.is_empty()).map(str::to_owned).collect()
}

/// Refuses a definition that could not be shown to its owner.
pub(super) async fn check(
    lake: &Lake,
    owner: &Principal,
    definition: &Dashboard,
) -> Result<(), Problem> {
    let refuse = |detail: String| Err(Problem::bad_request(Code::InvalidField, detail));
    if definition.name.len() > NAME_BYTES_MAX {
        return refuse(format!("`name` has at most {NAME_BYTES_MAX} letters"));
    }
    if lake.dashboards.get(&definition.name).is_some() {
        return refuse(format!(
            "`{}` is a dashboard of everybody: choose another name",
            definition.name
        ));
    }
    if let Some(fault) = definition.fault() {
        return refuse(fault);
    }
    if let Some(unknown) = definition.unknown(&lake.catalog, audience(&reach(owner))) {
        return refuse(unknown);
    }
    let (now, viewer) = (lake.state.clock.now(), viewer(&reach(owner), true));
    for request in definition.analyses_of_a_week(now) {
        if let Err(error) = analyses::check(&request, &lake.catalog, viewer, now) {
            return refuse(format!("`question`: {}", error.message));
        }
    }
    for name in definition.saved_queries() {
        if let Err(problem) = queries::visible(&lake.state.store, owner, name, None).await {
            return Err(match problem.status {
                404 => Problem::bad_request(Code::InvalidField, problem.detail.unwrap_or_default()),
                _ => problem,
            });
        }
    }
    Ok(())
}

/// Refuses what is no list of roles.
pub(super) fn check_roles(roles: &[String]) -> Result<(), Problem> {
    let refuse = |detail: String| Err(Problem::bad_request(Code::InvalidField, detail));
    if roles.len() > Role::SHARED.len() {
        return refuse("`shared_with` names a role twice".into());
    }
    match roles.iter().find(|role| Role::parse_shared(role).is_err()) {
        Some(role) => refuse(format!("`shared_with`: `{role}` is no role")),
        None => Ok(()),
    }
}

/// All dashboards that somebody may see, by name.
pub(crate) async fn list(
    store: &Store,
    who: &Principal,
) -> Result<Vec<ListedDashboard>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::Scope.eq(scope_of(who)))
        .order_by_asc(row::Column::Name)
        .all(store.db())
        .await
        .doing("listing dashboards")?;
    let seen = rows.into_iter().filter(|row| may_see(row, who));
    let listed = |row: row::Model| {
        let damaged = StoreError::Damaged { table: "dashboards", what: "a title is not readable" };
        Ok(ListedDashboard {
            title: serde_json::from_str(&row.title).map_err(|_| damaged)?,
            updated_at: time_of("dashboards", row.updated_at)?,
            shared_with: roles(&row.shared_with),
            may_change: may_change(&row.owner_id, who),
            version: row.version,
            name: row.name,
            owner_id: row.owner_id,
        })
    };
    seen.map(listed).collect()
}

/// The names that are taken in somebody's scope.
pub(super) async fn names(store: &Store, who: &Principal) -> Result<Vec<String>, StoreError> {
    let rows = row::Entity::find()
        .filter(row::Column::Scope.eq(scope_of(who)))
        .all(store.db())
        .await
        .doing("listing the names of dashboards")?;
    Ok(rows.into_iter().map(|row| row.name).collect())
}

/// A dashboard that somebody may see.
pub(crate) async fn visible(
    store: &Store,
    who: &Principal,
    name: &str,
) -> Result<Option<OwnDashboard>, StoreError> {
    let row = row::Entity::find()
        .filter(row::Column::Scope.eq(scope_of(who)))
        .filter(row::Column::Name.eq(name))
        .one(store.db())
        .await
        .doing("looking for a dashboard")?;
    row.filter(|row| may_see(row, who)).map(OwnDashboard::try_from).transpose()
}

/// A dashboard that somebody may change.
pub(super) async fn changeable(
    store: &Store,
    who: &Principal,
    name: &str,
) -> Result<OwnDashboard, Problem> {
    let absent = || Problem::not_found(format!("there is no own dashboard `{name}`"));
    let found = visible(store, who, name).await?.ok_or_else(absent)?;
    match may_change(&found.owner_id, who) {
        true => Ok(found),
        false => {
            let detail = "its owner and administrators change it: copy it to change the copy";
            Err(Problem::forbidden(Code::Forbidden, detail))
        }
    }
}

/// Saves a definition: a new dashboard, or the next version of one. `expected` is the version that was read before, if the
/// save is refused where somebody else has saved since.
pub(super) async fn save(
    lake: &Lake,
    who: &Principal,
    origin: &AuditOrigin,
    definition: Dashboard,
    shared_with: Option<Vec<String>>,
    expected: Option<i64>,
) -> Result<(OwnDashboard, bool), Problem> {
    check(lake, who, &definition).await?;
    check_roles(shared_with.as_deref().unwrap_or_default())?;
    let (store, now) = (&lake.state.store, lake.state.clock.now());
    // The write lock is held: nobody else saves in between.
    let write = store.write().await?;
    let row = row::Entity::find()
        .filter(row::Column::Scope.eq(scope_of(who)))
        .filter(row::Column::Name.eq(definition.name.as_str()))
        .one(write.db())
        .await
        .doing("looking for a dashboard")?;
    let before = row.map(OwnDashboard::try_from).transpose()?;
    let is_new = before.is_none();
    let dashboard = match before {
        None => {
            let count = row::Entity::find()
                .filter(row::Column::Scope.eq(scope_of(who)))
                .count(write.db())
                .await
                .doing("counting dashboards")?;
            if count >= DASHBOARDS_MAX {
                let detail = format!("there are {DASHBOARDS_MAX} dashboards; remove one first");
                return Err(Problem::conflict(Code::TooManyDashboards, detail));
            }
            OwnDashboard {
                dashboard_id: format!("dashboard_{}", base62(&random_bytes::<16>()?, 22)),
                scope: who.reach.organization_id().map(str::to_owned),
                owner_id: who.id.clone(),
                definition,
                shared_with: shared_with.unwrap_or_default(),
                version: 1,
                updated_at: now,
            }
        }
        Some(before) if !may_change(&before.owner_id, who) => {
            let detail = format!("the name `{}` belongs to somebody else", definition.name);
            return Err(Problem::conflict(Code::NameTaken, detail));
        }
        Some(before) if expected.is_some_and(|expected| expected != before.version) => {
            let detail = format!("it is at version {} by now: read it again", before.version);
            return Err(Problem::conflict(Code::VersionConflict, detail));
        }
        Some(before) => OwnDashboard {
            definition,
            shared_with: shared_with.unwrap_or(before.shared_with),
            version: before.version + 1,
            updated_at: now,
            ..before
        },
    };
    dashboard.write(&write, who, is_new, now).await?;
    let action = if is_new { "dashboard.created" } else { "dashboard.changed" };
    dashboard.note(&write, origin, action, now).await?;
    write.commit().await?;
    Ok((dashboard, is_new))
}

pub(super) async fn remove(
    lake: &Lake,
    dashboard: &OwnDashboard,
    origin: &AuditOrigin,
) -> Result<(), Problem> {
    let write = lake.state.store.write().await?;
    version::Entity::delete_many()
        .filter(version::Column::DashboardId.eq(dashboard.dashboard_id.as_str()))
        .exec(write.db())
        .await
        .doing("removing the versions of a dashboard")?;
    link::Entity::delete_many()
        .filter(link::Column::Scope.eq(dashboard.scope.clone().unwrap_or_default()))
        .filter(link::Column::DashboardName.eq(dashboard.definition.name.as_str()))
        .exec(write.db())
        .await
        .doing("removing the links of a dashboard")?;
    row::Entity::delete_by_id(dashboard.dashboard_id.as_str())
        .exec(write.db())
        .await
        .doing("removing a dashboard")?;
    dashboard.note(&write, origin, "dashboard.removed", lake.state.clock.now()).await?;
    Ok(write.commit().await?)
}

/// The versions, the newest first: that of now among them.
pub(super) async fn versions(store: &Store, id: &str) -> Result<Vec<Version>, StoreError> {
    let rows = version::Entity::find()
        .filter(version::Column::DashboardId.eq(id))
        .order_by_desc(version::Column::Version)
        .limit(VERSIONS_MAX)
        .all(store.db())
        .await
        .doing("listing versions")?;
    let read = |row: version::Model| {
        Ok(Version {
            version: row.version,
            definition: row.definition,
            created_by: row.created_by,
            created_at: time_of("dashboard_versions", row.created_at)?,
        })
    };
    rows.into_iter().map(read).collect()
}

impl OwnDashboard {
    async fn write(
        &self,
        write: &Write,
        who: &Principal,
        is_new: bool,
        now: DateTime<Utc>,
    ) -> Result<(), Problem> {
        let yaml = self.definition.yaml();
        let row = row::ActiveModel {
            dashboard_id: Set(self.dashboard_id.clone()),
            scope: Set(self.scope.clone().unwrap_or_default()),
            name: Set(self.definition.name.clone()),
            owner_id: Set(self.owner_id.clone()),
            title: Set(json!(self.definition.title).to_string()),
            definition: Set(yaml.clone()),
            shared_with: Set(self.shared_with.join(",")),
            version: Set(self.version),
            updated_at: Set(now.timestamp_micros()),
            ..row::ActiveModel::default()
        };
        if is_new {
            let row = row::ActiveModel { created_at: Set(now.timestamp_micros()), ..row };
            row::Entity::insert(row)
                .exec_without_returning(write.db())
                .await
                .doing("adding a dashboard")?;
        } else {
            row::Entity::update(row).exec(write.db()).await.doing("changing a dashboard")?;
        }
        let kept = version::ActiveModel {
            dashboard_id: Set(self.dashboard_id.clone()),
            version: Set(self.version),
            definition: Set(yaml),
            created_by: Set(who.name.clone()),
            created_at: Set(now.timestamp_micros()),
        };
        version::Entity::insert(kept)
            .exec_without_returning(write.db())
            .await
            .doing("keeping a version")?;
        let oldest = self.version.saturating_sub(i64::try_from(VERSIONS_MAX).unwrap_or(i64::MAX));
        version::Entity::delete_many()
            .filter(version::Column::DashboardId.eq(self.dashboard_id.as_str()))
            .filter(version::Column::Version.lte(oldest))
            .exec(write.db())
            .await
            .doing("forgetting old versions")?;
        Ok(())
    }

    async fn note(
        &self,
        write: &Write,
        origin: &AuditOrigin,
        action: &'static str,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let detail = json!({
            "name": self.definition.name,
            "version": self.version,
            "shared_with": self.shared_with,
        });
        let act = AuditAction { action, target: self.dashboard_id.clone(), detail };
        audit::append(write, origin, act, now).await
    }
}

impl TryFrom<row::Model> for OwnDashboard {
    type Error = StoreError;

    fn try_from(row: row::Model) -> Result<Self, StoreError> {
        let damaged = |what| StoreError::Damaged { table: "dashboards", what };
        Ok(Self {
            definition: Dashboard::parse(&row.definition)
                .map_err(|_| damaged("a definition is not readable"))?,
            shared_with: roles(&row.shared_with),
            updated_at: time_of("dashboards", row.updated_at)?,
            scope: Some(row.scope).filter(|scope| !scope.is_empty()),
            dashboard_id: row.dashboard_id,
            owner_id: row.owner_id,
            version: row.version,
        })
    }
}
