//! Rollups: which sums are kept beside the tables, the SQL that computes them, and the SQL that answers metrics from them.
//!
//! A row of a rollup is additive and has a sign: it is what some rows of the ledger add to an hour or a day and a
//! combination of keys. A row that was taken back and its reversal add up to nothing. So rows of a rollup up to an LSN and
//! rows of the ledger above it are one sum, which is that of the net view.

mod expression;
mod read;

use std::sync::{LazyLock, OnceLock};

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use ingest::{Table, decode::correction::REVERSAL, grant::SELF_REPORTED, schema::ColumnType};
use serde::{Deserialize, Serialize};

use crate::{Audience, Grain, Zone, catalog, grain::literal, kind::HISTOGRAM_FACTOR};
use expression::Sum;
pub(crate) use read::{RollupRead, answer, usage};

/// A rollup, as its file declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollup {
    /// The name of its rows in statements.
    pub name: String,
    /// The source of the metrics that it answers.
    pub source: String,
    /// Hour or day, in UTC.
    pub grain: Grain,
    /// The columns of the ledger that its rows are split by.
    #[serde(default)]
    pub keys: Vec<String>,
    /// Sums of whole numbers, as metrics write them.
    #[serde(default)]
    counts: Vec<String>,
    /// Sums of money, as metrics write them.
    #[serde(default)]
    amounts: Vec<String>,
    /// The column whose values are counted in the buckets of a histogram, for percentiles.
    #[serde(default)]
    pub histogram: Option<String>,
    /// `counts` and `amounts`, read once: each statement asks for them.
    #[serde(skip)]
    sums: OnceLock<Vec<Sum>>,
}

/// A column of a rollup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollupColumn {
    /// The name.
    pub name: String,
    /// What its values are.
    pub kind: RollupColumnKind,
}

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollupColumnKind {
    /// As in the ledger; null where a row of it has none.
    Key(ColumnType),
    /// The number of a bucket of a histogram.
    Bucket,
    /// How many rows, less those that were taken back.
    Rows,
    /// A sum with so many digits behind the point.
    Sum(u8),
}

/// The rollups that questions may be answered from.
#[derive(Clone)]
pub struct Rollups<'a> {
    list: Vec<&'static Rollup>,
    is_held: &'a IsHeld<'a>,
}

/// Whether the stored rows of a rollup have all events of a window.
type IsHeld<'a> = dyn Fn(&Rollup, DateTime<Utc>, DateTime<Utc>) -> bool + Send + Sync + 'a;

impl<'a> Rollups<'a> {
    /// Some rollups, in the order in which they are preferred. `is_held` says whether the stored rows of one have all events
    /// of a window: then the ledger is not read for it.
    pub fn new(list: Vec<&'static Rollup>, is_held: &'a IsHeld<'a>) -> Self {
        Self { list, is_held }
    }

    /// None: questions are answered from events.
    pub fn none() -> Rollups<'static> {
        Rollups { list: Vec::new(), is_held: &|_, _, _| false }
    }

    /// Those that somebody may read: of one organization the ones that tell it from others.
    pub(crate) fn of(&self, audience: Audience) -> Self {
        let is_theirs =
            |rollup: &&'static Rollup| audience == Audience::Staff || rollup.is_of_organizations();
        let list = self.list.iter().copied().filter(is_theirs).collect();
        Self { list, is_held: self.is_held }
    }
}

impl std::fmt::Debug for Rollups<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.list.iter().map(|rollup| &rollup.name)).finish()
    }
}

/// The column that is 1 where an organization sent it of itself, else 0.
pub(crate) const SELF: &str = "is_self_reported";
/// The number of the histogram's bucket.
pub(crate) const BUCKET: &str = "bucket";
/// How many rows of the ledger a row is.
pub(crate) const ROWS: &str = "n";

static ALL: LazyLock<Vec<Rollup>> = LazyLock::new(|| {
    catalog::parse("rollups.yaml", include_str!("../../metrics/rollups.yaml")).unwrap_or_default()
});

