//! Answers to our own questions, kept as long as they are true: until a row comes that they are about.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use ingest::{Table, time::Micros};
use pipeline::{Changes, Cut};

use crate::{Answer, Reach};

/// The rows that an answer was made of: those of a table in `[from, to)`, or all before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) table: Table,
    pub(crate) from: Option<Micros>,
    pub(crate) to: Micros,
}

/// Kept answers. Clones share them.
#[derive(Debug, Clone)]
pub struct Cache {
    changes: Changes,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    answers: HashMap<(String, Reach), Kept>,
    rows: u64,
}

#[derive(Debug)]
struct Kept {
    cut: Cut,
    answer: Answer,
}

/// Rows of an answer that is kept, of all of them, and how many there are. When they are too many, all go.
const ANSWER_ROWS_MAX: u64 = 10_000;
const ROWS_MAX: u64 = 200_000;
const ANSWERS_MAX: usize = 512;

impl Cache {
    pub fn new(changes: Changes) -> Self {
        Self { changes, held: Arc::default() }
    }

    /// What was answered at another cut is true at this one when no row of its scope came in between. Where a
    /// row is, in the log or in a table, makes no difference.
    pub(crate) fn get(
        &self,
        sql: &str,
        reach: &Reach,
        scope: Option<Scope>,
        cut: &Cut,
    ) -> Option<Answer> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = held.answers.get(&(sql.to_owned(), reach.clone()))?;
        let unchanged = |scope: Scope| {
            self.changes.last(scope.table, scope.from, scope.to) <= kept.cut.lsn.min(cut.lsn)
        };
        let same_rows = kept.cut.lsn == cut.lsn || scope.is_some_and(unchanged);
        let holds = kept.cut.log == cut.log && same_rows && self.changes.holds(&kept.cut);
        holds.then(|| kept.answer.clone())
    }

    pub(crate) fn keep(&self, sql: &str, reach: &Reach, cut: &Cut, answer: &Answer) {
        let rows = answer.ended.rows;
        if rows > ANSWER_ROWS_MAX {
            return;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (sql.to_owned(), reach.clone());
        match held.answers.get(&key) {
            // An older cut is somebody's look back: it does not push out what everybody sees.
            Some(kept) if kept.cut.log == cut.log && kept.cut.lsn > cut.lsn => return,
            Some(kept) => held.rows -= kept.answer.ended.rows,
            None => {}
        }
        if held.rows + rows > ROWS_MAX || held.answers.len() >= ANSWERS_MAX {
            *held = Held::default();
        }
        held.rows += rows;
        held.answers.insert(key, Kept { cut: cut.clone(), answer: answer.clone() });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::datatypes::Schema;

    use super::*;
    use crate::Ended;

    fn cut(lsn: u64) -> Cut {
        Cut { log: 1, lsn, floor: 0, tables: BTreeMap::new() }
    }

    fn answer(rows: u64) -> Answer {
        let ended = Ended { rows, ..Ended::default() };
        Answer { schema: Arc::new(Schema::empty()), batches: Vec::new(), ended }
    }

    #[test]
    fn an_answer_is_kept_for_its_cut_and_its_reader() {
        let cache = Cache::new(Changes::default());
        let own = Reach::Organization("org_a".into());
        let rows = |reach: &Reach, lsn| {
            cache.get("q", reach, None, &cut(lsn)).map(|answer| answer.ended.rows)
        };
        cache.keep("q", &own, &cut(5), &answer(1));
        assert_eq!(rows(&own, 5), Some(1));
        assert_eq!(rows(&Reach::Staff, 5), None);
        assert_eq!(rows(&Reach::Organization("org_b".into()), 5), None);
        assert_eq!((rows(&own, 6), rows(&own, 4)), (None, None));
        cache.keep("q", &own, &cut(4), &answer(9));
        assert_eq!(rows(&own, 5), Some(1));
        cache.keep("q", &own, &cut(6), &answer(2));
        assert_eq!((rows(&own, 5), rows(&own, 6)), (None, Some(2)));
        let other = Cut { log: 2, ..cut(6) };
        assert!(cache.get("q", &own, None, &other).is_none());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let cache = Cache::new(Changes::default());
        cache.keep("large", &Reach::Staff, &cut(1), &answer(ANSWER_ROWS_MAX + 1));
        assert!(cache.get("large", &Reach::Staff, None, &cut(1)).is_none());
        for n in 0..100 {
            cache.keep(&n.to_string(), &Reach::Staff, &cut(1), &answer(ANSWER_ROWS_MAX));
            let held = cache.held.lock().unwrap();
            let rows: u64 = held.answers.values().map(|kept| kept.answer.ended.rows).sum();
            assert!(rows == held.rows && rows <= ROWS_MAX);
        }
    }
}
