//! `sum` of the engine, added up in a wider type: the engine's own wraps around.

mod total;

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    marker::PhantomData,
    mem::{size_of, size_of_val},
    sync::Arc,
};

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray,
        types::{
            Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DurationMicrosecondType,
            DurationMillisecondType, DurationNanosecondType, DurationSecondType, Int64Type,
            UInt64Type,
        },
    },
    datatypes::{DataType, DecimalType as _, Field, FieldRef, TimeUnit, i256},
};
use datafusion::{
    common::{Result, ScalarValue},
    functions_aggregate::sum,
    logical_expr::{
        Accumulator, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF,
        SetMonotonicity, Signature,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::{AggregateOrderSensitivity, format_state_name},
    },
};

use crate::error::OutOfRange;
use total::{Summed, Total, scale};

/// Sums of whole numbers are added up in 128 bits, those of decimals in 256: only the result may be too large. Floats
/// and intervals are the engine's.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Sum(sum::Sum);

impl Sum {
    pub(super) fn new() -> Self {
        Self(sum::Sum::new())
    }
}

/// Calls a generic function of a type with the types of its sum: of its values, and of its total. `None` for types that
/// the engine sums up.
macro_rules! with_types {
    ($kind:expr, $call:ident) => {
        match $kind {
            DataType::Int64 => Some($call::<Int64Type, i128>($kind)),
            DataType::UInt64 => Some($call::<UInt64Type, i128>($kind)),
            DataType::Duration(TimeUnit::Second) => Some($call::<DurationSecondType, i128>($kind)),
            DataType::Duration(TimeUnit::Millisecond) => {
                Some($call::<DurationMillisecondType, i128>($kind))
            }
            DataType::Duration(TimeUnit::Microsecond) => {
                Some($call::<DurationMicrosecondType, i128>($kind))
            }
            DataType::Duration(TimeUnit::Nanosecond) => {
                Some($call::<DurationNanosecondType, i128>($kind))
            }
            DataType::Decimal32(..) => Some($call::<Decimal32Type, i128>($kind)),
            DataType::Decimal64(..) => Some($call::<Decimal64Type, i128>($kind)),
            DataType::Decimal128(..) => Some($call::<Decimal128Type, i256>($kind)),
            DataType::Decimal256(..) => Some($call::<Decimal256Type, i256>($kind)),
            _ => None,
        }
    };
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.0.return_type(arguments)
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let kind = arguments.return_type();
        let ours = match arguments.is_distinct {
            true => with_types!(kind, distinct),
            false => with_types!(kind, one),
        };
        ours.map_or_else(|| self.0.accumulator(arguments), Ok)
    }

    fn create_sliding_accumulator(
        &self,
        arguments: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        let kind = arguments.return_type();
        let ours = match arguments.is_distinct {
            true => with_types!(kind, sliding),
            false => with_types!(kind, one),
        };
        ours.map_or_else(|| self.0.create_sliding_accumulator(arguments), Ok)
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let kind = arguments.return_type();
        if arguments.is_distinct {
            return self.0.state_fields(arguments);
        }
        let Some(wide) = with_types!(kind, state_type) else {
            return self.0.state_fields(arguments);
        };
        let field = |name: &str, kind: DataType| {
            Arc::new(Field::new(format_state_name(arguments.name, name), kind, true))
        };
        Ok(vec![field("sum", wide)])
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        self.0.groups_accumulator_supported(arguments)
    }

    fn create_groups_accumulator(
        &self,
        arguments: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let ours = with_types!(arguments.return_type(), groups);
        ours.map_or_else(|| self.0.create_groups_accumulator(arguments), Ok)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.0.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.0.order_sensitivity()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.0.documentation()
    }

    fn set_monotonicity(&self, kind: &DataType) -> SetMonotonicity {
        self.0.set_monotonicity(kind)
    }
}

fn state_type<S: Summed<T>, T: Total>(kind: &DataType) -> DataType {
    T::Stored::TYPE_CONSTRUCTOR(T::DIGITS, scale(kind))
}

