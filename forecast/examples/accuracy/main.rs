//! Measures the forecasts, the anomaly detector and the churn model on public data, and writes `docs/accuracy.md` with its plots.
//!
//! ```text
//! cargo run --release -p forecast --example accuracy -- FOLDER [--out docs] [--beside FILE]
//! ```
//!
//! `FOLDER` holds `m4_hourly` and `m3` (the M4 and M3 competitions), `nab` (the Numenta Anomaly Benchmark) and `telco` (IBM's
//! table of customers that left). Without `--out` the page is printed. `--beside` is what `tests/benchmarks/statsforecast_m4.py`
//! printed on the same machine. Each scorer first repeats a published number: a table whose own check fails is not written.

mod m3;
mod m4;
mod nab;
mod plot;
mod telco;

use std::{error::Error, fmt::Write, path::PathBuf};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A page, and the plots that it shows.
#[derive(Default)]
struct Page {
    text: String,
    plots: Vec<(&'static str, String)>,
}

impl Page {
    fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    /// A row of a table.
    fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.line(format!("| {} |", cells.join(" | ")));
    }

    fn head<const N: usize>(&mut self, cells: [&str; N]) {
        self.row(cells);
        self.line(format!("|{}", "---|".repeat(N)));
    }

    fn plot(&mut self, name: &'static str, what: &str, svg: String) {
        let _ = writeln!(self.text, "\n![{what}](accuracy/{name}.svg)");
        self.plots.push((name, svg));
    }
}

fn main() -> Result<()> {
    let usage = "usage: accuracy FOLDER [--out FOLDER] [--beside FILE] [--only m4|m3|nab|telco]";
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or(usage)?);
    let (mut out, mut beside, mut only) = (None, None, None);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(usage)?;
        match name.as_str() {
            "--out" => out = Some(PathBuf::from(value)),
            "--beside" => beside = Some(std::fs::read_to_string(value)?),
            "--only" => only = Some(value),
            _ => return Err(usage.into()),
        }
    }
    let is_asked = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let mut page = Page::default();
    page.line(include_str!("head.md").trim_end());
    if is_asked("m4") {
        m4::measure(&mut page, &folder.join("m4_hourly"), beside.as_deref())?;
    }
    if is_asked("m3") {
        m3::measure(&mut page, &folder.join("m3"))?;
    }
    if is_asked("nab") {
        nab::measure(&mut page, &folder.join("nab"))?;
    }
    if is_asked("telco") {
        telco::measure(&mut page, &folder.join("telco"))?;
    }
    page.line(include_str!("tail.md").trim_end());
    let Some(out) = out else {
        print!("{}", page.text);
        return Ok(());
    };
    std::fs::create_dir_all(out.join("accuracy"))?;
    for (name, svg) in page.plots {
        std::fs::write(out.join("accuracy").join(format!("{name}.svg")), svg)?;
    }
    std::fs::write(out.join("accuracy.md"), page.text)?;
    Ok(())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The 95 % interval of something of the rows of a table, by a thousand samples of its rows with replacement.
fn bootstrap(rows: usize, of: impl Fn(&[usize]) -> f64) -> (f64, f64) {
    let mut state = 7_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as usize) % rows
    };
    let mut samples: Vec<f64> =
        (0..1_000).map(|_| of(&(0..rows).map(|_| next()).collect::<Vec<_>>())).collect();
    samples.sort_by(f64::total_cmp);
    (samples[25], samples[974])
}

/// Refuses to go on where a scorer does not print a published number.
fn check(what: &str, got: f64, published: f64, digits: usize) -> Result<()> {
    let (got, published) = (format!("{got:.digits$}"), format!("{published:.digits$}"));
    if got == published {
        Ok(())
    } else {
        Err(format!("{what} is {got}, and {published} is published").into())
    }
}

/// Seconds of this process on a core.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks =
        |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    // Of the user and of the system, in hundredths on every Linux.
    (ticks(11) + ticks(12)) / 100.0
}
