//! The mapping that is put together of columns.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::Path,
};

use ingest::{OrganizationId, Table, control, event, mapping::Mapping, names, schema::ColumnType};
use sha2::{Digest, Sha256};

use super::{Column, Marks, NULLS, name_of, quoted};

const TIME_NAMES: [&str; 18] = [
    "time",
    "timestamp",
    "ts",
    "datetime",
    "date",
    "created",
    "start",
    "started",
    "occurred",
    "logged",
    "recorded",
    "epoch",
    "when",
    "at",
    "zeit",
    "datum",
    "时间",
    "日期",
];
const ID_NAMES: [&str; 8] =
    ["id", "request_id", "event_id", "call_id", "uuid", "trace_id", "requestid", "eventid"];
const ORGANIZATION_NAMES: [&str; 12] = [
    "organization_id",
    "organization",
    "org_id",
    "org",
    "account_id",
    "account",
    "customer_id",
    "customer",
    "tenant_id",
    "tenant",
    "company",
    "workspace_id",
];
const TYPE_NAMES: [&str; 4] = ["type", "event_type", "kind", "event"];
/// A mapping that is put together.
#[derive(Debug, Default)]
pub(super) struct Draft {
    source: String,
    csv: String,
    event_type: String,
    organization: String,
    id: String,
    time: String,
    columns: BTreeMap<String, String>,
    constants: Vec<String>,
    transforms: String,
    left: Vec<String>,
    /// Of the columns that become numbers: the marks in them, and whether they count.
    marks: Vec<(String, Marks, bool)>,
}

impl Draft {
    pub(super) fn new(path: &Path, columns: &[Column], csv: String) -> Self {
        let name = name_of(path);
        let stem = name.split('.').next().unwrap_or_default();
        let mut draft = Self { source: quoted(&format!("/import/{stem}")), csv, ..Self::default() };
        let mut left: Vec<_> = columns.iter().collect();
        draft.take_time(&mut left);
        draft.take_id(&mut left);
        draft.take_organization(&mut left);
        let table = draft.take_type(&mut left);
        draft.take_fields(table, &left);
        draft.write_constants(table, columns);
        draft.write_marks();
        let nulls: BTreeSet<_> = columns
            .iter()
            .flat_map(Column::words)
            .filter_map(|value| NULLS.iter().find(|word| **word == value))
            .map(|word| quoted(word))
            .collect();
        if !nulls.is_empty() {
            let nulls: Vec<_> = nulls.into_iter().collect();
            draft.write_csv(&format!("null = [{}]\n", nulls.join(", ")));
        }
        draft
    }

    fn write_csv(&mut self, line: &str) {
        if self.csv.is_empty() {
            self.csv.push_str("\n[csv]\n");
        }
        self.csv.push_str(line);
    }

    /// How numbers are written. A mark that three digits follow each time is one of thousands where the column counts,
    /// and doubtful elsewhere.
    fn write_marks(&mut self) {
        let marks = std::mem::take(&mut self.marks);
        let is_decimal = |mark: char| marks.iter().any(|(_, found, _)| found.decimal == Some(mark));
        let is_group = |mark: char, counts: bool| {
            marks.iter().any(|(_, found, count)| found.group == Some(mark) && (*count || !counts))
        };
        let (comma, point) = (is_decimal(','), is_decimal('.'));
        if comma {
            self.write_csv("decimal = \",\"\n");
        }
        if is_group(',', true) || (is_group(',', false) && !comma) {
            let doubt =
                if is_group(',', true) || point { "" } else { "   # or decimals: check it" };
            self.write_csv(&format!("thousands = \",\"{doubt}\n"));
        } else if is_group('.', true) || (is_group('.', false) && comma) {
            self.write_csv("thousands = \".\"\n");
            if !comma {
                self.write_csv("decimal = \",\"\n");
            }
        }
    }