fn narrow<S: Summed<T>, T: Total>(total: T, kind: &DataType) -> Result<S::Native> {
    S::narrow(total, kind).ok_or_else(|| OutOfRange::sum(kind).into())
}

fn scalar<S: Summed<T>, T: Total>(total: Option<T>, kind: &DataType) -> Result<ScalarValue> {
    let value = total.map(|total| narrow::<S, T>(total, kind)).transpose()?;
    ScalarValue::new_primitive::<S>(value, kind)
}

/// The sum of the rows that are not null.
#[derive(Debug)]
struct SumAccumulator<S, T> {
    total: T,
    rows: u64,
    kind: DataType,
    values: PhantomData<S>,
}

fn one<S: Summed<T>, T: Total>(kind: &DataType) -> Box<dyn Accumulator> {
    let kind = kind.clone();
    Box::new(SumAccumulator::<S, T> { total: T::default(), rows: 0, kind, values: PhantomData })
}

/// Gives each value that is not null to `add`.
fn each<P: ArrowPrimitiveType>(values: &PrimitiveArray<P>, mut add: impl FnMut(P::Native)) {
    if values.null_count() == 0 {
        values.values().iter().for_each(|value| add(*value));
    } else {
        values.iter().flatten().for_each(add);
    }
}

impl<S: Summed<T>, T: Total> Accumulator for SumAccumulator<S, T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = values[0].as_primitive::<S>();
        let mut total = self.total;
        each(values, |value| S::add(&mut total, S::widen(value)));
        self.total = total;
        self.rows += (values.len() - values.null_count()) as u64;
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = values[0].as_primitive::<S>();
        each(values, |value| S::subtract(&mut self.total, S::widen(value)));
        self.rows -= (values.len() - values.null_count()) as u64;
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let total = (self.rows > 0).then_some(self.total);
        let kind = T::Stored::TYPE_CONSTRUCTOR(T::DIGITS, scale(&self.kind));
        Ok(vec![ScalarValue::new_primitive::<T::Stored>(total, &kind)?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let totals = states[0].as_primitive::<T::Stored>();
        each(totals, |total| S::add(&mut self.total, total));
        self.rows += (totals.len() - totals.null_count()) as u64;
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        scalar::<S, T>((self.rows > 0).then_some(self.total), &self.kind)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sum of the different values.
#[derive(Debug)]
struct Distinct<S: ArrowPrimitiveType, T> {
    values: HashSet<S::Native>,
    kind: DataType,
    total: PhantomData<T>,
}

fn distinct<S: Summed<T>, T: Total>(kind: &DataType) -> Box<dyn Accumulator> {
    let kind = kind.clone();
    Box::new(Distinct::<S, T> { values: HashSet::new(), kind, total: PhantomData })
}

impl<S: Summed<T>, T: Total> Accumulator for Distinct<S, T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        each(values[0].as_primitive::<S>(), |value| {
            self.values.insert(value);
        });
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = self
            .values
            .iter()
            .map(|value| ScalarValue::new_primitive::<S>(Some(*value), &self.kind));
        let values = values.collect::<Result<Vec<_>>>()?;
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &self.kind))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for values in states[0].as_list::<i32>().iter().flatten() {
            self.update_batch(&[values])?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut total = T::default();
        self.values.iter().for_each(|value| S::add(&mut total, S::widen(*value)));
        scalar::<S, T>((!self.values.is_empty()).then_some(total), &self.kind)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<S::Native>()
    }
}

/// The sum of the different values of a window.
#[derive(Debug)]
struct Sliding<S: ArrowPrimitiveType, T> {
    counts: HashMap<S::Native, u64>,
    total: T,
    kind: DataType,
}

fn sliding<S: Summed<T>, T: Total>(kind: &DataType) -> Box<dyn Accumulator> {
    let kind = kind.clone();
    Box::new(Sliding::<S, T> { counts: HashMap::new(), total: T::default(), kind })
}

