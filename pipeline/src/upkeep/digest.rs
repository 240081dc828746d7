//! What a set of rows is, in whatever order and in however many files.

use arrow::{
    array::RecordBatch,
    datatypes::Schema,
    error::ArrowError,
    row::{RowConverter, SortField},
};
use xxhash_rust::xxh3::xxh3_128;

/// The number of rows, and the sum of their hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) rows: u64,
    sum: u128,
}

/// Computes digests of rows of one schema.
#[derive(Debug)]
pub(crate) struct Digester {
    converter: RowConverter,
    digest: Digest,
}

impl Digester {
    pub(crate) fn new(schema: &Schema) -> Result<Self, ArrowError> {
        let fields =
            schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        Ok(Self { converter: RowConverter::new(fields)?, digest: Digest::default() })
    }

    /// The encoding of a row tells every column and every null apart.
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let rows = self.converter.convert_columns(batch.columns())?;
        self.digest.rows += rows.num_rows() as u64;
        for row in &rows {
            self.digest.sum = self.digest.sum.wrapping_add(xxh3_128(row.as_ref()));
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Digest {
        self.digest
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    type Row = (Option<&'static str>, Option<&'static str>, Option<i64>);

    fn digest(batches: &[&[Row]]) -> Digest {
        let batch = |rows: &[Row]| {
            RecordBatch::try_from_iter_with_nullable([
                (
                    "a",
                    Arc::new(rows.iter().map(|r| r.0).collect::<StringArray>()) as ArrayRef,
                    true,
                ),
                ("b", Arc::new(rows.iter().map(|r| r.1).collect::<StringArray>()), true),
                ("n", Arc::new(rows.iter().map(|r| r.2).collect::<Int64Array>()), true),
            ])
            .unwrap()
        };
        let mut digester = Digester::new(&batch(&[]).schema()).unwrap();
        batches.iter().for_each(|rows| digester.add(&batch(rows)).unwrap());
        digester.finish()
    }

    #[test]
    fn order_and_batches_do_not_matter_and_everything_else_does() {
        let one = (Some("x"), None, Some(1));
        let two = (Some("xy"), Some(""), None);
        let three = (None, Some("y"), Some(-1));
        let all = digest(&[&[one, two, three]]);
        assert_eq!(all, digest(&[&[three], &[one], &[], &[two]]));
        for other in [
            digest(&[&[one, two]]),
            digest(&[&[one, two, two]]),
            digest(&[&[one, two, three, three]]),
            digest(&[&[(None, Some("x"), Some(1)), two, three]]),
            digest(&[&[one, (Some("x"), Some("y"), None), three]]),
            digest(&[&[one, (Some("xy"), None, None), three]]),
            digest(&[&[one, two, (None, Some("y"), Some(1))]]),
        ] {
            assert_ne!(all, other);
        }
    }
}
