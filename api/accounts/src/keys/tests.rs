use std::time::Duration;

use chrono::TimeDelta;
use rest::principal::{PrincipalKind, Tenancy};
use serde_json::json;
use state::{
    audit::{self, ChainState},
    outbox,
    scratch::{Scratch, noon, tester},
    store::Store,
};

use super::{
    ApiKey, KeyError, KeyLimits, KeyRing, KeySecret, NewKey, Scopes, create, list, revoke,
};
use crate::organizations::{self, tests::organization};

pub(crate) async fn key(
    store: &Store,
    scopes: &str,
    organization_id: Option<&str>,
) -> (ApiKey, KeySecret) {
    let new = new_key(scopes, organization_id);
    create(store, new, &tester(), noon()).await.unwrap()
}

pub(super) fn new_key(scopes: &str, organization_id: Option<&str>) -> NewKey {
    NewKey {
        name: "gateway".to_owned(),
        organization_id: organization_id.map(ToOwned::to_owned),
        scopes: Scopes::parse(scopes).unwrap(),
        grant: ingest::Grant::ALL,
        limits: KeyLimits::default(),
        purpose: super::KeyPurpose::default(),
        expires_at: None,
    }
}

#[test]
fn a_secret_is_checked_without_the_database() {
    let secret = KeySecret::generate().unwrap();
    let text = secret.reveal();
    assert_eq!(text.len(), 45);
    assert_eq!(KeySecret::parse(text), Some(secret.clone()));
    assert_eq!(secret.start(), &text[..10]);
    assert!(!format!("{secret:?}").contains(&text[10..]));
    for position in 0..text.len() {
        let mut wrong = text.to_owned().into_bytes();
        wrong[position] = if wrong[position] == b'x' { b'y' } else { b'x' };
        assert_eq!(KeySecret::parse(std::str::from_utf8(&wrong).unwrap()), None, "{position}");
    }
    for wrong in
        ["", "aihub_", &text[..44], &format!("{text}0"), &text.to_uppercase(), &"ä".repeat(45)]
    {
        assert_eq!(KeySecret::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn scopes_are_a_set() {
    assert_eq!(Scopes::parse("write, read,write").unwrap().to_string(), "read,write");
    for wrong in ["", "read,", "Read", "all"] {
        assert!(Scopes::parse(wrong).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn a_key_is_verified_until_revoked() {
    let Scratch { store, .. } = &crate::scratch().await;
    organizations::upsert_many(store, &[organization("org_a")], noon()).await.unwrap();
    let (own, secret) = key(store, "read,write", Some("org_a")).await;
    let ring = KeyRing::new(store.clone());
    let principal = ring.verify(secret.reveal(), None, noon()).await.unwrap();
    assert_eq!(principal.id, own.api_key_id);
    assert_eq!(principal.reach, Tenancy::Organization("org_a".to_owned()));
    assert_eq!(principal.kind, PrincipalKind::Key(own.scopes));
    let stranger = KeySecret::generate().unwrap();
    assert!(matches!(ring.verify(stranger.reveal(), None, noon()).await, Err(KeyError::WrongKey)));

    revoke(store, &own.api_key_id, &tester(), noon()).await.unwrap();
    revoke(store, &own.api_key_id, &tester(), noon()).await.unwrap();
    let almost = noon() + TimeDelta::milliseconds(499);
    assert!(
        ring.verify(secret.reveal(), None, almost).await.is_ok(),
        "remembered by another process"
    );
    let after = noon() + TimeDelta::milliseconds(500);
    assert!(matches!(ring.verify(secret.reveal(), None, after).await, Err(KeyError::WrongKey)));
    ring.forget();
    assert!(
        ring.verify(secret.reveal(), None, noon()).await.is_err(),
        "forgotten at once where it was revoked"
    );
    assert!(matches!(
        revoke(store, "key_x", &tester(), noon()).await,
        Err(KeyError::UnknownKey { .. })
    ));

    let targets: Vec<_> =
        audit::recent(store, 9).await.unwrap().into_iter().map(|act| act.action).collect();
    assert_eq!(targets, ["key.revoked", "key.created"]);
    assert_eq!(audit::verify(store).await.unwrap(), ChainState::Intact { rows: 2 });
}

#[tokio::test]
async fn a_key_expires_also_while_it_is_remembered() {
    let Scratch { store, .. } = &crate::scratch().await;
    let expires_at = noon() + Duration::from_secs(2);
    let new = NewKey {
        name: "short".to_owned(),
        organization_id: None,
        scopes: Scopes::parse("read").unwrap(),
        grant: ingest::Grant::ALL,
        limits: KeyLimits::default(),
        purpose: super::KeyPurpose::default(),
        expires_at: Some(expires_at),
    };
    let (_, secret) = create(store, new.clone(), &tester(), noon()).await.unwrap();
    let ring = KeyRing::new(store.clone());
    assert!(ring.verify(secret.reveal(), None, noon()).await.is_ok());
    assert!(
        ring.verify(secret.reveal(), None, expires_at - TimeDelta::microseconds(1)).await.is_ok()
    );
    assert!(ring.verify(secret.reveal(), None, expires_at).await.is_err());
    let refused = create(store, new, &tester(), expires_at).await;
    assert!(matches!(refused, Err(KeyError::Invalid { field: "expires_at", .. })));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let Scratch { store, .. } = &crate::scratch().await;
    organizations::upsert_many(store, &[organization("org_a")], noon()).await.unwrap();
    let attempt = async |name: &str, organization_id: Option<&str>, scopes: &str| {
        let new = NewKey {
            name: name.to_owned(),
            organization_id: organization_id.map(ToOwned::to_owned),
            scopes: Scopes::parse(scopes).unwrap(),
            grant: ingest::Grant::ALL,
            limits: KeyLimits::default(),
            purpose: super::KeyPurpose::default(),
            expires_at: None,
        };
        create(store, new, &tester(), noon()).await.map(drop)
    };
    assert!(matches!(
        attempt(" ", None, "read").await,
        Err(KeyError::Invalid { field: "name", .. })
    ));
    let unknown = attempt("a", Some("org_z"), "read").await;
    assert!(matches!(unknown, Err(KeyError::UnknownOrganization { .. })));
    let admin = attempt("a", Some("org_a"), "admin").await;
    assert!(matches!(admin, Err(KeyError::Invalid { field: "scopes", .. })));
    assert_eq!(list(store).await.unwrap(), []);
    assert_eq!(audit::verify(store).await.unwrap(), ChainState::Intact { rows: 0 });
}

#[tokio::test]
async fn the_mirror_gets_every_change_and_no_secret() {
    let scratch = crate::scratch().await;
    let store = &scratch.store;
    let (created, secret) = key(store, "write", None).await;
    revoke(store, &created.api_key_id, &tester(), noon()).await.unwrap();
    let mut rows = outbox::peek(store, 9).await.unwrap().rows;
    // Beside each change is the event of the act.
    assert_eq!(rows.len(), 4);
    rows.retain(|row| row.table == outbox::MirroredTable::ApiKeys);
    assert_eq!(rows.len(), 2);
    let expected = json!({
        "api_key_id": created.api_key_id, "organization_id": null, "name": "gateway", "start": secret.start(),
        "scopes": "write", "created_at": "2026-11-23T12:00:00.000000Z", "expires_at": null,
        "revoked_at": "2026-11-23T12:00:00.000000Z",
    });
    assert_eq!(serde_json::Value::Object(rows[1].payload.clone()), expected);
    assert!(scratch.holds(secret.start()).await);
    assert!(!scratch.holds(secret.reveal()).await && !scratch.holds(&secret.reveal()[10..]).await);
}
