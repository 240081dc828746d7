//! Rows of an organization in batches of one size.
//!
//! Where a scan's batches end depends on the rows of others that lie between: an answer in Arrow's form, and the
//! number of its bytes, would tell how many those are.

use arrow::{array::RecordBatch, compute::BatchCoalescer, datatypes::SchemaRef, error::ArrowError};

use crate::RowAccess;

const ROWS: usize = 8_192;

/// Cuts rows anew, where that is needed.
#[derive(Debug)]
pub(crate) struct Rebatcher(Option<BatchCoalescer>);

impl Rebatcher {
    pub(crate) fn new(schema: &SchemaRef, reach: &RowAccess) -> Self {
        let is_needed = matches!(reach, RowAccess::Organization(_)) && !schema.fields().is_empty();
        Self(is_needed.then(|| BatchCoalescer::new(SchemaRef::clone(schema), ROWS)))
    }

    /// What is ready after these rows.
    pub(crate) fn push(&mut self, rows: RecordBatch) -> Result<Vec<RecordBatch>, ArrowError> {
        let Some(coalescer) = &mut self.0 else { return Ok(vec![rows]) };
        coalescer.push_batch(rows)?;
        Ok(ready(coalescer))
    }

    /// The rest.
    pub(crate) fn finish(&mut self) -> Result<Vec<RecordBatch>, ArrowError> {
        let Some(coalescer) = &mut self.0 else { return Ok(Vec::new()) };
        coalescer.finish_buffered_batch()?;
        Ok(ready(coalescer))
    }
}

fn ready(coalescer: &mut BatchCoalescer) -> Vec<RecordBatch> {
    std::iter::from_fn(|| coalescer.next_completed_batch()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, StringViewArray},
        ipc::writer::StreamWriter,
    };

    use super::*;
    use crate::portion::portions;

    #[test]
    fn the_same_rows_are_cut_the_same_however_they_came() {
        let organization = RowAccess::Organization("org_a".into());
        let texts: Vec<_> =
            (0..20_000).map(|n| format!("a text that is not inlined, {n}")).collect();
        let column: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
        let rows = RecordBatch::try_from_iter([("t", column)]).unwrap();
        let cut = |reach: &RowAccess, every: usize| {
            let mut even = Rebatcher::new(&rows.schema(), reach);
            let mut out = Vec::new();
            for from in (0..rows.num_rows()).step_by(every) {
                let part = rows.slice(from, every.min(rows.num_rows() - from));
                out.extend(even.push(part).unwrap());
            }
            out.extend(even.finish().unwrap());
            out
        };
        // As they leave the worker.
        let written = |batches: Vec<RecordBatch>| {
            let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
            for batch in &batches {
                portions(batch).unwrap().iter().for_each(|part| writer.write(part).unwrap());
            }
            writer.into_inner().unwrap()
        };
        let whole = cut(&organization, 20_000);
        let counts: Vec<_> = whole.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(counts, [8_192, 8_192, 3_616]);
        let whole = written(whole);
        for every in [1, 77, 8_191, 9_000] {
            assert!(written(cut(&organization, every)) == whole, "{every}");
        }
        assert_eq!(cut(&RowAccess::Staff, 9_000).len(), 3);
    }
}
