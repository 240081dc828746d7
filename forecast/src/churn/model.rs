//! A model of who leaves.

use linfa::{Dataset, traits::Fit};
use linfa_logistic::{FittedLogisticRegression, LogisticRegression};
use ndarray::Array1;

use super::encoder::{Encoder, Table};

/// Why there is no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChurnError {
    /// Too few rows of one kind.
    #[error("{what} rows {kind}, and {needed} are needed")]
    TooFew {
        /// How many there are.
        what: usize,
        /// Which rows.
        kind: &'static str,
        /// How many there must be.
        needed: usize,
    },
    /// The columns and the target have different lengths, or there is no column.
    #[error("the table has no columns, or its columns have different lengths")]
    Shape,
    /// The optimizer gave up.
    #[error("the regression cannot be solved: {0}")]
    Unsolvable(String),
}

/// Fewer that left say nothing.
pub const LEFT_MIN: usize = 50;
/// The strength of the penalty where there are too few rows to choose one.
pub const PENALTY: f64 = 20.0;
/// Strengths of the penalty that are tried.
const PENALTIES: [f64; 4] = [5.0, 20.0, 80.0, 320.0];
const ITERATIONS: u64 = 200;
const TOLERANCE: f64 = 1e-3;

/// A model that was trained on some rows.
#[derive(Debug)]
pub struct ChurnModel {
    encoder: Encoder,
    fitted: FittedLogisticRegression<f64, bool>,
}

/// What a model says of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// From 0 to 1.
    pub probability: f64,
    /// The columns of the table with what each adds to the logarithm of the odds, the largest first.
    pub reasons: Vec<(usize, f64)>,
}

impl ChurnModel {
    /// Learns from some rows of a table.
    ///
    /// # Errors
    /// [`ChurnError`].
    pub fn fit(
        table: &Table,
        left: &[bool],
        rows: &[usize],
        penalty: f64,
    ) -> Result<Self, ChurnError> {
        if table.columns.is_empty() || table.rows() != left.len() {
            return Err(ChurnError::Shape);
        }
        let encoder = Encoder::learn(table, rows);
        let target: Array1<bool> = rows.iter().map(|row| left[*row]).collect();
        let dataset = Dataset::new(encoder.matrix(table, rows), target);
        let fitted = LogisticRegression::default()
            .alpha(penalty)
            .max_iterations(ITERATIONS)
            .gradient_tolerance(TOLERANCE)
            .fit(&dataset)
            .map_err(|error| ChurnError::Unsolvable(error.to_string()))?;
        Ok(Self { encoder, fitted })
    }

    /// What it says of some rows.
    #[must_use]
    pub fn predict(&self, table: &Table, rows: &[usize]) -> Vec<Prediction> {
        let matrix = self.encoder.matrix(table, rows);
        // Which of both classes the weights speak for is the library's choice.
        let sign = if self.fitted.labels().pos.class { 1.0 } else { -1.0 };
        let weights = self.fitted.params();
        let columns: Vec<usize> = self.encoder.columns().collect();
        let of_row = |row: ndarray::ArrayView1<'_, f64>| {
            let mut odds = self.fitted.intercept() * sign;
            let mut reasons = vec![0.0; table.columns.len()];
            for ((value, weight), column) in row.iter().zip(weights).zip(&columns) {
                let part = sign * value * weight;
                odds += part;
                reasons[*column] += part;
            }
            let mut reasons: Vec<(usize, f64)> = reasons.into_iter().enumerate().collect();
            reasons.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
            Prediction { probability: 1.0 / (1.0 + (-odds).exp()), reasons }
        };
        matrix.rows().into_iter().map(of_row).collect()
    }
}

/// The prediction of each row, by a model that was trained on the other folds. Each fold has its share of those who left.
/// The penalty is the one that does best on a fifth of the first training rows. `order` says how rows are dealt.
///
/// # Errors
/// [`ChurnError::TooFew`] below 50 that left or stayed, and those of [`ChurnModel::fit`].
pub fn out_of_fold(
    table: &Table,
    left: &[bool],
    folds: usize,
    order: u64,
) -> Result<Vec<Prediction>, ChurnError> {
    if table.columns.is_empty() || table.rows() != left.len() {
        return Err(ChurnError::Shape);
    }
    let count = left.iter().filter(|left| **left).count();
    for (what, kind) in [(count, "left"), (left.len() - count, "stayed")] {
        if what < LEFT_MIN {
            return Err(ChurnError::TooFew { what, kind, needed: LEFT_MIN });
        }
    }
    let fold_of = folds_of(left, folds.max(2), order);
    let rows_of = |fold: usize, inside: bool| -> Vec<usize> {
        (0..left.len()).filter(|row| (fold_of[*row] == fold) == inside).collect()
    };
    let mut predictions: Vec<Option<Prediction>> = vec![None; left.len()];
    let mut penalty = None;
    for fold in 0..folds.max(2) {
        let (train, test) = (rows_of(fold, false), rows_of(fold, true));
        let penalty = match penalty {
            Some(penalty) => penalty,
            None => *penalty.insert(penalty_of(table, left, &train)?),
        };
        let model = ChurnModel::fit(table, left, &train, penalty)?;
        for (row, prediction) in test.iter().zip(model.predict(table, &test)) {
            predictions[*row] = Some(prediction);
        }
    }
    Ok(predictions.into_iter().flatten().collect())
}

