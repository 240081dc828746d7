//! Ridge, least squares and Theta beside scikit-learn and statsforecast: `fixtures/agreement.py` says what those say.

use ndarray::{Array1, Array2};
use serde::Deserialize;

use super::{ridge, theta::Theta};
use crate::{Model, Seasonality};

#[derive(Deserialize)]
struct Agreement {
    regressions: Vec<Regression>,
    theta: Vec<Series>,
}

#[derive(Deserialize)]
struct Regression {
    x: Vec<Vec<f64>>,
    y: Vec<f64>,
    penalty: f64,
    weights: Vec<f64>,
}

#[derive(Deserialize)]
struct Series {
    values: Vec<f64>,
    season: usize,
    ahead: Vec<f64>,
}

fn read() -> Agreement {
    serde_json::from_str(include_str!("../../fixtures/agreement.json")).unwrap()
}

#[test]
fn weights_are_those_of_scikit_learn() {
    for Regression { x, y, penalty, weights } in read().regressions {
        let x = Array2::from_shape_fn((x.len(), x[0].len()), |(row, column)| x[row][column]);
        let y = Array1::from(y);
        let gram = x.t().dot(&x);
        let moments = x.t().dot(&y).insert_axis(ndarray::Axis(1));
        // Theirs is a number, ours a part of the mean diagonal.
        let part = penalty / gram.diag().mean().unwrap();
        let found = ridge::solve(gram, &moments, part).unwrap();
        for (found, expected) in found.iter().zip(&weights) {
            assert!(
                (found - expected).abs() < 1e-9 * expected.abs().max(1.0),
                "{found} {expected}"
            );
        }
    }
}

#[test]
fn theta_is_that_of_statsforecast() {
    for Series { values, season, ahead } in read().theta {
        let fitted = Theta.fit(&values, Seasonality::new(season), ahead.len()).unwrap();
        let found = fitted.predict(&values, ahead.len());
        // The same to the last digits, but where their search for the weight of smoothing ends elsewhere.
        for (found, expected) in found.iter().zip(&ahead) {
            assert!((found / expected - 1.0).abs() < 0.002, "{season}: {found} {expected}");
        }
    }
}
