//! The tables of rollups, and the names of their rows in statements of our own.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field};
use datafusion::datasource::TableProvider;
use ingest::{OrganizationId, money, schema::ColumnType};
use pipeline::{Cut, ROLLUP_TIME, RollupTable, TableVersion, Tables, scan::LakeScan};
use semantic::{Rollup, RollupColumnKind};

use crate::{Author, Request};

/// Each rollup of this program, with its table.
static ALL: LazyLock<Vec<(&'static Rollup, RollupTable)>> =
    LazyLock::new(|| Rollup::all().iter().map(|rollup| (rollup, table(rollup))).collect());

/// Each rollup of this program, with its table.
pub fn all() -> impl Iterator<Item = (&'static Rollup, &'static RollupTable)> {
    ALL.iter().map(|(rollup, table)| (*rollup, table))
}

/// The rollups that hold no row beyond a cut.
pub(crate) fn usable(cut: &Cut) -> Vec<&'static Rollup> {
    let usable = all().filter(|(_, table)| cut.usable_rollup(table.name()).is_some());
    usable.map(|(rollup, _)| rollup).collect()
}

/// Where a rollup stands, if it holds no row beyond a cut.
pub(crate) fn mark(rollup: &Rollup, cut: &Cut) -> Option<TableVersion> {
    let (_, table) = all().find(|(known, _)| known.name == rollup.name)?;
    cut.usable_rollup(table.name())
}

/// The cut of a request, with the rollups that its statement names and no others.
pub(crate) fn cut(request: &Request) -> Cut {
    let mut cut = request.cut.clone();
    let named = |table: &String| {
        let rollup = all().find(|(_, known)| known.name() == table);
        rollup.is_some_and(|(rollup, _)| is_named(&request.sql, rollup))
    };
    cut.rollups.retain(|table, _| request.author == Author::Ourselves && named(table));
    cut
}

fn is_named(sql: &str, rollup: &Rollup) -> bool {
    sql.contains(&rollup.stored()) || sql.contains(&rollup.above())
}

/// The rows of rollups that a statement names, with their names.
pub(crate) fn relations(
    sql: &str,
    tables: &Tables,
    own: Option<&OrganizationId>,
) -> Vec<(String, Arc<dyn TableProvider>)> {
    let mut found: Vec<(String, Arc<dyn TableProvider>)> = Vec::new();
    for (rollup, table) in all() {
        let is_theirs = own.is_none() || rollup.is_of_organizations();
        if !is_theirs || !is_named(sql, rollup) {
            continue;
        }
        let Some(mark) = tables.cut.usable_rollup(table.name()) else { continue };
        found.push((rollup.stored(), Arc::new(LakeScan::new(tables, table, own))));
        let ledger = LakeScan::new(tables, rollup.ledger(), own).after(mark.txn);
        found.push((rollup.above(), Arc::new(ledger)));
    }
    found
}

fn table(rollup: &Rollup) -> RollupTable {
    let time = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields = vec![Field::new(ROLLUP_TIME, time, false)];
    fields.extend(rollup.columns().into_iter().map(|column| {
        let kind = match column.kind {
            RollupColumnKind::Key(ColumnType::Text) => DataType::Utf8,
            RollupColumnKind::Key(ColumnType::Flag) => DataType::Boolean,
            RollupColumnKind::Key(_) | RollupColumnKind::Rows => DataType::Int64,
            RollupColumnKind::Bucket => DataType::Float64,
            RollupColumnKind::Sum(scale) => {
                DataType::Decimal128(money::PRECISION, scale.cast_signed())
            }
        };
        Field::new(column.name, kind, true)
    }));
    RollupTable::new(rollup.table_name(), fields)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_rollup_has_a_table_of_its_own() {
        let names: BTreeSet<_> = all().map(|(_, table)| table.name()).collect();
        assert_eq!(names.len(), Rollup::all().len());
        for (rollup, table) in all() {
            assert!(table.name().starts_with(&format!("{}-", rollup.name)));
            // The relations of one are not found in the name of another.
            let others = all().filter(|(other, _)| other.name != rollup.name);
            for (other, _) in others {
                assert!(!other.stored().contains(&rollup.stored()));
                assert!(!other.above().contains(&rollup.above()));
            }
        }
    }
}
