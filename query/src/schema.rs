//! The tables that a session has, each column with its type and a sentence: for `GET /v1/schema`, and as
//! `information_schema` for tools. Both show only what the caller may read, and nothing of the machine.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    error::ArrowError,
};
use datafusion::{
    catalog::{MemorySchemaProvider, SchemaProvider},
    common::DataFusionError,
    datasource::MemTable,
};
use ingest::Table;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{QueryError, Reason, RowAccess, format::type_name, session::NET};

/// The catalog and the schema that unqualified names are of.
pub(crate) const CATALOG: &str = "aihub";
pub(crate) const SCHEMA: &str = "public";
pub(crate) const INFORMATION_SCHEMA: &str = "information_schema";

/// A table, as its reader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TableDescription {
    pub name: String,
    pub description: String,
    pub columns: Vec<ColumnDescription>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ColumnDescription {
    pub name: String,
    /// `text`, `integer`, `decimal`, `double`, `boolean`, `timestamp` or `date`.
    #[serde(rename = "type")]
    pub kind: String,
    pub description: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    common: BTreeMap<String, String>,
    tables: Vec<Described>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    name: String,
    description: String,
    /// Of a view: its columns in order.
    #[serde(default)]
    types: Vec<(String, String)>,
    columns: BTreeMap<String, String>,
}

/// Read once. A test keeps it readable.
static DOCUMENT: LazyLock<Result<Document, String>> = LazyLock::new(|| {
    serde_yaml_ng::from_str(include_str!("../schema.yaml")).map_err(|error| error.to_string())
});

/// Whether somebody of this reach has a table.
pub(crate) fn is_shown(table: &str, reach: &RowAccess) -> bool {
    table != Table::DeadLetter.name() || *reach == RowAccess::Admin
}

/// Whether organizations lack a column.
pub(crate) fn is_for_staff(column: &str) -> bool {
    // Asked for each column of each session.
    static COLUMNS: LazyLock<Vec<&str>> = LazyLock::new(|| {
        let columns = Table::ALL.iter().flat_map(|table| table.columns());
        columns.filter(|column| column.is_for_staff).map(|column| column.name).collect()
    });
    COLUMNS.contains(&column)
}

/// The names of the tables that a session of this reach holds.
pub(crate) fn names(reach: &RowAccess) -> impl Iterator<Item = &'static str> {
    let tables = DOCUMENT.iter().flat_map(|document| &document.tables);
    tables.map(|table| table.name.as_str()).filter(|name| is_shown(name, reach))
}

/// The tables that a session of this reach holds.
pub fn tables(reach: &RowAccess) -> Result<Vec<TableDescription>, QueryError> {
    let unreadable = |error: &String| QueryError::new(Reason::Unavailable, error.clone());
    let document = DOCUMENT.as_ref().map_err(unreadable)?;
    let shown = document.tables.iter().filter(|table| is_shown(&table.name, reach));
    let is_organization = matches!(reach, RowAccess::Organization(_));
    let described = shown.map(|table| {
        let mut described = table.describe(&document.common);
        described.columns.retain(|column| !is_organization || !is_for_staff(&column.name));
        described
    });
    Ok(described.collect())
}

impl Described {
    fn describe(&self, common: &BTreeMap<String, String>) -> TableDescription {
        let name = self.name.as_str();
        let stored = if name == NET { Some(Table::UsageLedger) } else { Table::parse(name) };
        let columns: Vec<(String, String)> = match stored {
            Some(table) => {
                let schema = table.schema();
                let fields = schema.fields().iter();
                fields.map(|field| (field.name().clone(), type_name(field.data_type()))).collect()
            }
            None => self.types.clone(),
        };
        let columns = columns.into_iter().map(|(name, kind)| {
            let description = self.columns.get(&name).or_else(|| common.get(&name));
            let description = description.cloned().unwrap_or_default();
            ColumnDescription { name, kind, description }
        });
        TableDescription {
            name: name.to_owned(),
            description: self.description.clone(),
            columns: columns.collect(),
        }
    }
}

