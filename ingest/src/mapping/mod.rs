//! How the rows of somebody else's file become events: a small TOML that names columns, constants, and the
//! format of the time.
//!
//! ```toml
//! type = "usage.request"            # constant, or from a column: type_column = "kind"
//! source = "/import/billing-2025"   # part of each event's identity
//! organization = "org_acme"         # constant, or from a column: organization_column = "account"
//! id_column = "request_id"          # without it: sha256 of the file, a colon, and the row's number
//! names = "litellm"                 # whose names the other columns have
//!
//! [time]
//! column = "TIMESTAMP"
//! format = "%Y-%m-%d %H:%M:%S%.f"   # strftime; or rfc3339 (the default), unix_s, …
//! zone = "Europe/Berlin"            # of times without an offset (%z); UTC unless it is given
//!
//! [columns]                         # column of the file = field of the event's data
//! ContextTokens = "input_tokens"
//!
//! [constants]                       # field = value
//! model = "gpt"
//!
//! [transform.ContextTokens]         # what is done to a column's values first
//! scale = 1000
//!
//! [csv]                             # how a CSV file is written, where it is not as usual
//! delimiter = ";"
//! ```
//! Columns that are not named are left out. Empty CSV fields are absent.

mod cells;
mod csv_format;
mod time_format;
mod transform;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    Error, OrganizationId, Table, control,
    decode::{self, without_mark},
    event,
    names::{self, Vocabulary},
    schema::ColumnType,
    time::{self, Micros},
};
pub(crate) use cells::Cell;
pub use cells::FileRows;
pub use csv_format::CsvFormat;
use time_format::Times;
use transform::Transform;

/// A mapping that was read and checked.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// The columns of a file that are read.
    columns: Vec<String>,
    /// From here on they need not be there.
    required: usize,
    /// What is done to the values of each, where it is not nothing.
    transforms: Vec<Option<Transform>>,
    pub(crate) event_type: FieldSource,
    pub(crate) source: String,
    pub(crate) organization: Option<FieldSource>,
    pub(crate) id: Option<usize>,
    /// The place of the column of the time.
    time: usize,
    times: Times,
    csv: CsvFormat,
    /// The members of `data`, with their places among the columns of each table. Constants come first, so that a
    /// column of the file that has a value wins.
    pub(crate) fields: Vec<(String, FieldSource, [Option<usize>; Table::ALL.len()])>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FieldSource {
    /// The same for every row, as JSON.
    Constant(String),
    /// A place among the columns that are read.
    Column(usize),
}

/// A mapping as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MappingSpec {
    #[serde(rename = "type")]
    event_type: Option<String>,
    type_column: Option<String>,
    source: String,
    organization: Option<String>,
    organization_column: Option<String>,
    id_column: Option<String>,
    names: Option<String>,
    time: TimeColumn,
    #[serde(default)]
    columns: BTreeMap<String, String>,
    #[serde(default)]
    constants: BTreeMap<String, Value>,
    #[serde(default)]
    transform: BTreeMap<String, transform::TransformSpec>,
    #[serde(default)]
    csv: csv_format::CsvSpec,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeColumn {
    column: String,
    #[serde(default = "rfc3339")]
    format: String,
    zone: Option<String>,
}

fn rfc3339() -> String {
    "rfc3339".into()
}

/// The mappings that come with the program, by name.
pub const BUILT_IN: &[(&str, &str)] = &[("azure-llm", include_str!("../../maps/azure-llm.toml"))];

