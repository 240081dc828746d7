//! Refused sign-ins in the audit log. Anybody can cause them, so they are counted: a row for the first, and one for
//! those of the minute after it. They are written beside the answer, which takes as long for a user as for nobody.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde_json::json;
use state::{
    audit::{self, AuditAction, AuditOrigin},
    store::Store,
};

const WINDOW: Duration = Duration::from_secs(60);
/// Network addresses that are told apart in one row.
const ADDRESSES_MAX: usize = 1_000;

/// As whom, and why not. All addresses that no user has are one.
type RefusalKey = (String, &'static str);

#[derive(Debug)]
pub(super) struct Refusals {
    store: Store,
    window: Duration,
    held: RefusalCounts,
}

/// What came after the first of its kind.
#[derive(Clone, Debug, Default)]
struct RefusalCounts(Arc<Mutex<HashMap<RefusalKey, RefusalCount>>>);

#[derive(Debug, Default)]
struct RefusalCount {
    count: u64,
    addresses: HashSet<IpAddr>,
}

impl Refusals {
    pub(super) fn new(store: Store) -> Self {
        Self { store, window: WINDOW, held: RefusalCounts::default() }
    }

    pub(super) fn note(
        &self,
        target: String,
        reason: &'static str,
        origin: &AuditOrigin,
        now: DateTime<Utc>,
    ) {
        let kind = (target, reason);
        {
            let mut held = self.held.lock();
            if let Some(count) = held.get_mut(&kind) {
                count.add(origin.ip);
                return;
            }
            held.insert(kind.clone(), RefusalCount::default());
        }
        let (store, held, window) = (self.store.clone(), self.held.clone(), self.window);
        let first = origin.clone();
        tokio::spawn(async move {
            let (target, reason) = kind.clone();
            let act = AuditAction {
                action: "user.sign_in_refused",
                target: target.clone(),
                detail: json!({"reason": reason}),
            };
            write(&store, &first, act, now).await;
            tokio::time::sleep(window).await;
            let more = held.lock().remove(&kind).unwrap_or_default();
            if more.count > 0 {
                let (count, addresses) = (more.count, more.addresses.len());
                let detail = json!({"reason": reason, "count": count, "addresses": addresses});
                let act = AuditAction { action: "user.sign_in_refused", target, detail };
                write(&store, &AuditOrigin::local("anonymous"), act, now + window).await;
            }
        });
    }
}

async fn write(store: &Store, origin: &AuditOrigin, act: AuditAction, at: DateTime<Utc>) {
    if let Err(error) = audit::record(store, origin, act, at).await {
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, "a refused sign-in is not in the audit log");
    }
}

impl RefusalCounts {
    fn lock(&self) -> MutexGuard<'_, HashMap<RefusalKey, RefusalCount>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RefusalCount {
    fn add(&mut self, ip: Option<IpAddr>) {
        self.count += 1;
        if self.addresses.len() < ADDRESSES_MAX {
            self.addresses.extend(ip);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use state::scratch::{Scratch, noon, tester};

    #[tokio::test]
    async fn many_refusals_are_two_rows_of_each_kind() {
        let Scratch { store, .. } = &crate::scratch().await;
        let window = Duration::from_millis(50);
        let refusals = Refusals { window, ..Refusals::new(store.clone()) };
        for n in 0..500 {
            let ip = Some(IpAddr::from([192, 0, 2, (n % 10) as u8]));
            let origin = AuditOrigin { ip, ..tester() };
            refusals.note("unknown".to_owned(), "unknown_user", &origin, noon());
            refusals.note("user_1".to_owned(), "wrong_password", &origin, noon());
        }
        let mut rows = Vec::new();
        for _ in 0..200 {
            rows = audit::recent(store, 9).await.unwrap();
            if rows.len() == 4 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut said: Vec<_> = rows.iter().map(|row| row.detail.as_str()).collect();
        said.sort_unstable();
        assert_eq!(
            said,
            [
                r#"{"addresses":10,"count":499,"reason":"unknown_user"}"#,
                r#"{"addresses":10,"count":499,"reason":"wrong_password"}"#,
                r#"{"reason":"unknown_user"}"#,
                r#"{"reason":"wrong_password"}"#,
            ]
        );
        assert!(refusals.held.lock().is_empty());
    }
}
