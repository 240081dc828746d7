//! Where organizations are: the clock they live by and the gateway they reach.

/// A country. `offset` is its usual distance from UTC in hours; summer time is left out.
pub(crate) struct Country {
    pub(crate) country: &'static str,
    pub(crate) offset: i32,
    pub(crate) region: &'static str,
    pub(crate) gateway: &'static str,
    share: f64,
}

pub(crate) static PLACES: [Country; 12] = [
    us("US", -6, 0.30),
    us("CA", -5, 0.05),
    us("BR", -3, 0.06),
    eu("GB", 0, 0.10),
    eu("DE", 1, 0.10),
    eu("FR", 1, 0.07),
    eu("NL", 1, 0.03),
    ap("IN", 5, 0.11),
    ap("SG", 8, 0.04),
    ap("JP", 9, 0.08),
    ap("KR", 9, 0.02),
    ap("AU", 10, 0.04),
];

/// How often each place occurs, in the order of [`PLACES`].
pub(crate) fn shares() -> [f64; 12] {
    std::array::from_fn(|index| PLACES[index].share)
}

const fn us(country: &'static str, offset: i32, share: f64) -> Country {
    place(country, offset, share, "us-1", "/gateway/us-1")
}

const fn eu(country: &'static str, offset: i32, share: f64) -> Country {
    place(country, offset, share, "eu-1", "/gateway/eu-1")
}

const fn ap(country: &'static str, offset: i32, share: f64) -> Country {
    place(country, offset, share, "ap-1", "/gateway/ap-1")
}

const fn place(
    country: &'static str,
    offset: i32,
    share: f64,
    region: &'static str,
    gateway: &'static str,
) -> Country {
    Country { country, offset, region, gateway, share }
}
