//! What of a key can be changed.

use chrono::{DateTime, Utc};
use ingest::Grant;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, sea_query::Expr};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    revision,
    store::{Store, StoreContext},
};

use super::{ApiKey, KeyError, KeyLimits, KeyPurpose, check_grant, read, row, stored::joined};

/// Changes what a key may write. Another process may honor the former grant a second more.
pub async fn set_grant(
    store: &Store,
    api_key_id: &str,
    grant: Grant,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<ApiKey, KeyError> {
    let write = store.write().await?;
    let key = ApiKey { grant, ..read(&write, api_key_id).await? };
    check_grant(&key.grant, key.organization_id.as_deref(), key.scopes)?;
    row::Entity::update_many()
        .col_expr(row::Column::WriteSources, Expr::value(joined(key.grant.sources())))
        .col_expr(row::Column::WriteTypes, Expr::value(joined(key.grant.types())))
        .filter(row::Column::ApiKeyId.eq(api_key_id))
        .exec(write.db())
        .await
        .doing("changing what an API key may write")?;
    let detail = json!({"sources": key.grant.sources(), "types": key.grant.types()});
    let act = AuditAction { action: "key.granted", target: key.api_key_id.clone(), detail };
    audit::append(&write, origin, act, now).await?;
    revision::bump(&write).await?;
    write.commit().await?;
    Ok(key)
}

/// Changes the models and networks that a key is for, and what it may use.
pub async fn set_limits(
    store: &Store,
    api_key_id: &str,
    limits: KeyLimits,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<ApiKey, KeyError> {
    let write = store.write().await?;
    let key = ApiKey { limits, ..read(&write, api_key_id).await? };
    row::Entity::update_many()
        .col_expr(row::Column::Models, Expr::value(joined(&key.limits.models())))
        .col_expr(row::Column::Networks, Expr::value(joined(&key.limits.networks())))
        .col_expr(row::Column::Budget, Expr::value(key.limits.budget_text()))
        .filter(row::Column::ApiKeyId.eq(api_key_id))
        .exec(write.db())
        .await
        .doing("changing the limits of an API key")?;
    let detail = json!({
        "models": key.limits.models(), "networks": key.limits.networks(), "budget": key.limits.budget(),
    });
    let act = AuditAction { action: "key.limited", target: key.api_key_id.clone(), detail };
    audit::append(&write, origin, act, now).await?;
    revision::bump(&write).await?;
    write.commit().await?;
    Ok(key)
}

/// Changes the project and the notes of a key.
pub async fn set_purpose(
    store: &Store,
    api_key_id: &str,
    purpose: KeyPurpose,
    origin: &AuditOrigin,
    now: DateTime<Utc>,
) -> Result<ApiKey, KeyError> {
    let write = store.write().await?;
    let key = ApiKey { purpose, ..read(&write, api_key_id).await? };
    row::Entity::update_many()
        .col_expr(row::Column::ProjectId, Expr::value(key.purpose.project_id()))
        .col_expr(row::Column::Notes, Expr::value(key.purpose.notes()))
        .filter(row::Column::ApiKeyId.eq(api_key_id))
        .exec(write.db())
        .await
        .doing("changing the purpose of an API key")?;
    let detail = json!({"project_id": key.purpose.project_id()});
    let act = AuditAction { action: "key.purpose_changed", target: key.api_key_id.clone(), detail };
    audit::append(&write, origin, act, now).await?;
    revision::bump(&write).await?;
    write.commit().await?;
    Ok(key)
}