    fn take_time(&mut self, left: &mut Vec<&Column>) {
        let rank = |column: &&Column| {
            let name = column.name.to_lowercase();
            let last = name.rsplit(['_', '.', ' ']).next().unwrap_or_default().to_owned();
            TIME_NAMES.iter().position(|known| last == *known || name.starts_with(known))
        };
        // Numbers are times only where the name says so.
        let candidates = left.iter().enumerate().filter_map(|(at, column)| {
            let (rank, format) = (rank(column), column.time_format()?);
            let is_doubtful = rank.is_none() && format.starts_with("unix");
            (!is_doubtful).then_some((rank.unwrap_or(TIME_NAMES.len()), at, format))
        });
        let Some((_, at, format)) = candidates.min() else {
            self.time = "column = \"TIME\"   # no column has only times: name the one\n".into();
            return;
        };
        let column = left.remove(at);
        self.time = format!("column = {}\n", quoted(&column.name));
        if !format.is_empty() && format != "rfc3339" {
            let _ = write!(self.time, "format = {}", quoted(format));
            let is_doubtful = format.starts_with("%d/%m") || format.starts_with("%m/%d");
            let also = |other: &str| {
                let other = format.replacen(&format[..5], other, 1);
                let text = format!(
                    "type = \"usage.request\"\nsource = \"/sniff\"\n[time]\ncolumn = \"t\"\nformat = {}\n",
                    quoted(&other)
                );
                Mapping::parse(&text).is_ok_and(|m| column.all(|value| m.reads_time(value)))
            };
            if is_doubtful && also("%d/%m") && also("%m/%d") {
                self.time.push_str("   # day and month could be the other way round: check it");
            }
            self.time.push('\n');
        }
        let has_zone = format == "rfc3339" || format.contains("%z") || format.starts_with("unix");
        if !has_zone {
            self.time.push_str("zone = \"UTC\"   # the file does not tell it: check it\n");
        }
    }

    fn take_id(&mut self, left: &mut Vec<&Column>) {
        let is_unique = |column: &Column| {
            let present: BTreeSet<_> = column.present().collect();
            present.len() == column.values.len()
        };
        let found = ID_NAMES.iter().find_map(|name| {
            left.iter().position(|column| column.is_named(&[name]) && is_unique(column))
        });
        match found {
            Some(at) => {
                self.id = format!("id_column = {}\n", quoted(&left.remove(at).name));
            }
            None => {
                self.id = "# no id_column: the rows of a changed file count again\n".into();
            }
        }
    }

    fn take_organization(&mut self, left: &mut Vec<&Column>) {
        let found = ORGANIZATION_NAMES
            .iter()
            .find_map(|name| left.iter().position(|column| column.is_named(&[name])));
        let Some(at) = found else {
            self.organization =
                "organization = \"org_unknown\"   # no column names it: say whose rows they are\n"
                    .into();
            return;
        };
        let column = left.remove(at);
        let _ = write!(self.organization, "organization_column = {}", quoted(&column.name));
        let odd: BTreeSet<_> =
            column.present().filter(|id| OrganizationId::parse(id).is_none()).collect();
        self.organization.push('\n');
        if !odd.is_empty() {
            let ids: Vec<_> = odd.iter().map(|name| id(name)).collect();
            let known: Vec<&str> = column.present().collect();
            let is_taken = |id: &str| {
                known.contains(&id) || ids.iter().filter(|other| *other == id).count() > 1
            };
            let own = odd.iter().zip(&ids).map(|(name, id)| {
                let says_nothing = !id[ID.len()..].bytes().any(|byte| byte.is_ascii_alphanumeric());
                let is_cut = name.chars().count() > ID_LETTERS;
                match is_taken(id) || says_nothing || is_cut {
                    true => (name, format!("{}_{}", id.trim_end_matches('_'), digest(name))),
                    false => (name, id.clone()),
                }
            });
            let values = own.map(|(name, id)| format!("{} = {}", quoted(name), quoted(&id)));
            let values: Vec<_> = values.collect();
            let _ = write!(
                self.transforms,
                "\n[transform.{}]   # an organization's id is 1 to 64 of A-Z a-z 0-9 _ -\nvalues = {{ {} }}\n",
                key(&column.name),
                values.join(", ")
            );
        }
    }

    /// Gives the table that the columns fit best.
    fn take_type(&mut self, left: &mut Vec<&Column>) -> Table {
        let found = left.iter().position(|column| {
            column.is_named(&TYPE_NAMES) && column.all(|value| event::table_of(value).is_some())
        });
        if let Some(at) = found {
            let column = left.remove(at);
            self.event_type = format!("type_column = {}\n", quoted(&column.name));
            let first = column.present().next().and_then(event::table_of);
            return first.unwrap_or(Table::UsageLedger);
        }
        let fit = |table: Table| left.iter().filter(|c| field(table, &c.name).is_some()).count();
        let (table, name, note) = [
            (Table::UsageLedger, "usage.request", ""),
            (Table::BillingEvents, "billing.invoice_finalized", "   # check which kind they are"),
            (Table::ActivityEvents, "activity.page_viewed", "   # check what they did"),
        ]
        .into_iter()
        .rev()
        .max_by_key(|(table, ..)| fit(*table))
        .unwrap_or((Table::UsageLedger, "usage.request", ""));
        self.event_type = format!("type = \"{name}\"{note}\n");
        table
    }

