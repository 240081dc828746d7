//! Who left does not come back, and nobody comes by what was left behind.

use rest::principal::Role;
use state::{
    clock::Clock,
    scratch::{noon, tester},
    store::Store,
};

use super::{
    AccountError, Accounts, Email, Status, list_users,
    tests::user,
    tokens::{self, NewToken, Purpose},
};
use crate::organizations::{self, tests::organization};

fn accounts(store: &Store) -> Accounts {
    Accounts::new(store.clone(), &Clock::fixed(noon()))
}

#[tokio::test]
async fn the_first_invitation_is_useless_once_somebody_administers() {
    let scratch = crate::scratch().await;
    let accounts = accounts(&scratch.store);
    let path = accounts.invite_first_administrator(noon()).await.unwrap().unwrap();
    let token = path.rsplit('/').next().unwrap();
    user(&accounts, "ann@example.com", Role::Admin, None).await;
    let eve = Email::parse("eve@example.com").unwrap();
    let refused =
        accounts.accept_invitation(token, Some(eve), "four quiet bridges", &tester(), noon()).await;
    assert!(matches!(refused, Err(AccountError::WrongToken)), "{refused:?}");
    assert_eq!(accounts.invite_first_administrator(noon()).await.unwrap(), None);
}

#[tokio::test]
async fn a_removed_member_is_nobody() {
    let scratch = crate::scratch().await;
    let accounts = accounts(&scratch.store);
    organizations::upsert_many(&scratch.store, &[organization("org_a")], noon()).await.unwrap();
    let ann = user(&accounts, "ann@example.com", Role::Enterprise, Some("org_a")).await;
    let bob = user(&accounts, "bob@example.com", Role::User, Some("org_a")).await;
    let write = scratch.store.write().await.unwrap();
    let token = NewToken {
        purpose: Purpose::Email,
        user_id: Some(&bob.user_id),
        organization_id: None,
        email: "eve@example.com",
        created_by: &bob.user_id,
    };
    let (secret, _) = tokens::issue(&write, token, &serde_json::Value::Null, noon()).await.unwrap();
    write.commit().await.unwrap();
    accounts.remove_member(Some("org_a"), &bob.user_id, &tester(), noon()).await.unwrap();
    let moved = accounts.complete_email_change(&secret, &tester(), noon()).await;
    assert!(matches!(moved, Err(AccountError::WrongToken)), "{moved:?}");
    let back = accounts.set_status(&bob.user_id, Status::Active, &tester(), noon()).await;
    assert!(matches!(back, Err(AccountError::UnknownUser { .. })), "{back:?}");
    let listed = list_users(&scratch.store).await.unwrap();
    assert_eq!(listed, [ann]);
    // The address is free.
    user(&accounts, "bob@example.com", Role::User, Some("org_a")).await;
}
