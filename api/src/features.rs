//! The list of all features, in the order of their dependencies.

use rest::feature::{self, Feature};
use state::{
    folder,
    migration::{MIGRATIONS, Migration},
    store::{Store, StoreError},
};

use crate::{
    config::Config, erasure, health, integrity, jobs, metering, relay, server::System, upkeep,
};

/// Those of the binary: what watches and keeps the system.
pub(crate) const OPERATIONS: &[Feature<System>] = &[
    health::FEATURE,
    relay::FEATURE,
    metering::FEATURE,
    upkeep::FEATURE,
    integrity::FEATURE,
    jobs::FEATURE,
    erasure::FEATURE,
];

/// The changes of all tables of the state. Whoever opens it does so with all of them.
pub(crate) fn migrations() -> Vec<Migration> {
    let own = MIGRATIONS.iter().copied();
    let all = own.chain(feature::migrations(delivery::FEATURES));
    let all = all.chain(feature::migrations(accounts::FEATURES));
    let all = all.chain(feature::migrations(billing::FEATURES));
    let all = all.chain(feature::migrations(portal::FEATURES));
    let all = all.chain(feature::migrations(analytics::FEATURES));
    all.chain(feature::migrations(OPERATIONS)).collect()
}

/// Opens the relational state: the database of the configuration, or the file in the data folder.
pub(crate) async fn open_store(config: &Config) -> Result<Store, StoreError> {
    match config.state.url.reveal() {
        "" => Box::pin(Store::open(&folder::STATE.of(&config.dir), &migrations())).await,
        url => Box::pin(Store::connect(url, &migrations())).await,
    }
}

#[cfg(test)]
mod tests {
    use super::migrations;

    /// A database that holds a name which is not on the list cannot be opened any more.
    #[test]
    fn migrations_keep_their_names() {
        let mut names: Vec<_> = migrations().iter().map(|migration| migration.name).collect();
        names.sort_unstable();
        let released = [
            "m0001_first_tables",
            "m0002_queries",
            "m0003_key_grants",
            "m0004_user_epochs",
            "m0005_outbox_set_aside",
            "m0006_jobs",
            "m0007_deliveries",
            "m0008_reports",
            "m0009_alerts",
            "m0010_annotations",
            "m0011_dashboards",
            "m0012_anomalies",
            "m0013_churn",
            "m0014_forecasts",
            "m0015_maintenance",
            "m0016_access_revision",
            "m0017_key_limits",
            "m0018_organization_status",
            "m0019_limit_overrides",
            "m0020_key_max_age",
            "m0021_key_budgets",
            "m0022_quota_notices",
            "m0023_accounts",
            "m0024_shared_roles",
            "m0025_shared_roles",
            "m0026_views",
            "m0027_billing",
            "m0028_payments",
            "m0029_webhooks",
            "m0030_idempotency",
            "m0031_jobs_due",
        ];
        assert_eq!(names, released);
    }
}
