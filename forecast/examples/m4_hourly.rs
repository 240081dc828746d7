//! Scores the crate on the hourly series of the M4 competition.
//!
//! ```text
//! cargo run --release -p forecast --example m4_hourly -- FOLDER [SERIES [HISTORY]]
//! ```
//!
//! `FOLDER` holds `Hourly-train.csv`, `Hourly-test.csv` and `naive2_hourly.csv` of the competition
//! (github.com/Mcompetitions/M4-methods); `SERIES` takes only the first so many, and
//! `HISTORY` shows the models only the last so many values of each. The scorer checks itself: over
//! all 414 series, Naive2 must come out at sMAPE 18.383 and MASE 2.395, the seasonal naive method
//! at 13.912 and 1.193.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use forecast::{Interval, LagRidge, Model, SeasonalNaive, Series, accuracy, forecast};

const SEASON: usize = 24;
const LEVEL: f64 = 0.95;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: m4_hourly FOLDER [SERIES [HISTORY]]")?;
    let mut limit = || arguments.next().map_or(Ok(usize::MAX), |count| count.parse());
    let (series, history) = (limit()?, limit()?);
    let folder = Path::new(&folder);
    let trains = read(&folder.join("Hourly-train.csv"), series)?;
    let tests = read(&folder.join("Hourly-test.csv"), series)?;
    let naive2 = read(&folder.join("naive2_hourly.csv"), series)?;

    let mut scores = [(); 4].map(|()| Score::default());
    let (mut coverage, mut msis) = (Vec::new(), Vec::new());
    let mut foretold = Vec::new();
    let mut elapsed = 0.0;
    for ((train, test), naive2) in trains.iter().zip(&tests).zip(&naive2) {
        let seen = &train[train.len().saturating_sub(history)..];
        let start = Instant::now();
        let ours = forecast(&Series::new(seen.to_vec(), SEASON)?, test.len(), &[LEVEL])?;
        elapsed += start.elapsed().as_secs_f64();

        let values: Vec<f64> = ours.points.iter().map(|point| point.value).collect();
        let bands: Vec<Interval> = ours.points.iter().map(|point| point.intervals[0]).collect();
        coverage.extend(accuracy::coverage(test, &bands));
        msis.extend(accuracy::msis(train, SEASON, test, &bands));
        foretold.extend(ours.backtest.coverage(LEVEL));
        let ridge = LagRidge.fit(seen, SEASON)?.predict(seen, test.len());
        let naive = SeasonalNaive.fit(train, SEASON)?.predict(train, test.len());
        for (score, predicted) in scores.iter_mut().zip([naive2, &naive, &ridge, &values]) {
            score.add(train, test, predicted);
        }
    }

    println!("{} series, {elapsed:.1} s in forecast()", trains.len());
    println!("{:<16}{:>8}{:>8}{:>8}", "method", "sMAPE", "MASE", "OWA");
    for (name, score) in ["Naive2", "seasonal naive", "lag ridge", "forecast"].iter().zip(&scores) {
        let owa = accuracy::owa(score.smape(), score.mase(), scores[0].smape(), scores[0].mase());
        println!("{name:<16}{:>8.3}{:>8.3}{owa:>8.3}", score.smape(), score.mase());
    }
    println!("at {LEVEL}: MSIS {:.3}, coverage {:.4}", mean(&msis), mean(&coverage));
    if !foretold.is_empty() {
        println!("coverage that the backtests had measured: {:.4}", mean(&foretold));
    }
    Ok(())
}

#[derive(Default)]
struct Score {
    smape: Vec<f64>,
    mase: Vec<f64>,
}

impl Score {
    fn add(&mut self, train: &[f64], test: &[f64], predicted: &[f64]) {
        self.smape.extend(accuracy::smape(test, predicted));
        self.mase.extend(accuracy::mase(train, SEASON, test, predicted));
    }

    fn smape(&self) -> f64 {
        mean(&self.smape)
    }

    fn mase(&self) -> f64 {
        mean(&self.mase)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// One series per line, its name first; a header line has no number in its second cell.
fn read(path: &Path, series: usize) -> Result<Vec<Vec<f64>>> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let rows = text.lines().map(|line| {
        let cells = line.split(',').skip(1).map(|cell| cell.trim().trim_matches('"'));
        cells.take_while(|cell| !cell.is_empty()).map(str::parse).collect()
    });
    let rows: Vec<Vec<f64>> = rows.filter_map(std::result::Result::ok).take(series).collect();
    if rows.is_empty() {
        return Err(format!("{} holds no series", path.display()).into());
    }
    Ok(rows)
}
