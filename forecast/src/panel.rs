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
