//! All events of an import, taken back together.

use std::collections::{BTreeSet, HashSet};

use arrow::{
    array::{Array, AsArray, RecordBatch, StringViewArray},
    compute,
    datatypes::DataType,
    error::ArrowError,
};
use ingest::{
    Table, Verdict,
    decode::correction::{reversed, void_all},
    identity::Key,
    intake::Refused,
    log::{LogId, Lsn},
};

use super::{ledger, ledger_rows, places, quoted};
use crate::{Error, Lakehouse};

/// The tables whose rows an import makes.
pub const TABLES: [Table; 3] = [Table::UsageLedger, Table::BillingEvents, Table::ActivityEvents];

/// The events of an import.
#[derive(Debug, Clone)]
pub struct Imported {
    pub source: String,
    /// The newest row before the import began.
    pub since: Lsn,
    pub keys: HashSet<Key>,
}

/// Rows by log and LSN.
pub type Places = BTreeSet<(LogId, Lsn)>;

impl Imported {
    /// The query whose answer [`Imported::standing`] reads.
    pub fn question(&self, table: Table) -> String {
        self.select(table, "organization_id, event_id, corrects_id, log, lsn", self.since + 1, None)
    }

    /// The rows of a table that count, and say something of an event of the import. The identities of its events that
    /// are there, whether they count or not, go to `events`.
    pub fn standing(
        &self,
        table: Table,
        answer: &[RecordBatch],
        events: &mut HashSet<Key>,
    ) -> Result<Places, Error> {
        let (mut all, mut taken_back) = (Places::new(), Places::new());
        for rows in answer {
            let text = |name: &str| view(rows, name).map_err(Error::arrow(table));
            let (organizations, ids, corrects) =
                (text("organization_id")?, text("event_id")?, text("corrects_id")?);
            let places = places(rows).map_err(Error::arrow(table))?;
            for (row, place) in places.into_iter().enumerate() {
                let own = |texts: &StringViewArray| texts.is_valid(row).then_some(row);
                let organization = own(&organizations).map_or("", |row| organizations.value(row));
                let id = own(&corrects).map_or_else(|| ids.value(row), |row| corrects.value(row));
                let key = Key::of(organization, &self.source, id);
                if !self.keys.contains(&key) {
                    continue;
                }
                events.insert(key);
                match own(&corrects).and_then(|row| reversed(ids.value(row))) {
                    Some(reversed) => taken_back.insert(reversed),
                    None => all.insert(place),
                };
            }
        }
        Ok(&all - &taken_back)
    }

    /// The query whose answer [`Lakehouse::void`] takes back.
    pub fn rows_question(&self, table: Table, places: &Places) -> String {
        let lsns = || places.iter().map(|(_, lsn)| *lsn);
        let (from, to) = (lsns().min().unwrap_or(0), lsns().max().unwrap_or(0));
        let schema = table.record_schema();
        let columns: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        self.select(table, &format!("{}, log, lsn", columns.join(", ")), from, Some(to))
    }

    fn select(&self, table: Table, columns: &str, from: Lsn, to: Option<Lsn>) -> String {
        let (table, source) = (ledger(table), quoted(&self.source));
        let to = to.map_or_else(String::new, |to| format!(" and lsn <= {to}"));
        format!("select {columns} from {table} where source = {source} and lsn >= {from}{to}")
    }
}

impl Lakehouse {
    /// Takes back those rows of an answer that are at `places`, and gives how many were. Where another change of a
    /// row came in between, its event still counts: it is found when it is asked for again.
    pub async fn void(
        &self,
        table: Table,
        answer: &[RecordBatch],
        places: &Places,
    ) -> Result<Result<u64, Refused>, Error> {
        let mut rows = Vec::new();
        for batch in answer {
            let found = ledger_rows(table, batch).map_err(Error::arrow(table))?;
            let found = found.into_iter().filter(|row| places.contains(&(row.log(), row.lsn())));
            rows.extend(found.map(|row| {
                let original = row.original();
                (row, original)
            }));
        }
        if rows.is_empty() {
            return Ok(Ok(0));
        }
        let settled = match self.store_changes(vec![void_all(table, &rows)?], false).await? {
            Ok(settled) => settled,
            Err(refused) => return Ok(Err(refused)),
        };
        let is_new = |(_, verdict): &&(u32, Verdict)| *verdict == Verdict::Accepted;
        Ok(Ok(settled.iter().filter(is_new).count() as u64))
    }
}

fn view(rows: &RecordBatch, name: &str) -> Result<StringViewArray, ArrowError> {
    let texts = compute::cast(rows.column(rows.schema().index_of(name)?), &DataType::Utf8View)?;
    Ok(texts.as_string_view().clone())
}
