//! Opaque ids without a registry: a number of known meaning is scrambled one-to-one, so ids never collide.

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const MASK: u64 = (1 << 50) - 1;

/// The scrambler of one business. Its salt comes from the seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids {
    salt: u64,
}

impl Ids {
    pub(crate) fn new(seed: u64) -> Self {
        Self { salt: mix(seed ^ 0x9e37_79b9_7f4a_7c15) }
    }

    /// Ten characters for a number below 2⁵⁰.
    pub(crate) fn short(self, number: u64) -> [u8; 10] {
        let mut x = (number ^ self.salt) & MASK;
        for factor in [0x2545_f491_4f6c_dd1d, 0x9fb2_1c65_1e98_df25] {
            x = x.wrapping_mul(factor) & MASK;
            x ^= x >> 25;
        }
        spell(x)
    }

    /// Thirteen characters for any number.
    pub(crate) fn long(self, number: u64) -> [u8; 13] {
        spell(mix(number ^ self.salt))
    }

    pub(crate) fn organization(self, index: u32) -> String {
        let code = self.short(u64::from(index) << 26);
        let mut id = String::from("org_");
        id.extend(code.iter().map(|byte| char::from(*byte)));
        id
    }
}

/// The number behind the id of the `part`th user, project or key of an organization. The id's prefix tells
/// the kinds apart.
pub(crate) fn member(organization: u32, part: u32) -> u64 {
    (u64::from(organization) << 26) | u64::from(part)
}

/// The number behind the id of a session: what one user does from one work place in one hour.
pub(crate) fn session(day: u32, hour: u32, organization: u32, user: u32) -> u64 {
    (u64::from(day) << 48)
        | (u64::from(hour) << 43)
        | (u64::from(organization) << 16)
        | u64::from(user)
}

fn spell<const LENGTH: usize>(mut x: u64) -> [u8; LENGTH] {
    let mut text = [0; LENGTH];
    for place in &mut text {
        *place = ALPHABET[(x & 31) as usize];
        x >>= 5;
    }
    text
}

/// The finisher of splitmix64, which is one-to-one.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
