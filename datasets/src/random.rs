//! Randomness that is the same on every machine and does not depend on order.
//!
//! Each purpose, entity and day has a ChaCha stream of its own, so drawing more in one place changes nothing
//! elsewhere. The mathematics is done with additions and multiplications only, because `exp` and `ln` of the
//! platform's library may differ in the last bit between operating systems.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a stream is for. The numbers are part of the bytes: never reuse or reorder them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Shuffle = 1,
    SignUp = 2,
    Organization = 3,
    Lifecycle = 4,
    Usage = 5,
    Activity = 6,
    VisitorCount = 7,
    Visitor = 8,
    Visit = 9,
    Anomaly = 10,
}

pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    pub(crate) fn new(seed: u64, purpose: Purpose, entity: u64, day: u32) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
        key[16..24].copy_from_slice(&entity.to_le_bytes());
        key[24..28].copy_from_slice(&day.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A number in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// A number in `[from, to)`.
    pub(crate) fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.unit()
    }

    /// An integer in `[0, limit)`; 0 when the limit is 0.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        ((u64::from(self.0.next_u32()) * u64::from(limit)) >> 32) as u32
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A bell-shaped number of mean 0 and deviation 1, never beyond 3.47: the sum of four uniform parts.
    pub(crate) fn normal(&mut self) -> f64 {
        let bits = self.0.next_u64();
        let sum =
            (bits & 0xffff) + ((bits >> 16) & 0xffff) + ((bits >> 32) & 0xffff) + (bits >> 48);
        (sum as f64 - 131_070.0) * (1.732_050_807_568_877_2 / 65_536.0)
    }

    /// A positive number of median 1 with a long right tail; `spread` is the deviation of its logarithm.
    pub(crate) fn spread(&mut self, spread: f64) -> f64 {
        exp(spread * self.normal())
    }

    /// A whole number whose expectation is `expected`.
    pub(crate) fn count(&mut self, expected: f64) -> u32 {
        (expected + self.unit()) as u32
    }

    /// An index, each with a probability in proportion to its weight.
    pub(crate) fn pick(&mut self, weights: &[f64]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return index;
            }
        }
        weights.iter().rposition(|weight| *weight > 0.0).unwrap_or(0)
    }

    pub(crate) fn choose<T: Copy>(&mut self, from: &[T; 4]) -> T {
        from[self.below(4) as usize]
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u32 + 1) as usize;
            items.swap(last, other);
        }
    }
}

/// The exponential function for arguments between about −700 and 700, right to about 14 digits.
pub(crate) fn exp(x: f64) -> f64 {
    let whole = (x * std::f64::consts::LOG2_E).floor();
    let rest = x - whole * std::f64::consts::LN_2;
    let mut term = 1.0;
    let mut sum = 1.0;
    for step in 1..16 {
        term *= rest / f64::from(step);
        sum += term;
    }
    let power = f64::from_bits(((whole as i64 + 1023) as u64) << 52);
    sum * power
}

#[cfg(test)]
mod tests {
    use super::{Purpose, Stream, exp};

    #[test]
    fn exp_agrees_with_the_library() {
        for step in -400..400 {
            let x = f64::from(step) / 20.0;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-12, "exp({x})");
        }
    }

    #[test]
    fn normal_has_mean_zero_and_deviation_one() {
        let mut stream = Stream::new(7, Purpose::Usage, 0, 0);
        let draws: Vec<f64> = (0..100_000).map(|_| stream.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 1e5;
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.02, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.02, "variance {variance}");
    }

    #[test]
    fn streams_differ_by_every_part_of_their_key() {
        let first = |seed, entity, day| Stream::new(seed, Purpose::Usage, entity, day).unit();
        assert_eq!(first(1, 2, 3), first(1, 2, 3));
        assert_ne!(first(1, 2, 3), first(2, 2, 3));
        assert_ne!(first(1, 2, 3), first(1, 3, 3));
        assert_ne!(first(1, 2, 3), first(1, 2, 4));
    }
}