    fn take_fields(&mut self, table: Table, left: &[&Column]) {
        // A name of ours before one that may be meant.
        let is_own = |column: &&Column| table.columns().iter().any(|own| own.name == column.name);
        let (own, others): (Vec<&Column>, Vec<&Column>) = left.iter().copied().partition(is_own);
        for column in own.into_iter().chain(others) {
            let field = field(table, &column.name)
                .filter(|field| !self.columns.values().any(|known| known == field));
            let kind = field.and_then(|field| table.columns().iter().find(|own| own.name == field));
            let is_count = kind.is_some_and(|own| own.kind == ColumnType::Count);
            let is_number = is_count || kind.is_some_and(|own| own.kind == ColumnType::Money);
            let fits = column.present().next().is_none() || !is_number || column.has_numbers();
            let Some(field) = field.filter(|_| fits) else {
                self.left.push(column.name.clone());
                continue;
            };
            if is_number {
                self.marks.push((column.name.clone(), column.marks(), is_count));
            }
            let is_short = |value: &str| {
                value.replace(',', ".").parse::<f64>().is_ok_and(|number| number < 1_000.0)
            };
            let is_short = column.all(is_short);
            let has_fraction = column.present().any(|value| value.contains(['.', ',']));
            let says_ms = column.name.to_lowercase().ends_with("ms");
            if field.ends_with("_ms") && is_short && has_fraction && !says_ms {
                let _ = write!(
                    self.transforms,
                    "\n[transform.{}]   # these look like seconds: check it\nscale = 1000\nround = true\n",
                    key(&column.name)
                );
            }
            self.columns.insert(column.name.clone(), field.to_owned());
        }
    }

    fn write_constants(&mut self, table: Table, columns: &[Column]) {
        let has = |field: &str| self.columns.values().any(|known| known == field);
        let mut constants = Vec::new();
        if table == Table::UsageLedger && !has("model") {
            constants.push("model = \"unknown\"   # required".to_owned());
        }
        if ["cost", "list_price", "amount"].into_iter().any(has) && !has("currency") {
            constants.push("currency = \"USD\"   # the file does not tell it: check it".to_owned());
        }
        let of = |field: &str| {
            let name = self.columns.iter().find(|(_, known)| *known == field).map(|(name, _)| name);
            columns.iter().find(|column| Some(&column.name) == name)
        };
        if let Some(input) = of("input_tokens") {
            let parts = [of("cached_input_tokens"), of("cache_write_input_tokens")];
            let exceed = (0..input.values.len()).any(|row| {
                let parts: i64 = parts.iter().flatten().map(|part| part.sum(row)).sum();
                parts > input.sum(row)
            });
            // As Anthropic calls them, whose input is without them.
            let is_theirs = |part: &&Column| {
                let name = part.name.rsplit('.').next().unwrap_or_default();
                ["cache_read_input_tokens", "cache_creation_input_tokens"].contains(&name)
            };
            let has_theirs = parts.iter().flatten().any(is_theirs)
                && input.name.rsplit('.').next() == Some("input_tokens")
                && !input.name.starts_with("gen_ai");
            if exceed || has_theirs {
                constants.push(
                    "input_includes_cached = false   # cached tokens are not part of the input: check it"
                        .to_owned(),
                );
            }
        }
        self.constants = constants;
    }

    pub(super) fn text(&self, columns: &[Column]) -> String {
        let Self { source, csv, event_type, organization, id, time, transforms, .. } = self;
        let mut text = format!("{event_type}source = {source}\n{organization}{id}\n[time]\n{time}");
        text.push_str("\n[columns]\n");
        for (column, field) in &self.columns {
            let _ = writeln!(text, "{} = {}", key(column), quoted(field));
        }
        for name in &self.left {
            let sample = columns.iter().find(|column| column.name == *name);
            let sample = sample.and_then(|column| column.present().next()).unwrap_or_default();
            let sample: String = control::shown(sample).chars().take(40).collect();
            let line = format!("# {} = {}   # left out, such as {sample}", key(name), quoted(name));
            let _ = writeln!(text, "{}", line.replace(['\n', '\r'], " "));
        }
        if !self.constants.is_empty() {
            let _ = write!(text, "\n[constants]\n{}\n", self.constants.join("\n"));
        }
        text + transforms + csv
    }
}

/// The column of a table that a column of a file is for.
fn field(table: Table, name: &str) -> Option<&'static str> {
    let own = table.columns().iter().find(|column| column.name == name).map(|column| column.name);
    own.or_else(|| names::meant(table, name)).filter(|field| !["kind", "action"].contains(field))
}

const ID: &str = "org_";
const ID_LETTERS: usize = 40;

/// An id of an organization's name; two names may have the same.
fn id(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    ID.chars().chain(name.chars().map(plain).take(ID_LETTERS)).collect()
}

/// What tells two names apart.
fn digest(name: &str) -> String {
    Sha256::digest(name).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// A key as TOML has it.
fn key(text: &str) -> String {
    let is_bare = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_bare { text.to_owned() } else { quoted(text) }
}
