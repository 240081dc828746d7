//! All events of an import, taken back together.

use std::collections::{BTreeSet, HashMap, HashSet};

use arrow::{
    array::{Array, AsArray, RecordBatch, StringViewArray},
    compute,
    datatypes::DataType,
    error::ArrowError,
};
use ingest::{
    Table, Verdict,
    decode::correction::{is_entered_again, reversed, void_all},
    identity::Key,
    intake::Refused,
    log::{LogId, Lsn},
};

use super::{ledger, ledger_rows, places, quoted};
use crate::{Error, Lakehouse};

/// The events of an import.
#[derive(Debug, Clone)]
pub struct ImportIdentities {
    pub source: String,
    /// The newest row before the import began.
    pub since: Lsn,
    /// Its identities, each with the last LSN that its row may have: where no answer came, a later row is somebody
    /// else's.
    pub keys: HashMap<Key, Lsn>,
    /// The import that it replaced: its own rows may be re-entries of that one's.
    pub replaces: Option<String>,
}

/// Rows by log and LSN.
pub type RowIds = BTreeSet<(LogId, Lsn)>;

/// What the tables hold of an import.
#[derive(Debug, Default)]
pub struct ImportedRows {
    /// The rows that count.
    pub standing: RowIds,
    /// The identities of the events, whether they count or not.
    pub events: HashSet<Key>,
}

impl ImportIdentities {
    /// The query whose answer [`ImportIdentities::find`] reads.
    pub fn question(&self, table: Table) -> String {
        self.select(table, "organization_id, event_id, corrects_id, log, lsn", self.since + 1, None)
    }

    /// What a table holds of the import: the rows that it made, and what corrected them since.
    pub fn find(&self, table: Table, answer: &[RecordBatch]) -> Result<ImportedRows, Error> {
        let mut found = ImportedRows::default();
        let (mut rows, mut taken_back) = (Vec::new(), RowIds::new());
        for batch in answer {
            let text = |name: &str| view(batch, name).map_err(Error::arrow(table));
            let (organizations, ids, corrects) =
                (text("organization_id")?, text("event_id")?, text("corrects_id")?);
            let places = places(batch).map_err(Error::arrow(table))?;
            for (row, place) in places.into_iter().enumerate() {
                let own = |texts: &StringViewArray| texts.is_valid(row).then_some(row);
                let organization = own(&organizations).map_or("", |row| organizations.value(row));
                let id = own(&corrects).map_or_else(|| ids.value(row), |row| corrects.value(row));
                let key = Key::of(organization, &self.source, id);
                let Some(last) = self.keys.get(&key) else { continue };
                let is_first = own(&corrects).is_none() || self.is_re_entry(ids.value(row));
                if is_first && place.1 <= *last {
                    found.events.insert(key);
                }
                match own(&corrects).and_then(|row| reversed(ids.value(row))) {
                    Some(reversed) => {
                        taken_back.insert(reversed);
                    }
                    None => rows.push((key, place)),
                }
            }
        }
        rows.retain(|(key, place)| found.events.contains(key) && !taken_back.contains(place));
        found.standing = rows.into_iter().map(|(_, place)| place).collect();
        Ok(found)
    }

    /// Whether the row was made in the place of one of the import that this one replaced.
    fn is_re_entry(&self, id: &str) -> bool {
        self.replaces.as_ref().is_some_and(|import| is_entered_again(id, import))
    }

    /// The query whose answer [`Lakehouse::void`] takes back.
    pub fn rows_question(&self, table: Table, places: &RowIds) -> String {
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
        places: &RowIds,
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