impl Mapping {
    /// Parses and checks a mapping.
    ///
    /// # Errors
    /// [`Error::Mapping`] with the line and what is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let written: MappingSpec =
            toml::from_str(without_mark(text)).map_err(|e| Error::Mapping(e.to_string()))?;
        written.check().map_err(|what| Error::Mapping(what.to_owned()))?;
        let refuse = |what: &str| Err(Error::Mapping(what.to_owned()));
        let mut columns = Vec::new();
        let constant = |text: String| FieldSource::Constant(Value::from(text).to_string());
        let event_type = match (written.event_type, written.type_column) {
            (Some(name), None) => constant(name),
            (None, Some(column)) => FieldSource::Column(place(&mut columns, &column)),
            _ => return refuse("give either `type` or `type_column`"),
        };
        let organization = match (written.organization, written.organization_column) {
            (Some(id), None) => Some(constant(id)),
            (None, column) => {
                column.map(|column| FieldSource::Column(place(&mut columns, &column)))
            }
            _ => return refuse("give `organization` or `organization_column`, not both"),
        };
        let id = written.id_column.map(|column| place(&mut columns, &column));
        let time = place(&mut columns, &written.time.column);
        let mut own: Vec<(String, FieldSource)> = Vec::new();
        for (column, name) in written.columns {
            if own.iter().any(|(known, _)| *known == name) {
                return refuse(&format!("two columns are named as `{name}`"));
            }
            own.push((name, FieldSource::Column(place(&mut columns, &column))));
        }
        let required = columns.len();
        let constants = written.constants.into_iter();
        let mut fields: Vec<(String, FieldSource)> = constants
            .map(|(name, value)| (name, FieldSource::Constant(value.to_string())))
            .collect();
        if let Some(word) = &written.names {
            let names = Vocabulary::find(word)
                .ok_or_else(|| Error::Mapping(format!("`names`: {}", Vocabulary::unknown(word))))?;
            take_over(names, &mut fields, &mut columns);
        }
        fields.extend(own);
        let mut transforms = transforms(&columns, written.transform)?;
        // Those that only the vocabulary names.
        for (at, transform) in transforms.iter_mut().enumerate().skip(required) {
            let is_it = |(name, source): &(String, FieldSource)| {
                name == "cost" && *source == FieldSource::Column(at)
            };
            let is_money = fields.iter().any(is_it);
            transform.get_or_insert_with(|| Transform::of_gateway(is_money));
        }
        let places = |name: &str| Table::ALL.map(|table| table.place(name, 0));
        let fields = fields.into_iter();
        Ok(Self {
            columns,
            required,
            transforms,
            event_type,
            source: written.source,
            organization,
            id,
            time,
            times: Times::parse(&written.time.format, written.time.zone.as_deref())
                .map_err(Error::Mapping)?,
            csv: CsvFormat::parse(written.csv).map_err(Error::Mapping)?,
            fields: fields
                .map(|(name, source)| {
                    let places = places(&name);
                    (name, source, places)
                })
                .collect(),
        })
    }

    /// A mapping that comes with the program.
    pub fn built_in(name: &str) -> Option<Result<Self, Error>> {
        BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| Self::parse(text))
    }

    /// The columns of a file that are read; all others are left out.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Part of the identity of each event.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// How a CSV file is written.
    pub fn csv(&self) -> &CsvFormat {
        &self.csv
    }

    /// Whether a column of the file becomes a number.
    pub fn is_number(&self, column: &str) -> bool {
        let at = self.columns.iter().position(|known| known == column);
        let is_scaled = at.and_then(|at| self.transforms[at].as_ref());
        if is_scaled.is_some_and(Transform::is_number) {
            return true;
        }
        self.fields.iter().any(|(_, source, places)| {
            matches!(source, FieldSource::Column(at) if self.columns[*at] == column)
                && Table::ALL.iter().zip(places).any(|(table, place)| {
                    let column = place.map(|place| &table.columns()[place]);
                    column.is_some_and(|c| matches!(c.kind, ColumnType::Count | ColumnType::Money))
                })
        })
    }

    /// The fields that become attributes where a column may be meant, with that column.
    pub fn doubtful_fields(&self) -> Vec<(&str, &'static str)> {
        let tables: Vec<Table> = match &self.event_type {
            FieldSource::Constant(json) => decode::text(json)
                .and_then(|name| event::route(&name).map(|(table, _)| table))
                .into_iter()
                .collect(),
            FieldSource::Column(_) => Table::OF_EVENTS.to_vec(),
        };
        let has = |column| self.fields.iter().any(|(name, ..)| name == column);
        let is_known = |name: &str| {
            name == names::INCLUDES_CACHED
                || tables.iter().any(|table| table.place(name, 0).is_some())
        };
        let fields = self.fields.iter().map(|(name, ..)| name.as_str());
        let doubtful = fields.filter(|name| !is_known(name)).filter_map(|name| {
            let column = tables.iter().find_map(|table| names::meant(*table, name))?;
            (!has(column)).then_some((name, column))
        });
        doubtful.collect()
    }

    /// The column of the time.
    pub fn time_column(&self) -> &String {
        &self.columns[self.time]
    }

    /// Refuses a file that has not all of the columns: a misspelled name would go unnoticed otherwise. One that has
    /// a column twice is refused too: which of them is meant is not known.
    pub fn check_columns(&self, present: &[&str]) -> Result<(), Error> {
        let times = |column: &String| present.iter().filter(|name| *name == column).count();
        if let Some(column) = self.columns.iter().find(|column| times(column) > 1) {
            return Err(Error::Mapping(format!("the file has the column `{column}` twice")));
        }
        let absent: Vec<_> = self.columns[..self.required]
            .iter()
            .filter(|column| !present.contains(&column.as_str()))
            .map(|column| format!("`{column}`"))
            .collect();
        if absent.is_empty() {
            return Ok(());
        }
        let (absent, present) = (absent.join(", "), present.join(", "));
        Err(Error::Mapping(format!("the file has no column {absent}; it has {present}")))
    }

    /// The value of a column, after what is to be done to it.
    pub(crate) fn cell<'a>(&'a self, column: usize, rows: &'a FileRows, row: usize) -> Cell<'a> {
        let cell = rows.cell(column, row);
        match &self.transforms[column] {
            Some(transform) => transform.apply(cell),
            None => cell,
        }
    }

    /// When a row happened: `None` when that cannot be read, the cell when there is one.
    pub(crate) fn time<'a>(&'a self, rows: &'a FileRows, row: usize) -> (Option<Micros>, Cell<'a>) {
        let cell = self.cell(self.time, rows, row);
        (self.times.read(&cell), cell)
    }

    /// Whether a text is a time as the mapping has them.
    pub fn reads_time(&self, text: &str) -> bool {
        self.times.read(&Cell::Text(text.into())).is_some()
    }

    /// The UTC date of each row, as days since 1970; `None` where its time cannot be read.
    pub fn dates(&self, rows: &FileRows) -> Vec<Option<i32>> {
        (0..rows.len()).map(|row| self.time(rows, row).0.map(time::date_of)).collect()
    }
}

