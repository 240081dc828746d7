//! Whether the counters of quotas are what the tables say.

use std::{collections::BTreeMap, time::Duration};

use accounts::quotas::{Counted, Month, Usage};
use metrics::gauge;
use pipeline::Cut;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{DIFFERING, Metering, MeteringError, PAUSE, advance, ledger};
use crate::server::System;

/// Retention of fewer days takes events of this month away.
const DAYS_OF_MONTH: u32 = 31;
/// Differences that are listed.
const LISTED: usize = 20;
/// The reading of the ledger is waited for so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What came of the comparison.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct QuotaCheck {
    /// Counters of keys that were compared.
    pub(crate) compared: u64,
    /// Those that differ.
    pub(crate) differing: u64,
    /// Some of them, in words.
    pub(crate) differences: Vec<String>,
}

impl Metering {
    /// Compares the counters with the ledger at one cut. Where they differ, they begin anew.
    pub(crate) async fn check(&self, system: &System) -> Result<QuotaCheck, MeteringError> {
        // What retention took away was counted when it came.
        let kept = system.config.retention.usage_ledger;
        if (1..=DAYS_OF_MONTH).contains(&kept) {
            return Ok(QuotaCheck::default());
        }
        let (cut, month, held) = self.at_cut(system).await?;
        let ledger = ledger::counted(&system.lake, &cut, month, true).await?;
        let check = compare(held, ledger);
        gauge!(DIFFERING).set(check.differing as f64);
        if check.differing > 0 {
            for difference in &check.differences {
                tracing::error!(%difference, "a counter of a quota is not what the tables say");
            }
            *self.0.lock().await = None;
        }
        Ok(check)
    }
}

impl Metering {
    /// A cut, and the counters at it. Where the ledger is being read, that is waited for.
    async fn at_cut(&self, system: &System) -> Result<(Cut, Month, Vec<Counted>), MeteringError> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut tail = self.0.lock().await;
            if let Some(reader) = tail.take() {
                let cut = system.lake.lakehouse.cut();
                *tail = Some(advance(system, reader, cut.lsn).await?);
                let month = Month::of(system.state.clock.now());
                return Ok((cut, month, system.directory.quotas.counted(month).1));
            }
            drop(tail);
            if Instant::now() >= until {
                return Err(MeteringError::StillReading);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The counters that are not equal. What is nothing counts as absent.
fn compare(held: Vec<Counted>, ledger: Vec<Counted>) -> QuotaCheck {
    type Sums = BTreeMap<(Month, String, Option<String>), Usage>;
    let sums = |all: Vec<Counted>| {
        let mut sums = Sums::new();
        for Counted { month, organization_id, api_key_id, usage } in all {
            sums.entry((month, organization_id, api_key_id)).or_default().add(&usage);
        }
        for usage in sums.values_mut() {
            usage.spend.retain(|_, units| *units != 0);
        }
        sums.retain(|_, usage| !usage.is_zero());
        sums
    };
    let (held, ledger) = (sums(held), sums(ledger));
    let names: std::collections::BTreeSet<_> = held.keys().chain(ledger.keys()).collect();
    let mut check = QuotaCheck { compared: names.len() as u64, ..QuotaCheck::default() };
    for name in names {
        let (counted, stored) = (held.get(name), ledger.get(name));
        if counted == stored {
            continue;
        }
        check.differing += 1;
        if check.differences.len() < LISTED {
            let (month, organization_id, api_key_id) = name;
            let month = month.start().format("%Y-%m");
            let key = api_key_id.as_deref().unwrap_or("no key");
            let shown = |usage: Option<&Usage>| {
                let usage = usage.cloned().unwrap_or_default();
                let spend: Vec<_> = usage.spend.values().map(ToString::to_string).collect();
                format!("{} requests, {} tokens, {}", usage.requests, usage.tokens, spend.join("+"))
            };
            check.differences.push(format!(
                "{organization_id}, {key}, {month}: counted {}; stored {}",
                shown(counted),
                shown(stored)
            ));
        }
    }
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(key: Option<&str>, requests: i64) -> Counted {
        Counted {
            month: Month::of(chrono::DateTime::UNIX_EPOCH),
            organization_id: "org_a".into(),
            api_key_id: key.map(ToOwned::to_owned),
            usage: Usage { requests, ..Usage::default() },
        }
    }

    #[test]
    fn what_differs_is_named() {
        let held = || vec![counted(Some("key_1"), 3), counted(None, 0)];
        let same = compare(held(), vec![counted(Some("key_1"), 1), counted(Some("key_1"), 2)]);
        assert_eq!((same.compared, same.differing), (1, 0));
        let other = compare(held(), vec![counted(Some("key_1"), 4), counted(None, 1)]);
        assert_eq!((other.compared, other.differing), (2, 2));
        assert!(other.differences[1].starts_with("org_a, key_1, 1970-01: counted 3"));
    }
}
