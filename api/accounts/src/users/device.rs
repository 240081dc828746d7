//! Browsers that a user has signed in with, known by a cookie: whoever guesses the user's password elsewhere does
//! not lock them out. See OWASP's "Slow Down Online Guessing Attacks with Device Cookies".

use std::fmt;

use state::ids::{base62, digest, random_bytes};

use super::{AccountError, throttle::LoginTarget};

/// 16 random bytes in base 62.
const ID_LENGTH: usize = 22;
const MAC_LENGTH: usize = 43;

/// Marks devices and recognizes them. Nothing is stored: a mark is an id and its keyed hash together with the
/// user's e-mail address and epoch, so that it ends when an administrator ends the user's sessions.
#[derive(Clone)]
pub struct Devices {
    key: [u8; 32],
}

/// A browser, as the throttle counts it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Device(String);

impl Devices {
    /// Marks devices with this secret key. Marks that were made with another key are not recognized.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// A device that nobody has seen before.
    pub(super) fn fresh() -> Result<Device, AccountError> {
        Ok(Device(base62(&random_bytes::<16>()?, ID_LENGTH)))
    }

    /// What the device's cookie holds.
    pub(super) fn mark(&self, device: &Device, guessed: &LoginTarget) -> String {
        let text = format!("{}\n{}\n{:?}", device.0, guessed.email.as_str(), guessed.epoch);
        let mac = blake3::keyed_hash(&self.key, text.as_bytes());
        format!("{}.{}", device.0, base62(mac.as_bytes(), MAC_LENGTH))
    }

    /// The device of a cookie that was given to this user.
    pub(super) fn recognize(&self, cookie: &str, guessed: &LoginTarget) -> Option<Device> {
        let (id, _) = cookie.split_once('.').filter(|(id, _)| id.len() == ID_LENGTH)?;
        let device = Device(id.to_owned());
        // Digests are compared: how long that takes says nothing about the mark.
        (digest(&self.mark(&device, guessed)) == digest(cookie)).then_some(device)
    }
}

impl fmt::Debug for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Devices(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::Email;

    #[test]
    fn a_mark_is_of_one_user_and_one_server() {
        let user = |text, epoch| LoginTarget { email: Email::parse(text).unwrap(), epoch };
        let (ann, bob) = (user("ann@example.com", Some(1)), user("bob@example.com", Some(1)));
        let later = user("ann@example.com", Some(2));
        let (devices, others) = (Devices::new([1; 32]), Devices::new([2; 32]));
        let device = Devices::fresh().unwrap();
        let mark = devices.mark(&device, &ann);
        assert_eq!(mark.len(), ID_LENGTH + 1 + MAC_LENGTH);
        assert_eq!(devices.recognize(&mark, &ann), Some(device.clone()));
        assert_eq!(devices.recognize(&mark, &bob), None);
        assert_eq!(devices.recognize(&mark, &later), None);
        assert_eq!(others.recognize(&mark, &ann), None);
        let fresh = Devices::fresh().unwrap();
        let spliced = format!("{}{}", fresh.0, &mark[ID_LENGTH..]);
        for wrong in ["", ".", &device.0, &mark[..mark.len() - 1], &format!("{mark}x"), &spliced] {
            assert_eq!(devices.recognize(wrong, &ann), None, "{wrong}");
        }
    }
}
