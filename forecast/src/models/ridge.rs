//! Ridge regression from its normal equations.

use ndarray::Array2;

use crate::Error;

/// Solves `(G + kI) W = M` for the Gram matrix `G = XᵀX` and the moments `M = XᵀY` of one or more
/// targets, with `k` = `penalty` times the mean diagonal of `G`. Only the lower half of `G` is read.
///
/// One Cholesky decomposition answers all targets. The coordinate descent of `linfa-elasticnet`
/// converges slowly on lags, which are all alike, and the decomposition of `linfa-linalg` adds one
/// product at a time: for a window of 168 values it takes three times as long as this one.
pub(super) fn solve(
    gram: Array2<f64>,
    moments: &Array2<f64>,
    penalty: f64,
) -> Result<Array2<f64>, Error> {
    let columns = gram.nrows();
    let spread = gram.diag().mean().unwrap_or(0.0);
    if spread < f64::EPSILON {
        // Nothing varies: there is no shape to learn.
        return Ok(Array2::zeros(moments.dim()));
    }
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(columns);
    for (index, row) in gram.rows().into_iter().enumerate() {
        let mut factor: Vec<f64> = row.iter().take(index + 1).copied().collect();
        factor[index] += penalty * spread;
        for column in 0..index {
            let known = dot(&factor[..column], &rows[column][..column]);
            factor[column] = (factor[column] - known) / rows[column][column];
        }
        let square = factor[index] - dot(&factor[..index], &factor[..index]);
        if square <= 0.0 || !square.is_finite() {
            return Err(Error::Unsolvable { columns });
        }
        factor[index] = square.sqrt();
        rows.push(factor);
    }
    let mut solved: Vec<Vec<f64>> = moments.rows().into_iter().map(|row| row.to_vec()).collect();
    for (index, row) in rows.iter().enumerate() {
        let (above, rest) = solved.split_at_mut(index);
        for (weight, other) in row.iter().zip(above.iter()) {
            add(&mut rest[0], -weight, other);
        }
        rest[0].iter_mut().for_each(|value| *value /= row[index]);
    }
    for (index, row) in rows.iter().enumerate().rev() {
        let (above, rest) = solved.split_at_mut(index);
        rest[0].iter_mut().for_each(|value| *value /= row[index]);
        for (weight, other) in row.iter().zip(above.iter_mut()) {
            add(other, -weight, &rest[0]);
        }
    }
    Ok(Array2::from_shape_fn(moments.dim(), |(row, column)| solved[row][column]))
}

/// The sum of products, in eight parts at once.
pub(super) fn dot(left: &[f64], right: &[f64]) -> f64 {
    let (lefts, rights) = (left.chunks_exact(8), right.chunks_exact(8));
    let rest: f64 = lefts.remainder().iter().zip(rights.remainder()).map(|(a, b)| a * b).sum();
    let mut sums = [0.0; 8];
    for (left, right) in lefts.zip(rights) {
        for (sum, (a, b)) in sums.iter_mut().zip(left.iter().zip(right)) {
            *sum += a * b;
        }
    }
    rest + sums.iter().sum::<f64>()
}

fn add(to: &mut [f64], factor: f64, values: &[f64]) {
    to.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::solve;

    #[test]
    fn ridge_matches_a_full_rank_golden() {
        // By Cramer's rule, and as Ridge(alpha = 0.003, fit_intercept = False) minimizes it:
        // [[4.003, 1], [1, 2.003]] w = [9, 5], with determinant 7.018009.
        let weights = solve(array![[4.0, 9.9], [1.0, 2.0]], &array![[9.0], [5.0]], 1e-3).unwrap();
        assert!((weights[(0, 0)] - 13.027 / 7.018009).abs() < 1e-12, "{weights:?}");
        assert!((weights[(1, 0)] - 11.015 / 7.018009).abs() < 1e-12, "{weights:?}");
    }

    #[test]
    fn what_does_not_vary_has_no_weights() {
        let weights = solve(array![[0.0, 0.0], [0.0, 0.0]], &array![[0.0], [0.0]], 1e-3).unwrap();
        assert_eq!(weights, array![[0.0], [0.0]]);
    }
}
