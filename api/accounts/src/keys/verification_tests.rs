use std::collections::HashSet;

use chrono::TimeDelta;
use rest::principal::Scope;
use state::{
    audit::{self, ChainState},
    scratch::{Scratch, noon, tester},
};

use super::{
    KeyError, KeyLimits, KeyRing, Verdict, Verification, create, departed_of, find_working, list,
    revoke, rotate, set_limits,
    tests::{key, new_key},
};
use crate::organizations::{self, OrganizationStatus, set_status, tests::organization};

#[tokio::test]
async fn the_first_reason_against_a_key_counts() {
    let Scratch { store, .. } = &crate::scratch().await;
    organizations::upsert_many(store, &[organization("org_a")], noon()).await.unwrap();
    let limits = KeyLimits::new(&["gpt-4*".into()], &["10.0.0.0/8".into()]).unwrap();
    let expires_at = Some(noon() + TimeDelta::hours(1));
    let new = new_key("read", Some("org_a"));
    let (own, secret) =
        create(store, super::NewKey { limits, expires_at, ..new }, &tester(), noon())
            .await
            .unwrap();
    let (_, platform) = key(store, "read", None).await;
    let ring = KeyRing::new(store.clone());
    let ask = async |secret: &str, asked: Verification<'_>, at| {
        let known = ring.find(secret, at).await.unwrap();
        known.map_or(Verdict::NotFound, |known| known.verdict(&asked, at))
    };
    let inside = Some("10.1.1.1".parse().unwrap());
    let good = Verification { model: Some("gpt-4o"), from: inside, scope: Some(Scope::Read) };
    let (other, elsewhere) = (Some("gpt-3"), Some("192.0.2.1".parse().unwrap()));
    for (asked, expected) in [
        (good, Verdict::Valid),
        (Verification { scope: None, ..good }, Verdict::Valid),
        (Verification { from: None, ..good }, Verdict::Forbidden),
        (Verification { from: elsewhere, model: other, scope: None }, Verdict::Forbidden),
        (
            Verification { scope: Some(Scope::Write), model: other, ..good },
            Verdict::InsufficientPermissions,
        ),
        (Verification { model: other, ..good }, Verdict::ModelNotAllowed),
        (Verification { model: None, ..good }, Verdict::ModelNotAllowed),
    ] {
        assert_eq!(ask(secret.reveal(), asked, noon()).await, expected, "{asked:?}");
    }
    assert_eq!(ask("aihub_", good, noon()).await, Verdict::NotFound);
    assert_eq!(ask(platform.reveal(), good, noon()).await, Verdict::Forbidden);
    let later = noon() + TimeDelta::hours(1);
    assert_eq!(ask(secret.reveal(), good, later).await, Verdict::Expired);
    revoke(store, &own.api_key_id, &tester(), later).await.unwrap();
    let after = later + TimeDelta::seconds(1);
    assert_eq!(ask(secret.reveal(), good, after).await, Verdict::Disabled);
}

#[tokio::test]
async fn what_another_process_changes_is_seen_within_a_second() {
    let Scratch { store, .. } = &crate::scratch().await;
    organizations::upsert_many(store, &[organization("org_a")], noon()).await.unwrap();
    let (own, secret) = key(store, "read", Some("org_a")).await;
    let ring = KeyRing::new(store.clone());
    let mut now = noon();
    let mut verified = async || {
        now += TimeDelta::seconds(1);
        ring.verify(secret.reveal(), None, now).await.map(|principal| principal.id)
    };
    assert!(verified().await.is_ok());
    let ids = HashSet::from([own.api_key_id.clone()]);
    assert!(departed_of(store, &ids, noon()).await.unwrap().is_empty());
    set_status(store, "org_a", OrganizationStatus::Suspended, &tester(), noon()).await.unwrap();
    assert!(matches!(verified().await, Err(KeyError::Disabled)));
    // What works in its name ends, and does not begin again.
    assert_eq!(departed_of(store, &ids, noon()).await.unwrap(), ids);
    assert_eq!(find_working(store, &own.api_key_id, noon()).await.unwrap(), None);
    set_status(store, "org_a", OrganizationStatus::Active, &tester(), noon()).await.unwrap();
    assert!(verified().await.is_ok());
    assert!(find_working(store, &own.api_key_id, noon()).await.unwrap().is_some());
    let limits = KeyLimits::new(&[], &["10.0.0.0/8".into()]).unwrap();
    set_limits(store, &own.api_key_id, limits, &tester(), noon()).await.unwrap();
    assert!(matches!(verified().await, Err(KeyError::Disabled)), "not for this address");
    set_limits(store, &own.api_key_id, KeyLimits::default(), &tester(), noon()).await.unwrap();
    assert!(verified().await.is_ok());
    let unknown = set_status(store, "org_z", OrganizationStatus::Active, &tester(), noon()).await;
    assert!(unknown.is_err());
    assert_eq!(audit::verify(store).await.unwrap(), ChainState::Intact { rows: 5 });
}

