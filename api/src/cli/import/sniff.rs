//! `aihub import --sniff`: a first mapping for a file, made of its names and of its first rows.

mod draft;

use std::{fmt::Write, io::Read, path::Path};

use anyhow::{Context, bail};
use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::DataType,
    util::display::array_value_to_string,
};
use encoding_rs::{UTF_8, WINDOWS_1252};
use ingest::{mapping::Mapping, money};
use serde_json::Value;
use state::clock::Clock;

use super::{
    dry_run,
    lines::Lines,
    parquet_file,
    source::{self, Format},
    tally::Tally,
};
use draft::Draft;

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
    if let Some(name) = columns.iter().enumerate().find_map(|(at, column)| {
        let is_twice = columns[..at].iter().any(|other| other.name == column.name);
        is_twice.then_some(&column.name)
    }) && mapping.columns().contains(name)
    {
        bail!("{} has the column `{name}` twice", path.display());
    }
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
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.chars().map(|c| if c.is_control() { '_' } else { c }).collect()
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

    /// Whether all values are numbers, whatever their marks.
    fn has_numbers(&self) -> bool {
        self.all(|value| {
            let plain = value.replace([',', '.', ' ', '_', '\''], "");
            plain.parse::<f64>().is_ok() || value.parse::<f64>().is_ok()
        })
    }

    /// What the marks in its numbers mean.
    fn marks(&self) -> Marks {
        let mut marks = Marks::default();
        for mark in [',', '.'] {
            let mut with = self.present().filter(|value| value.contains(mark)).peekable();
            if with.peek().is_none() {
                continue;
            }
            match with.all(|value| are_groups(value, mark)) {
                true => marks.group = Some(mark),
                false => marks.decimal = Some(mark),
            }
        }
        marks
    }
}

/// Marks in numbers.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    decimal: Option<char>,
    /// Three digits follow it each time.
    group: Option<char>,
}

/// Whether a mark may stand between thousands.
fn are_groups(value: &str, mark: char) -> bool {
    let mut parts = value.trim_start_matches(['-', '+']).split(mark);
    let first = parts.next().unwrap_or_default();
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    (1..=3).contains(&first.len())
        && first != "0"
        && parts.all(|part| {
            let whole = part.split([',', '.']).next().unwrap_or_default();
            whole.len() == 3 && digits(whole)
        })
}

/// A text as TOML has it, on one line.
fn quoted(text: &str) -> String {
    // TOML has the escapes of JSON.
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}
