//! `aihub import --sniff`: a first mapping for a file, made of its names and of its first rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    io::Read,
    path::Path,
};

use anyhow::{Context, bail};
use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::DataType,
    util::display::array_value_to_string,
};
use encoding_rs::{UTF_8, WINDOWS_1252};
use ingest::{OrganizationId, Table, event, mapping::Mapping, money, names};
use serde_json::Value;

use super::{
    dry_run,
    lines::Lines,
    parquet_file,
    source::{self, Format},
    tally::Tally,
};
use crate::clock::Clock;

/// Rows that are looked at.
const SAMPLE: usize = 1_000;

/// A column of the file, and its first values as text.
#[derive(Debug)]
struct Column {
    name: String,
    values: Vec<Option<String>>,
    /// Times of a file that knows types.
    is_time: bool,
}

/// How times are written, the likelier first.
const TIMES: [&str; 13] = [
    "rfc3339",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f%z",
    "%Y-%m-%d %H:%M",
    "%Y/%m/%d %H:%M:%S%.f",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p",
    "%d/%b/%Y:%H:%M:%S %z",
    "%Y-%m-%d",
];
/// Units of counted time, and the least number that means a time since 2001.
const EPOCHS: [(&str, f64); 4] =
    [("unix_ns", 1e18), ("unix_us", 1e15), ("unix_ms", 1e12), ("unix_s", 1e9)];
const TIME_NAMES: [&str; 8] =
    ["time", "timestamp", "date", "created", "start", "occurred", "when", "at"];
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
/// Words that often stand for nothing.
const NULLS: [&str; 8] = ["NULL", "null", "N/A", "n/a", "NA", "None", "nan", "-"];

