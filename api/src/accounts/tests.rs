use std::{net::IpAddr, time::Duration};

use chrono::TimeDelta;

use super::{
    Accounts, Devices, Email, NewUser, PasswordFault, Role, Status, Throttle, User, check_password,
    find_user, session_user,
};
use crate::{
    audit::{self, Origin, Verdict},
    clock::Clock,
    organizations::{self, tests::organization},
    store::{
        StoreError,
        tests::{Scratch, noon, tester},
    },
};

pub(crate) const PASSWORD: &str = "correct horse battery";

pub(crate) async fn user(
    accounts: &Accounts,
    email: &str,
    role: Role,
    organization_id: Option<&str>,
) -> User {
    accounts
        .create_user(new_user(email, PASSWORD, role, organization_id), &tester(), noon())
        .await
        .unwrap()
}

fn new_user(email: &str, password: &str, role: Role, organization_id: Option<&str>) -> NewUser {
    NewUser {
        email: Email::parse(email).unwrap(),
        password: password.to_owned(),
        role,
        organization_id: organization_id.map(ToOwned::to_owned),
    }
}

fn from(ip: &str) -> Origin {
    Origin {
        actor: "anonymous".to_owned(),
        request_id: Some("r1".to_owned()),
        ip: Some(ip.parse().unwrap()),
    }
}

#[test]
fn password_rules() {
    use PasswordFault::{Common, HoldsEmail, TooLong, TooShort};
    let (ann, annika) =
        (Email::parse("ann@example.com").unwrap(), Email::parse("Annika@example.com").unwrap());
    for (password, email, expected) in [
        ("1234567", &ann, Err(TooShort)),
        ("äöüäöüä", &ann, Err(TooShort)),
        ("äöüäöüäö", &ann, Ok(())),
        ("password", &ann, Err(Common)),
        ("PassWord123", &ann, Err(Common)),
        ("password ", &ann, Ok(())),
        ("xx-ann-2971", &ann, Ok(())),
        ("xx-aNNikA-2971", &annika, Err(HoldsEmail)),
        (&"x".repeat(128), &ann, Ok(())),
        (&"x".repeat(129), &ann, Err(TooLong)),
    ] {
        assert_eq!(check_password(password, email), expected, "{password}");
    }
}

#[test]
fn emails_have_one_form() {
    assert_eq!(Email::parse(" Ann@Example.COM ").unwrap().as_str(), "ann@example.com");
    for wrong in [
        "",
        "ann",
        "@example.com",
        "ann@",
        "ann@example",
        "a b@example.com",
        "a@b@c.d",
        "ann@.com",
        "a@b.c\n.d",
    ] {
        assert!(Email::parse(wrong).is_err(), "{wrong}");
    }
    assert!(Role::parse("Admin").is_err());
}

#[tokio::test]
async fn sign_in_begins_a_session_that_ends() {
    let scratch = Scratch::new().await;
    let store = &scratch.store;
    let accounts = Accounts::new(store.clone(), &Clock::fixed(noon()));
    let ann = user(&accounts, "ann@example.com", Role::Analyst, None).await;
    let email = Email::parse("ANN@example.com").unwrap();
    let session =
        accounts.sign_in(&email, PASSWORD, None, &from("192.0.2.1"), noon()).await.unwrap();
    let token = session.token.reveal();
    assert_eq!(session.expires_at, noon() + TimeDelta::hours(12));
    assert_eq!(session_user(store, token, noon()).await.unwrap(), Some(ann.clone()));
    let last = session.expires_at - TimeDelta::microseconds(1);
    assert_eq!(session_user(store, token, last).await.unwrap(), Some(ann.clone()));
    assert_eq!(session_user(store, token, session.expires_at).await.unwrap(), None);
    assert_eq!(session_user(store, &"x".repeat(43), noon()).await.unwrap(), None);
    assert_eq!(session_user(store, "", noon()).await.unwrap(), None);

    accounts.sign_out(token, &from("192.0.2.1"), noon()).await.unwrap();
    assert_eq!(session_user(store, token, noon()).await.unwrap(), None);
    let acts = audit::recent(store, 9).await.unwrap();
    let acts: Vec<_> =
        acts.iter().map(|act| (act.action.as_str(), act.origin.actor.as_str())).collect();
    let id = ann.user_id.as_str();
    assert_eq!(acts, [("user.signed_out", id), ("user.signed_in", id), ("user.created", "tester")]);
    assert!(!scratch.holds(PASSWORD) && !scratch.holds(token));
    assert!(scratch.holds("$argon2id$v=19$m=19456,t=2,p=1$"));
}

