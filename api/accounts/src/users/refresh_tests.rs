//! Two processes on one database: who refreshes, and how soon an end is known.

use chrono::TimeDelta;
use futures::future::join_all;
use rest::principal::Role;
use state::{
    clock::Clock,
    scratch::{noon, tester},
    store::Store,
};

use super::{
    AccountError, Accounts, Browser, Email, SessionKind, Status, TokenPair, Vault,
    tests::{PASSWORD, user},
};

fn accounts(store: &Store) -> Accounts {
    Accounts::new(store.clone(), &Clock::fixed(noon())).with_vault(Vault::new([7; 32]))
}

async fn first(accounts: &Accounts) -> TokenPair {
    let program = Browser { kind: SessionKind::Program, ..Browser::default() };
    let email = Email::parse("ann@example.com").unwrap();
    let session = accounts.sign_in(&email, PASSWORD, program, &tester(), noon()).await.unwrap();
    accounts.tokens_of(&session, noon()).await.unwrap()
}

async fn works(accounts: &Accounts, pair: &TokenPair) -> bool {
    accounts.by_access_token(&pair.access_token, noon()).await.unwrap().is_some()
}

#[tokio::test]
async fn of_fifty_at_once_one_rotates() {
    let scratch = crate::scratch().await;
    let own = crate::all_migrations();
    let (one, other) = (accounts(&scratch.store), accounts(&scratch.opened_again(&own).await));
    user(&one, "ann@example.com", Role::Analyst, None).await;
    let pair = first(&one).await;
    let origin = tester();
    let asked = (0..50).map(|at| {
        let accounts = if at % 2 == 0 { &one } else { &other };
        accounts.refresh(&pair.refresh_token, &origin, noon())
    });
    let answers = join_all(asked).await;
    let tokens: Vec<String> =
        answers.into_iter().map(|answer| answer.unwrap().refresh_token).collect();
    assert!(tokens.iter().all(|token| *token == tokens[0] && *token != pair.refresh_token));
    // The one before is answered like the first time, for a while; the next one ends that.
    let again = one.refresh(&pair.refresh_token, &origin, noon() + TimeDelta::seconds(2)).await;
    assert_eq!(again.unwrap().refresh_token, tokens[0]);
    let second = other.refresh(&tokens[0], &origin, noon() + TimeDelta::seconds(2)).await.unwrap();
    assert!(works(&one, &second).await && works(&other, &second).await);
    // Two generations old: somebody else has it. The whole family ends, everywhere.
    let reused = one.refresh(&pair.refresh_token, &origin, noon() + TimeDelta::seconds(2)).await;
    assert!(matches!(reused, Err(AccountError::WrongRefresh)));
    assert!(!works(&one, &second).await && !works(&other, &second).await);
    let ended =
        other.refresh(&second.refresh_token, &origin, noon() + TimeDelta::seconds(20)).await;
    assert!(matches!(ended, Err(AccountError::WrongRefresh)));
}

#[tokio::test]
async fn the_one_before_is_refused_after_its_grace() {
    let scratch = crate::scratch().await;
    let accounts = accounts(&scratch.store);
    user(&accounts, "ann@example.com", Role::Analyst, None).await;
    let (pair, origin) = (first(&accounts).await, tester());
    let next = accounts.refresh(&pair.refresh_token, &origin, noon()).await.unwrap();
    let late = noon() + TimeDelta::seconds(20);
    assert!(accounts.refresh(&pair.refresh_token, &origin, late).await.is_err());
    assert!(
        accounts.refresh(&next.refresh_token, &origin, late).await.is_err(),
        "the family ended"
    );
}