/// The TOML of a mapping for a file, with what was guessed in comments.
pub(super) fn sniff(path: &Path) -> anyhow::Result<String> {
    let format = Format::of(path)?;
    let reading = || format!("reading {}", path.display());
    let csv = match format {
        Format::Csv => csv(path).with_context(reading)?,
        _ => String::new(),
    };
    let base = base(&csv)?;
    let columns = columns(format, path, &base)?;
    if columns.iter().all(|column| column.present().next().is_none()) {
        bail!("{} has no row with a value", path.display());
    }
    let text = Draft::new(path, &columns, csv).text(&columns);
    let mapping = Mapping::parse(&text).context("the mapping that was made")?;
    let mut tally = Tally::default();
    let now = Clock::system().now().timestamp_micros();
    dry_run(path, &mapping, now, &mut tally, Some(SAMPLE))?;
    let judged = tally.accepted + tally.rejected();
    let mut head = format!(
        "# Made of the first rows of {}: check it, then run `aihub import --dry-run --map`.\n\
         # {} of the first {judged} rows would be accepted.\n",
        name_of(path),
        tally.accepted
    );
    for line in tally.complaint(true).unwrap_or_default().lines() {
        let _ = writeln!(head, "#   {line}");
    }
    Ok(head + &text)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A mapping that only says how the file is written.
fn base(csv: &str) -> anyhow::Result<Mapping> {
    let text =
        format!("type = \"usage.request\"\nsource = \"/sniff\"\n[time]\ncolumn = \"\"\n{csv}");
    Ok(Mapping::parse(&text)?)
}

/// The section that says how a CSV file is written, where it is not as usual.
fn csv(path: &Path) -> anyhow::Result<String> {
    let mut head = Vec::new();
    super::lines::unpacked(path)?.take(1 << 20).read_to_end(&mut head)?;
    // The last line may be cut.
    let end = head.iter().rposition(|byte| *byte == b'\n').unwrap_or(head.len());
    let is_utf8 = std::str::from_utf8(&head[..end]).is_ok();
    let has_mark = encoding_rs::Encoding::for_bom(&head).is_some();
    let encoding = if is_utf8 || has_mark { UTF_8 } else { WINDOWS_1252 };
    let mut lines = Lines::open(path, encoding)?;
    let mut first = Vec::new();
    while first.len() < 20 && lines.advance()? {
        first.push(String::from_utf8_lossy(lines.line()).into_owned());
    }
    let header = first.first().cloned().unwrap_or_default();
    let count = |line: &str, mark: char| line.matches(mark).count();
    let marks = [',', ';', '\t', '|'];
    // The mark that most lines have as often as the header.
    let fits = |mark: &char| {
        let in_header = count(&header, *mark);
        let same = first.iter().filter(|line| count(line, *mark) == in_header).count();
        (in_header > 0, same, in_header)
    };
    let mark = marks.into_iter().rev().max_by_key(fits).unwrap_or(',');
    let mut text = String::new();
    if mark != ',' && count(&header, mark) > 0 {
        let _ = writeln!(text, "delimiter = {}", quoted(&mark.to_string()));
    }
    if encoding != UTF_8 {
        let _ = writeln!(text, "encoding = \"windows-1252\"   # it is no UTF-8: check it");
    }
    if text.is_empty() { Ok(text) } else { Ok(format!("\n[csv]\n{text}")) }
}

fn columns(format: Format, path: &Path, base: &Mapping) -> anyhow::Result<Vec<Column>> {
    let names = match format {
        Format::Csv => source::header(path, base)?,
        Format::Ndjson => members(path)?,
        Format::Parquet => {
            let empty = parquet_file::empty(path)?;
            empty.schema().fields().iter().map(|field| field.name().clone()).collect()
        }
    };
    let first = source::chunks(format, path, base, &names)?.next().transpose()?;
    let Some(first) = first else { return Ok(Vec::new()) };
    let rows = first.rows.slice(0, SAMPLE.min(first.rows.num_rows()));
    Ok(names.into_iter().filter_map(|name| column(format, &rows, name)).collect())
}

/// The members of the first lines, with those of their objects.
fn members(path: &Path) -> anyhow::Result<Vec<String>> {
    fn walk(prefix: &str, value: &Value, names: &mut Vec<String>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(name, value)| {
                let name =
                    if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                walk(&name, value, names);
            }),
            Value::Array(_) => {}
            _ if prefix.is_empty() || names.iter().any(|known| known == prefix) => {}
            _ => names.push(prefix.to_owned()),
        }
    }
    let mut lines = Lines::open(path, UTF_8)?;
    let mut names = Vec::new();
    for _ in 0..SAMPLE {
        if !lines.advance()? {
            break;
        }
        if let Ok(value) = serde_json::from_slice(lines.line()) {
            walk("", &value, &mut names);
        }
    }
    Ok(names)
}

fn column(format: Format, rows: &RecordBatch, name: String) -> Option<Column> {
    let array = rows.column_by_name(&name)?;
    let is_time =
        matches!(array.data_type(), DataType::Timestamp(..) | DataType::Date32 | DataType::Date64);
    let value = |row: usize| -> Option<String> {
        if array.is_null(row) {
            return None;
        }
        if format != Format::Ndjson {
            return array_value_to_string(array, row).ok();
        }
        match serde_json::from_str(array.as_string::<i32>().value(row)).ok()? {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        }
    };
    let values = (0..rows.num_rows()).map(value).map(|text| text.filter(|t| !t.is_empty()));
    Some(Column { values: values.collect(), is_time, name })
}

impl Column {
    fn words(&self) -> impl Iterator<Item = &str> {
        self.values.iter().flatten().map(|value| value.trim())
    }

    /// Its values, without words that stand for none.
    fn present(&self) -> impl Iterator<Item = &str> {
        self.words().filter(|word| !NULLS.contains(word))
    }

    fn is_named(&self, names: &[&str]) -> bool {
        names.contains(&self.name.to_lowercase().as_str())
    }

    /// Whether there are values, and all are such.
    fn all(&self, is_it: impl Fn(&str) -> bool) -> bool {
        self.present().next().is_some() && self.present().all(is_it)
    }

