//! Series of any data, from a file: `unique_id`, `ds`, `y`, one row for each value. The names are those of statsforecast
//! and its relatives, so that files go both ways.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use arrow::{
    array::{Array, AsArray},
    compute::cast,
    datatypes::DataType,
};
use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveDateTime, TimeDelta};
use clap::Args;
use forecast::{
    Error, Forecast, Series,
    anomaly::{Detector, DetectorOptions},
    forecast_values,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::say;
use crate::private::write_for_user;

/// Finds unusual values in any data
#[derive(Debug, Args)]
pub(super) struct Anomalies {
    /// A CSV or Parquet file with `ds` (a time or an integer, ascending), `y`, and `unique_id` if it has several series
    #[arg(long)]
    panel: PathBuf,
    /// Values after which a series repeats itself, and a longer rhythm: `24,168` for hours
    #[arg(long, value_delimiter = ',', default_value = "0")]
    period: Vec<usize>,
    /// The values are counts
    #[arg(long)]
    counts: bool,
    /// The CSV file to write; `-` is standard output
    #[arg(long)]
    out: PathBuf,
}

/// A row of a panel, as it is written.
struct Row {
    id: String,
    ds: String,
    /// None for a gap.
    y: Option<f64>,
}

/// More rows are not read.
const ROWS_MAX: usize = 50_000_000;
/// Forecasts of one series.
const HORIZON_MAX: usize = 10_000;

impl Anomalies {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let [season, long_season] = periods(&self.period)?;
        let options = DetectorOptions { season, long_season, counts: self.counts };
        let mut detectors: BTreeMap<String, Detector> = BTreeMap::new();
        let mut out = csv::Writer::from_writer(Vec::new());
        out.write_record([
            "unique_id",
            "ds",
            "y",
            "score",
            "p_value",
            "expected",
            "lower",
            "upper",
        ])?;
        for row in read(&self.panel)? {
            let detector =
                detectors.entry(row.id.clone()).or_insert_with(|| Detector::new(options));
            let seen = detector.observe(row.y.unwrap_or(f64::NAN));
            let number =
                |value: f64| if value.is_finite() { value.to_string() } else { String::new() };
            out.write_record([
                row.id,
                row.ds,
                row.y.map(|y| y.to_string()).unwrap_or_default(),
                format!("{:.6}", seen.score),
                format!("{:e}", seen.p_value),
                number(seen.expected),
                number(seen.lower),
                number(seen.upper),
            ])?;
        }
        write(&self.out, &out.into_inner()?)
    }
}

/// A period, and a longer one or none.
fn periods(asked: &[usize]) -> anyhow::Result<[usize; 2]> {
    match asked {
        [one] => Ok([*one, 0]),
        [one, two] if one < two => Ok([*one, *two]),
        _ => bail!("--period is one number, or two with the longer one last, such as 24,168"),
    }
}

/// `aihub forecast --panel`.
pub(super) struct PanelForecast<'a> {
    pub(super) panel: &'a Path,
    pub(super) horizon: usize,
    pub(super) period: &'a [usize],
    /// In percent.
    pub(super) levels: &'a [f64],
    pub(super) out: &'a Path,
}

impl PanelForecast<'_> {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        if !(1..=HORIZON_MAX).contains(&self.horizon) {
            bail!("--horizon is from 1 to {HORIZON_MAX}");
        }
        if let Some(level) = self.levels.iter().find(|level| !(**level > 0.0 && **level < 100.0)) {
            bail!("--level {level}: a level is above 0 and below 100");
        }
        let mut levels = self.levels.to_vec();
        levels.sort_by(f64::total_cmp);
        let shares: Vec<f64> = levels.iter().map(|level| level / 100.0).collect();
        let mut series: BTreeMap<String, Vec<(String, f64)>> = BTreeMap::new();
        for row in read(self.panel)? {
            series.entry(row.id).or_default().push((row.ds, row.y.unwrap_or(f64::NAN)));
        }
        let mut out = csv::Writer::from_writer(Vec::new());
        let mut head = vec!["unique_id".to_owned(), "ds".to_owned(), "yhat".to_owned()];
        for level in &levels {
            head.extend([format!("lo-{level}"), format!("hi-{level}")]);
        }
        out.write_record(&head)?;
        periods(self.period)?;
        let (count, mut failed) = (series.len(), Vec::new());
        for (id, rows) in series {
            match self.ahead(&rows, &shares) {
                Ok((times, ahead)) => {
                    for (ds, point) in times.iter().zip(&ahead.points) {
                        let mut cells = vec![id.clone(), ds.clone(), point.value.to_string()];
                        for interval in &point.intervals {
                            cells.extend([interval.lower.to_string(), interval.upper.to_string()]);
                        }
                        cells.resize(head.len(), String::new());
                        out.write_record(&cells)?;
                    }
                }
                Err(error) => failed.push(format!("{id}: {error}")),
            }
        }
        write(self.out, &out.into_inner()?)?;
        for one in failed.iter().take(10) {
            eprintln!("{one}");
        }
        match failed.len() {
            0 => Ok(()),
            all => bail!("{all} of {count} series are not forecast"),
        }
    }

    /// The next times of a series, and the forecast.
    fn ahead(
        &self,
        rows: &[(String, f64)],
        levels: &[f64],
    ) -> anyhow::Result<(Vec<String>, Forecast)> {
        let times = Times::of(rows.iter().map(|(ds, _)| ds.as_str()))?;
        let placed = times.places.iter().copied().zip(rows.iter().map(|(_, y)| *y)).collect();
        let (values, step) = forecast_values(placed).map_err(plain)?;
        let [season, long_season] = periods(self.period)?;
        let mut series = Series::new(values, season).map_err(plain)?;
        if long_season > 0 {
            series = series.with_long_season(long_season);
        }
        // A short series has a forecast before it has intervals: those cells are empty.
        let shorter = (0..=levels.len()).rev().map(|count| &levels[..count]);
        let mut made = Err(Error::HorizonZero);
        for levels in shorter {
            made = forecast::forecast(&series, self.horizon, levels);
            if !matches!(made, Err(Error::TooShort { .. })) {
                break;
            }
        }
        let ahead = made.map_err(plain)?;
        let last = times.places.iter().copied().max().unwrap_or_default();
        let next = (1..=self.horizon).map(|ahead| {
            let ahead = i64::try_from(ahead).unwrap_or(i64::MAX);
            times.form.text(last.saturating_add(step.saturating_mul(ahead)))
        });
        Ok((next.collect::<anyhow::Result<_>>()?, ahead))
    }
}

