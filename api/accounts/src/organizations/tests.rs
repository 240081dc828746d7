use serde_json::{Value, json};
use state::{
    outbox::{MirroredTable, OutboxBatch, peek, remove_through},
    scratch::{Scratch, noon},
};

use super::{Organization, OrganizationError, OrganizationKind, get, list, upsert_many};

pub(crate) fn organization(id: &str) -> Organization {
    Organization {
        organization_id: id.to_owned(),
        name: "Ärzte & Co".to_owned(),
        kind: OrganizationKind::Business,
        plan: "team".to_owned(),
        country: "DE".to_owned(),
        signed_up_at: noon(),
    }
}

#[tokio::test]
async fn a_change_and_its_outbox_row_are_one() {
    let Scratch { store, .. } = &crate::scratch().await;
    let (a, b) = (organization("org_a"), organization("org_b"));
    assert_eq!(upsert_many(store, &[a.clone(), b.clone()], noon()).await.unwrap(), 2);
    let changed = Organization { plan: "scale".to_owned(), ..a.clone() };
    assert_eq!(upsert_many(store, &[changed.clone(), b.clone()], noon()).await.unwrap(), 1);
    assert_eq!(list(store).await.unwrap(), [changed.clone(), b]);
    assert_eq!(get(store, "org_a").await.unwrap(), Some(changed));
    assert_eq!(get(store, "org_z").await.unwrap(), None);

    let rows = peek(store, 10).await.unwrap().rows;
    // The last is the event of the change of the plan.
    let found: Vec<_> = rows
        .iter()
        .map(|row| (row.id, row.table, row.payload.get("plan").and_then(Value::as_str)))
        .collect();
    let organizations = MirroredTable::Organizations;
    assert_eq!(
        found,
        [
            (1, organizations, Some("team")),
            (2, organizations, Some("team")),
            (3, organizations, Some("scale")),
            (4, MirroredTable::Events, None),
        ]
    );
    let expected = json!({
        "organization_id": "org_a", "name": "Ärzte & Co", "kind": "business", "plan": "team", "country": "DE",
        "signed_up_at": "2026-11-23T12:00:00.000000Z",
    });
    assert_eq!(Value::Object(rows[0].payload.clone()), expected);

    remove_through(store, 2).await.unwrap();
    assert_eq!(peek(store, 10).await.unwrap().rows, rows[2..]);
    remove_through(store, 4).await.unwrap();
    upsert_many(store, &[a], noon()).await.unwrap();
    assert_eq!(peek(store, 10).await.unwrap().rows[0].id, 5, "ids are never used again");
}

#[tokio::test]
async fn without_an_outbox_there_is_no_change() {
    let scratch = crate::scratch().await;
    scratch.tamper("DROP TABLE outbox").await;
    assert!(upsert_many(&scratch.store, &[organization("org_a")], noon()).await.is_err());
    assert_eq!(list(&scratch.store).await.unwrap(), []);
}

#[tokio::test]
async fn one_bad_row_refuses_all() {
    let Scratch { store, .. } = &crate::scratch().await;
    for id in ["", "a b", "org/1", "ä", &"x".repeat(65)] {
        let refused = upsert_many(store, &[organization("org_a"), organization(id)], noon()).await;
        assert!(
            matches!(refused, Err(OrganizationError::Invalid { field: "organization_id", .. })),
            "{id}"
        );
    }
    assert_eq!(list(store).await.unwrap(), []);
    assert_eq!(peek(store, 10).await.unwrap(), OutboxBatch::default());
}

#[tokio::test]
async fn thousands_of_rows_are_one_call() {
    let Scratch { store, .. } = &crate::scratch().await;
    let many: Vec<_> = (0..2500).map(|n| organization(&format!("org_{n:04}"))).collect();
    assert_eq!(upsert_many(store, &many, noon()).await.unwrap(), 2500);
    assert_eq!(upsert_many(store, &many, noon()).await.unwrap(), 0);
}
