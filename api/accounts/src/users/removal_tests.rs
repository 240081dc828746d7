//! Who left does not come back, and nobody comes by what was left behind.

use rest::principal::Role;
use state::{
    audit,
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

/// Who is suspended would have the keys back that do not work meanwhile.
#[tokio::test]
async fn a_suspended_member_is_not_removed_by_others() {
    let scratch = crate::scratch().await;
    let accounts = accounts(&scratch.store);
    organizations::upsert_many(&scratch.store, &[organization("org_a")], noon()).await.unwrap();
    let bob = user(&accounts, "bob@example.com", Role::User, Some("org_a")).await;
    accounts.set_status(&bob.user_id, Status::Suspended, &tester(), noon()).await.unwrap();
    let remove = async |by| accounts.remove_member(by, &bob.user_id, &tester(), noon()).await;
    let refused = remove(Some("org_a")).await;
    assert!(matches!(refused, Err(AccountError::Invalid { .. })), "{refused:?}");
    remove(None).await.unwrap();
}

/// What an administrator does in a view, or to the own account, is no way around what is asked of users.
#[tokio::test]
async fn administrators_are_themselves() {
    let scratch = crate::scratch().await;
    let accounts = accounts(&scratch.store);
    organizations::upsert_many(&scratch.store, &[organization("org_a")], noon()).await.unwrap();
    let root = user(&accounts, "root@example.com", Role::Admin, None).await;
    let bob = user(&accounts, "bob@example.com", Role::User, Some("org_a")).await;
    let by_root = tester().by(&root.user_id, None);
    let reset = accounts.reset_password(&root, "four quiet bridges", &by_root, noon()).await;
    assert!(matches!(reset, Err(AccountError::Invalid { .. })), "{reset:?}");
    let reset = accounts.reset_factor(&root.user_id, &by_root, noon()).await;
    assert!(matches!(reset, Err(AccountError::Invalid { .. })), "{reset:?}");
    accounts.reset_password(&bob, "four quiet bridges", &by_root, noon()).await.unwrap();
    // Whoever ends a view is who began it.
    let view = accounts.begin_view(&bob.user_id, &by_root, noon()).await.unwrap();
    accounts.sign_out(view.reveal(), &tester(), noon()).await.unwrap();
    let last = audit::recent(&scratch.store, 1).await.unwrap().remove(0);
    assert_eq!((last.action.as_str(), &last.origin.actor), ("user.signed_out", &root.user_id));
}