    fn sum(&self, row: usize) -> i64 {
        let value = self.values.get(row).and_then(Option::as_deref).unwrap_or_default();
        money::whole(value.trim()).unwrap_or(0)
    }

    /// The format of its times, if all of its values are times.
    fn time_format(&self) -> Option<&'static str> {
        if self.is_time {
            return Some("");
        }
        if self.all(|value| value.parse::<f64>().is_ok()) {
            let least = self.present().filter_map(|value| value.parse::<f64>().ok());
            let least = least.fold(f64::INFINITY, f64::min);
            return EPOCHS.iter().find(|(_, from)| least >= *from).map(|(unit, _)| *unit);
        }
        TIMES.into_iter().find(|format| {
            let mapping = format!(
                "type = \"usage.request\"\nsource = \"/sniff\"\n[time]\ncolumn = \"t\"\nformat = {}\n",
                quoted(format)
            );
            Mapping::parse(&mapping)
                .is_ok_and(|mapping| self.all(|value| mapping.reads_time(value)))
        })
    }

    /// Whether its numbers have a comma before their decimals.
    fn has_decimal_comma(&self) -> bool {
        let is_number = |value: &str| value.replace(',', ".").parse::<f64>().is_ok();
        self.all(is_number) && self.present().any(|value| value.contains(','))
    }
}

/// A mapping that is put together.
#[derive(Debug, Default)]
struct Draft {
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
}

impl Draft {
    fn new(path: &Path, columns: &[Column], csv: String) -> Self {
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
        if columns.iter().any(Column::has_decimal_comma) {
            draft.write_csv("decimal = \",\"\n");
        }
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

    fn take_time(&mut self, left: &mut Vec<&Column>) {
        let rank = |column: &&Column| {
            let name = column.name.to_lowercase();
            let last = name.rsplit(['_', '.', ' ']).next().unwrap_or_default().to_owned();
            TIME_NAMES.iter().position(|known| last == *known || name.starts_with(known))
        };
        let candidates = left.iter().enumerate().filter_map(|(at, column)| {
            Some((rank(column).unwrap_or(TIME_NAMES.len()), at, column.time_format()?))
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
            // Each name needs an id: 1 to 64 of A-Z a-z 0-9 _ -.
            let values = odd.iter().map(|name| format!("{} = {}", quoted(name), quoted(&id(name))));
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
            let Some(field) = field else {
                self.left.push(column.name.clone());
                continue;
            };
            let is_short = |value: &str| {
                value.replace(',', ".").parse::<f64>().is_ok_and(|number| number < 1_000.0)
            };
            let is_short = column.all(is_short);
            let has_fraction = column.present().any(|value| value.contains(['.', ',']));
            if field.ends_with("_ms") && is_short && has_fraction {
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
            if exceed {
                constants.push(
                    "input_includes_cached = false   # cached tokens exceed the input: they are added to it"
                        .to_owned(),
                );
            }
        }
        self.constants = constants;
    }

    fn text(&self, columns: &[Column]) -> String {
        let Self { source, csv, event_type, organization, id, time, transforms, .. } = self;
        let mut text = format!("{event_type}source = {source}\n{organization}{id}\n[time]\n{time}");
        text.push_str("\n[columns]\n");
        for (column, field) in &self.columns {
            let _ = writeln!(text, "{} = {}", key(column), quoted(field));
        }
        for name in &self.left {
            let sample = columns.iter().find(|column| column.name == *name);
            let sample = sample.and_then(|column| column.present().next()).unwrap_or_default();
            let sample: String = ingest::control::shown(sample).chars().take(40).collect();
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

fn id(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let id: String = name.chars().map(plain).take(60).collect();
    format!("org_{id}")
}

/// A text as TOML has it.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A key as TOML has it.
fn key(text: &str) -> String {
    let is_bare = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_bare { text.to_owned() } else { quoted(text) }
}
