//! Ids and secrets: random bytes, their text, and the digest by which a secret is found.

use rand::{TryRngCore, rngs::OsRng};
use sha2::{Digest, Sha256};

use crate::store::StoreError;

/// `N` bytes from the random source of the operating system, good enough for secrets. Fails when that gives none.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    OsRng.try_fill_bytes(&mut bytes).map_err(|_| StoreError::Random)?;
    Ok(bytes)
}

/// Secrets are random, at least 192 bits: a plain digest of one cannot be guessed, and is found by an index.
pub fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// `width` digits of base 62, most significant first; `width` must hold all of `bytes`.
pub fn base62(bytes: &[u8], width: usize) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut number = bytes.to_vec();
    let mut text: Vec<char> = Vec::with_capacity(width);
    for _ in 0..width {
        let mut rest = 0u32;
        for byte in &mut number {
            let value = (rest << 8) | u32::from(*byte);
            *byte = (value / 62) as u8;
            rest = value % 62;
        }
        text.push(char::from(DIGITS[rest as usize]));
    }
    text.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base62_has_a_fixed_width() {
        assert_eq!(base62(&[0; 24], 33), "0".repeat(33));
        assert_eq!(base62(&[61], 2), "0z");
        assert_eq!(base62(&[62], 2), "10");
        assert_eq!(base62(&u32::MAX.to_be_bytes(), 6), "4gfFC3");
        // 33 digits hold 192 bits: the first digit of the largest number is not cut.
        assert_ne!(base62(&[255; 24], 33), base62(&[255; 24], 34)[..33]);
        assert!(base62(&[255; 24], 34).starts_with('0'));
        assert!(base62(&[255; 32], 44).starts_with('0'));
    }
}