#[tokio::test]
async fn every_refusal_is_the_same_to_the_client() {
    let Scratch { store, .. } = &Scratch::new().await;
    let accounts = Accounts::new(store.clone(), &Clock::fixed(noon()));
    let ann = user(&accounts, "ann@example.com", Role::Admin, None).await;
    let bob = user(&accounts, "bob@example.com", Role::Manager, None).await;
    let email = |text| Email::parse(text).unwrap();
    let session = accounts
        .sign_in(&email("bob@example.com"), PASSWORD, None, &from("192.0.2.1"), noon())
        .await
        .unwrap();
    accounts.set_status(&bob.user_id, Status::Disabled, &tester(), noon()).await.unwrap();
    assert_eq!(session_user(store, session.token.reveal(), noon()).await.unwrap(), None);

    for (address, password, reason, target) in [
        ("ann@example.com", "wrong password", "wrong_password", ann.user_id.as_str()),
        ("nobody@example.com", PASSWORD, "unknown_user", "unknown"),
        ("bob@example.com", PASSWORD, "disabled", &bob.user_id),
        ("bob@example.com", "", "wrong_password", &bob.user_id),
    ] {
        let refused =
            accounts.sign_in(&email(address), password, None, &from("192.0.2.1"), noon()).await;
        assert!(matches!(refused, Err(StoreError::WrongCredentials)), "{address}");
        let act = &audit::recent(store, 1).await.unwrap()[0];
        assert_eq!((act.action.as_str(), act.target.as_str()), ("user.sign_in_refused", target));
        assert_eq!(act.detail, format!(r#"{{"reason":"{reason}"}}"#));
        assert_eq!(act.origin, from("192.0.2.1"));
    }
    accounts.set_status(&bob.user_id, Status::Active, &tester(), noon()).await.unwrap();
    accounts
        .sign_in(&email("bob@example.com"), PASSWORD, None, &from("192.0.2.1"), noon())
        .await
        .unwrap();
    assert!(matches!(audit::verify(store).await.unwrap(), Verdict::Intact { .. }));
}

#[tokio::test]
async fn an_unknown_user_costs_as_much_as_a_known_one() {
    let Scratch { store, .. } = &Scratch::new().await;
    let accounts = Accounts::new(store.clone(), &Clock::fixed(noon()));
    user(&accounts, "ann@example.com", Role::Admin, None).await;
    let (known, unknown) =
        (Email::parse("ann@example.com").unwrap(), Email::parse("eve@example.com").unwrap());
    let mut fastest = [Duration::MAX; 2];
    for _ in 0..5 {
        for (email, fastest) in [&known, &unknown].into_iter().zip(&mut fastest) {
            let started = std::time::Instant::now();
            let refused = accounts.sign_in(email, "wrong password", None, &tester(), noon()).await;
            assert!(matches!(refused, Err(StoreError::WrongCredentials)));
            *fastest = started.elapsed().min(*fastest);
        }
    }
    let [known, unknown] = fastest;
    assert!(known < unknown * 3 && unknown < known * 3, "known {known:?}, unknown {unknown:?}");
}

#[tokio::test]
async fn users_that_make_no_sense_are_refused() {
    let Scratch { store, .. } = &Scratch::new().await;
    let accounts = Accounts::new(store.clone(), &Clock::fixed(noon()));
    organizations::upsert_many(store, &[organization("org_a")], noon()).await.unwrap();
    user(&accounts, "ann@example.com", Role::Member, Some("org_a")).await;
    let attempt =
        async |new: NewUser| accounts.create_user(new, &tester(), noon()).await.unwrap_err();
    let new = |email, password, role, organization| new_user(email, password, role, organization);
    let taken = attempt(new("Ann@Example.com", PASSWORD, Role::Member, Some("org_a"))).await;
    assert!(matches!(taken, StoreError::EmailTaken));
    let unknown = attempt(new("b@example.com", PASSWORD, Role::Member, Some("org_z"))).await;
    assert!(matches!(unknown, StoreError::UnknownOrganization { .. }));
    for (role, organization) in
        [(Role::Member, None), (Role::Admin, Some("org_a")), (Role::Manager, Some("org_a"))]
    {
        let refused = attempt(new("b@example.com", PASSWORD, role, organization)).await;
        assert!(matches!(refused, StoreError::Invalid { field: "organization_id", .. }), "{role}");
    }
    let weak = attempt(new("b@example.com", "password", Role::Admin, None)).await;
    assert!(matches!(weak, StoreError::Password(PasswordFault::Common)));
    assert_eq!(audit::verify(store).await.unwrap(), Verdict::Intact { rows: 1 });
}

#[tokio::test]
async fn what_administrators_do_to_users() {
    let Scratch { store, .. } = &Scratch::new().await;
    let accounts = Accounts::new(store.clone(), &Clock::fixed(noon()));
    let ann = user(&accounts, "ann@example.com", Role::Admin, None).await;
    let bob = user(&accounts, "bob@example.com", Role::Admin, None).await;
    let sign_in = async |user: &User, password: &str| {
        accounts.sign_in(&user.email, password, None, &from("192.0.2.1"), noon()).await
    };
    let set = async |user: &User, status| {
        accounts.set_status(&user.user_id, status, &tester(), noon()).await
    };
    for named in [bob.user_id.as_str(), "BOB@example.com"] {
        assert_eq!(find_user(store, named).await.unwrap(), bob);
    }
    for unknown in ["user_x", "x@example.com", ""] {
        let found = find_user(store, unknown).await;
        assert!(matches!(found, Err(StoreError::UnknownUser { .. })), "{unknown}");
    }

    let old = sign_in(&bob, PASSWORD).await.unwrap().token;
    let weak = accounts.reset_password(&bob, "bob", &tester(), noon()).await;
    assert!(matches!(weak, Err(StoreError::Password(PasswordFault::TooShort))));
    assert!(session_user(store, old.reveal(), noon()).await.unwrap().is_some());
    accounts.reset_password(&bob, "another horse battery", &tester(), noon()).await.unwrap();
    assert_eq!(session_user(store, old.reveal(), noon()).await.unwrap(), None);
    assert!(matches!(sign_in(&bob, PASSWORD).await, Err(StoreError::WrongCredentials)));
    let new = sign_in(&bob, "another horse battery").await.unwrap().token;
    assert_eq!(accounts.end_sessions(&bob.user_id, &tester(), noon()).await.unwrap(), 1);
    assert_eq!(session_user(store, new.reveal(), noon()).await.unwrap(), None);

    set(&ann, Status::Disabled).await.unwrap();
    set(&ann, Status::Disabled).await.unwrap();
    assert!(matches!(set(&bob, Status::Disabled).await, Err(StoreError::LastAdministrator)));
    set(&ann, Status::Active).await.unwrap();
    set(&bob, Status::Disabled).await.unwrap();
    let acts: Vec<_> =
        audit::recent(store, 4).await.unwrap().into_iter().map(|act| act.action).collect();
    assert_eq!(acts, ["user.disabled", "user.enabled", "user.disabled", "user.sessions_ended"]);
}

/// An administrator resets a password because somebody else knows it, who may just be signing in.
#[tokio::test]
async fn no_session_begins_with_a_password_that_was_reset_meanwhile() {
    let Scratch { store, .. } = &Scratch::new().await;
    let accounts = Accounts::new(store.clone(), &Clock::fixed(noon()));
    let ann = user(&accounts, "ann@example.com", Role::Admin, None).await;
    let admitted = accounts.admit(&ann, "an old hash", &from("192.0.2.1"), noon()).await;
    assert!(matches!(admitted, Err(StoreError::WrongCredentials)), "{admitted:?}");
}

fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

#[test]
fn attempts_are_bounded_per_network() {
    let throttle = Throttle::new(&Clock::fixed(noon()));
    let email = |n: u32| Email::parse(&format!("user{n}@example.com")).unwrap();
    for n in 100..120 {
        throttle.attempt(&email(n), ip(&format!("2001:db8::{n}")), None).unwrap();
    }
    assert!(throttle.attempt(&email(200), ip("2001:db8::ffff:1"), None).is_err());
    throttle.attempt(&email(200), ip("2001:db8:0:1::1"), None).unwrap();
    throttle.attempt(&email(201), ip("192.0.2.1"), None).unwrap();
    // A known device is not held up by others in its network.
    let device = Devices::fresh().unwrap();
    throttle.attempt(&email(1), ip("2001:db8::1"), Some(device)).unwrap();
}

#[test]
fn guessing_gets_slower_and_slower() {
    let clock = Clock::fixed(noon());
    let throttle = Throttle::new(&clock);
    let ann = Email::parse("ann@example.com").unwrap();
    // From everywhere: each guess has a network of its own.
    let mut network = 0u32;
    let mut guess = || {
        network += 1;
        throttle.attempt(&ann, Some(IpAddr::from(network.to_be_bytes())), None)
    };
    for _ in 0..5 {
        guess().unwrap();
    }
    for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
        let refused = guess();
        let Err(StoreError::TooManyAttempts { retry_after_s }) = refused else { panic!("{wait}") };
        assert_eq!(retry_after_s, wait + 1);
        clock.advance(Duration::from_secs(wait));
        guess().unwrap();
    }
    assert!(guess().is_err());
    clock.advance(Duration::from_secs(24 * 3600));
    guess().unwrap();
    guess().unwrap();
}

#[test]
fn a_right_password_ends_the_delay_of_its_lane() {
    let throttle = Throttle::new(&Clock::fixed(noon()));
    let ann = Email::parse("ann@example.com").unwrap();
    let (home, elsewhere) = (ip("192.0.2.1"), ip("198.51.100.7"));
    let lane = throttle.attempt(&ann, home, None).unwrap();
    throttle.succeeded(&lane, &ann, home);
    while throttle.attempt(&ann, elsewhere, None).is_ok() {}
    // Where the user has signed in before, nobody guesses.
    for _ in 0..10 {
        throttle.attempt(&ann, home, None).unwrap();
    }
    assert!(throttle.attempt(&ann, home, None).is_err());
    let device = Devices::fresh().unwrap();
    for _ in 0..20 {
        let lane = throttle.attempt(&ann, elsewhere, Some(device.clone())).unwrap();
        throttle.succeeded(&lane, &ann, None);
    }
    // Also a right password costs a hash, from whichever of the user's devices.
    assert!(throttle.attempt(&ann, elsewhere, Some(Devices::fresh().unwrap())).is_err());
}

#[tokio::test]
async fn the_throttle_stands_before_the_password() {
    let Scratch { store, .. } = &Scratch::new().await;
    let clock = Clock::fixed(noon());
    let accounts = Accounts::new(store.clone(), &clock);
    user(&accounts, "ann@example.com", Role::Admin, None).await;
    let email = Email::parse("ann@example.com").unwrap();
    let sign_in = async |password: &str, device: Option<&str>| {
        accounts.sign_in(&email, password, device, &tester(), clock.now()).await
    };
    let device = sign_in(PASSWORD, None).await.unwrap().device;
    for _ in 0..10 {
        sign_in("wrong password", None).await.unwrap_err();
    }
    for unknown in [None, Some("x"), Some(&device[1..])] {
        let refused = sign_in(PASSWORD, unknown).await;
        assert!(matches!(refused, Err(StoreError::TooManyAttempts { .. })), "{unknown:?}");
    }
    let again = sign_in(PASSWORD, Some(&device)).await.unwrap();
    assert_eq!(again.device, device);
    clock.advance(Duration::from_secs(1));
    sign_in(PASSWORD, None).await.unwrap();
}