/// The penalty that does best on a fifth of these rows, by models of the other rows.
///
/// # Errors
/// Those of [`ChurnModel::fit`].
pub fn penalty_of(table: &Table, left: &[bool], rows: &[usize]) -> Result<f64, ChurnError> {
    let of_rows: Vec<bool> = rows.iter().map(|row| left[*row]).collect();
    let inner = folds_of(&of_rows, 5, 0);
    let part = |inside: bool| -> Vec<usize> {
        rows.iter()
            .zip(&inner)
            .filter(|(_, fold)| (**fold == 0) == inside)
            .map(|(row, _)| *row)
            .collect()
    };
    let (train, test) = (part(false), part(true));
    let mut best = (f64::INFINITY, PENALTIES[0]);
    for penalty in PENALTIES {
        let model = ChurnModel::fit(table, left, &train, penalty)?;
        let loss: f64 = model
            .predict(table, &test)
            .iter()
            .zip(&test)
            .map(|(prediction, row)| {
                let probability = prediction.probability.clamp(1e-9, 1.0 - 1e-9);
                -(if left[*row] { probability } else { 1.0 - probability }).ln()
            })
            .sum();
        if loss < best.0 {
            best = (loss, penalty);
        }
    }
    Ok(best.1)
}

/// The fold of each row: those who left, and those who stayed, are dealt in an order that is always the same.
fn folds_of(left: &[bool], folds: usize, order: u64) -> Vec<usize> {
    let mut fold_of = vec![0; left.len()];
    for kind in [false, true] {
        let mut rows: Vec<usize> = (0..left.len()).filter(|row| left[*row] == kind).collect();
        rows.sort_by_key(|row| mixed(mixed(order) ^ *row as u64));
        for (place, row) in rows.into_iter().enumerate() {
            fold_of[row] = place % folds;
        }
    }
    fold_of
}

/// The finalizer of SplitMix64.
fn mixed(number: u64) -> u64 {
    let mut state = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::churn::{Column, Scores};

    /// The young on a monthly contract leave; a column of noise does not matter.
    fn made_up(rows: usize) -> (Table, Vec<bool>) {
        let share = |row: usize, salt: u64| {
            (mixed(row as u64 * 31 + salt) >> 11) as f64 / (1_u64 << 53) as f64
        };
        let age: Vec<f64> = (0..rows).map(|row| (share(row, 1) * 60.0).floor()).collect();
        let monthly: Vec<bool> = (0..rows).map(|row| share(row, 2) < 0.5).collect();
        let left = (0..rows)
            .map(|row| {
                let odds = if monthly[row] && age[row] < 20.0 { 1.5 } else { -2.5 };
                share(row, 3) < 1.0 / (1.0 + f64::exp(-odds))
            })
            .collect();
        let contract = monthly.iter().map(|monthly| if *monthly { "monthly" } else { "yearly" });
        let table = Table {
            names: vec!["age".into(), "contract".into(), "noise".into()],
            columns: vec![
                Column::Number(age),
                Column::Category(contract.map(str::to_owned).collect()),
                Column::Number((0..rows).map(|row| share(row, 4)).collect()),
            ],
        };
        (table, left)
    }

    #[test]
    fn who_leaves_is_known_with_reasons_that_add_up() {
        let (table, left) = made_up(2_000);
        let predictions = out_of_fold(&table, &left, 5, 0).unwrap();
        let probabilities: Vec<f64> = predictions.iter().map(|one| one.probability).collect();
        let scores = Scores::of(&probabilities, &left);
        assert!(scores.auc > 0.8 && scores.ece < 0.06 && scores.lift > 2.0, "{scores:?}");
        let noise: f64 = predictions
            .iter()
            .map(|one| one.reasons.iter().find(|(column, _)| *column == 2).unwrap().1.abs())
            .sum();
        let age: f64 = predictions
            .iter()
            .map(|one| one.reasons.iter().find(|(column, _)| *column == 0).unwrap().1.abs())
            .sum();
        assert!(noise * 3.0 < age, "{noise} {age}");
        assert_eq!(out_of_fold(&table, &left, 5, 0).unwrap(), predictions, "the same each time");
    }

    #[test]
    fn odd_tables_are_refused_or_survived() {
        let (table, _) = made_up(200);
        let few: Vec<bool> = (0..200).map(|row| row < 10).collect();
        assert_eq!(
            out_of_fold(&table, &few, 5, 0),
            Err(ChurnError::TooFew { what: 10, kind: "left", needed: LEFT_MIN })
        );
        assert_eq!(out_of_fold(&table, &[true], 5, 0), Err(ChurnError::Shape));
        assert_eq!(out_of_fold(&Table::default(), &[], 5, 0), Err(ChurnError::Shape));
        let left: Vec<bool> = (0..200).map(|row| row % 2 == 0).collect();
        let odd = Table {
            names: vec!["a".into(), "b".into(), "c".into()],
            columns: vec![
                Column::Number(
                    (0..200).map(|row| if row % 3 == 0 { f64::NAN } else { 1e300 }).collect(),
                ),
                Column::Number(vec![f64::NAN; 200]),
                Column::Category((0..200).map(|row| row.to_string()).collect()),
            ],
        };
        for prediction in out_of_fold(&odd, &left, 5, 0).unwrap() {
            assert!((0.0..=1.0).contains(&prediction.probability), "{prediction:?}");
        }
    }
}
