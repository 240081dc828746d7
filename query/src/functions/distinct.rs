//! `approx_distinct` of the engine, told of fewer repeated values.

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, StringViewArray, UInt32Array},
    compute,
    datatypes::{DataType, FieldRef},
};
use datafusion::{
    common::{Result, ScalarValue},
    functions_aggregate::approx_distinct,
    logical_expr::{
        Accumulator, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, Signature,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
};

/// The engine's sketch, after repeated texts were left out. Events lie by organization, so that few users, sessions or
/// keys follow each other again and again: to hash each row of them, and to sort the hashes of a small group every 256
/// rows, took half of the question's time.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ApproxDistinct(approx_distinct::ApproxDistinct);

impl ApproxDistinct {
    pub(super) fn new() -> Self {
        Self(approx_distinct::ApproxDistinct::new())
    }
}

impl AggregateUDFImpl for ApproxDistinct {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.0.return_type(arguments)
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        self.0.default_value(data_type)
    }

    fn is_nullable(&self) -> bool {
        self.0.is_nullable()
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.0.state_fields(arguments)
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.0.accumulator(arguments)
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        self.0.groups_accumulator_supported(arguments)
    }

    fn create_groups_accumulator(
        &self,
        arguments: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let inner = self.0.create_groups_accumulator(arguments)?;
        Ok(Box::new(DedupAccumulator { inner, recent: Recent::new() }))
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.0.documentation()
    }
}

/// Leaves out texts that came before in the same batch and group.
struct DedupAccumulator {
    inner: Box<dyn GroupsAccumulator>,
    recent: Recent,
}

/// Views and groups that came last, each at the place of its hash.
struct Recent(Vec<(u128, usize)>);

const RECENT: usize = 512;
const NONE: (u128, usize) = (0, usize::MAX);

impl Recent {
    fn new() -> Self {
        Self(vec![NONE; RECENT])
    }

    /// The rows that count, without most of those that say again what another one says.
    fn rows(
        &mut self,
        texts: &StringViewArray,
        groups: &[usize],
        filter: Option<&BooleanArray>,
    ) -> Vec<u32> {
        // A view says the same only within its array.
        self.0.fill(NONE);
        let counts = |row| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let mut rows = Vec::new();
        for (row, (view, group)) in (0..).zip(texts.views().iter().zip(groups)) {
            let recent = &mut self.0[place(*view)];
            let at = row as usize;
            if *recent != (*view, *group) && texts.is_valid(at) && counts(at) {
                *recent = (*view, *group);
                rows.push(row);
            }
        }
        rows
    }
}

/// By multiplication with an odd number near 2⁶⁴ divided by the golden ratio (Knuth, The Art of Computer Programming 3,
/// 6.4).
fn place(view: u128) -> usize {
    let folded = view as u64 ^ (view >> 64) as u64;
    (folded.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - RECENT.ilog2())) as usize
}

impl GroupsAccumulator for DedupAccumulator {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        let Some(texts) = values[0].as_string_view_opt() else {
            return self.inner.update_batch(values, groups, filter, total);
        };
        let rows = self.recent.rows(texts, groups, filter);
        let groups: Vec<_> = rows.iter().map(|row| groups[*row as usize]).collect();
        let values = compute::take(texts, &UInt32Array::from(rows), None)?;
        self.inner.update_batch(&[values], &groups, None, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.inner.evaluate(emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.inner.merge_batch(values, groups, total)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        self.inner.size() + size_of_val(&self.recent.0[..])
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{Int64Array, RecordBatch, UInt64Array},
        util::pretty::pretty_format_batches,
    };
    use datafusion::{logical_expr::AggregateUDF, prelude::SessionContext};

    use super::*;

    /// Batches of texts of which few are new, in groups; some are null, and some are left out.
    fn batches() -> Vec<RecordBatch> {
        let batch = |first: usize| {
            let rows = first..first + 2_000;
            // Short ones lie in their view, long ones beside it.
            let text = |row: usize| match row % 11 {
                0 => None,
                1 => Some(String::new()),
                n => Some(format!("user-{}", "0".repeat(n) + &(row / 300 * n).to_string())),
            };
            let columns: [(_, ArrayRef); 4] = [
                ("t", Arc::new(rows.clone().map(text).collect::<StringViewArray>())),
                ("g", Arc::new(rows.clone().map(|row| (row / 700) as i64).collect::<Int64Array>())),
                (
                    "f",
                    Arc::new(
                        rows.clone()
                            .map(|row| (row % 5 > 0).then_some(row % 3 > 0))
                            .collect::<BooleanArray>(),
                    ),
                ),
                ("n", Arc::new(rows.map(|row| (row % 97) as u64).collect::<UInt64Array>())),
            ];
            RecordBatch::try_from_iter_with_nullable(
                columns.map(|(name, column)| (name, column, true)),
            )
        };
        (0..30).map(|n| batch(n * 1_500).unwrap()).collect()
    }

    async fn answer(context: &SessionContext, sql: &str) -> String {
        let rows = context.sql(sql).await.unwrap().collect().await.unwrap();
        pretty_format_batches(&rows).unwrap().to_string()
    }

    #[tokio::test]
    async fn what_is_left_out_changes_no_answer() {
        let [engine, ours] = [(); 2].map(|()| {
            let context = SessionContext::new();
            let table = context.read_batches(batches()).unwrap();
            context.register_table("rows", table.into_view()).unwrap();
            context
        });
        ours.register_udaf(AggregateUDF::from(ApproxDistinct::new()));
        for sql in [
            "select g, approx_distinct(t) as d from rows group by g order by g",
            "select g, approx_distinct(t) filter (where f) as d from rows group by g order by g",
            "select n, g, approx_distinct(t) as d from rows where t is null group by n, g order by n, g",
            "select g, approx_distinct(n) as d, approx_distinct(t) as t from rows group by g order by g",
            "select approx_distinct(t) as d from rows",
        ] {
            assert_eq!(answer(&ours, sql).await, answer(&engine, sql).await, "{sql}");
        }
    }

    #[test]
    fn a_text_is_told_once_for_each_group() {
        let long = "a text that is longer than its view";
        let texts = [Some("a"), None, Some(""), Some(long)].into_iter().cycle().take(400);
        let texts: StringViewArray = texts.collect();
        let groups: Vec<_> = (0..400).map(|row| row / 200).collect();
        let filter: BooleanArray = (0..400).map(|row| Some(row % 4 > 0 || row >= 200)).collect();
        let mut recent = Recent::new();
        // The long text is anew beside its view each time: it is not known to be the same.
        let told = |rows: Vec<u32>| rows.into_iter().filter(|row| row % 4 < 3).collect::<Vec<_>>();
        assert_eq!(told(recent.rows(&texts, &groups, None)), [0, 2, 200, 202]);
        assert_eq!(told(recent.rows(&texts, &groups, None)), [0, 2, 200, 202], "nothing is kept");
        assert_eq!(told(recent.rows(&texts, &groups, Some(&filter))), [2, 200, 202]);
    }
}
