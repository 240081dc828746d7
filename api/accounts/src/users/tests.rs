use std::{net::IpAddr, time::Duration};

use chrono::TimeDelta;
use rest::principal::Role;
use state::{
    audit::{self, AuditOrigin, ChainState},
    clock::Clock,
    scratch::{Scratch, noon, tester},
};

use super::{
    AccountError, Accounts, Browser, Devices, Email, NewUser, PasswordFault, Status, Throttle,
    User, check_password, device::Device, find_user, session_user, throttle::LoginTarget,
};
use crate::organizations::{self, tests::organization};

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

fn from(ip: &str) -> AuditOrigin {
    AuditOrigin {
        actor: "anonymous".to_owned(),
        organization_id: None,
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
        ("aihub2026", &ann, Err(Common)),
        ("Analytics1", &ann, Err(Common)),
        ("example99", &ann, Err(Common)),
        ("aihubexample12", &ann, Err(Common)),
        ("example of four words", &ann, Ok(())),
        ("xx-ann-2971", &ann, Ok(())),
        ("xx-aNNikA-2971", &annika, Err(HoldsEmail)),
        (&"x".repeat(128), &ann, Ok(())),
        (&"x".repeat(129), &ann, Err(TooLong)),
    ] {
        assert_eq!(check_password(password, email), expected, "{password}");
    }
}

#[test]
fn common_passwords_are_refused() {
    let ann = Email::parse("ann@example.com").unwrap();
    // Of the most common ones in public lists of leaks, and what nobody needs a list for.
    for common in [
        "midnight",
        "elephant",
        "Metallica",
        "chevrolet",
        "bulldogs",
        "aaaaaaaaa",
        "abcdefgh",
        "PassWord",
        "jjjjjjjjjjjj",
    ] {
        assert_eq!(check_password(common, &ann), Err(PasswordFault::Common), "{common}");
    }
    for other in ["gray-lamp", "tulpenfeld", "9rainy mondays", "ñandúes7"] {
        assert_eq!(check_password(other, &ann), Ok(()), "{other}");
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
        "an\u{200b}n@example.com",
        "an\u{ad}n@example.com",
        "\u{feff}ann@example.com",
        "ann\u{3164}@example.com",
        "ann\u{e0041}@example.com",
    ] {
        assert!(Email::parse(wrong).is_err(), "{wrong}");
    }
    assert!(Role::parse("Admin").is_err());
}

#[tokio::test]
async fn sign_in_begins_a_session_that_ends() {
    let scratch = crate::scratch().await;
    let store = &scratch.store;
    let accounts = Accounts::new(store.clone(), &Clock::fixed(noon()));
    let ann = user(&accounts, "ann@example.com", Role::Analyst, None).await;
    let email = Email::parse("ANN@example.com").unwrap();
    let session = accounts
        .sign_in(&email, PASSWORD, Browser::default(), &from("192.0.2.1"), noon())
        .await
        .unwrap();
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
    assert!(!scratch.holds(PASSWORD).await && !scratch.holds(token).await);
    assert!(scratch.holds("$argon2id$v=19$m=19456,t=2,p=1$").await);
}

