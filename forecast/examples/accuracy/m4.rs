//! The 414 hourly series of the M4 competition.

use std::path::Path;

use forecast::{
    DirectRidge, Fourier, Interval, LagRidge, Model, SeasonalNaive, Seasonality, Series, Theta,
    accuracy, forecast,
};

use crate::{Page, Result, bootstrap, check, cpu_seconds, mean, plot};

const SEASON: usize = 24;
const LEVEL: f64 = 0.95;

#[derive(Default)]
struct Losses {
    smape: Vec<f64>,
    mase: Vec<f64>,
}

impl Losses {
    fn add(&mut self, train: &[f64], test: &[f64], predicted: &[f64]) {
        self.smape.push(accuracy::smape(test, predicted).unwrap_or(f64::NAN));
        self.mase.push(accuracy::mase(train, SEASON, test, predicted).unwrap_or(f64::NAN));
    }

    fn smape(&self) -> f64 {
        mean(&self.smape)
    }

    fn mase(&self) -> f64 {
        mean(&self.mase)
    }

    fn owa(&self, benchmark: &Self) -> f64 {
        accuracy::owa(self.smape(), self.mase(), benchmark.smape(), benchmark.mase())
    }

    fn sample(&self, rows: &[usize]) -> Self {
        let of = |losses: &[f64]| rows.iter().map(|row| losses[*row]).collect();
        Self { smape: of(&self.smape), mase: of(&self.mase) }
    }
}

const METHODS: [&str; 8] = [
    "Naive2 (the benchmark of the competition)",
    "seasonal naive",
    "Theta",
    "Fourier",
    "direct ridge",
    "lag ridge, linear",
    "lag ridge",
    "**the forecast**",
];

/// What was measured on all series.
#[derive(Default)]
struct Measured {
    /// As in [`METHODS`].
    losses: [Losses; METHODS.len()],
    coverage: Vec<f64>,
    msis: Vec<f64>,
    /// The coverage that the backtests had measured.
    foretold: Vec<f64>,
    /// Of `forecast()`.
    cpu_seconds: f64,
    /// The first series.
    plot: Option<String>,
}

impl Measured {
    fn add(&mut self, train: &[f64], test: &[f64], naive2: &[f64]) -> Result<()> {
        let before = cpu_seconds();
        let ours = forecast(&Series::new(train.to_vec(), SEASON)?, test.len(), &[LEVEL])?;
        self.cpu_seconds += cpu_seconds() - before;
        let values: Vec<f64> = ours.points.iter().map(|point| point.value).collect();
        let bands: Vec<Interval> = ours.points.iter().map(|point| point.intervals[0]).collect();
        self.coverage.extend(accuracy::coverage(test, &bands));
        self.msis.extend(accuracy::msis(train, SEASON, test, &bands));
        self.foretold.extend(ours.backtest.coverage(LEVEL));
        self.plot.get_or_insert_with(|| {
            plot::forecast(&train[train.len() - 168..], test, &values, &bands)
        });
        let alone = |model: &dyn Model| -> Result<Vec<f64>> {
            let fitted = model.fit(train, Seasonality::new(SEASON), test.len())?;
            Ok(fitted.predict(train, test.len()))
        };
        let predicted = [
            naive2.to_vec(),
            alone(&SeasonalNaive)?,
            alone(&Theta)?,
            alone(&Fourier)?,
            alone(&DirectRidge)?,
            alone(&LagRidge::LINEAR)?,
            alone(&LagRidge::LOGARITHMIC)?,
            values,
        ];
        for (losses, predicted) in self.losses.iter_mut().zip(&predicted) {
            losses.add(train, test, predicted);
        }
        Ok(())
    }
}