fn plain(error: Error) -> anyhow::Error {
    anyhow::anyhow!("{error}")
}

/// How times are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Integer,
    /// The first day of each month, quarter or year: a step is a number of months.
    Month,
    Date,
    /// `2026-03-01 12:00:00`, or with a `T`.
    Time(char),
    /// RFC 3339.
    Zoned,
}

/// Times as numbers: months, or seconds.
struct Times {
    form: Form,
    places: Vec<i64>,
}

impl Times {
    fn of<'a>(texts: impl Iterator<Item = &'a str>) -> anyhow::Result<Self> {
        let texts: Vec<&str> = texts.collect();
        let first = texts.first().copied().unwrap_or_default();
        let form = form(first)
            .with_context(|| format!("`ds`: `{first}` is neither a time nor an integer"))?;
        let read = |text: &&str| {
            form.place(text).with_context(|| format!("`ds`: `{text}` is not written as `{first}`"))
        };
        let places: Vec<i64> = texts.iter().map(read).collect::<anyhow::Result<_>>()?;
        if form == Form::Date && by_months(&texts) {
            let months = texts.iter().map(|text| Form::Month.place(text).unwrap_or_default());
            return Ok(Self { form: Form::Month, places: months.collect() });
        }
        Ok(Self { form, places })
    }
}

fn form(text: &str) -> Option<Form> {
    let forms = [Form::Integer, Form::Date, Form::Zoned, Form::Time('T'), Form::Time(' ')];
    forms.into_iter().find(|form| form.place(text).is_some())
}

/// Whether all dates are the first of a month, and no two of one month.
fn by_months(texts: &[&str]) -> bool {
    let mut months: Vec<Option<i64>> = texts.iter().map(|text| Form::Month.place(text)).collect();
    months.sort_unstable();
    let is_new = months.windows(2).all(|pair| pair[0] != pair[1]);
    texts.len() > 1 && is_new && months.iter().all(Option::is_some)
}

impl Form {
    fn place(self, text: &str) -> Option<i64> {
        match self {
            Self::Integer => text.parse().ok(),
            Self::Month => {
                let date = text.parse::<NaiveDate>().ok().filter(|date| date.day() == 1)?;
                Some(i64::from(date.year()) * 12 + i64::from(date.month0()))
            }
            Self::Date => {
                let date = text.parse::<NaiveDate>().ok()?;
                Some(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp())
            }
            Self::Time(between) => {
                let form = format!("%Y-%m-%d{between}%H:%M:%S%.f");
                Some(NaiveDateTime::parse_from_str(text, &form).ok()?.and_utc().timestamp())
            }
            Self::Zoned => Some(DateTime::parse_from_rfc3339(text).ok()?.timestamp()),
        }
    }

    fn text(self, place: i64) -> anyhow::Result<String> {
        let time = DateTime::UNIX_EPOCH
            .checked_add_signed(TimeDelta::try_seconds(place).unwrap_or_default());
        let time = time.context("the forecast reaches beyond the calendar")?;
        Ok(match self {
            Self::Integer => place.to_string(),
            Self::Month => {
                let months = u32::try_from(place).ok().map(Months::new);
                let first = NaiveDate::from_ymd_opt(0, 1, 1);
                let date =
                    first.zip(months).and_then(|(first, months)| first.checked_add_months(months));
                date.context("the forecast reaches beyond the calendar")?.to_string()
            }
            Self::Date => time.date_naive().to_string(),
            Self::Time(between) => time.format(&format!("%Y-%m-%d{between}%H:%M:%S")).to_string(),
            Self::Zoned => time.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        })
    }
}