impl MappingSpec {
    /// What is wrong with it as it stands.
    fn check(&self) -> Result<(), &'static str> {
        if self.event_type.as_deref().is_some_and(|name| event::route(name).is_none()) {
            return Err("`type` is not usage.request, billing.<kind> or activity.<action>");
        }
        if self.organization.as_deref().is_some_and(|id| OrganizationId::parse(id).is_none()) {
            return Err("`organization` is not 1 to 64 of A-Z a-z 0-9 _ -");
        }
        if self.source.is_empty() {
            return Err("`source` is empty");
        }
        if control::in_name(&self.source) {
            return Err("`source` holds a control character");
        }
        Ok(())
    }
}

/// The place of a column among those that are read.
fn place(columns: &mut Vec<String>, name: &str) -> usize {
    columns.iter().position(|known| known == name).unwrap_or_else(|| {
        columns.push(name.to_owned());
        columns.len() - 1
    })
}

/// Adds the names of a vocabulary to the fields. Of several names of one field the last that has a value wins, so they
/// come backwards.
fn take_over(
    names: &Vocabulary,
    fields: &mut Vec<(String, FieldSource)>,
    columns: &mut Vec<String>,
) {
    for fixed in names.fixed {
        if fields.iter().all(|(name, _)| name != fixed.member) {
            fields.push((fixed.member.to_owned(), FieldSource::Constant(fixed.json.to_owned())));
        }
    }
    let members = names.members.iter().rev();
    fields.extend(
        members.map(|(path, name)| ((*name).to_owned(), FieldSource::Column(place(columns, path)))),
    );
}

/// What is done to each of the columns.
fn transforms(
    columns: &[String],
    written: BTreeMap<String, transform::TransformSpec>,
) -> Result<Vec<Option<Transform>>, Error> {
    let mut transforms = vec![None; columns.len()];
    for (column, transform) in written {
        let refusal = |reason: &str| Error::Mapping(format!("`[transform.{column}]`: {reason}"));
        let at = columns.iter().position(|known| *known == column);
        let at = at.ok_or_else(|| refusal("the mapping reads no such column"))?;
        transforms[at] = Some(Transform::parse(transform).map_err(|error| refusal(&error))?);
    }
    Ok(transforms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_mappings_are_refused() {
        let time = "[time]\ncolumn = \"t\"\n";
        for (text, part) in [
            ("source = \"/x\"\n", "give either"),
            (
                "type = \"usage.request\"\nsource = \"/x\"\n[transform.b]\ntrim = true\n",
                "`[transform.b]`: the mapping reads no such column",
            ),
            ("type = \"usage.nothing\"\nsource = \"/x\"\n", "`type` is not"),
            ("type = \"usage.request\"\nsource = \"\"\n", "`source` is empty"),
            (
                "type = \"usage.request\"\nsource = \"/x\"\n[columns]\na = \"model\"\nb = \"model\"\n",
                "two columns are named as `model`",
            ),
            ("type = \"usage.request\"\nsource = \"/x\"\ncolor = 1\n", "unknown field"),
        ] {
            let error = Mapping::parse(&format!("{text}{time}")).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_file_without_a_column_is_refused() {
        let mapping = Mapping::built_in("azure-llm").unwrap().unwrap();
        let columns = ["TIMESTAMP", "ContextTokens", "GeneratedTokens", "more"];
        assert!(mapping.check_columns(&columns).is_ok());
        let error = mapping.check_columns(&["TIMESTAMP", "contextTokens"]).unwrap_err().to_string();
        assert!(error.contains("no column `ContextTokens`, `GeneratedTokens`"), "{error}");
        assert!(error.contains("it has TIMESTAMP, contextTokens"), "{error}");
        let doubled = [&columns[..], &["TIMESTAMP"]].concat();
        let error = mapping.check_columns(&doubled).unwrap_err().to_string();
        assert!(error.contains("the column `TIMESTAMP` twice"), "{error}");
    }
}