#[tokio::test]
async fn every_refusal_is_the_same_to_the_client() {
    let Scratch { store, .. } = &crate::scratch().await;
    let accounts = Accounts::new(store.clone(), &Clock::fixed(noon()));
    let ann = user(&accounts, "ann@example.com", Role::Admin, None).await;
    let bob = user(&accounts, "bob@example.com", Role::Manager, None).await;
    let email = |text| Email::parse(text).unwrap();
    let session = accounts
        .sign_in(
            &email("bob@example.com"),
            PASSWORD,
            Browser::default(),
            &from("192.0.2.1"),
            noon(),
        )
        .await
        .unwrap();
    accounts.set_status(&bob.user_id, Status::Disabled, &tester(), noon()).await.unwrap();
    assert_eq!(session_user(store, session.token.reveal(), noon()).await.unwrap(), None);

    let mut expected = Vec::new();
    for (address, password, reason, target) in [
        ("ann@example.com", "wrong password", "wrong_password", ann.user_id.as_str()),
        ("nobody@example.com", PASSWORD, "unknown_user", "unknown"),
        ("bob@example.com", PASSWORD, "disabled", &bob.user_id),
        ("bob@example.com", "", "wrong_password", &bob.user_id),
        ("bob@example.com", "again", "wrong_password", &bob.user_id),
    ] {
        let refused = accounts
            .sign_in(&email(address), password, Browser::default(), &from("192.0.2.1"), noon())
            .await;
        assert!(matches!(refused, Err(AccountError::WrongCredentials)), "{address}");
        expected.push((target.to_owned(), format!(r#"{{"reason":"{reason}"}}"#)));
    }
    // The last of them is the second of its kind.
    expected.pop();
    let mut acts = Vec::new();
    for _ in 0..200 {
        acts = audit::recent(store, 9).await.unwrap();
        acts.retain(|act| act.action == "user.sign_in_refused");
        if acts.len() == expected.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut said: Vec<_> =
        acts.iter().map(|act| (act.target.clone(), act.detail.clone())).collect();
    said.sort_unstable();
    expected.sort_unstable();
    assert_eq!(said, expected);
    assert!(acts.iter().all(|act| act.origin == from("192.0.2.1")));
    accounts.set_status(&bob.user_id, Status::Active, &tester(), noon()).await.unwrap();
    accounts
        .sign_in(
            &email("bob@example.com"),
            PASSWORD,
            Browser::default(),
            &from("192.0.2.1"),
            noon(),
        )
        .await
        .unwrap();
    assert!(matches!(audit::verify(store).await.unwrap(), ChainState::Intact { .. }));
}

#[tokio::test]
async fn an_unknown_user_costs_as_much_as_a_known_one() {
    let Scratch { store, .. } = &crate::scratch().await;
    let accounts = Accounts::new(store.clone(), &Clock::fixed(noon()));
    user(&accounts, "ann@example.com", Role::Admin, None).await;
    let (known, unknown) =
        (Email::parse("ann@example.com").unwrap(), Email::parse("eve@example.com").unwrap());
    let mut fastest = [Duration::MAX; 2];
    for _ in 0..5 {
        for (email, fastest) in [&known, &unknown].into_iter().zip(&mut fastest) {
            let started = std::time::Instant::now();
            let refused = accounts
                .sign_in(email, "wrong password", Browser::default(), &tester(), noon())
                .await;
            assert!(matches!(refused, Err(AccountError::WrongCredentials)));
            *fastest = started.elapsed().min(*fastest);
        }
    }
    let [known, unknown] = fastest;
    assert!(known < unknown * 3 && unknown < known * 3, "known {known:?}, unknown {unknown:?}");
}

#[tokio::test]
async fn users_that_make_no_sense_are_refused() {
    let Scratch { store, .. } = &crate::scratch().await;
    let accounts = Accounts::new(store.clone(), &Clock::fixed(noon()));
    organizations::upsert_many(store, &[organization("org_a")], noon()).await.unwrap();
    user(&accounts, "ann@example.com", Role::User, Some("org_a")).await;
    let attempt =
        async |new: NewUser| accounts.create_user(new, &tester(), noon()).await.unwrap_err();
    let new = |email, password, role, organization| new_user(email, password, role, organization);
    let taken = attempt(new("Ann@Example.com", PASSWORD, Role::User, Some("org_a"))).await;
    assert!(matches!(taken, AccountError::EmailTaken));
    let unknown = attempt(new("b@example.com", PASSWORD, Role::User, Some("org_z"))).await;
    assert!(matches!(unknown, AccountError::UnknownOrganization { .. }));
    for (role, organization) in
        [(Role::User, None), (Role::Admin, Some("org_a")), (Role::Manager, Some("org_a"))]
    {
        let refused = attempt(new("b@example.com", PASSWORD, role, organization)).await;
        assert!(
            matches!(refused, AccountError::Invalid { field: "organization_id", .. }),
            "{role}"
        );
    }
    let weak = attempt(new("b@example.com", "password", Role::Admin, None)).await;
    assert!(matches!(weak, AccountError::Password(PasswordFault::Common)));
    assert_eq!(audit::verify(store).await.unwrap(), ChainState::Intact { rows: 1 });
}

#[tokio::test]
async fn what_administrators_do_to_users() {
    let Scratch { store, .. } = &crate::scratch().await;
    let accounts = Accounts::new(store.clone(), &Clock::fixed(noon()));
    let ann = user(&accounts, "ann@example.com", Role::Admin, None).await;
    let bob = user(&accounts, "bob@example.com", Role::Admin, None).await;
    let sign_in = async |user: &User, password: &str| {
        accounts
            .sign_in(&user.email, password, Browser::default(), &from("192.0.2.1"), noon())
            .await
    };
    let set = async |user: &User, status| {
        accounts.set_status(&user.user_id, status, &tester(), noon()).await
    };
    for named in [bob.user_id.as_str(), "BOB@example.com"] {
        assert_eq!(find_user(store, named).await.unwrap(), bob);
    }
    for unknown in ["user_x", "x@example.com", ""] {
        let found = find_user(store, unknown).await;
        assert!(matches!(found, Err(AccountError::UnknownUser { .. })), "{unknown}");
    }

    let old = sign_in(&bob, PASSWORD).await.unwrap().token;
    let weak = accounts.reset_password(&bob, "bob", &tester(), noon()).await;
    assert!(matches!(weak, Err(AccountError::Password(PasswordFault::TooShort))));
    assert!(session_user(store, old.reveal(), noon()).await.unwrap().is_some());
    accounts.reset_password(&bob, "another horse battery", &tester(), noon()).await.unwrap();
    assert_eq!(session_user(store, old.reveal(), noon()).await.unwrap(), None);
    assert!(matches!(sign_in(&bob, PASSWORD).await, Err(AccountError::WrongCredentials)));
    let new = sign_in(&bob, "another horse battery").await.unwrap().token;
    assert_eq!(accounts.end_sessions(&bob.user_id, &tester(), noon()).await.unwrap(), 1);
    assert_eq!(session_user(store, new.reveal(), noon()).await.unwrap(), None);

    set(&ann, Status::Disabled).await.unwrap();
    set(&ann, Status::Disabled).await.unwrap();
    assert!(matches!(set(&bob, Status::Disabled).await, Err(AccountError::LastAdministrator)));
    set(&ann, Status::Active).await.unwrap();
    set(&bob, Status::Disabled).await.unwrap();
    let acts: Vec<_> =
        audit::recent(store, 4).await.unwrap().into_iter().map(|act| act.action).collect();
    assert_eq!(acts, ["user.disabled", "user.enabled", "user.disabled", "user.sessions_ended"]);
}

/// An administrator resets a password because somebody else knows it, who may just be signing in.
#[tokio::test]
async fn no_session_begins_with_a_password_that_was_reset_meanwhile() {
    let Scratch { store, .. } = &crate::scratch().await;
    let accounts = Accounts::new(store.clone(), &Clock::fixed(noon()));
    let ann = user(&accounts, "ann@example.com", Role::Admin, None).await;
    let admitted =
        accounts.admit(&ann, "an old hash", Browser::default(), &from("192.0.2.1"), noon()).await;
    assert!(matches!(admitted, Err(AccountError::WrongCredentials)), "{admitted:?}");
}

fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

fn guessed(email: &str, epoch: Option<i64>) -> LoginTarget {
    LoginTarget { email: Email::parse(email).unwrap(), epoch }
}

#[test]
fn attempts_are_bounded_per_network() {
    let throttle = Throttle::new(&Clock::fixed(noon()));
    let someone = |n: u32| guessed(&format!("user{n}@example.com"), None);
    for n in 100..120 {
        throttle.attempt(&someone(n), ip(&format!("2001:db8::{n}")), None).unwrap();
    }
    assert!(throttle.attempt(&someone(200), ip("2001:db8::ffff:1"), None).is_err());
    throttle.attempt(&someone(200), ip("2001:db8:0:1::1"), None).unwrap();
    throttle.attempt(&someone(201), ip("192.0.2.1"), None).unwrap();
    // A known device is not held up by others in its network.
    let device = Devices::fresh().unwrap();
    throttle
        .attempt(&guessed("ann@example.com", Some(0)), ip("2001:db8::1"), Some(device))
        .unwrap();
    // Nor is there no bound for one who holds many networks.
    let mut network = 1;
    let mut elsewhere = || {
        network += 1;
        throttle.attempt(&someone(1000 + network), ip(&format!("2001:db8:0:{network:x}::1")), None)
    };
    let let_in = (0..300).filter(|_| elsewhere().is_ok()).count();
    assert_eq!(let_in, 200 - 21);
    throttle.attempt(&someone(202), ip("2001:db8:1::1"), None).unwrap();
}

#[test]
fn guessing_gets_slower_and_slower() {
    let clock = Clock::fixed(noon());
    let throttle = Throttle::new(&clock);
    let ann = guessed("ann@example.com", Some(0));
    // From everywhere: each guess has a network of its own.
    let mut network = 0u32;
    let mut guess = |user: &LoginTarget| {
        network += 1;
        throttle.attempt(user, Some(IpAddr::from(network.to_be_bytes())), None)
    };
    for _ in 0..5 {
        guess(&ann).unwrap();
    }
    for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
        let refused = guess(&ann);
        let Err(AccountError::TooManyAttempts { retry_after_s }) = refused else {
            panic!("{wait}")
        };
        assert_eq!(retry_after_s, wait + 1);
        clock.advance(Duration::from_secs(wait));
        guess(&ann).unwrap();
    }
    // No flood of other addresses makes that forgotten, nor of what is guessed once.
    let often = guessed("nobody@example.com", None);
    for _ in 0..5 {
        guess(&often).unwrap();
    }
    for n in 0..11_000 {
        guess(&guessed(&format!("{n}@example.com"), None)).unwrap();
    }
    assert!(guess(&ann).is_err() && guess(&often).is_err());
    // After an administrator gave another password, nothing of it counts.
    guess(&guessed("ann@example.com", Some(1))).unwrap();
    clock.advance(Duration::from_secs(24 * 3600));
    guess(&ann).unwrap();
    guess(&ann).unwrap();
}

#[test]
fn an_attempt_that_was_not_looked_at_does_not_count() {
    let throttle = Throttle::new(&Clock::fixed(noon()));
    let ann = guessed("ann@example.com", Some(0));
    for n in 0..100 {
        let attempt = throttle.attempt(&ann, ip(&format!("192.0.2.{n}")), None).unwrap();
        throttle.undo(&attempt);
    }
}

#[test]
fn a_right_password_ends_the_delay_of_its_lane() {
    let throttle = Throttle::new(&Clock::fixed(noon()));
    let ann = guessed("ann@example.com", Some(0));
    let (home, elsewhere) = (ip("192.0.2.1"), ip("198.51.100.7"));
    let attempt = throttle.attempt(&ann, home, None).unwrap();
    throttle.succeeded(&attempt);
    while throttle.attempt(&ann, elsewhere, None).is_ok() {}
    // Where the user has signed in before, nobody guesses.
    for _ in 0..10 {
        throttle.attempt(&ann, home, None).unwrap();
    }
    assert!(throttle.attempt(&ann, home, None).is_err());
    let device = Devices::fresh().unwrap();
    let sign_in = |device: &Device| {
        let attempt = throttle.attempt(&ann, None, Some(device.clone()));
        attempt.map(|attempt| throttle.succeeded(&attempt))
    };
    for _ in 0..20 {
        sign_in(&device).unwrap();
    }
    // Also a right password costs a hash: after what a user's devices share, each has a little of its own.
    let let_in = (0..100).filter(|_| sign_in(&device).is_ok()).count();
    assert_eq!(let_in, 5);
    sign_in(&Devices::fresh().unwrap()).unwrap();
}

#[tokio::test]
async fn the_throttle_stands_before_the_password() {
    let Scratch { store, .. } = &crate::scratch().await;
    let clock = Clock::fixed(noon());
    let accounts = Accounts::new(store.clone(), &clock);
    user(&accounts, "ann@example.com", Role::Admin, None).await;
    let email = Email::parse("ann@example.com").unwrap();
    let sign_in = async |password: &str, device: Option<&str>| {
        let browser = Browser { mark: device, ..Browser::default() };
        accounts.sign_in(&email, password, browser, &tester(), clock.now()).await
    };
    let device = sign_in(PASSWORD, None).await.unwrap().device;
    for _ in 0..10 {
        sign_in("wrong password", None).await.unwrap_err();
    }
    for unknown in [None, Some("x"), Some(&device[1..])] {
        let refused = sign_in(PASSWORD, unknown).await;
        assert!(matches!(refused, Err(AccountError::TooManyAttempts { .. })), "{unknown:?}");
    }
    let again = sign_in(PASSWORD, Some(&device)).await.unwrap();
    assert_eq!(again.device, device);
    clock.advance(Duration::from_secs(1));
    sign_in(PASSWORD, None).await.unwrap();
    // Whoever the mark was stolen by has it no more once an administrator ends what is open.
    let ann = find_user(store, "ann@example.com").await.unwrap();
    accounts.end_sessions(&ann.user_id, &tester(), clock.now()).await.unwrap();
    for _ in 0..5 {
        sign_in("wrong password", Some(&device)).await.unwrap_err();
    }
    let refused = sign_in(PASSWORD, Some(&device)).await;
    assert!(matches!(refused, Err(AccountError::TooManyAttempts { .. })), "{refused:?}");
    accounts.reset_password(&ann, PASSWORD, &tester(), clock.now()).await.unwrap();
    assert_ne!(sign_in(PASSWORD, Some(&device)).await.unwrap().device, device);
}