impl Rollup {
    /// Those of this program, in the order in which they are preferred.
    pub fn all() -> &'static [Self] {
        &ALL
    }

    /// The name of its table. One whose rows are computed in another way has another name.
    pub fn table_name(&self) -> String {
        let definition = self.of_day(NaiveDate::default(), 0);
        let digest = blake3::hash(definition.as_bytes()).to_hex();
        format!("{}-{}", self.name, &digest[..12])
    }

    /// The table of events that it sums up. All its rows are read, those that take others back as well.
    pub fn ledger(&self) -> Table {
        Table::UsageLedger
    }

    /// Whether a key of it says something of a person.
    pub fn is_of_persons(&self) -> bool {
        let columns = self.ledger().columns();
        let is_personal =
            |key: &String| columns.iter().any(|column| column.is_personal && column.name == *key);
        self.keys.iter().any(is_personal)
    }

    /// Whether one organization's rows can be told from others'.
    pub fn is_of_organizations(&self) -> bool {
        self.keys.iter().any(|key| key == "organization_id")
    }

    /// Its columns, but for the time.
    pub fn columns(&self) -> Vec<RollupColumn> {
        let column = |name: &str, kind| RollupColumn { name: name.to_owned(), kind };
        let known = self.ledger().columns();
        let key = |name: &String| {
            let found = known.iter().find(|column| column.name == *name);
            let kind = found.map_or(ColumnType::Text, |column| column.kind);
            column(name, RollupColumnKind::Key(kind))
        };
        let mut columns: Vec<_> = self.keys.iter().map(key).collect();
        columns.push(column(SELF, RollupColumnKind::Key(ColumnType::Count)));
        if self.histogram.is_some() {
            columns.push(column(BUCKET, RollupColumnKind::Bucket));
        }
        columns.push(column(ROWS, RollupColumnKind::Rows));
        for (place, sum) in self.sums().iter().enumerate() {
            columns.push(column(&sum_name(place), RollupColumnKind::Sum(sum.scale)));
            columns.push(column(&present_name(place), RollupColumnKind::Rows));
        }
        columns
    }

    /// The days that have rows of the ledger up to an LSN.
    pub fn days_of_ledger(&self, through: u64) -> String {
        let ledger = self.ledger().name();
        format!(
            "SELECT event_date FROM {ledger} WHERE lsn <= {through} GROUP BY event_date ORDER BY event_date"
        )
    }

    /// The days that have stored rows, or rows of the ledger up to an LSN.
    pub fn days(&self, through: u64) -> String {
        let (stored, ledger) = (self.stored(), self.ledger().name());
        format!(
            "SELECT event_date FROM (SELECT CAST(occurred_at AS DATE) AS event_date FROM {stored} UNION ALL \
             SELECT event_date FROM {ledger} WHERE lsn <= {through}) AS dated GROUP BY event_date ORDER BY event_date"
        )
    }

    /// The rows of the ledger between two LSNs, summed up. `after` is not included, `through` is.
    pub fn step(&self, after: u64, through: u64) -> String {
        self.summed(&format!("lsn > {after} AND lsn <= {through}"))
    }

    /// The rows of the ledger of one day up to an LSN, summed up.
    pub fn of_day(&self, date: NaiveDate, through: u64) -> String {
        self.summed(&format!("event_date = CAST('{date}' AS DATE) AND lsn <= {through}"))
    }

    /// The stored rows from a day on and before another, summed up.
    pub fn fold(&self, from: NaiveDate, to: NaiveDate) -> String {
        let (names, stored) = (self.names(&self.all_sums()), self.stored());
        let days = between(midnight(from), midnight(to));
        self.sums_of(&format!("SELECT {names} FROM {stored} WHERE {days}"))
    }

    /// What the stored rows of one day have more or less than the rows of the ledger up to the LSN that they hold: nothing
    /// if all is well.
    pub fn differences(&self, date: NaiveDate, through: u64) -> String {
        let columns = self.columns();
        let list = |sign: &str| {
            let columns = columns.iter().map(|column| match column.is_key() {
                true => format!(", {}", column.name),
                false => format!(", {sign}{0} AS {0}", column.name),
            });
            columns.collect::<String>()
        };
        let stored = self.stored();
        let day = between(midnight(date), midnight(date + Days::new(1)));
        let ledger = format!("event_date = CAST('{date}' AS DATE) AND lsn <= {through}");
        let rows = self.rows_of_buckets(self.ledger().name(), &ledger, &self.all_sums());
        let all = format!(
            "SELECT occurred_at{} FROM {stored} WHERE {day} UNION ALL \
             SELECT occurred_at{} FROM ({rows}) AS rows",
            list(""),
            list("-")
        );
        self.sums_of(&all)
    }

    /// The name of its stored rows in statements.
    pub fn stored(&self) -> String {
        format!("{}_stored", self.name)
    }

    /// The name in statements of the rows of the ledger that the stored ones do not hold yet.
    pub fn above(&self) -> String {
        format!("{}_above", self.name)
    }

    /// The names of the columns, with some of the sums.
    fn names(&self, sums: &[usize]) -> String {
        let mut names = vec!["occurred_at".to_owned()];
        names.extend(self.keys.iter().cloned());
        names.push(SELF.to_owned());
        names.extend(self.histogram.iter().map(|_| BUCKET.to_owned()));
        names.push(ROWS.to_owned());
        names.extend(sums.iter().flat_map(|place| [sum_name(*place), present_name(*place)]));
        names.join(", ")
    }

    fn all_sums(&self) -> Vec<usize> {
        (0..self.counts.len() + self.amounts.len()).collect()
    }

    fn summed(&self, condition: &str) -> String {
        let rows = self.rows_of_buckets(self.ledger().name(), condition, &self.all_sums());
        self.sums_of(&rows)
    }

    fn bucket(&self) -> String {
        let any = DateTime::UNIX_EPOCH;
        self.grain.sql("occurred_at", any, any, Zone::UTC)
    }

    /// Adds up rows of equal keys; what adds up to nothing is no row.
    fn sums_of(&self, rows: &str) -> String {
        let (keys, measures): (Vec<_>, Vec<_>) =
            self.columns().into_iter().partition(RollupColumn::is_key);
        let names: String = keys.iter().map(|key| format!(", {}", key.name)).collect();
        let places = (1..=keys.len() + 1).map(|place| place.to_string()).collect::<Vec<_>>();
        let sums: String =
            measures.iter().map(|column| format!(", sum({0}) AS {0}", column.name)).collect();
        let kept = measures.iter().map(|column| format!("sum({}) <> 0", column.name));
        let kept = kept.collect::<Vec<_>>().join(" OR ");
        let owner = if self.is_of_organizations() { "organization_id, " } else { "" };
        format!(
            "SELECT occurred_at{names}{sums} FROM ({rows}) AS rows GROUP BY {} HAVING {kept} \
             ORDER BY date_trunc('month', occurred_at), {owner}occurred_at",
            places.join(", ")
        )
    }

    /// Rows of the ledger as rows of the rollup, each at its own time, with some of the sums.
    fn rows(&self, relation: &str, condition: &str, sums: &[usize]) -> String {
        self.rows_at("occurred_at", relation, condition, sums)
    }

    /// The same, each at the start of its hour or day: what takes a row back is where the row is.
    fn rows_of_buckets(&self, relation: &str, condition: &str, sums: &[usize]) -> String {
        self.rows_at(&self.bucket(), relation, condition, sums)
    }

    fn rows_at(&self, time: &str, relation: &str, condition: &str, sums: &[usize]) -> String {
        // The ids tell a reversal from a re-entry. They are long, and read only of rows that correct others.
        let sign = format!("CASE WHEN event_id LIKE '{REVERSAL}%' THEN -1 ELSE 1 END");
        let events = self.shape(time, sums, "1");
        let corrections = self.shape(time, sums, &sign);
        format!(
            "{events} FROM {relation} WHERE corrects_id IS NULL AND {condition} UNION ALL \
             {corrections} FROM {relation} WHERE corrects_id IS NOT NULL AND {condition}"
        )
    }

    /// The columns of a row that counts as often as `sign` says. What a reversal negates has its sign already.
    fn shape(&self, time: &str, sums: &[usize], sign: &str) -> String {
        let mut columns = vec![format!("{time} AS occurred_at")];
        columns.extend(self.keys.iter().cloned());
        // A number: the engine is not of one mind whether a truth value of a union may be null.
        let of_itself = format!("CASE WHEN source LIKE '{SELF_REPORTED}%' THEN 1 ELSE 0 END");
        columns.push(format!("{of_itself} AS {SELF}"));
        columns
            .extend(self.histogram.iter().map(|name| format!("{} AS {BUCKET}", bucket_of(name))));
        let rows = match &self.histogram {
            Some(measured) => format!("CASE WHEN {measured} IS NOT NULL THEN {sign} ELSE 0 END"),
            None => sign.to_owned(),
        };
        columns.push(format!("{rows} AS {ROWS}"));
        let all = self.sums();
        for (place, sum) in sums.iter().filter_map(|place| Some((*place, all.get(*place)?))) {
            let mut value = sum.value.clone();
            if sign != "1" && !sum.is_negated() {
                value = format!("{sign} * ({value})");
            }
            let (is_there, scale) = (sum.is_there(), sum.scale);
            let value = match &sum.filter {
                Some(filter) => format!("CASE WHEN {filter} THEN {value} END"),
                None => value,
            };
            columns.push(format!("CAST({value} AS DECIMAL(38, {scale})) AS {}", sum_name(place)));
            let present = format!("CASE WHEN {is_there} THEN {sign} ELSE 0 END");
            columns.push(format!("{present} AS {}", present_name(place)));
        }
        format!("SELECT {}", columns.join(", "))
    }

    /// The place of a sum among its own.
    fn place_of(&self, call: &str) -> Option<usize> {
        self.sums().iter().position(|sum| sum.is(call))
    }

    /// The sums, in the order of their columns.
    fn sums(&self) -> &[Sum] {
        self.sums.get_or_init(|| {
            let counts = self.counts.iter().map(|text| (text, 0));
            let all = counts.chain(self.amounts.iter().map(|text| (text, 12)));
            all.filter_map(|(text, scale)| Sum::parse(text, scale)).collect()
        })
    }
}

impl RollupColumn {
    fn is_key(&self) -> bool {
        matches!(self.kind, RollupColumnKind::Key(_) | RollupColumnKind::Bucket)
    }
}

/// The bucket of a histogram that a value falls into.
pub(crate) fn bucket_of(value: &str) -> String {
    format!("ceil(ln(greatest(CAST({value} AS DOUBLE), 1)) / ln({HISTOGRAM_FACTOR}))")
}

fn sum_name(place: usize) -> String {
    format!("s{place}")
}

/// How many rows of a sum have a value.
fn present_name(place: usize) -> String {
    format!("p{place}")
}

fn midnight(date: NaiveDate) -> DateTime<Utc> {
    date.and_time(NaiveTime::MIN).and_utc()
}

/// A condition on the time of rows.
fn between(from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    format!("occurred_at >= {} AND occurred_at < {}", literal(from), literal(to))
}

#[cfg(test)]
mod tests;
