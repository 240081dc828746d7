//! Values that are not learned from.

/// A value so many times farther off than usual is an outlier.
const FAR: f64 = 8.0;
/// If it is also beyond all earlier values, by this part of their range.
const BEYOND: f64 = 0.5;
/// Earlier values of the same phase that say what is usual.
const EARLIER: usize = 7;
const EARLIER_MIN: usize = 4;
/// More outliers in a row are a new level.
const RUN: usize = 3;
/// The standard deviation of a normal distribution over its median absolute deviation.
const NORMAL: f64 = 1.4826;

/// The values with outliers replaced by the median of their phase, and where those were.
///
/// An outlier is farther from the median of the seven values before it of the same phase than eight times their spread, and
/// than eight times the usual change from one season to the next (a Hampel filter), and it is beyond all earlier values by
/// half their range: without that, too much is taken for an outlier where values are zero most of the time. More than three
/// in a row are no outliers but a new level. Only earlier values decide, so that a backtest never sees what came later.
pub(crate) fn without_outliers(values: &[f64], season: usize) -> (Vec<f64>, Vec<usize>) {
    let mut cleaned = values.to_vec();
    let (mut found, mut run) = (Vec::new(), 0);
    // The changes from one season to the next, ascending.
    let mut changes: Vec<f64> = Vec::new();
    let (mut low, mut high) = range(&values[..season.min(values.len())]);
    for step in season..values.len() {
        let change = (cleaned[step] - cleaned[step - season]).abs();
        let mut earlier: Vec<f64> = (1..=EARLIER)
            .map_while(|back| step.checked_sub(back * season))
            .map(|at| cleaned[at])
            .collect();
        if earlier.len() >= EARLIER_MIN {
            let usual = median(&mut earlier);
            earlier.iter_mut().for_each(|value| *value = (*value - usual).abs());
            let spread = (NORMAL * median(&mut earlier)).max(changes[changes.len() / 2]);
            let off = (values[step] - usual).abs();
            // What is almost always the same has no spread, and any change of it is news.
            let beyond = (values[step] - high).max(low - values[step]);
            let is_beyond = beyond > BEYOND * (high - low);
            if is_beyond && spread > 1e-9 * usual.abs() && off > FAR * spread {
                found.push(step);
                run += 1;
                if run <= RUN {
                    cleaned[step] = usual;
                    continue;
                }
                let first = step + 1 - run;
                cleaned[first..=step].copy_from_slice(&values[first..=step]);
                let (lowest, highest) = range(&values[first..=step]);
                (low, high) = (low.min(lowest), high.max(highest));
                found.truncate(found.len() - run);
                run = 0;
            } else {
                run = 0;
            }
        }
        (low, high) = (low.min(values[step]), high.max(values[step]));
        let place = changes.partition_point(|known| *known < change);
        changes.insert(place, change);
    }
    (cleaned, found)
}

fn range(values: &[f64]) -> (f64, f64) {
    let ends = (f64::INFINITY, f64::NEG_INFINITY);
    values.iter().fold(ends, |(low, high), value| (low.min(*value), high.max(*value)))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        (values[middle - 1] + values[middle]) / 2.0
    } else {
        values[middle]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weekly(days: usize) -> Vec<f64> {
        let week = [50.0, 55.0, 60.0, 52.0, 48.0, 20.0, 15.0];
        (0..days).map(|day| week[day % 7] + (day * 37 % 11) as f64).collect()
    }

    #[test]
    fn a_spike_is_left_out_and_a_new_level_is_not() {
        let mut values = weekly(80);
        assert_eq!(without_outliers(&values, 7), (values.clone(), vec![]));
        values[60] = 1_200.0;
        values[79] = 0.0 - 400.0;
        let (cleaned, found) = without_outliers(&values, 7);
        assert_eq!(found, [60, 79]);
        assert!(cleaned[60] < 80.0 && cleaned[79] > 0.0, "{cleaned:?}");

        let mut higher = weekly(80);
        higher[50..].iter_mut().for_each(|value| *value += 900.0);
        assert_eq!(without_outliers(&higher, 7), (higher.clone(), vec![]));
    }

    #[test]
    fn what_hardly_ever_changes_has_no_outliers() {
        let mut values = vec![7.0; 50];
        values[30] = 9.0;
        assert_eq!(without_outliers(&values, 7), (values.clone(), vec![]));
        assert_eq!(without_outliers(&[1.0, 2.0], 7), (vec![1.0, 2.0], vec![]));
        let line: Vec<f64> = (0..60).map(|step| f64::from(step) * 3.0).collect();
        assert_eq!(without_outliers(&line, 1).1, [0_usize; 0]);
    }
}