impl<S: Summed<T>, T: Total> Accumulator for Sliding<S, T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        each(values[0].as_primitive::<S>(), |value| {
            let count = self.counts.entry(value).or_default();
            if *count == 0 {
                S::add(&mut self.total, S::widen(value));
            }
            *count += 1;
        });
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        each(values[0].as_primitive::<S>(), |value| {
            if let Some(count) = self.counts.get_mut(&value) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&value);
                    S::subtract(&mut self.total, S::widen(value));
                }
            }
        });
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        datafusion::common::internal_err!("a window is computed in one place")
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        datafusion::common::internal_err!("a window is computed in one place")
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        scalar::<S, T>((!self.counts.is_empty()).then_some(self.total), &self.kind)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.capacity() * (size_of::<S::Native>() + size_of::<u64>())
    }
}

/// The sums of many groups.
#[derive(Debug)]
struct Groups<S, T> {
    totals: Vec<T>,
    /// Whether a group has a value that is not null.
    seen: Vec<bool>,
    kind: DataType,
    values: PhantomData<S>,
}

fn groups<S: Summed<T>, T: Total>(kind: &DataType) -> Box<dyn GroupsAccumulator> {
    let kind = kind.clone();
    Box::new(Groups::<S, T> { totals: Vec::new(), seen: Vec::new(), kind, values: PhantomData })
}

impl<S: Summed<T>, T: Total> Groups<S, T> {
    fn add<P: ArrowPrimitiveType>(
        &mut self,
        values: &PrimitiveArray<P>,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        all: usize,
        widen: impl Fn(P::Native) -> T,
    ) {
        self.totals.resize(all, T::default());
        self.seen.resize(all, false);
        let (totals, seen) = (&mut self.totals, &mut self.seen);
        let mut add = |group: usize, value: P::Native| {
            S::add(&mut totals[group], widen(value));
            seen[group] = true;
        };
        let pairs = groups.iter().zip(values.values());
        if values.null_count() == 0 && filter.is_none() {
            pairs.for_each(|(group, value)| add(*group, *value));
            return;
        }
        let counts = |row: usize| {
            values.is_valid(row)
                && filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
        };
        for (row, (group, value)) in pairs.enumerate() {
            if counts(row) {
                add(*group, *value);
            }
        }
    }

    fn emit(&mut self, emit_to: EmitTo) -> impl Iterator<Item = Option<T>> + use<S, T> {
        let totals = emit_to.take_needed(&mut self.totals);
        let seen = emit_to.take_needed(&mut self.seen);
        totals.into_iter().zip(seen).map(|(total, seen)| seen.then_some(total))
    }

    fn stored(&self, totals: impl Iterator<Item = Option<T>>) -> ArrayRef {
        let kind = T::Stored::TYPE_CONSTRUCTOR(T::DIGITS, scale(&self.kind));
        Arc::new(totals.collect::<PrimitiveArray<T::Stored>>().with_data_type(kind))
    }
}

impl<S: Summed<T>, T: Total> GroupsAccumulator for Groups<S, T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        all: usize,
    ) -> Result<()> {
        self.add(values[0].as_primitive::<S>(), groups, filter, all, S::widen);
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], all: usize) -> Result<()> {
        self.add(states[0].as_primitive::<T::Stored>(), groups, None, all, |total| total);
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let kind = self.kind.clone();
        let narrowed = self.emit(emit_to).map(|total| match total {
            Some(total) => narrow::<S, T>(total, &kind).map(Some),
            None => Ok(None),
        });
        let sums = narrowed.collect::<Result<Vec<Option<S::Native>>>>()?;
        Ok(Arc::new(PrimitiveArray::<S>::from_iter(sums).with_data_type(kind.clone())))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let totals = self.emit(emit_to);
        Ok(vec![self.stored(totals)])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<S>();
        let counts =
            |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let totals = values.iter().enumerate();
        let totals = totals.map(|(row, value)| value.filter(|_| counts(row)).map(S::widen));
        Ok(vec![self.stored(totals)])
    }

    fn size(&self) -> usize {
        self.totals.capacity() * size_of::<T>() + self.seen.capacity()
    }
}
