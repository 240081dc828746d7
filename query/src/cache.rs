//! Answers to our own questions, kept as long as they are true: until a row comes or a table moves.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use pipeline::Cut;

use crate::{Answer, Reach};

/// Answers at one cut. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Cache(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    cut: Option<Cut>,
    answers: HashMap<(String, Reach), Answer>,
}

/// Answers that are kept, and rows of each.
const ANSWERS_MAX: usize = 512;
const ROWS_MAX: u64 = 10_000;

impl Cache {
    pub(crate) fn get(&self, sql: &str, reach: &Reach, cut: &Cut) -> Option<Answer> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.cut.as_ref().is_some_and(|held| same_rows(held, cut)) {
            return None;
        }
        held.answers.get(&(sql.to_owned(), reach.clone())).cloned()
    }

    pub(crate) fn keep(&self, sql: &str, reach: &Reach, cut: &Cut, answer: &Answer) {
        if answer.ended.rows > ROWS_MAX {
            return;
        }
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.cut.as_ref().is_some_and(|held| same_rows(held, cut)) {
            // An older cut is somebody's look back: it does not push out what everybody sees.
            if held.cut.as_ref().is_some_and(|held| held.lsn > cut.lsn) {
                return;
            }
            held.answers.clear();
            held.cut = Some(cut.clone());
        }
        if held.answers.len() < ANSWERS_MAX {
            held.answers.insert((sql.to_owned(), reach.clone()), answer.clone());
        }
    }
}

/// Where a row is, in the log or in a table, makes no difference to an answer: only the last one read does.
fn same_rows(one: &Cut, other: &Cut) -> bool {
    (one.log, one.lsn) == (other.log, other.lsn)
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

    #[test]
    fn an_answer_is_kept_for_its_cut_and_its_reader() {
        let (cache, schema) = (Cache::default(), Arc::new(Schema::empty()));
        let answer = |rows| Answer {
            schema: Arc::clone(&schema),
            batches: Vec::new(),
            ended: Ended { rows, truncated: false },
        };
        let own = Reach::Organization("org_a".into());
        cache.keep("q", &own, &cut(5), &answer(1));
        assert_eq!(cache.get("q", &own, &cut(5)).unwrap().ended.rows, 1);
        assert!(cache.get("q", &Reach::Staff, &cut(5)).is_none());
        assert!(cache.get("q", &Reach::Organization("org_b".into()), &cut(5)).is_none());
        assert!(cache.get("q", &own, &cut(6)).is_none());
        cache.keep("q", &own, &cut(4), &answer(9));
        assert_eq!(cache.get("q", &own, &cut(5)).unwrap().ended.rows, 1);
        cache.keep("q", &own, &cut(6), &answer(2));
        assert!(cache.get("q", &own, &cut(5)).is_none());
    }
}
