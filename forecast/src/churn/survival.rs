//! How long customers stay.

/// A step of a survival curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Survival {
    /// The age at which somebody left.
    pub age: f64,
    /// How many had that age or more.
    pub at_risk: usize,
    /// How many left at it.
    pub left: usize,
    /// The share that stays longer than it.
    pub share: f64,
    /// The standard error of the share, by Greenwood's formula.
    pub error: f64,
}

/// The Kaplan-Meier estimate: those who are still here count as long as they are known.
///
/// `ages` are how old each customer was when it left, or is now; `left` says which. A pair with an age that is not finite is
/// left out. Source: Kaplan and Meier, "Nonparametric estimation from incomplete observations", JASA 53 (1958).
#[must_use]
pub fn kaplan_meier(ages: &[f64], left: &[bool]) -> Vec<Survival> {
    let mut known: Vec<(f64, bool)> =
        ages.iter().copied().zip(left.iter().copied()).filter(|(age, _)| age.is_finite()).collect();
    known.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut share, mut variance, mut steps) = (1.0, 0.0, Vec::new());
    let mut first = 0;
    while first < known.len() {
        let age = known[first].0;
        let same = known[first..].iter().take_while(|(other, _)| *other == age).count();
        let gone = known[first..first + same].iter().filter(|(_, left)| *left).count();
        let at_risk = known.len() - first;
        if gone > 0 {
            let stay = at_risk - gone;
            share *= stay as f64 / at_risk as f64;
            variance += gone as f64 / (at_risk as f64 * stay.max(1) as f64);
            let error = share * f64::sqrt(variance);
            steps.push(Survival { age, at_risk, left: gone, share, error });
        }
        first += same;
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_the_textbook() {
        // Ages 6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+: the remissions of Freireich (1963), whose
        // estimate is printed in many textbooks.
        let ages = [
            6., 6., 6., 6., 7., 9., 10., 10., 11., 13., 16., 17., 19., 20., 22., 23., 25., 32.,
            32., 34., 35.,
        ];
        let left =
            [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0].map(|one| one == 1);
        let steps = kaplan_meier(&ages, &left);
        let shares: Vec<String> = steps.iter().map(|step| format!("{:.3}", step.share)).collect();
        assert_eq!(shares, ["0.857", "0.807", "0.753", "0.690", "0.627", "0.538", "0.448"]);
        assert_eq!(format!("{:.3}", steps[0].error), "0.076");
        assert_eq!((steps[0].at_risk, steps[0].left), (21, 3));
    }

    #[test]
    fn odd_input_is_survived() {
        assert_eq!(kaplan_meier(&[], &[]), []);
        assert_eq!(kaplan_meier(&[1.0, f64::NAN], &[false, true]), []);
        let all = kaplan_meier(&[1.0, 1.0], &[true, true]);
        assert_eq!((all.len(), all[0].share, all[0].error), (1, 0.0, 0.0));
    }
}
