//! How rare a value is among those before it.

/// The values of the last time, in order.
#[derive(Debug, Clone)]
pub(super) struct Tail {
    /// As they came, and where the next one goes.
    recent: Vec<f64>,
    next: usize,
    sorted: Vec<f64>,
    capacity: usize,
}

/// Beyond this share of the values, the tail is an exponential one: few values lie there.
const BODY: f64 = 0.98;
/// Fewer values say nothing.
const FEWEST: usize = 30;
/// No value is rarer than this: so few were seen.
const RAREST: f64 = 1e-6;

impl Tail {
    pub(super) fn new(capacity: usize) -> Self {
        Self { recent: Vec::new(), next: 0, sorted: Vec::new(), capacity }
    }

    /// The probability that a value is at least as large, by the values so far; 1 where they are too few.
    ///
    /// Peaks over threshold: beyond the 98th percentile, the distances to it are taken for exponential. Source: Siffer,
    /// Fouque, Termier and Largouët, "Anomaly detection in streams with extreme value theory", KDD 2017, with the
    /// shape of the generalized Pareto distribution fixed at zero.
    pub(super) fn probability(&self, value: f64) -> f64 {
        let count = self.sorted.len();
        if count < FEWEST {
            return 1.0;
        }
        let below = self.sorted.partition_point(|other| *other < value);
        let body = ((count as f64) * BODY) as usize;
        let threshold = self.sorted[body.min(count - 1)];
        if value <= threshold {
            return ((count - below) as f64 + 1.0) / (count as f64 + 1.0);
        }
        let beyond = &self.sorted[body..];
        let excess =
            beyond.iter().map(|other| other - threshold).sum::<f64>() / beyond.len() as f64;
        // Values that are all alike have no tail: whatever is beyond them was never seen.
        let excess = excess.max(threshold.abs() * 1e-3).max(f64::MIN_POSITIVE);
        ((1.0 - BODY) * (-(value - threshold) / excess).exp()).max(RAREST)
    }

    /// Adds a finite value; the oldest one is forgotten when there are too many.
    pub(super) fn add(&mut self, value: f64) {
        let place = |sorted: &[f64], value: f64| sorted.partition_point(|other| *other < value);
        if self.recent.len() < self.capacity {
            self.recent.push(value);
        } else {
            let oldest = std::mem::replace(&mut self.recent[self.next], value);
            let at = place(&self.sorted, oldest);
            self.sorted.remove(at);
            self.next = (self.next + 1) % self.capacity;
        }
        self.sorted.insert(place(&self.sorted, value), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_as_rare_as_those_that_are_larger() {
        let mut tail = Tail::new(1_000);
        assert_eq!(tail.probability(1e9), 1.0);
        for value in 0..1_000 {
            tail.add(f64::from(value));
        }
        assert!((tail.probability(500.0) - 0.5).abs() < 0.01);
        assert!((tail.probability(900.0) - 0.1).abs() < 0.01);
        let (near, far) = (tail.probability(1_000.0), tail.probability(1_100.0));
        assert!(near < 0.02 && far < near && far >= RAREST, "{near} {far}");
        assert_eq!(tail.probability(1e12), RAREST);
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let mut tail = Tail::new(100);
        for value in (0..100).map(|_| 1_000.0).chain((0..100).map(f64::from)) {
            tail.add(value);
        }
        assert_eq!((tail.recent.len(), tail.sorted.len()), (100, 100));
        assert!(tail.probability(1_000.0) < 1e-3);
        assert!(tail.sorted.is_sorted());
    }

    #[test]
    fn values_that_are_all_alike_have_no_tail() {
        let mut tail = Tail::new(100);
        (0..100).for_each(|_| tail.add(0.0));
        assert!(tail.probability(0.0) > 0.9);
        assert_eq!(tail.probability(0.1), RAREST);
    }
}
