//! Which passwords are taken, and how they are kept: as argon2id hashes.

use std::{fmt, sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{self, PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::Semaphore;

use super::{AccountError, Email};

const LENGTH_MIN: usize = 8;
const LENGTH_MAX: usize = 128;
/// A shorter local part would refuse too much by chance.
const LOCAL_PART_MIN: usize = 4;
const COMMON: &str = include_str!("common_passwords.txt");
/// Whoever guesses tries so many first.
const GUESSES_MIN: u64 = 10_000;
/// Words that people here think of first.
const PRODUCT: [&str; 2] = ["aihub", "analytics"];
/// So many characters are beside such words.
const BESIDE_WORD_MIN: usize = 6;
/// Longer ones are not among them.
const GUESSED_CHARS_MAX: usize = 24;

/// 19 MiB, two passes, one lane: OWASP's second choice, made for servers that hash several at once.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Hashes at once; each costs a core and 19 MiB.
const HASHES_MAX: usize = 2;
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
/// No password has this hash. It is checked when there is no user, so that the answer takes as long.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Why a password is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordFault {
    /// It has fewer than 8 characters.
    TooShort,
    /// It has more than 128 characters.
    TooLong,
    /// It is on the list of the most common passwords, among the first 10,000 that are guessed as zxcvbn estimates, or little
    /// more than the name of the product or a part of the address: in upper or lower case.
    Common,
    /// It contains the part of the e-mail address before the `@`, and that part has four characters or more.
    HoldsEmail,
}

/// Hashes and verifies on blocking threads, two at a time. Strangers take one less: a flood of them leaves it to the
/// others.
#[derive(Clone, Debug)]
pub(super) struct Hasher {
    slots: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

/// Length counts characters. The password is taken as it is: nothing is trimmed, cut, or changed in case.
pub fn check_password(password: &str, email: &Email) -> Result<(), PasswordFault> {
    let length = password.chars().count();
    let lower = password.to_lowercase();
    let local_part = email.local_part();
    if length < LENGTH_MIN {
        Err(PasswordFault::TooShort)
    } else if length > LENGTH_MAX {
        Err(PasswordFault::TooLong)
    } else if is_common(&lower) || is_of_context(&lower, email) {
        Err(PasswordFault::Common)
    } else if local_part.chars().count() >= LOCAL_PART_MIN && lower.contains(local_part) {
        Err(PasswordFault::HoldsEmail)
    } else {
        Ok(())
    }
}

/// Whether a password, in lower case, is on our list or among the first that are guessed, as zxcvbn estimates.
fn is_common(lower: &str) -> bool {
    COMMON.lines().any(|common| common == lower)
        || (lower.chars().count() <= GUESSED_CHARS_MAX
            && zxcvbn::zxcvbn(lower, &[]).guesses() < GUESSES_MIN)
}

/// Whether a password, in lower case, is little more than words of the context: the product, and the parts of the address,
/// whose domain is mostly the organization.
fn is_of_context(lower: &str, email: &Email) -> bool {
    let parts = email.as_str().split(['@', '.', '-', '+', '_']);
    let words = PRODUCT.into_iter().chain(parts);
    let mut rest = lower.to_owned();
    for word in words.filter(|word| word.chars().count() >= LOCAL_PART_MIN) {
        rest = rest.replace(word, "");
    }
    rest.len() < lower.len() && rest.chars().count() < BESIDE_WORD_MIN
}

impl Hasher {
    pub(super) fn new() -> Self {
        let slots = |count| Arc::new(Semaphore::new(count));
        Self { slots: slots(HASHES_MAX), strangers: slots(HASHES_MAX - 1) }
    }

    /// The PHC string of a password, with a new salt.
    pub(super) async fn hash(&self, password: &str) -> Result<String, AccountError> {
        let password = password.to_owned();
        self.run(true, move |argon2| Ok(argon2.hash_password(password.as_bytes())?.to_string()))
            .await
    }

    /// The same for somebody who did not sign in: they wait for each other.
    pub(super) async fn hash_of_stranger(&self, password: &str) -> Result<String, AccountError> {
        let password = password.to_owned();
        self.run(false, move |argon2| Ok(argon2.hash_password(password.as_bytes())?.to_string()))
            .await
    }

    /// Whether the password has this hash; without a hash, never, after the same work. `known`: who asks has signed in
    /// before.
    pub(super) async fn verify(
        &self,
        password: &str,
        hash: Option<&str>,
        known: bool,
    ) -> Result<bool, AccountError> {
        let password = password.to_owned();
        let hash = hash.unwrap_or(NOBODY).to_owned();
        self.run(known, move |argon2| {
            match argon2.verify_password(password.as_bytes(), &PasswordHash::new(&hash)?) {
                Err(password_hash::Error::PasswordInvalid) => Ok(false),
                verified => verified.map(|()| true),
            }
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        known: bool,
        work: impl FnOnce(&Argon2<'_>) -> password_hash::Result<T> + Send + 'static,
    ) -> Result<T, AccountError> {
        let (strangers, slots) = (Arc::clone(&self.strangers), Arc::clone(&self.slots));
        let queue = async {
            let stranger = if known { None } else { Some(strangers.acquire_owned().await) };
            (stranger.transpose(), slots.acquire_owned().await)
        };
        let Ok((Ok(stranger), Ok(slot))) = tokio::time::timeout(QUEUE_TIMEOUT, queue).await else {
            return Err(AccountError::HashQueue);
        };
        let failed = |reason: String| AccountError::Hash { reason };
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
            .map_err(|error| failed(error.to_string()))?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&Argon2::new(Algorithm::Argon2id, Version::V0x13, params));
            // Held by the work and not by the caller, who may be gone before the work is done.
            drop((stranger, slot));
            result
        });
        let result = done.await.map_err(|error| failed(error.to_string()))?;
        result.map_err(|error| failed(error.to_string()))
    }
}

impl fmt::Display for PasswordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooShort => "must have at least 8 characters",
            Self::TooLong => "must have at most 128 characters",
            Self::Common => "is too easy to guess",
            Self::HoldsEmail => "must not contain the name of the e-mail address",
        })
    }
}
