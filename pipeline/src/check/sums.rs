//! What the files sum up to, for each organization and day.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{Decimal128Type, Int64Type},
};
use ingest::{Table, time};

/// Sums by table, organization, day and currency.
pub type Sums = BTreeMap<SumKey, Sum>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SumKey {
    pub table: Table,
    pub organization: Option<String>,
    /// Days since 1970.
    pub date: i32,
    pub currency: Option<String>,
}

/// Rows, and the sum of each column of [`summed`]. Money is in units of its scale.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sum {
    pub rows: u64,
    pub amounts: Vec<i128>,
}

/// The columns that are summed.
pub fn summed(table: Table) -> &'static [&'static str] {
    match table {
        Table::UsageLedger => &["input_tokens", "output_tokens", "cost", "list_price"],
        Table::BillingEvents | Table::RatedUsageDaily | Table::InvoiceLines => {
            &["quantity", "amount"]
        }
        _ => &[],
    }
}

pub(super) fn add(
    sums: &mut Sums,
    table: Table,
    dates: impl Iterator<Item = i32>,
    rows: &RecordBatch,
) {
    if table.is_dimension() {
        return;
    }
    let text = |name, row| {
        let column = rows.column_by_name(name)?.as_string_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let columns: Vec<_> = summed(table).iter().map(|name| rows.column_by_name(name)).collect();
    for (row, date) in dates.enumerate() {
        let key = SumKey {
            table,
            organization: text("organization_id", row),
            date,
            currency: text("currency", row),
        };
        let sum = sums.entry(key).or_default();
        sum.rows += 1;
        sum.amounts.resize(columns.len(), 0);
        for (amount, column) in sum.amounts.iter_mut().zip(&columns) {
            *amount += column.map_or(0, |column| number(column, row));
        }
    }
}

/// The number in a column of counts or money; null is none.
pub(super) fn number(column: &dyn Array, row: usize) -> i128 {
    if column.is_null(row) {
        return 0;
    }
    if let Some(counts) = column.as_primitive_opt::<Int64Type>() {
        return counts.value(row).into();
    }
    column.as_primitive_opt::<Decimal128Type>().map_or(0, |amounts| amounts.value(row))
}

pub(super) fn differ(key: &SumKey, files: Option<&Sum>, queries: Option<&Sum>) -> String {
    let organization = key.organization.as_deref().unwrap_or("no organization");
    let mut place = format!("{organization} on {}", time::date_text(key.date));
    if let Some(currency) = &key.currency {
        place += &format!(" in {currency}");
    }
    let (files, queries) =
        (files.cloned().unwrap_or_default(), queries.cloned().unwrap_or_default());
    let mut parts = Vec::new();
    if files.rows != queries.rows {
        parts.push(format!("{} rows in files, {} in queries", files.rows, queries.rows));
    }
    for (at, name) in summed(key.table).iter().enumerate() {
        let amount = |sum: &Sum| sum.amounts.get(at).copied().unwrap_or(0);
        let (files, queries) = (amount(&files), amount(&queries));
        if files != queries {
            parts.push(format!("{name} {files} in files, {queries} in queries"));
        }
    }
    format!("{place}: {}", parts.join("; "))
}