#[tokio::test]
async fn a_token_that_we_never_made_ends_nothing() {
    let scratch = crate::scratch().await;
    let accounts = accounts(&scratch.store);
    user(&accounts, "ann@example.com", Role::Analyst, None).await;
    let (pair, origin) = (first(&accounts).await, tester());
    let good = &pair.refresh_token;
    let parts: Vec<&str> = good.split('.').collect();
    let secret = "A".repeat(43);
    for wrong in [
        String::new(),
        "aihub_rt_".to_owned(),
        format!("{}.{secret}.{}", parts[0], parts[2]),
        format!("{}.{}.{secret}", parts[0], parts[1]),
        format!("{good}.x"),
        good.to_uppercase(),
        pair.access_token.clone(),
    ] {
        let refused = accounts.refresh(&wrong, &origin, noon()).await;
        assert!(matches!(refused, Err(AccountError::WrongRefresh)), "{wrong}");
        accounts.revoke_refresh(&wrong, &origin, noon()).await.unwrap();
    }
    assert!(works(&accounts, &pair).await);
    accounts.revoke_refresh(good, &origin, noon()).await.unwrap();
    assert!(!works(&accounts, &pair).await);
}

/// It ends seven days after its last use, and thirty after its beginning.
#[tokio::test]
async fn a_session_ends_idle_and_absolutely() {
    let scratch = crate::scratch().await;
    let accounts = accounts(&scratch.store);
    user(&accounts, "ann@example.com", Role::Analyst, None).await;
    let (mut pair, origin) = (first(&accounts).await, tester());
    let mut now = noon();
    for _ in 0..4 {
        now += TimeDelta::days(6);
        pair = accounts.refresh(&pair.refresh_token, &origin, now).await.unwrap();
    }
    now += TimeDelta::days(5);
    pair = accounts.refresh(&pair.refresh_token, &origin, now).await.unwrap();
    assert_eq!(pair.refresh_expires_at, noon() + TimeDelta::days(30));
    now += TimeDelta::days(1);
    assert!(accounts.refresh(&pair.refresh_token, &origin, now).await.is_err());
    let idle = first(&accounts).await;
    assert!(
        accounts.refresh(&idle.refresh_token, &origin, noon() + TimeDelta::days(7)).await.is_err()
    );
}

/// CVE-2023-22492: whoever is locked keeps no token, and neither do those whose password changed.
#[tokio::test]
async fn what_ends_sessions_ends_tokens_in_all_processes() {
    let scratch = crate::scratch().await;
    let own = crate::all_migrations();
    let (one, other) = (accounts(&scratch.store), accounts(&scratch.opened_again(&own).await));
    let ann = user(&one, "ann@example.com", Role::Analyst, None).await;
    user(&one, "root@example.com", Role::Admin, None).await;
    let origin = tester();
    let pair = first(&one).await;
    assert!(works(&other, &pair).await);
    one.set_status(&ann.user_id, Status::Disabled, &origin, noon()).await.unwrap();
    assert!(!works(&one, &pair).await && !works(&other, &pair).await);
    one.set_status(&ann.user_id, Status::Active, &origin, noon()).await.unwrap();
    assert!(!works(&one, &pair).await, "what was ended stays so");
    assert!(one.refresh(&pair.refresh_token, &origin, noon()).await.is_err());
    let pair = first(&one).await;
    assert!(works(&other, &pair).await);
    one.reset_password(&ann, "another horse battery", &origin, noon()).await.unwrap();
    assert!(!works(&one, &pair).await && !works(&other, &pair).await);
    // A role that changed is seen with the next request.
    let email = Email::parse("ann@example.com").unwrap();
    let program = Browser { kind: SessionKind::Program, ..Browser::default() };
    let session =
        one.sign_in(&email, "another horse battery", program, &origin, noon()).await.unwrap();
    let pair = one.tokens_of(&session, noon()).await.unwrap();
    let role = async |accounts: &Accounts| {
        let found = accounts.by_access_token(&pair.access_token, noon()).await.unwrap();
        found.map(|(user, _)| user.role)
    };
    assert_eq!(role(&other).await, Some(Role::Analyst));
    one.set_role(None, &ann.user_id, Role::Manager, &origin, noon()).await.unwrap();
    assert_eq!((role(&one).await, role(&other).await), (Some(Role::Manager), Some(Role::Manager)));
}
