//! The 3,003 series of the M3 competition.

use std::{collections::BTreeMap, path::Path};

use forecast::{Series, accuracy, forecast};

use crate::{Page, Result, bootstrap, check, mean};

#[derive(Default)]
struct One {
    period: String,
    train: Vec<f64>,
    test: Vec<f64>,
}

pub(crate) fn measure(page: &mut Page, folder: &Path) -> Result<()> {
    let all = read(&folder.join("m3_long.csv"))?;
    let published = published(&folder.join("m3_published_forecasts.csv"), &all)?;
    let mut losses = Vec::with_capacity(all.len());
    for one in all.values() {
        let horizon = one.test.len();
        let series = Series::new(one.train.clone(), season(&one.period))?;
        let ahead = forecast(&series, horizon, &[])?;
        let values: Vec<f64> = ahead.points.iter().map(|point| point.value).collect();
        losses.push(loss(one, &values));
    }
    if all.len() == 3_003 {
        let theta =
            published.iter().find(|(name, _)| name == "THETA").ok_or("THETA is not there")?;
        check(
            "the sMAPE of THETA",
            mean(&theta.1.iter().map(|one| one.0).collect::<Vec<_>>()),
            12.76,
            2,
        )?;
    }
    page.line(format!("\n## Years, quarters, months: M3, {} series\n", all.len()));
    page.head(["method", "sMAPE", "MASE", "years", "quarters", "months", "other"]);
    let periods: Vec<&str> = all.values().map(|one| one.period.as_str()).collect();
    let mut row = |name: &str, losses: &[(f64, f64)]| {
        let of = |period: Option<&str>, pick: fn(&(f64, f64)) -> f64| {
            let chosen = losses.iter().zip(&periods);
            let chosen = chosen.filter(|(_, known)| period.is_none_or(|period| **known == period));
            mean(&chosen.map(|(loss, _)| pick(loss)).collect::<Vec<_>>())
        };
        let group = |period| format!("{:.2}", of(Some(period), |loss| loss.0));
        page.row([
            name,
            &format!("{:.2}", of(None, |loss| loss.0)),
            &format!("{:.3}", of(None, |loss| loss.1)),
            &group("yearly"),
            &group("quarterly"),
            &group("monthly"),
            &group("other"),
        ]);
    };
    row("**the forecast**", &losses);
    for (name, losses) in &published {
        row(name, losses);
    }
    let (low, high) = bootstrap(losses.len(), |rows| {
        rows.iter().map(|row| losses[*row].0).sum::<f64>() / rows.len() as f64
    });
    page.line(format!(
        "\nThe columns on the right are sMAPE. The bootstrap interval of ours over the series is {low:.2} to {high:.2} (95 %). The \
         other rows are the published forecasts of the competition, scored by the same program. The ensemble of four models of \
         statsforecast has 12.63 (its own documentation)."
    ));
    Ok(())
}

fn season(period: &str) -> usize {
    match period {
        "monthly" => 12,
        "quarterly" => 4,
        _ => 1,
    }
}

fn loss(one: &One, predicted: &[f64]) -> (f64, f64) {
    let smape = accuracy::smape(&one.test, predicted).unwrap_or(f64::NAN);
    (
        smape,
        accuracy::mase(&one.train, season(&one.period), &one.test, predicted).unwrap_or(f64::NAN),
    )
}

/// One row for each value: `id,period,category,h,t,y,split`.
fn read(path: &Path) -> Result<BTreeMap<String, One>> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut all = BTreeMap::<String, One>::new();
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let [id, period, _, _, _, y, split] = cells[..] else {
            return Err(format!("`{line}`").into());
        };
        let one = all.entry(id.to_owned()).or_default();
        period.clone_into(&mut one.period);
        let values = if split == "train" { &mut one.train } else { &mut one.test };
        values.push(y.parse()?);
    }
    Ok(all)
}

/// The methods that are shown of the published ones.
const SHOWN: [&str; 4] = ["THETA", "ForecastPro", "COMB S-H-D", "NAIVE2"];

/// sMAPE and MASE of each series.
type Losses = Vec<(f64, f64)>;

/// The published forecasts, one row for each method and series: `method,series,h1,…,h18`.
fn published(path: &Path, all: &BTreeMap<String, One>) -> Result<Vec<(String, Losses)>> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut found = BTreeMap::<&str, BTreeMap<&str, Vec<f64>>>::new();
    for line in text.lines().skip(1) {
        let mut cells = line.split(',');
        let (Some(method), Some(series)) = (cells.next(), cells.next()) else { continue };
        if SHOWN.contains(&method) {
            let values = cells.take_while(|cell| !cell.is_empty()).map(str::parse);
            let values = values.collect::<std::result::Result<_, _>>()?;
            found.entry(method).or_default().insert(series, values);
        }
    }
    let losses = |forecasts: &BTreeMap<&str, Vec<f64>>| -> Losses {
        let of = |(id, one): (&String, &One)| match forecasts.get(id.as_str()) {
            Some(values) => loss(one, values),
            None => (f64::NAN, f64::NAN),
        };
        all.iter().map(of).collect()
    };
    Ok(SHOWN
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), losses(found.get(name)?))))
        .collect())
}
