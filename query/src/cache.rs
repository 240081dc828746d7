//! Answers that are kept as long as they are true: until a row comes that they may be about.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use ingest::{Table, time::Micros};
use pipeline::{Changes, Cut};

use crate::{QuerySummary, Request, session};

/// Rows that an answer may be about: those of a table in `[from, to)`, or all before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TableRange {
    pub(crate) table: Table,
    pub(crate) from: Option<Micros>,
    pub(crate) to: Micros,
}

/// Kept answers. Clones share them.
#[derive(Debug, Clone)]
pub struct Cache {
    changes: Changes,
    held: Arc<Mutex<CacheState>>,
}

#[derive(Debug, Default)]
struct CacheState {
    answers: HashMap<String, CachedAnswer>,
    bytes: usize,
}

/// An answer, as the worker wrote it.
#[derive(Debug, Clone)]
pub(crate) struct CachedAnswer {
    cut: Cut,
    pub(crate) rows: Vec<Bytes>,
    pub(crate) ended: QuerySummary,
    bytes: usize,
}

/// Room for an answer that is on its way.
#[derive(Debug)]
pub(crate) struct CacheWriter {
    cache: Cache,
    key: String,
    kept: CachedAnswer,
}

/// Bytes of an answer that is kept, with its question, and of all of them. When they are too many, all go.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const BYTES_MAX: usize = 32 << 20;
/// What an answer takes besides.
const ENTRY_BYTES: usize = 1 << 10;

impl TableRange {
    /// The whole of each table that a statement may read.
    pub(crate) fn of(sql: &str) -> Vec<Self> {
        let tables = session::tables_of(sql).into_iter();
        tables.map(|table| Self { table, from: None, to: Micros::MAX }).collect()
    }
}

impl Cache {
    pub fn new(changes: Changes) -> Self {
        Self { changes, held: Arc::default() }
    }

    /// When rows came.
    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The answer to a question, else room for it. What was answered at another cut is true at this one when no row
    /// of its scopes came in between. Where a row is, in the log or in a table, makes no difference.
    pub(crate) fn find(
        &self,
        request: &Request,
        scopes: &[TableRange],
    ) -> Result<CachedAnswer, Box<CacheWriter>> {
        let key = key(request);
        let is_true = |kept: &CachedAnswer| {
            let (then, now) = (&kept.cut, &request.cut);
            let is_unchanged = |scope: &TableRange| {
                self.changes.last(scope.table, scope.from, scope.to) <= then.lsn.min(now.lsn)
            };
            let same_rows = then.lsn == now.lsn || scopes.iter().all(is_unchanged);
            then.log == now.log && same_rows && self.changes.holds(then)
        };
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = held.answers.get(&key).filter(|kept| is_true(kept)).cloned();
        drop(held);
        kept.ok_or_else(|| Box::new(self.room(request, key)))
    }

    fn room(&self, request: &Request, key: String) -> CacheWriter {
        let bytes = ENTRY_BYTES + key.len();
        let cut = request.cut.clone();
        let kept = CachedAnswer { cut, rows: Vec::new(), ended: QuerySummary::default(), bytes };
        CacheWriter { cache: self.clone(), key, kept }
    }

    fn keep(&self, key: String, kept: CachedAnswer) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let is_older =
            |other: &CachedAnswer| kept.cut.log == other.cut.log && kept.cut.lsn < other.cut.lsn;
        // An older cut is somebody's look back: it does not push out what everybody sees.
        if held.answers.get(&key).is_some_and(is_older) {
            return;
        }
        if let Some(old) = held.answers.remove(&key) {
            held.bytes -= old.bytes;
        }
        if held.bytes + kept.bytes > BYTES_MAX {
            *held = CacheState::default();
        }
        held.bytes += kept.bytes;
        held.answers.insert(key, kept);
    }
}

impl CacheWriter {
    /// Adds bytes of the answer; `None` when it is too large to be kept.
    pub(crate) fn with(mut self, rows: &Bytes) -> Option<Self> {
        self.kept.bytes += rows.len();
        if self.kept.bytes > ANSWER_BYTES_MAX {
            return None;
        }
        self.kept.rows.push(rows.clone());
        Some(self)
    }

