//! Many series at once, in a `polars` frame.

use std::collections::BTreeMap;

use polars::prelude::{Column, DataFrame, PolarsError};

use crate::{Error, Forecast, Series, forecast};

/// Fewer rows than one per this many steps are not a series with gaps, but something else.
const SPARSEST: u64 = 10;

/// Forecasts every series of a panel in long form, one row per series and step.
///
/// Columns: `series` (string), `value` (f64, null and NaN mark a gap) and, optionally, `at` (i64).
/// Without `at`, rows are in the order of time. With it they may come in any order: it counts
/// steps, or any unit in which a step is always the same. The smallest difference within a series
/// is its step, and absent steps are gaps. Other columns are not read.
///
/// All series share `season`, `horizon` and `levels`, as in [`forecast`]. One that cannot be
/// forecast has its own error and does not spoil the others.
///
/// # Errors
/// [`Error::Column`] when a column is absent or of another type, [`Error::Missing`] when a row has
/// no `series` or no `at`. Per series: [`Error::Repeated`], [`Error::OffGrid`], [`Error::Sparse`],
/// and those of [`Series::new`] and [`forecast`].
pub fn forecast_panel(
    frame: &DataFrame,
    season: usize,
    horizon: usize,
    levels: &[f64],
) -> Result<BTreeMap<String, Result<Forecast, Error>>, Error> {
    let forecasts = split(frame)?.into_iter().map(|(name, rows)| {
        let forecast = rows
            .into_values()
            .and_then(|values| Series::new(values, season))
            .and_then(|series| forecast(&series, horizon, levels));
        (name, forecast)
    });
    Ok(forecasts.collect())
}

/// The rows of one series: their values, and their times when the panel has any.
#[derive(Default)]
struct Rows {
    values: Vec<f64>,
    at: Option<Vec<i64>>,
}

impl Rows {
    /// The values in the order of time, with NaN where a step is absent.
    fn into_values(self) -> Result<Vec<f64>, Error> {
        match self.at {
            Some(at) => on_grid(at.into_iter().zip(self.values).collect()),
            None => Ok(self.values),
        }
    }
}

/// The values of one series in the order of time, with NaN where a step is absent, and the length of a step.
///
/// # Errors
/// [`Error::Repeated`], [`Error::OffGrid`] and [`Error::Sparse`], as in [`forecast_panel`].
pub fn forecast_values(rows: Vec<(i64, f64)>) -> Result<(Vec<f64>, i64), Error> {
    let mut times: Vec<i64> = rows.iter().map(|row| row.0).collect();
    times.sort_unstable();
    let steps = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    let step = steps.min().unwrap_or(1);
    Ok((on_grid(rows)?, step))
}

fn on_grid(mut rows: Vec<(i64, f64)>) -> Result<Vec<f64>, Error> {
    rows.sort_by_key(|row| row.0);
    let steps = rows.windows(2).map(|pair| (pair[1].0.abs_diff(pair[0].0), pair[1].0));
    let Some((step, at)) = steps.min() else {
        return Ok(rows.into_iter().map(|row| row.1).collect());
    };
    if step == 0 {
        return Err(Error::Repeated { at });
    }
    let first = rows[0].0;
    let steps = rows[rows.len() - 1].0.abs_diff(first) / step;
    if steps / SPARSEST >= rows.len() as u64 {
        return Err(Error::Sparse { got: rows.len(), steps: steps.saturating_add(1) });
    }
    let mut values = vec![f64::NAN; steps as usize + 1];
    for (at, value) in rows {
        let offset = at.abs_diff(first);
        if offset % step != 0 {
            return Err(Error::OffGrid { at, step });
        }
        values[(offset / step) as usize] = value;
    }
    Ok(values)
}

/// Groups the rows by series. By hand: `polars` has no `group_by` without its default features.
fn split(frame: &DataFrame) -> Result<BTreeMap<String, Rows>, Error> {
    let names = column(frame, "series", Column::str)?;
    let values = column(frame, "value", Column::f64)?;
    let has_times = frame.columns().iter().any(|column| column.name() == "at");
    let times = if has_times { Some(column(frame, "at", Column::i64)?) } else { None };

    let mut panel: BTreeMap<String, Rows> = BTreeMap::new();
    for row in 0..frame.height() {
        let name = names.get(row).ok_or(Error::Missing { row, column: "series" })?;
        if !panel.contains_key(name) {
            panel.insert(name.to_owned(), Rows::default());
        }
        let Some(rows) = panel.get_mut(name) else { continue };
        rows.values.push(values.get(row).unwrap_or(f64::NAN));
        if let Some(times) = times {
            let at = times.get(row).ok_or(Error::Missing { row, column: "at" })?;
            rows.at.get_or_insert_default().push(at);
        }
    }
    Ok(panel)
}