/// Reads a panel, in the order of its rows.
fn read(path: &Path) -> anyhow::Result<Vec<Row>> {
    let is_parquet = path.extension().is_some_and(|extension| extension == "parquet");
    let reading = || format!("reading {}", path.display());
    let rows = if is_parquet { of_parquet(path) } else { of_csv(path) }.with_context(reading)?;
    if rows.is_empty() {
        bail!("{} has no rows", path.display());
    }
    Ok(rows)
}

fn place(names: &[&str], name: &str) -> anyhow::Result<usize> {
    let found = names.iter().position(|known| *known == name);
    found.with_context(|| format!("there is no column `{name}`: a panel has unique_id, ds and y"))
}

fn row(line: usize, id: &str, ds: &str, y: &str) -> anyhow::Result<Row> {
    let is_gap = matches!(y, "" | "NaN" | "nan" | "null" | "NA");
    let number = match is_gap {
        true => None,
        false => {
            Some(y.parse::<f64>().with_context(|| format!("row {line}: `y`: `{y}` is no number"))?)
        }
    };
    if number.is_some_and(f64::is_infinite) {
        bail!("row {line}: `y` is infinite");
    }
    Ok(Row { id: id.to_owned(), ds: ds.to_owned(), y: number })
}

fn of_csv(path: &Path) -> anyhow::Result<Vec<Row>> {
    let mut reader = csv::Reader::from_path(path)?;
    let head = reader.headers()?.clone();
    let names: Vec<&str> = head.iter().collect();
    let (id, ds, y) = (place(&names, "unique_id").ok(), place(&names, "ds")?, place(&names, "y")?);
    let mut rows = Vec::new();
    for (line, record) in reader.records().enumerate() {
        let record = record?;
        let cell = |at: usize| record.get(at).unwrap_or_default().trim();
        rows.push(row(line + 1, id.map_or("", cell), cell(ds), cell(y))?);
        if rows.len() > ROWS_MAX {
            bail!("there are more than {ROWS_MAX} rows");
        }
    }
    Ok(rows)
}

fn of_parquet(path: &Path) -> anyhow::Result<Vec<Row>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?.build()?;
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch?;
        let schema = batch.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let texts = |name: &str| -> anyhow::Result<_> {
            Ok(cast(batch.column(place(&names, name)?), &DataType::Utf8)?)
        };
        let (ds, y) = (texts("ds")?, texts("y")?);
        let id = if names.contains(&"unique_id") { Some(texts("unique_id")?) } else { None };
        let cell = |column: &arrow::array::ArrayRef, at: usize| {
            let texts = column.as_string::<i32>();
            if texts.is_null(at) { String::new() } else { texts.value(at).to_owned() }
        };
        for at in 0..batch.num_rows() {
            let id = id.as_ref().map_or_else(String::new, |id| cell(id, at));
            rows.push(row(rows.len() + 1, &id, &cell(&ds, at), &cell(&y, at))?);
        }
        if rows.len() > ROWS_MAX {
            bail!("there are more than {ROWS_MAX} rows");
        }
    }
    Ok(rows)
}

fn write(out: &Path, csv: &[u8]) -> anyhow::Result<()> {
    if out.as_os_str() == "-" {
        return Ok(say(&String::from_utf8_lossy(csv))?);
    }
    write_for_user(out, csv).with_context(|| format!("writing {}", out.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(texts: &[&str], steps: i64) -> String {
        let times = Times::of(texts.iter().copied()).unwrap();
        let step = times.places[1] - times.places[0];
        times.form.text(times.places[texts.len() - 1] + steps * step).unwrap()
    }

    #[test]
    fn times_go_on_as_they_are_written() {
        for (texts, expected) in [
            (["1", "3"], "7"),
            (["2026-01-30", "2026-01-31"], "2026-02-02"),
            (["2026-11-01", "2026-12-01"], "2027-02-01"),
            (["2025-01-01", "2026-01-01"], "2028-01-01"),
            (["2026-01-01 22:00:00", "2026-01-01 23:00:00"], "2026-01-02 01:00:00"),
            (["2026-01-01T00:00:00", "2026-01-01T00:15:00"], "2026-01-01T00:45:00"),
            (["2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"], "2026-01-01T03:00:00Z"),
        ] {
            assert_eq!(next(&texts, 2), expected, "{texts:?}");
        }
        for texts in [["soon", "later"], ["1", "2026-01-01"]] {
            assert!(Times::of(texts.iter().copied()).is_err(), "{texts:?}");
        }
    }

    #[test]
    fn a_row_is_a_number_or_a_gap() {
        assert_eq!(row(1, "a", "1", "NaN").unwrap().y, None);
        assert_eq!(row(1, "a", "1", "1e3").unwrap().y, Some(1_000.0));
        assert!(row(1, "a", "1", "inf").is_err() && row(1, "a", "1", "x").is_err());
    }
}