#[tokio::test]
async fn a_rotated_key_is_the_same_with_another_secret() {
    let Scratch { store, .. } = &crate::scratch().await;
    organizations::upsert_many(store, &[organization("org_a")], noon()).await.unwrap();
    let limits = KeyLimits::new(&["merlin-*".into()], &[]).unwrap();
    let new = super::NewKey { limits, ..new_key("read,write", Some("org_a")) };
    let (old, old_secret) = create(store, new, &tester(), noon()).await.unwrap();
    let overlap = TimeDelta::hours(2);
    let (new, new_secret) =
        rotate(store, &old.api_key_id, overlap, &tester(), noon()).await.unwrap();
    assert_ne!(new.api_key_id, old.api_key_id);
    let alike = |key: &super::ApiKey| {
        (key.name.clone(), key.organization_id.clone(), key.scopes, key.limits.clone())
    };
    assert_eq!(alike(&new), alike(&old));
    let ring = KeyRing::new(store.clone());
    for (at, both) in [(noon() + overlap - TimeDelta::seconds(1), true), (noon() + overlap, false)]
    {
        assert_eq!(ring.verify(old_secret.reveal(), None, at).await.is_ok(), both);
        assert!(ring.verify(new_secret.reveal(), None, at).await.is_ok());
    }
    let listed = list(store).await.unwrap();
    let of_old = listed.iter().find(|key| key.api_key_id == old.api_key_id).unwrap();
    assert_eq!(of_old.expires_at, Some(noon() + overlap));
    assert_eq!(of_old.rotated_to.as_ref(), Some(&new.api_key_id));
    assert_eq!(new.expires_at, None, "as the old one before");
    let month = TimeDelta::days(30);
    // What does not work is not rotated, nor what was: its successor would end with it.
    let refused = |result| matches!(result, Err(KeyError::Invalid { .. }));
    let again = rotate(store, &old.api_key_id, overlap, &tester(), noon()).await.map(drop);
    assert!(refused(again));
    let (short, _) = key(store, "read", Some("org_a")).await;
    let (short_lived, _) = {
        let expires_at = Some(noon() + TimeDelta::minutes(1));
        let new = super::NewKey { expires_at, ..new_key("read", Some("org_a")) };
        create(store, new, &tester(), noon()).await.unwrap()
    };
    let (after, _) =
        rotate(store, &short_lived.api_key_id, month, &tester(), noon()).await.unwrap();
    assert_eq!(after.expires_at, short_lived.expires_at, "a rotation makes no key live longer");
    let at = noon() + TimeDelta::minutes(1);
    assert!(refused(rotate(store, &after.api_key_id, overlap, &tester(), at).await.map(drop)));
    revoke(store, &new.api_key_id, &tester(), noon()).await.unwrap();
    assert!(refused(rotate(store, &new.api_key_id, overlap, &tester(), noon()).await.map(drop)));
    for wrong in [TimeDelta::seconds(-1), month + TimeDelta::seconds(1)] {
        assert!(refused(
            rotate(store, &short.api_key_id, wrong, &tester(), noon()).await.map(drop)
        ));
    }
}
