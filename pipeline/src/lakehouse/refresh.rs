//! What others do to the tables.

use ingest::Table;

use super::{Flusher, Lakehouse};
use crate::{Error, LakeTable, TableVersion};

impl Lakehouse {
    /// Notices what others did to the tables: upkeep works in a process of its own. Until then queries read the
    /// versions before it, whose files it leaves for a while.
    pub async fn refresh(&self) {
        if let Err(error) = self.try_refresh().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "tables are not seen anew");
        }
    }

    /// The same, where nothing may be missed.
    ///
    /// # Errors
    /// When a table cannot be read. The others were.
    pub async fn try_refresh(&self) -> Result<(), Error> {
        let mut flusher = self.flusher.lock().await;
        let mut outcome = Ok(());
        for table in Table::ALL {
            outcome = outcome.and(self.refresh_table(table, &mut flusher).await);
        }
        outcome
    }

    async fn refresh_table(&self, table: Table, flusher: &mut Flusher) -> Result<(), Error> {
        let known = self.shared.lock().marks.get(&table).copied();
        let Some(known) = known else { return Ok(()) };
        if !flusher.tables.contains_key(&table) {
            // An append failed, and left it to be read anew.
            let opened = LakeTable::open(&flusher.root, table).await?.ok_or(Error::Stopped)?;
            flusher.tables.insert(table, opened);
        }
        let opened = flusher.tables.get_mut(&table).ok_or(Error::Stopped)?;
        opened.advance(None).await?;
        if opened.version() == known.version {
            return Ok(());
        }
        let txn = opened.committed(self.intake.log()).await?;
        let (mark, size) = (TableVersion { version: opened.version(), txn }, opened.size()?);
        self.shared.changes.exchanged(table, mark.version);
        let mut state = self.shared.lock();
        state.marks.insert(table, mark);
        state.files.insert(table, size);
        Ok(())
    }
}
