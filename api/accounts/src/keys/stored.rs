//! Keys as rows: of the database, and of the lake's table.

use chrono::{DateTime, Utc};
use ingest::Grant;
use rest::principal::Scopes;
use sea_orm::ActiveValue;
use serde_json::{Map, Value, json};
use state::store::{StoreError, rfc3339, time_of};

use super::{ApiKey, KeyError, KeyLimits, KeyPurpose, row};

impl ApiKey {
    /// The row of the lake's table: never the hash.
    pub(super) fn dimension(&self) -> Map<String, Value> {
        [
            ("api_key_id", json!(self.api_key_id)),
            ("organization_id", json!(self.organization_id)),
            ("name", json!(self.name)),
            ("start", json!(self.start)),
            ("scopes", json!(self.scopes.to_string())),
            ("created_at", json!(rfc3339(self.created_at))),
            ("expires_at", json!(self.expires_at.map(rfc3339))),
            ("revoked_at", json!(self.revoked_at.map(rfc3339))),
        ]
        .into_iter()
        .map(|(column, value)| (column.to_owned(), value))
        .collect()
    }

    pub(super) fn row(&self, hash: [u8; 32]) -> row::ActiveModel {
        let micros =
            |at: Option<DateTime<Utc>>| ActiveValue::Set(at.map(|at| at.timestamp_micros()));
        row::ActiveModel {
            api_key_id: ActiveValue::Set(self.api_key_id.clone()),
            organization_id: ActiveValue::Set(self.organization_id.clone()),
            name: ActiveValue::Set(self.name.clone()),
            start: ActiveValue::Set(self.start.clone()),
            hash: ActiveValue::Set(hash.to_vec()),
            scopes: ActiveValue::Set(self.scopes.to_string()),
            created_by: ActiveValue::Set(self.created_by.clone()),
            created_at: ActiveValue::Set(self.created_at.timestamp_micros()),
            expires_at: micros(self.expires_at),
            last_used_at: micros(self.last_used_at),
            revoked_at: micros(self.revoked_at),
            write_sources: ActiveValue::Set(joined(self.grant.sources())),
            write_types: ActiveValue::Set(joined(self.grant.types())),
            models: ActiveValue::Set(joined(&self.limits.models())),
            networks: ActiveValue::Set(joined(&self.limits.networks())),
            rotated_to: ActiveValue::Set(self.rotated_to.clone()),
            budget: ActiveValue::Set(self.limits.budget_text()),
            project_id: ActiveValue::Set(self.purpose.project_id().map(ToOwned::to_owned)),
            notes: ActiveValue::Set(self.purpose.notes().map(ToOwned::to_owned)),
        }
    }
}

impl TryFrom<row::Model> for ApiKey {
    type Error = KeyError;

    fn try_from(row: row::Model) -> Result<Self, KeyError> {
        let time = |at| time_of("api_keys", at);
        Ok(Self {
            grant: row.grant()?,
            limits: row.limits()?,
            purpose: row.purpose()?,
            scopes: row.scopes()?,
            created_at: time(row.created_at)?,
            expires_at: row.expires_at.map(time).transpose()?,
            last_used_at: row.last_used_at.map(time).transpose()?,
            revoked_at: row.revoked_at.map(time).transpose()?,
            api_key_id: row.api_key_id,
            organization_id: row.organization_id,
            name: row.name,
            start: row.start,
            created_by: row.created_by,
            rotated_to: row.rotated_to,
        })
    }
}

impl row::Model {
    fn scopes(&self) -> Result<Scopes, StoreError> {
        Scopes::parse(&self.scopes)
            .map_err(|_| StoreError::Damaged { table: "api_keys", what: "unknown scopes" })
    }

    fn limits(&self) -> Result<KeyLimits, KeyError> {
        let damaged = || StoreError::Damaged { table: "api_keys", what: "unknown limits" };
        let limits = KeyLimits::new(&split(&self.models), &split(&self.networks));
        let limits = limits.map_err(|_| damaged())?;
        match self.budget.as_deref() {
            Some(budget) => {
                let budget = serde_json::from_str(budget).map_err(|_| damaged())?;
                limits.with_budget(budget).map_err(|_| damaged().into())
            }
            None => Ok(limits),
        }
    }

    fn purpose(&self) -> Result<KeyPurpose, KeyError> {
        let damaged = StoreError::Damaged { table: "api_keys", what: "an unknown purpose" };
        KeyPurpose::new(self.project_id.clone(), self.notes.clone()).map_err(|_| damaged.into())
    }

    fn grant(&self) -> Result<Grant, KeyError> {
        Grant::new(split(&self.write_sources), split(&self.write_types))
            .map_err(|_| StoreError::Damaged { table: "api_keys", what: "an unknown grant" }.into())
    }
}

fn split(text: &Option<String>) -> Vec<String> {
    text.iter().flat_map(|text| text.split(',')).map(str::to_owned).collect()
}

pub(super) fn joined(entries: &[String]) -> Option<String> {
    (!entries.is_empty()).then(|| entries.join(","))
}
