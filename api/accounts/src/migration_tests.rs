//! A database of an earlier version, with rows in it, becomes one of this version.

use rest::principal::Role;
use state::scratch::{Scratch, noon};

use crate::{
    keys, organizations,
    users::{Status, find_user, session_user, sessions_of},
};

#[tokio::test]
async fn a_database_of_before_accounts_is_taken_along() {
    let new = crate::all_migrations();
    let is_old = |name: &str| {
        let number: u32 = name[1..5].parse().unwrap();
        number <= 18
    };
    let old: Vec<_> = new.iter().copied().filter(|step| is_old(step.name)).collect();
    assert!(old.len() < new.len());
    let scratch = Scratch::new(&old).await;
    let at = noon().timestamp_micros();
    for sql in [
        format!(
            "INSERT INTO organizations (organization_id, name, kind, plan, country, signed_up_at, created_at, status) \
             VALUES ('org_a', 'A', 'business', 'free', 'DE', {at}, {at}, 'active')"
        ),
        format!(
            "INSERT INTO users (user_id, email, password_hash, role, organization_id, status, created_at, epoch) VALUES \
             ('user_1', 'ann@a.example', 'x', 'member', 'org_a', 'active', {at}, 0), \
             ('user_2', 'root@x.example', 'x', 'admin', NULL, 'disabled', {at}, 7)"
        ),
        format!(
            "INSERT INTO api_keys (api_key_id, organization_id, name, start, hash, scopes, created_by, created_at, models) \
             VALUES ('key_1', 'org_a', 'k', 'aihub_1', '{}', 'read', 'user_1', {at}, 'gpt-*')",
            "12345678901234567890123456789012"
        ),
    ] {
        scratch.tamper(&sql).await;
    }
    let store = scratch.opened_again(&new).await;
    let ann = find_user(&store, "ann@a.example").await.unwrap();
    assert_eq!((ann.role, ann.status), (Role::User, Status::Active));
    assert_eq!(ann.organization_id.as_deref(), Some("org_a"));
    let root = find_user(&store, "user_2").await.unwrap();
    assert_eq!((root.role, root.status), (Role::Admin, Status::Disabled));
    assert!(sessions_of(&store, "user_1", noon()).await.unwrap().is_empty());
    assert_eq!(session_user(&store, &"x".repeat(43), noon()).await.unwrap(), None);
    let found = keys::list(&store).await.unwrap();
    assert_eq!((found.len(), found[0].limits.models()), (1, vec!["gpt-*".to_owned()]));
    assert!(found[0].limits.budget().is_unlimited() && found[0].purpose.project_id().is_none());
    assert_eq!(organizations::key_max_age_of(store.db(), "org_a").await.unwrap(), None);
    // Opened once more, nothing is left to do.
    let again = scratch.opened_again(&new).await;
    assert_eq!(find_user(&again, "user_1").await.unwrap(), ann);
}
