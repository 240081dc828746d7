//! The alerts that come with the program.

use sea_orm::{ActiveValue::Set, EntityTrait};
use serde::Deserialize;
use state::{
    ids::{base62, random_bytes},
    store::{StoreContext, StoreError},
};

use super::{
    alert::{Alert, NewAlert, SYSTEM},
    row::shipped as row,
};
use crate::Lake;

#[derive(Debug, Deserialize)]
struct Shipped {
    name: String,
    #[serde(flatten)]
    alert: NewAlert,
}

fn all() -> Result<Vec<Shipped>, serde_yaml_ng::Error> {
    serde_yaml_ng::from_str(include_str!("shipped.yaml"))
}

/// Adds those that were never added: one that was removed stays away.
pub(super) async fn add(lake: &Lake) -> Result<(), StoreError> {
    // A test reads the file.
    let all = all().unwrap_or_default();
    let (store, now) = (&lake.state.store, lake.state.clock.now());
    let known = row::Entity::find().all(store.db()).await.doing("reading the shipped alerts")?;
    let missing: Vec<Shipped> =
        all.into_iter().filter(|one| known.iter().all(|known| known.name != one.name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let write = store.write().await?;
    for Shipped { name, alert: new } in missing {
        let row = row::ActiveModel { name: Set(name), created_at: Set(now.timestamp_micros()) };
        row::Entity::insert(row)
            .exec_without_returning(write.db())
            .await
            .doing("noting a shipped alert")?;
        let alert = Alert {
            alert_id: format!("alert_{}", base62(&random_bytes::<16>()?, 22)),
            scope: None,
            owner_id: SYSTEM.to_owned(),
            new,
            paused: false,
            paused_reason: None,
            evaluated_to: None,
            error: None,
            created_at: now,
            updated_at: now,
        };
        alert.insert(&write).await?;
    }
    write.commit().await?;
    lake.state.jobs.wake();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_alert_is_readable_and_possible() {
        let catalog = query::metric::Catalog::built_in().unwrap();
        for Shipped { name, alert } in all().unwrap() {
            if alert.rule.metric.starts_with("system.") {
                continue;
            }
            let metric = catalog.metric(&alert.rule.metric);
            let metric = metric.unwrap_or_else(|| panic!("{name}: {}", alert.rule.metric));
            assert_eq!(alert.rule.fault(&metric.into()), None, "{name}");
        }
    }
}
