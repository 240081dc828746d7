//! What explains a change: which values of which dimension.
//!
//! The parts of a dimension add up to the whole before, and after. [`explain`] finds the dimension whose few parts explain
//! most of the change and changed their share most. Source: Bhagwan et al., "Adtributor: revenue debugging in advertising
//! systems", NSDI 2014.

/// A value of a dimension, before and after.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The value; none of what has none.
    pub name: Option<String>,
    /// The amount before.
    pub before: f64,
    /// The amount after.
    pub after: f64,
}

/// What explains a change.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// The whole moved: the parts of every dimension moved alike.
    Everywhere,
    /// These parts of a dimension.
    In {
        /// The place of the dimension.
        dimension: usize,
        /// The places of its parts, the most surprising first.
        parts: Vec<usize>,
        /// Their share of the change: 1 is all of it. It may be more, where others moved the other way.
        share: f64,
    },
}

/// The parts together explain so much of the change.
const EXPLAINED: f64 = 0.67;
/// A part that explains less is no part of the cause.
const EACH: f64 = 0.1;
/// A cause has few parts.
const PARTS: usize = 5;
/// Where the others moved by this share of how the cause moved, all moved.
const ALIKE: f64 = 0.5;

/// A cause that had so much of the whole is the whole.
const NEARLY_ALL: f64 = 0.8;

/// Finds the cause of a change; none where nothing changed.
#[must_use]
pub fn explain(dimensions: &[Vec<Part>]) -> Option<Cause> {
    let totals = |parts: &[Part]| {
        parts
            .iter()
            .fold((0.0, 0.0), |(before, after), part| (before + part.before, after + part.after))
    };
    let (before, after) = totals(dimensions.first()?);
    let change = after - before;
    if !change.is_finite() || change == 0.0 {
        return None;
    }
    let mut best: Option<(f64, Cause)> = None;
    for (dimension, parts) in dimensions.iter().enumerate() {
        let mut order: Vec<(usize, f64)> = parts
            .iter()
            .enumerate()
            .map(|(place, part)| (place, surprise(part.before / before, part.after / after)))
            .collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        let (mut chosen, mut share, mut surprising) = (Vec::new(), 0.0, 0.0);
        for (place, surprise) in order {
            let of_part = (parts[place].after - parts[place].before) / change;
            if of_part < EACH || share >= EXPLAINED || chosen.len() == PARTS {
                continue;
            }
            chosen.push(place);
            share += of_part;
            surprising += surprise;
        }
        if share < EXPLAINED || is_everywhere(parts, &chosen) {
            continue;
        }
        // Of dimensions that say the same, the one with fewer parts says it best.
        let merit = surprising / chosen.len() as f64;
        if best.as_ref().is_none_or(|(other, _)| merit > *other * (1.0 + 1e-9)) {
            best = Some((merit, Cause::In { dimension, parts: chosen, share }));
        }
    }
    Some(best.map_or(Cause::Everywhere, |(_, cause)| cause))
}

/// Whether the other parts moved as these did.
fn is_everywhere(parts: &[Part], chosen: &[usize]) -> bool {
    let moved = |of_chosen: bool| {
        let these = parts.iter().enumerate().filter(|(n, _)| chosen.contains(n) == of_chosen);
        let (before, after) =
            these.fold((0.0, 0.0), |(b, a), (_, part)| (b + part.before, a + part.after));
        // What was not there before has grown from nothing.
        if before == 0.0 {
            if after == 0.0 { 0.0 } else { f64::INFINITY }
        } else {
            after / before - 1.0
        }
    };
    if chosen.len() == parts.len() && parts.len() > 1 {
        return true;
    }
    let (all, of_chosen) = parts.iter().enumerate().fold((0.0, 0.0), |(all, some), (n, part)| {
        (all + part.before, some + if chosen.contains(&n) { part.before } else { 0.0 })
    });
    // A value that nearly everything has says nothing.
    if parts.len() > 1 && of_chosen >= NEARLY_ALL * all && all > 0.0 {
        return true;
    }
    let (cause, others) = (moved(true), moved(false));
    cause.is_finite() && cause.signum() == others.signum() && others.abs() >= ALIKE * cause.abs()
}

/// How much a share differs from what it was: its part of the Jensen-Shannon divergence.
fn surprise(before: f64, after: f64) -> f64 {
    let middle = f64::midpoint(before, after);
    let half = |share: f64| {
        if share > 0.0 && middle > 0.0 { 0.5 * share * (share / middle).ln() } else { 0.0 }
    };
    half(before) + half(after)
}

/// A value of a dimension of what is divided: the sum above and the sum below the line, before and after.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RatioPart {
    /// Numerator and denominator before.
    pub before: (f64, f64),
    /// Numerator and denominator after.
    pub after: (f64, f64),
}

/// What a part adds to the change of a ratio. All parts together are the change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RatioEffect {
    /// Since it has another share of the whole than before.
    pub mix: f64,
    /// Since its own ratio is another one.
    pub rate: f64,
}

