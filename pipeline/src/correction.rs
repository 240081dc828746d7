//! What was recorded of one event, and how that is changed: by appending a reversal, and a re-entry.

mod import;

use arrow::{
    array::{AsArray, RecordBatch},
    compute,
    datatypes::Int64Type,
    error::ArrowError,
};
use ingest::{
    OrganizationId, Rejection, Table, Verdict,
    decode::{
        Batch,
        correction::{Amendment, LedgerRow},
    },
    intake::Refused,
    log::{LogId, Lsn},
    time::{Micros, Window},
};
use serde_json::value::RawValue;

use crate::{Error, Lakehouse};
pub use import::{ImportIdentities, ImportedRows, RowIds};

/// The event that is corrected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventName {
    /// Visitors' events have none.
    pub organization: Option<OrganizationId>,
    pub source: String,
    pub id: String,
}

/// The tables of events that show the net, and what all of their rows are called in statements of our own.
pub const LEDGERS: [(Table, &str); 2] =
    [(Table::BillingEvents, "billing_ledger"), (Table::ActivityEvents, "activity_ledger")];

/// What all rows of a table of events are called in statements of our own.
pub fn ledger(table: Table) -> &'static str {
    LEDGERS.iter().find(|(of, _)| *of == table).map_or(table.name(), |(_, name)| name)
}

/// All rows of an event at a cut: the original, and each reversal and re-entry of it.
#[derive(Debug, Clone)]
pub struct Chain {
    id: String,
    rows: Vec<LedgerRow>,
}

/// What is to become of an event.
#[derive(Debug, Clone)]
pub enum Change {
    Void,
    /// Members that are absent stay as they are.
    Correct {
        occurred_at: Option<Micros>,
        data: Option<Box<RawValue>>,
    },
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// It is in the log on disk.
    Done,
    /// The event is like that already; nothing was written.
    Already,
    /// The event was voided before, so there is nothing to correct.
    IsVoid,
    /// Another change of the event came in between: read it again.
    Meanwhile,
    Rejected(Rejection),
    Refused(Refused),
}

impl Chain {
    /// The query whose answer [`Chain::read`] reads.
    pub fn question(event: &EventName, table: Table) -> String {
        let (source, id) = (quoted(&event.source), quoted(&event.id));
        let owner = event.organization.as_ref();
        let owner = owner.map_or("is null".into(), |id| format!("= {}", quoted(id.as_str())));
        let schema = table.record_schema();
        let columns: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        // Two scans: the first one finds its file by the ids' bloom filters, the second one skips all files
        // without corrections.
        let rows = |which: String| {
            format!(
                "select {}, log, lsn from {} where organization_id {owner} and source = {source} and {which}",
                columns.join(", "),
                ledger(table),
            )
        };
        let original = rows(format!("event_id = {id} and corrects_id is null"));
        format!("{original} union all {}", rows(format!("corrects_id = {id}")))
    }

    /// `None` when there is no such event.
    pub fn read(
        event: &EventName,
        table: Table,
        answer: &[RecordBatch],
    ) -> Result<Option<Self>, Error> {
        let mut rows = Vec::new();
        for batch in answer {
            rows.extend(ledger_rows(table, batch).map_err(Error::arrow(table))?);
        }
        Ok((!rows.is_empty()).then(|| Self { id: event.id.clone(), rows }))
    }

    /// The type of the event.
    pub fn event_type(&self) -> Option<String> {
        self.rows.first().map(LedgerRow::event_type)
    }

    /// How often the event was voided or corrected.
    pub fn generation(&self) -> usize {
        self.reversals().count()
    }

    /// The row that counts; `None` when the event was voided.
    pub fn standing(&self) -> Option<&LedgerRow> {
        self.rows.iter().find(|row| {
            let is_reversed = self.reversals().any(|reversed| reversed == (row.log(), row.lsn()));
            row.reversed().is_none() && !is_reversed
        })
    }

    fn reversals(&self) -> impl Iterator<Item = (LogId, u64)> {
        self.rows.iter().filter_map(LedgerRow::reversed)
    }
}

fn ledger_rows(table: Table, batch: &RecordBatch) -> Result<Vec<LedgerRow>, ArrowError> {
    let named = batch.schema();
    let column = |name: &str| named.index_of(name).map(|index| batch.column(index));
    let schema = table.record_schema();
    let columns = schema
        .fields()
        .iter()
        .map(|field| compute::cast(column(field.name())?, field.data_type()))
        .collect::<Result<_, _>>()?;
    let rows = RecordBatch::try_new(schema, columns)?;
    let row = |(row, (log, lsn))| LedgerRow::new(table, log, lsn, rows.slice(row, 1));
    Ok(places(batch)?.into_iter().enumerate().map(row).collect())
}

/// Where each row of an answer is.
fn places(answer: &RecordBatch) -> Result<Vec<(LogId, Lsn)>, ArrowError> {
    let numbers = |name: &str| {
        let column = answer.column(answer.schema().index_of(name)?);
        Ok::<_, ArrowError>(column.as_primitive::<Int64Type>().values().to_vec())
    };
    let (logs, lsns) = (numbers("log")?, numbers("lsn")?);
    Ok(logs.into_iter().map(LogId).zip(lsns.into_iter().map(i64::unsigned_abs)).collect())
}

/// A text as SQL writes it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The rows of a change, ready to be written.
#[derive(Debug)]
pub struct Prepared(Batch);

impl Lakehouse {
    /// What changes an event whose rows were just read, or what becomes of the change without any writing. Its
    /// sender may name times in `window`.
    pub fn prepare(
        &self,
        chain: &Chain,
        change: &Change,
        window: Window,
    ) -> Result<Result<Prepared, ChangeOutcome>, Error> {
        let Some(row) = chain.standing() else {
            let is_done = matches!(change, Change::Void);
            return Ok(Err(if is_done { ChangeOutcome::Already } else { ChangeOutcome::IsVoid }));
        };
        let moved = match change {
            Change::Correct { occurred_at, .. } => *occurred_at,
            Change::Void => None,
        };
        for at in [Some(row.occurred_at()), moved].into_iter().flatten() {
            if let Err(why) = window.check(at) {
                return Ok(Err(ChangeOutcome::Rejected(why)));
            }
        }
        let Change::Correct { occurred_at, data } = change else {
            return Ok(Ok(Prepared(row.void(&chain.id)?)));
        };
        let amendment = Amendment { occurred_at: *occurred_at, data: data.as_deref() };
        Ok(match row.correct(&chain.id, &amendment, self.pseudonyms())? {
            Ok(Some(batch)) => Ok(Prepared(batch)),
            Ok(None) => Err(ChangeOutcome::Already),
            Err(why) => Err(ChangeOutcome::Rejected(why)),
        })
    }

    /// Writes a change. Nobody need hold a lock since the rows were read: of two changes of one row the log takes
    /// the first.
    pub async fn append(&self, prepared: Prepared) -> Result<ChangeOutcome, Error> {
        let settled = match self.store_changes(vec![prepared.0], true).await? {
            Ok(settled) => settled,
            Err(refused) => return Ok(ChangeOutcome::Refused(refused)),
        };
        Ok(match settled.first() {
            Some((_, Verdict::Accepted)) => ChangeOutcome::Done,
            Some((_, Verdict::Duplicate)) => ChangeOutcome::Already,
            _ => ChangeOutcome::Meanwhile,
        })
    }
}

#[cfg(test)]
mod tests;