pub(crate) fn measure(page: &mut Page, folder: &Path, beside: Option<&str>) -> Result<()> {
    let trains = read(&folder.join("Hourly-train.csv"))?;
    let tests = read(&folder.join("Hourly-test.csv"))?;
    let naive2 = read(&folder.join("naive2_hourly.csv"))?;
    let mut measured = Measured::default();
    for ((train, test), naive2) in trains.iter().zip(&tests).zip(&naive2) {
        measured.add(train, test, naive2)?;
    }
    let [benchmark, naive, .., ours] = &measured.losses;
    if trains.len() == 414 {
        check("the sMAPE of Naive2", benchmark.smape(), 18.383, 3)?;
        check("the MASE of Naive2", benchmark.mase(), 2.395, 3)?;
        check("the sMAPE of the seasonal naive forecast", naive.smape(), 13.912, 3)?;
    }
    page.line(format!("\n## Hourly series: M4, {} series, 48 hours ahead\n", trains.len()));
    page.head(["method", "sMAPE", "MASE", "OWA"]);
    for (name, losses) in METHODS.iter().zip(&measured.losses) {
        let owa = losses.owa(benchmark);
        let cells = [losses.smape(), losses.mase(), owa].map(|number| format!("{number:.3}"));
        page.row([name, &cells[0], &cells[1], &cells[2]]);
    }
    page.row(["Doornik, Castle and Hendry: the best of 61 entries", "8.913", "0.801", "0.410"]);
    page.row(["Smyl: the winner of the competition", "9.328", "0.893", "0.440"]);
    let of_sample = |rows: &[usize]| ours.sample(rows).owa(&benchmark.sample(rows));
    let (low, high) = bootstrap(trains.len(), of_sample);
    page.line(format!(
        "\nThe OWA of the forecast is {:.3}, with a bootstrap interval over the series of {low:.3} to {high:.3} (95 %).\n",
        ours.owa(benchmark)
    ));
    let (msis, coverage) = (mean(&measured.msis), mean(&measured.coverage));
    page.head(["intervals at 95 %", "MSIS", "coverage"]);
    page.row(["**ours**", &format!("{msis:.3}"), &format!("{coverage:.4}")]);
    page.row(["Doornik, Castle and Hendry", "6.139", "0.948"]);
    page.row(["ARIMA", "7.538", "0.951"]);
    page.line(format!("\nThe backtests had said a coverage of {:.4}.", mean(&measured.foretold)));
    let per_thousand = measured.cpu_seconds * 1_000.0 / trains.len() as f64;
    page.line(format!(
        "\nAll models, weights and intervals take {per_thousand:.1} s of one core for 1,000 series."
    ));
    if let Some(beside) = beside {
        let first = ours.mase.len().min(30);
        page.line(
            "\nBeside statsforecast on the same machine, just before, with its code compiled (MASE of the first 30 series):\n",
        );
        page.head(["method", "CPU seconds for 1,000 series", "MASE"]);
        let mase = mean(&ours.mase[..first]);
        page.row(["**ours**", &format!("{per_thousand:.1}"), &format!("{mase:.3}")]);
        for line in beside.lines().filter(|line| !line.trim().is_empty()) {
            let cells: Vec<&str> = line.split(',').collect();
            let [name, seconds, mase] = cells[..] else {
                return Err(format!("`{line}` is not method,seconds,mase").into());
            };
            page.row([name, seconds, mase]);
        }
    }
    if let Some(svg) = measured.plot {
        let what = "The first series: a week of history, the forecast with its 95 % interval, and what came";
        page.plot("m4", what, svg);
    }
    Ok(())
}

/// One series per line, its name first; a header line has no number in its second cell.
fn read(path: &Path) -> Result<Vec<Vec<f64>>> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let rows = text.lines().map(|line| {
        let cells = line.split(',').skip(1).map(|cell| cell.trim().trim_matches('"'));
        cells.take_while(|cell| !cell.is_empty()).map(str::parse).collect()
    });
    let rows: Vec<Vec<f64>> = rows.filter_map(std::result::Result::ok).collect();
    if rows.is_empty() {
        Err(format!("{} holds no series", path.display()).into())
    } else {
        Ok(rows)
    }
}