    /// Keeps the answer, when asking again would give the same.
    pub(crate) fn end(mut self, ended: &QuerySummary) {
        if ended.repeatable {
            self.kept.ended = ended.clone();
            self.cache.keep(self.key, self.kept);
        }
    }
}

/// All that an answer depends on but the cut. The time of the request is not in it: an answer that depends on that
/// is not repeatable.
fn key(request: &Request) -> String {
    let Request { author, sql, reach, max_rows, truncate, terms, .. } = request;
    format!("{author:?} {sql:?} {reach:?} {max_rows:?} {truncate} {terms:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Author, QueryOptions, RowAccess};

    fn question(sql: &str, reach: &RowAccess, lsn: u64) -> Request {
        Request {
            author: Author::Stranger,
            sql: sql.into(),
            reach: reach.clone(),
            cut: Cut { log: 1, lsn, ..Cut::default() },
            now: 0,
            deadline_ms: 1,
            max_rows: None,
            truncate: false,
            gives_way: false,
            terms: QueryOptions::default(),
        }
    }

    fn keep(cache: &Cache, request: &Request, rows: u64, bytes: usize, repeatable: bool) {
        // As if its query had begun before any other ended.
        let keeping = cache.room(request, key(request));
        if let Some(keeping) = keeping.with(&vec![0; bytes].into()) {
            keeping.end(&QuerySummary { rows, repeatable, ..QuerySummary::default() });
        }
    }

    #[test]
    fn an_answer_is_kept_for_its_question_its_cut_and_its_reader() {
        let changes = Changes::default();
        changes.begin_after(0);
        let cache = Cache::new(changes.clone());
        let own = RowAccess::Organization("org_a".into());
        // Of a table in which rows come with each LSN, and of none.
        let rows = |sql: &str, reach: &RowAccess, lsn| {
            let scopes = TableRange::of(sql);
            let kept = cache.find(&question(sql, reach, lsn), &scopes);
            kept.ok().map(|kept| kept.ended.rows)
        };
        let sql = "select * from billing_events";
        keep(&cache, &question(sql, &own, 5), 1, 10, true);
        assert_eq!(rows(sql, &own, 5), Some(1));
        assert_eq!((rows(sql, &own, 6), rows(sql, &own, 4)), (Some(1), Some(1)));
        changes.begin_after(6);
        assert_eq!((rows(sql, &own, 6), rows(sql, &own, 4)), (None, None));
        assert_eq!(rows(sql, &RowAccess::Staff, 5), None);
        assert_eq!(rows(sql, &RowAccess::Organization("org_b".into()), 5), None);
        assert_eq!(rows("select 1", &own, 5), None);
        keep(&cache, &question(sql, &own, 4), 9, 10, true);
        assert_eq!(rows(sql, &own, 5), Some(1));
        keep(&cache, &question(sql, &own, 6), 2, 10, true);
        assert_eq!((rows(sql, &own, 5), rows(sql, &own, 6)), (None, Some(2)));
        let mut other = question(sql, &own, 6);
        other.cut.log = 2;
        assert!(cache.find(&other, &[]).is_err());
        let mut masked = question(sql, &own, 6);
        masked.terms.persons = true;
        assert!(cache.find(&masked, &[]).is_err());
    }

    #[test]
    fn what_changes_by_itself_is_not_kept() {
        let cache = Cache::new(Changes::default());
        let request = question("select now()", &RowAccess::Staff, 1);
        keep(&cache, &request, 1, 10, false);
        assert!(cache.find(&request, &[]).is_err());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let cache = Cache::new(Changes::default());
        let large = question("large", &RowAccess::Staff, 1);
        keep(&cache, &large, 1, ANSWER_BYTES_MAX, true);
        assert!(cache.find(&large, &[]).is_err());
        for n in 0..100 {
            let request = question(&n.to_string(), &RowAccess::Staff, 1);
            keep(&cache, &request, 1, ANSWER_BYTES_MAX - 2 * ENTRY_BYTES, true);
            assert!(cache.find(&request, &[]).is_ok());
            let held = cache.held.lock().unwrap();
            let bytes: usize = held.answers.values().map(|kept| kept.bytes).sum();
            assert!(bytes == held.bytes && bytes <= BYTES_MAX);
        }
    }
}
