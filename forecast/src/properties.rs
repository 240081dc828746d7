//! What must hold for every history.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::{Forecast, LagRidge, Model, SeasonalNaive, Seasonality, Series, forecast};

const SEASON: usize = 7;

fn history() -> impl Strategy<Value = Vec<f64>> {
    let sizes = prop_oneof![Just(0.0..1.0), Just(0.0..1e9), Just(-1e4..1e4)];
    sizes.prop_flat_map(|size| vec(size, 40..90))
}

fn ahead(values: &[f64], horizon: usize) -> Forecast {
    let series = Series::new(values.to_vec(), SEASON).unwrap();
    forecast(&series, horizon, &[0.95, 0.5, 0.8]).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_seasonal_naive_scales_with_its_history(values in history(), power in -20..20_i32) {
        // A power of two, so that no product is rounded.
        let factor = 2.0_f64.powi(power);
        let scaled: Vec<f64> = values.iter().map(|value| value * factor).collect();
        let predict = |values: &[f64]| SeasonalNaive.fit(values, Seasonality::new(SEASON), 20).unwrap().predict(values, 20);
        let expected: Vec<f64> = predict(&values).iter().map(|value| value * factor).collect();
        prop_assert_eq!(predict(&scaled), expected);
    }

    #[test]
    fn the_lag_ridge_scales_with_its_history(values in history(), factor in 1e-3..1e3_f64) {
        let scaled: Vec<f64> = values.iter().map(|value| value * factor).collect();
        let predict = |values: &[f64]| LagRidge::LOGARITHMIC.fit(values, Seasonality::new(SEASON), 10).unwrap().predict(values, 10);
        let size = values.iter().fold(0.0_f64, |size, value| size.max(value.abs())) * factor;
        for (got, expected) in predict(&scaled).iter().zip(predict(&values)) {
            prop_assert!((got - expected * factor).abs() <= 1e-6 * size);
        }
    }

    #[test]
    fn intervals_are_nested_around_the_value(values in history(), horizon in 1..15_usize) {
        let ahead = ahead(&values, horizon);
        prop_assert_eq!(ahead.points.len(), horizon);
        for point in &ahead.points {
            let levels: Vec<f64> = point.intervals.iter().map(|interval| interval.level).collect();
            prop_assert_eq!(levels, [0.5, 0.8, 0.95]);
            prop_assert!(point.intervals[0].holds(point.value));
            for pair in point.intervals.windows(2) {
                prop_assert!(pair[0].lower >= pair[1].lower && pair[0].upper <= pair[1].upper);
            }
        }
    }

    #[test]
    fn widths_never_shrink(values in history(), horizon in 2..15_usize) {
        // Above the value only: the lower end may have met zero.
        let ahead = ahead(&values, horizon);
        let width = |index: usize, level: usize| {
            let point = &ahead.points[index];
            point.intervals[level].upper - point.value
        };
        let slack = values.iter().fold(0.0_f64, |size, value| size.max(value.abs())) * 1e-12;
        for (index, level) in (1..horizon).flat_map(|index| (0..3).map(move |level| (index, level))) {
            prop_assert!(width(index, level) >= width(index - 1, level) - slack);
        }
    }

    #[test]
    fn forecasts_are_believable(values in history(), horizon in 1..40_usize) {
        let most = values.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        let positive = values.iter().all(|&value| value >= 0.0);
        prop_assume!(values.len() >= horizon + 17);
        for point in ahead(&values, horizon).points {
            prop_assert!(point.value.abs() <= 3.0 * most);
            prop_assert!(!positive || point.intervals.iter().all(|interval| interval.lower >= 0.0));
        }
    }

    #[test]
    fn the_same_history_gives_the_same_bits(values in history()) {
        let bits = |forecast: Forecast| -> Vec<u64> {
            let points = forecast.points.into_iter();
            points.flat_map(|point| {
                let ends = point.intervals.into_iter().flat_map(|ends| [ends.lower, ends.upper]);
                ends.chain([point.value]).map(f64::to_bits).collect::<Vec<_>>()
            }).collect()
        };
        prop_assert_eq!(bits(ahead(&values, 7)), bits(ahead(&values, 7)));
    }
}