/// Divides the change of a ratio among its parts: by the mean share, and the mean ratio. A part that was not there has the
/// ratio that it has.
#[must_use]
pub fn ratio_effects(parts: &[RatioPart]) -> Vec<RatioEffect> {
    let sum = |of: fn(&RatioPart) -> (f64, f64)| {
        parts.iter().map(of).fold((0.0, 0.0), |(n, d), (a, b)| (n + a, d + b))
    };
    let (before, after) = (sum(|part| part.before), sum(|part| part.after));
    if before.1 == 0.0 || after.1 == 0.0 {
        return vec![RatioEffect { mix: 0.0, rate: 0.0 }; parts.len()];
    }
    let whole = f64::midpoint(before.0 / before.1, after.0 / after.1);
    let effect = |part: &RatioPart| {
        let shares = (part.before.1 / before.1, part.after.1 / after.1);
        let ratio = |(above, below): (f64, f64)| (below != 0.0).then(|| above / below);
        // What lies above the line without anything below it is a rate of its own.
        let (r0, r1) = (ratio(part.before), ratio(part.after));
        let (r0, r1) = (r0.or(r1).unwrap_or(0.0), r1.or(r0).unwrap_or(0.0));
        let exact = part.after.0 / after.1 - part.before.0 / before.1;
        let rate = f64::midpoint(shares.0, shares.1) * (r1 - r0);
        let mix = (f64::midpoint(r0, r1) - whole) * (shares.1 - shares.0);
        // The shares change by nothing together: what the whole ratio takes from the mix of each adds up to nothing.
        let moved = f64::midpoint(r0, r1) * (shares.1 - shares.0);
        RatioEffect { mix, rate: rate + (exact - rate - moved) }
    };
    parts.iter().map(effect).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(amounts: &[(f64, f64)]) -> Vec<Part> {
        let part = |(n, (before, after)): (usize, &(f64, f64))| Part {
            name: Some(format!("p{n}")),
            before: *before,
            after: *after,
        };
        amounts.iter().enumerate().map(part).collect()
    }

    #[test]
    fn the_dimension_with_one_part_that_moved_is_the_cause() {
        // By region everything moved a little; by model one did.
        let by_region = parts(&[(500.0, 400.0), (500.0, 395.0)]);
        let by_model = parts(&[(300.0, 95.0), (400.0, 402.0), (300.0, 298.0)]);
        let Some(Cause::In { dimension, parts, share }) = explain(&[by_region, by_model]) else {
            panic!("it is in one");
        };
        assert_eq!((dimension, parts), (1, vec![0]));
        assert!((share - 1.0).abs() < 0.01, "{share}");
    }

    #[test]
    fn what_moved_alike_is_everywhere() {
        let half = |amounts: &[f64]| {
            parts(&amounts.iter().map(|amount| (*amount, amount / 2.0)).collect::<Vec<_>>())
        };
        let dimensions = [half(&[900.0, 50.0, 50.0]), half(&[300.0, 700.0])];
        assert_eq!(explain(&dimensions), Some(Cause::Everywhere));
        assert_eq!(explain(&[parts(&[(1.0, 1.0)])]), None);
        assert_eq!(explain(&[]), None);
        assert_eq!(explain(&[parts(&[(1.0, f64::NAN)])]), None);
    }

    #[test]
    fn what_nearly_everything_has_is_everywhere() {
        let by_code = parts(&[(980.0, 100.0), (20.0, 20.0)]);
        let by_model = parts(&[(600.0, 70.0), (400.0, 50.0)]);
        assert_eq!(explain(&[by_code, by_model]), Some(Cause::Everywhere));
    }

    #[test]
    fn what_is_new_is_the_cause() {
        let Some(Cause::In { parts, .. }) = explain(&[parts(&[(100.0, 101.0), (0.0, 80.0)])])
        else {
            panic!("it is in one");
        };
        assert_eq!(parts, [1]);
    }

    #[test]
    fn effects_add_up_to_the_change_of_the_ratio() {
        let part =
            |n0: f64, d0: f64, n1: f64, d1: f64| RatioPart { before: (n0, d0), after: (n1, d1) };
        for parts in [
            vec![part(1.0, 100.0, 1.0, 100.0), part(5.0, 50.0, 10.0, 100.0)],
            vec![part(1.0, 100.0, 9.0, 100.0), part(5.0, 50.0, 5.0, 50.0)],
            vec![part(0.0, 0.0, 3.0, 10.0), part(5.0, 50.0, 0.0, 0.0), part(2.0, 0.0, 1.0, 7.0)],
        ] {
            let whole = |of: fn(&RatioPart) -> (f64, f64)| {
                let (n, d) = parts.iter().map(of).fold((0.0, 0.0), |(n, d), (a, b)| (n + a, d + b));
                n / d
            };
            let change = whole(|part| part.after) - whole(|part| part.before);
            let effects = ratio_effects(&parts);
            let sum: f64 = effects.iter().map(|effect| effect.mix + effect.rate).sum();
            assert!((sum - change).abs() < 1e-12, "{sum} {change} {effects:?}");
        }
        // The first only changed its share, the second only its ratio.
        let mix = ratio_effects(&[part(1.0, 100.0, 1.0, 100.0), part(5.0, 50.0, 10.0, 100.0)]);
        assert!(mix.iter().all(|effect| effect.rate.abs() < 1e-12), "{mix:?}");
        let rate = ratio_effects(&[part(1.0, 100.0, 9.0, 100.0), part(5.0, 50.0, 5.0, 50.0)]);
        assert!(rate.iter().all(|effect| effect.mix.abs() < 1e-12), "{rate:?}");
    }
}