fn column<'a, T>(
    frame: &'a DataFrame,
    name: &'static str,
    read: impl Fn(&'a Column) -> Result<&'a T, PolarsError>,
) -> Result<&'a T, Error> {
    frame.column(name).and_then(read).map_err(|source| Error::Column { column: name, source })
}

#[cfg(test)]
mod tests {
    use polars::prelude::{Column, DataFrame, NamedFrom, Series as PolarsSeries};

    use super::{forecast_panel, on_grid};
    use crate::{Error, Series, forecast};

    fn column<T, Data: AsRef<[T]>>(name: &str, data: Data) -> Column
    where
        PolarsSeries: NamedFrom<Data, [T]>,
    {
        PolarsSeries::new(name.into(), data).into()
    }

    fn weekly(step: i64) -> f64 {
        [5.0, 6.0, 7.0, 7.5, 6.0, 2.0, 1.0][(step % 7) as usize] + step as f64 / 10.0
    }

    #[test]
    fn a_panel_is_forecast_series_by_series() {
        // Rows of two series interleave and go backward; step 30 of the first one is absent.
        let rows: Vec<(&str, i64)> = (0..70)
            .rev()
            .flat_map(|step| [("tokens", step), ("few", step)])
            .filter(|row| *row != ("tokens", 30) && (row.0 == "tokens" || row.1 < 5))
            .collect();
        let frame = DataFrame::new(
            rows.len(),
            vec![
                column("series", rows.iter().map(|row| row.0).collect::<Vec<_>>()),
                column("at", rows.iter().map(|row| row.1 * 86_400).collect::<Vec<_>>()),
                column("value", rows.iter().map(|row| Some(weekly(row.1))).collect::<Vec<_>>()),
            ],
        )
        .unwrap();
        let mut panel = forecast_panel(&frame, 7, 7, &[0.8]).unwrap();

        let values = (0..70).map(|step| if step == 30 { f64::NAN } else { weekly(step) });
        let alone = forecast(&Series::new(values.collect(), 7).unwrap(), 7, &[0.8]).unwrap();
        assert_eq!(panel.remove("tokens").unwrap().unwrap(), alone);
        let few = panel.remove("few").unwrap().unwrap_err();
        assert!(matches!(few, Error::TooShort { needed: 14, got: 5 }), "{few}");
        assert!(panel.is_empty());
    }

    #[test]
    fn without_times_the_rows_are_in_order_and_null_is_a_gap() {
        let values: Vec<Option<f64>> =
            (0..70).map(|step| (step != 30).then(|| weekly(step))).collect();
        let frame =
            DataFrame::new(70, vec![column("series", vec!["tokens"; 70]), column("value", values)])
                .unwrap();
        let panel = forecast_panel(&frame, 7, 7, &[0.8]).unwrap();
        assert_eq!(panel["tokens"].as_ref().unwrap().points.len(), 7);
    }

    #[test]
    fn a_panel_of_another_shape_is_refused() {
        let series = || column("series", vec!["a"]);
        let refused =
            |columns| forecast_panel(&DataFrame::new(1, columns).unwrap(), 7, 7, &[]).unwrap_err();
        let absent = refused(vec![series()]);
        assert!(matches!(absent, Error::Column { column: "value", .. }), "{absent}");
        let integers = refused(vec![series(), column("value", vec![1_i64])]);
        assert!(matches!(integers, Error::Column { column: "value", .. }), "{integers}");
        let nameless =
            refused(vec![column("series", vec![None::<&str>]), column("value", vec![1.0])]);
        assert!(matches!(nameless, Error::Missing { row: 0, column: "series" }), "{nameless}");
    }

    #[test]
    fn times_make_a_grid() {
        let filled = on_grid(vec![(40, 4.0), (10, 1.0), (20, 2.0)]).unwrap();
        assert_eq!(filled[..2], [1.0, 2.0]);
        assert!(filled[2].is_nan());
        assert_eq!(filled[3], 4.0);
        assert!(matches!(on_grid(vec![(1, 1.0), (1, 2.0)]), Err(Error::Repeated { at: 1 })));
        assert!(matches!(
            on_grid(vec![(0, 1.0), (2, 2.0), (5, 3.0)]),
            Err(Error::OffGrid { at: 5, step: 2 })
        ));
        assert!(matches!(
            on_grid(vec![(i64::MIN, 1.0), (0, 2.0), (1, 3.0), (i64::MAX, 4.0)]),
            Err(Error::Sparse { got: 4, .. })
        ));
    }
}
