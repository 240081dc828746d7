//! `aihub churn`: who is likely to leave, of any table.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use forecast::churn::{Column, Scores, Table, out_of_fold};

use super::say;
use crate::private::write_for_user;

/// Says who is likely to leave, of any table
#[derive(Debug, Args)]
pub(super) struct Churn {
    /// A CSV file with a row for each customer
    #[arg(long)]
    table: PathBuf,
    /// The column that says who left
    #[arg(long)]
    target: String,
    /// The value of that column for those who left [default: yes, true or 1]
    #[arg(long)]
    positive: Option<String>,
    /// The column that names a customer; it is not learned from
    #[arg(long)]
    id: Option<String>,
    /// The CSV file to write: id, probability, and the three columns that say most; `-` is standard output
    #[arg(long)]
    out: PathBuf,
    /// Each row gets its probability from a model of the rows of the other folds
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u8).range(2..=20))]
    folds: u8,
}

const ROWS_MAX: usize = 5_000_000;
const REASONS: usize = 3;

struct Rows {
    head: Vec<String>,
    cells: Vec<Vec<String>>,
}

impl Churn {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let reading = || format!("reading {}", self.table.display());
        let rows = read(&self.table).with_context(reading)?;
        let place = |name: &str| {
            let found = rows.head.iter().position(|known| known == name);
            found.with_context(|| format!("there is no column `{name}`"))
        };
        let target = place(&self.target)?;
        let id = self.id.as_deref().map(place).transpose()?;
        let left = self.left(&rows.cells, target)?;
        let learned: Vec<usize> = (0..rows.head.len())
            .filter(|column| *column != target && Some(*column) != id)
            .collect();
        let table = Table {
            names: learned.iter().map(|column| rows.head[*column].clone()).collect(),
            columns: learned.iter().map(|column| column_of(&rows.cells, *column)).collect(),
        };
        let predictions = out_of_fold(&table, &left, usize::from(self.folds), 0)?;
        let mut out = csv::Writer::from_writer(Vec::new());
        let mut head =
            vec![self.id.clone().unwrap_or_else(|| "row".to_owned()), "probability".into()];
        head.extend((1..=REASONS).map(|number| format!("reason_{number}")));
        out.write_record(&head)?;
        for (number, (cells, prediction)) in rows.cells.iter().zip(&predictions).enumerate() {
            let name = id.map_or_else(|| (number + 1).to_string(), |id| cells[id].clone());
            let mut record = vec![name, format!("{:.6}", prediction.probability)];
            record.extend((0..REASONS).map(|place| match prediction.reasons.get(place) {
                Some((column, part)) => {
                    format!("{}={} {part:+.2}", table.names[*column], cells[learned[*column]])
                }
                None => String::new(),
            }));
            out.write_record(&record)?;
        }
        let probabilities: Vec<f64> = predictions.iter().map(|one| one.probability).collect();
        let Scores { auc, brier, ece, lift } = Scores::of(&probabilities, &left);
        eprintln!(
            "AUC {auc:.4}, Brier {brier:.4}, ECE {ece:.4}, lift of the first tenth {lift:.2}"
        );
        let csv = out.into_inner()?;
        if self.out.as_os_str() == "-" {
            return Ok(say(&String::from_utf8_lossy(&csv))?);
        }
        write_for_user(&self.out, &csv).with_context(|| format!("writing {}", self.out.display()))
    }

    /// Who left.
    fn left(&self, cells: &[Vec<String>], target: usize) -> anyhow::Result<Vec<bool>> {
        let values: BTreeSet<&str> = cells.iter().map(|row| row[target].as_str()).collect();
        let is_positive = |value: &str| match &self.positive {
            Some(positive) => value == positive,
            None => ["yes", "true", "1"].iter().any(|known| value.eq_ignore_ascii_case(known)),
        };
        let found: Vec<&&str> = values.iter().filter(|value| is_positive(value)).collect();
        if values.len() != 2 || found.len() != 1 {
            let known: Vec<&str> = values.iter().take(5).copied().collect();
            bail!(
                "`{}` must have two values, and --positive says which of them left; it has {}: {}",
                self.target,
                values.len(),
                known.join(", ")
            );
        }
        Ok(cells.iter().map(|row| is_positive(&row[target])).collect())
    }
}

/// Numbers, if all that is there are some.
fn column_of(cells: &[Vec<String>], column: usize) -> Column {
    let texts = || cells.iter().map(|row| row[column].as_str());
    let is_gap = |text: &str| matches!(text, "" | "NaN" | "nan" | "null" | "NA");
    let number = |text: &str| if is_gap(text) { Some(f64::NAN) } else { text.parse().ok() };
    let numbers: Option<Vec<f64>> = texts().map(number).collect();
    match numbers {
        Some(numbers) if numbers.iter().any(|number| number.is_finite()) => Column::Number(numbers),
        _ => Column::Category(texts().map(str::to_owned).collect()),
    }
}

fn read(path: &std::path::Path) -> anyhow::Result<Rows> {
    let mut reader = csv::Reader::from_path(path)?;
    let head: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
    let mut cells = Vec::new();
    for record in reader.records() {
        cells.push(record?.iter().map(|cell| cell.trim().to_owned()).collect());
        if cells.len() > ROWS_MAX {
            bail!("there are more than {ROWS_MAX} rows");
        }
    }
    if cells.is_empty() {
        bail!("there are no rows");
    }
    Ok(Rows { head, cells })
}
