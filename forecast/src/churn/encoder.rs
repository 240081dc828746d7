//! From the columns of a table to the columns of a regression.

use ndarray::Array2;

/// A table of rows to learn from.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// The names of the columns.
    pub names: Vec<String>,
    /// The columns, all of the same length.
    pub columns: Vec<Column>,
}

/// The values of a column.
#[derive(Debug, Clone)]
pub enum Column {
    /// Numbers; NaN where there is none.
    Number(Vec<f64>),
    /// Names of a few kinds.
    Category(Vec<String>),
}

/// A column of the regression: where it comes from, and how.
#[derive(Debug, Clone)]
struct Feature {
    /// The column of the table.
    column: usize,
    form: Form,
    mean: f64,
    deviation: f64,
}

#[derive(Debug, Clone)]
enum Form {
    /// The number, or the mean where there is none.
    Line {
        fill: f64,
    },
    Logarithm {
        fill: f64,
        least: f64,
    },
    /// What of the number lies above a kink.
    Hinge {
        fill: f64,
        kink: f64,
    },
    /// Whether there is no number.
    Missing,
    /// Whether it is this one.
    Is(String),
    /// The number, in rows whose category is this one.
    LineOf {
        fill: f64,
        center: f64,
        category: usize,
        name: String,
    },
}

/// What was learned of the columns.
#[derive(Debug, Clone)]
pub(super) struct Encoder {
    features: Vec<Feature>,
}

/// Where the kinks of a number are, as shares of the rows.
const KINKS: [f64; 5] = [0.1, 0.3, 0.5, 0.7, 0.9];
/// A number of fewer different values has no kinks.
const DIFFERENT: usize = 10;
/// A category that fewer rows have, as a share, is none.
const RARE: f64 = 0.005;
/// More categories of one column are not told apart.
const CATEGORIES: usize = 40;
/// Numbers are multiplied by the values of columns that have no more.
const SMALL: usize = 4;

impl Table {
    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self.columns.first() {
            None => 0,
            Some(Column::Number(values)) => values.len(),
            Some(Column::Category(values)) => values.len(),
        }
    }
}

impl Encoder {
    pub(super) fn learn(table: &Table, rows: &[usize]) -> Self {
        let mut features = Vec::new();
        let small: Vec<(usize, Vec<String>)> = (0..table.columns.len())
            .filter_map(|column| {
                let names = categories(&table.columns[column], rows);
                (2..=SMALL).contains(&names.len()).then_some((column, names))
            })
            .collect();
        for (column, values) in table.columns.iter().enumerate() {
            match values {
                Column::Number(values) => {
                    features.extend(of_number(column, values, rows, &small));
                }
                Column::Category(_) => {
                    let names = categories(values, rows);
                    features.extend(names.into_iter().map(|name| (column, Form::Is(name))));
                }
            }
        }
        let mut encoder = Self {
            features: features
                .into_iter()
                .map(|(column, form)| Feature { column, form, mean: 0.0, deviation: 1.0 })
                .collect(),
        };
        // A feature that is always the same says nothing.
        encoder.features.retain_mut(|feature| {
            let values: Vec<f64> = rows.iter().map(|row| feature.raw(table, *row)).collect();
            let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
            (feature.mean, feature.deviation) =
                (mean, (variance / values.len().max(1) as f64).sqrt());
            feature.deviation.is_finite() && feature.deviation > 1e-9 * (1.0 + mean.abs())
        });
        encoder
    }

    pub(super) fn matrix(&self, table: &Table, rows: &[usize]) -> Array2<f64> {
        Array2::from_shape_fn((rows.len(), self.features.len()), |(row, feature)| {
            let feature = &self.features[feature];
            ((feature.raw(table, rows[row]) - feature.mean) / feature.deviation).clamp(-8.0, 8.0)
        })
    }

    /// The column of the table that each feature comes from.
    pub(super) fn columns(&self) -> impl Iterator<Item = usize> + '_ {
        self.features.iter().map(|feature| feature.column)
    }
}

fn of_number(
    column: usize,
    values: &[f64],
    rows: &[usize],
    small: &[(usize, Vec<String>)],
) -> Vec<(usize, Form)> {
    let mut known: Vec<f64> =
        rows.iter().map(|row| values[*row]).filter(|value| value.is_finite()).collect();
    known.sort_by(f64::total_cmp);
    if known.is_empty() {
        return Vec::new();
    }
    let fill = known.iter().sum::<f64>() / known.len() as f64;
    let mut forms = vec![Form::Line { fill }];
    if known.len() < rows.len() {
        forms.push(Form::Missing);
    }
    let mut different = known.clone();
    different.dedup();
    if different.len() > DIFFERENT {
        forms.push(Form::Logarithm { fill, least: known[0] });
        let mut kinks: Vec<f64> =
            KINKS.iter().map(|share| known[((known.len() - 1) as f64 * share) as usize]).collect();
        kinks.dedup();
        forms.extend(kinks.into_iter().map(|kink| Form::Hinge { fill, kink }));
        for (category, names) in small.iter().filter(|(category, _)| *category != column) {
            let of = |name: &String| Form::LineOf {
                fill,
                center: fill,
                category: *category,
                name: name.clone(),
            };
            forms.extend(names.iter().map(of));
        }
    }
    forms.into_iter().map(|form| (column, form)).collect()
}

/// The values of a category that enough rows have.
fn categories(column: &Column, rows: &[usize]) -> Vec<String> {
    let Column::Category(values) = column else { return Vec::new() };
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for row in rows {
        *counts.entry(values[*row].as_str()).or_default() += 1;
    }
    let least = (rows.len() as f64 * RARE).ceil() as usize;
    let mut names: Vec<(&str, usize)> =
        counts.into_iter().filter(|(_, count)| *count >= least.max(1)).collect();
    names.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    names.truncate(CATEGORIES);
    names.into_iter().map(|(name, _)| name.to_owned()).collect()
}

impl Feature {
    fn raw(&self, table: &Table, row: usize) -> f64 {
        let number = |fill: f64| match &table.columns[self.column] {
            Column::Number(values) if values[row].is_finite() => values[row],
            _ => fill,
        };
        let is = |column: usize, name: &str| match &table.columns[column] {
            Column::Category(values) => f64::from(u8::from(values[row] == name)),
            Column::Number(_) => 0.0,
        };
        match &self.form {
            Form::Line { fill } => number(*fill),
            Form::Logarithm { fill, least } => (number(*fill) - least).max(0.0).ln_1p(),
            Form::Hinge { fill, kink } => (number(*fill) - kink).max(0.0),
            Form::Missing => match &table.columns[self.column] {
                Column::Number(values) => f64::from(u8::from(!values[row].is_finite())),
                Column::Category(_) => 0.0,
            },
            Form::Is(name) => is(self.column, name),
            Form::LineOf { fill, center, category, name } => {
                (number(*fill) - center) * is(*category, name)
            }
        }
    }
}
