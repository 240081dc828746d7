//! How good probabilities are.

/// What probabilities are worth, beside what happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    /// The probability that one who left has a higher probability than one who stayed; 0.5 says nothing.
    pub auc: f64,
    /// The mean squared error.
    pub brier: f64,
    /// The mean difference between a probability and the share that left, over ten groups of the same size.
    pub ece: f64,
    /// How many times more left among the tenth with the highest probabilities than among all.
    pub lift: f64,
}

/// Groups of the calibration error.
const GROUPS: usize = 10;

impl Scores {
    /// Of probabilities and of what happened, in the same order.
    #[must_use]
    pub fn of(probabilities: &[f64], left: &[bool]) -> Self {
        let count = probabilities.len().min(left.len());
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]));
        let happened = |row: usize| f64::from(u8::from(left[row]));
        let positives: f64 = (0..count).map(happened).sum();
        let negatives = count as f64 - positives;
        // Ties share the mean of their ranks.
        let (mut ranks, mut first) = (0.0, 0);
        while first < count {
            let value = probabilities[order[first]];
            let same =
                order[first..].iter().take_while(|row| probabilities[**row] == value).count();
            let rank = first as f64 + (same as f64 + 1.0) / 2.0;
            ranks +=
                order[first..first + same].iter().map(|row| happened(*row) * rank).sum::<f64>();
            first += same;
        }
        let auc = (ranks - positives * (positives + 1.0) / 2.0) / (positives * negatives);
        let squares = |row: usize| (probabilities[row] - happened(row)).powi(2);
        let brier = (0..count).map(squares).sum::<f64>() / count as f64;
        let group = |number: usize| &order[number * count / GROUPS..(number + 1) * count / GROUPS];
        let off = |rows: &[usize]| {
            rows.iter().map(|row| probabilities[*row] - happened(*row)).sum::<f64>().abs()
        };
        let ece = (0..GROUPS).map(|number| off(group(number))).sum::<f64>() / count as f64;
        let top = group(GROUPS - 1);
        let share = top.iter().map(|row| happened(*row)).sum::<f64>() / top.len().max(1) as f64;
        Self { auc, brier, ece, lift: share / (positives / count as f64) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfect_and_useless_probabilities_have_their_scores() {
        let left: Vec<bool> = (0..100).map(|row| row >= 80).collect();
        let perfect: Vec<f64> = left.iter().map(|left| f64::from(u8::from(*left))).collect();
        let scores = Scores::of(&perfect, &left);
        assert_eq!((scores.auc, scores.brier, scores.ece, scores.lift), (1.0, 0.0, 0.0, 5.0));
        let same = Scores::of(&[0.2; 100], &left);
        assert!((same.auc - 0.5).abs() < 1e-12 && (same.brier - 0.16).abs() < 1e-12, "{same:?}");
    }

    #[test]
    fn ties_count_half() {
        let scores = Scores::of(&[0.1, 0.5, 0.5, 0.9], &[false, true, false, true]);
        assert!((scores.auc - 0.875).abs() < 1e-12, "{scores:?}");
    }
}