/// `information_schema` with its `schemata`, `tables` and `columns`.
pub(crate) fn information_schema(
    reach: &RowAccess,
) -> Result<Arc<dyn SchemaProvider>, DataFusionError> {
    let tables = tables(reach).map_err(|error| DataFusionError::Plan(error.message))?;
    let provider = MemorySchemaProvider::new();
    for (name, batch) in [
        ("schemata", schemata()?),
        ("tables", table_rows(&tables)?),
        ("columns", column_rows(&tables)?),
    ] {
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        provider.register_table(name.to_owned(), Arc::new(table))?;
    }
    Ok(Arc::new(provider))
}

fn schemata() -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_from_iter([
        ("catalog_name", texts([CATALOG, CATALOG])),
        ("schema_name", texts([SCHEMA, INFORMATION_SCHEMA])),
    ])
}

fn table_rows(tables: &[TableDescription]) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_from_iter([
        ("table_catalog", texts(tables.iter().map(|_| CATALOG))),
        ("table_schema", texts(tables.iter().map(|_| SCHEMA))),
        ("table_name", texts(tables.iter().map(|table| table.name.as_str()))),
        ("table_type", texts(tables.iter().map(|_| "BASE TABLE"))),
        ("description", texts(tables.iter().map(|table| table.description.as_str()))),
    ])
}

fn column_rows(tables: &[TableDescription]) -> Result<RecordBatch, ArrowError> {
    let columns: Vec<(&str, usize, &ColumnDescription)> = tables
        .iter()
        .flat_map(|table| {
            let columns = table.columns.iter().enumerate();
            columns.map(|(place, column)| (table.name.as_str(), place + 1, column))
        })
        .collect();
    let places = Int64Array::from_iter_values(columns.iter().map(|(_, place, _)| *place as i64));
    RecordBatch::try_from_iter([
        ("table_catalog", texts(columns.iter().map(|_| CATALOG))),
        ("table_schema", texts(columns.iter().map(|_| SCHEMA))),
        ("table_name", texts(columns.iter().map(|(table, ..)| *table))),
        ("column_name", texts(columns.iter().map(|(.., column)| column.name.as_str()))),
        ("ordinal_position", Arc::new(places) as ArrayRef),
        ("is_nullable", texts(columns.iter().map(|_| "YES"))),
        ("data_type", texts(columns.iter().map(|(.., column)| sql_type(&column.kind)))),
        ("description", texts(columns.iter().map(|(.., column)| column.description.as_str()))),
    ])
}

fn texts<'a>(values: impl IntoIterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// A type as SQL writes it.
fn sql_type(kind: &str) -> &str {
    match kind {
        "text" => "VARCHAR",
        "integer" => "BIGINT",
        "decimal" => "DECIMAL(38,12)",
        "double" => "DOUBLE",
        "boolean" => "BOOLEAN",
        "timestamp" => "TIMESTAMP WITH TIME ZONE",
        "date" => "DATE",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_a_sentence_and_every_sentence_a_column() {
        let document = DOCUMENT.as_ref().unwrap();
        let described = tables(&RowAccess::Admin).unwrap();
        for table in Table::ALL {
            assert!(described.iter().any(|described| described.name == table.name()));
        }
        let mut common = std::collections::BTreeSet::new();
        for table in &described {
            assert!(table.description.ends_with('.'), "{}", table.name);
            assert!(!table.columns.is_empty(), "{}", table.name);
            for column in &table.columns {
                let sentence = column.description.ends_with('.') && column.description.len() > 9;
                assert!(sentence, "{}.{}: {}", table.name, column.name, column.description);
                common.insert(column.name.clone());
            }
            let sentences = document.tables.iter().find(|described| described.name == table.name);
            for name in sentences.unwrap().columns.keys() {
                let known = table.columns.iter().any(|column| column.name == *name);
                assert!(known, "{} has no column {name}", table.name);
            }
        }
        for name in document.common.keys() {
            assert!(common.contains(name), "no table has a column {name}");
        }
    }

    #[test]
    fn dead_letters_are_for_administrators() {
        let has = |reach: RowAccess| {
            tables(&reach).unwrap().iter().any(|table| table.name == "dead_letter")
        };
        assert!(has(RowAccess::Admin));
        assert!(!has(RowAccess::Staff) && !has(RowAccess::Organization("org_a".into())));
    }
}
