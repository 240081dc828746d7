//! Dates and clock times of the zone of a request. The engine takes a date for midnight in UTC when it meets a time, and
//! shows a time without its zone as the clock of UTC.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, PrimitiveArray,
        timezone::Tz,
        types::{
            ArrowTimestampType, Date32Type, TimestampMicrosecondType, TimestampMillisecondType,
            TimestampNanosecondType, TimestampSecondType,
        },
    },
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, FieldRef, TimeUnit},
};
use chrono::{Days, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone};
use datafusion::{
    common::{
        DFSchema, DataFusionError, Result, ScalarValue,
        config::ConfigOptions,
        exec_err,
        tree_node::{Transformed, TreeNode},
    },
    functions::utils::make_scalar_function,
    logical_expr::{
        Between, BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, Operator, ReturnFieldArgs,
        ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TryCast, Volatility, cast,
        expr::{InList, ScalarFunction},
        expr_rewriter::FunctionRewrite,
    },
};

use crate::error::OutOfRange;

/// Makes times of dates that meet times, before the engine finds a type for both: it would take both for clock times, and
/// no file could be left out.
#[derive(Debug)]
pub(crate) struct ZonedComparisons;

impl FunctionRewrite for ZonedComparisons {
    fn name(&self) -> &'static str {
        "dates_meet_times"
    }

    fn rewrite(
        &self,
        expression: Expr,
        schema: &DFSchema,
        _: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        let kind = |part: &Expr| part.get_type(schema).ok();
        let is_date = |part: &Expr| matches!(kind(part), Some(DataType::Date32 | DataType::Date64));
        let time =
            |part: &Expr| kind(part).filter(|kind| matches!(kind, DataType::Timestamp(_, Some(_))));
        if let Expr::ScalarFunction(call) = &expression {
            return Ok(Transformed::no(Expr::ScalarFunction(with_places(call.clone()))));
        }
        let mut parts: Vec<&Expr> = match &expression {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(*op) => {
                vec![left, right]
            }
            Expr::Between(Between { expr, low, high, .. }) => vec![expr, low, high],
            Expr::InList(InList { expr, list, .. }) => {
                let mut parts: Vec<&Expr> = list.iter().collect();
                parts.push(expr);
                parts
            }
            _ => return Ok(Transformed::no(expression)),
        };
        let Some(time) = parts.iter().find_map(|part| time(part)) else {
            return Ok(Transformed::no(expression));
        };
        parts.retain(|part| is_date(part));
        if parts.is_empty() {
            return Ok(Transformed::no(expression));
        }
        expression.map_children(|part| {
            Ok(match is_date(&part) {
                true => Transformed::yes(cast(part, time.clone())),
                false => Transformed::no(part),
            })
        })
    }
}

/// `round(price, 1)` has the type that its places say, which the engine sees only in a number of 32 bits: another type
/// would be found for it later than for what it is compared with.
fn with_places(mut call: ScalarFunction) -> ScalarFunction {
    if let [_, Expr::Literal(places @ ScalarValue::Int64(Some(_)), _)] = call.args.as_mut_slice()
        && matches!(call.func.name(), "round" | "trunc")
        && let Ok(few) = places.cast_to(&DataType::Int32)
    {
        *places = few;
    }
    call
}

/// A comparison, or a difference.
fn compares(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
            | Operator::Minus
    )
}

/// Puts conversions of ours in the place of casts, once the types are known.
#[derive(Debug)]
pub(crate) struct ZonedCasts;

impl FunctionRewrite for ZonedCasts {
    fn name(&self) -> &'static str {
        "local_times"
    }

    fn rewrite(
        &self,
        expression: Expr,
        schema: &DFSchema,
        _: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        let (Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field })) =
            &expression
        else {
            return Ok(Transformed::no(expression));
        };
        let (from, to) = (expr.get_type(schema)?, field.data_type());
        let zone = match (&from, to) {
            (DataType::Date32 | DataType::Date64, DataType::Timestamp(_, Some(zone)))
            | (DataType::Timestamp(_, Some(zone)), DataType::Timestamp(_, None)) => zone,
            _ => return Ok(Transformed::no(expression)),
        };
        if matches!(&**zone, "UTC" | "+00:00") {
            return Ok(Transformed::no(expression));
        }
        let convert =
            Convert { to: to.clone(), signature: Signature::any(1, Volatility::Immutable) };
        let function = Arc::new(ScalarUDF::from(convert));
        let call = ScalarFunction::new_udf(function, vec![expr.as_ref().clone()]);
        Ok(Transformed::yes(Expr::ScalarFunction(call)))
    }
}

/// A date as its first instant in a zone, or a time as the clock of its zone shows it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Convert {
    to: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for Convert {
    fn name(&self) -> &'static str {
        "local_time"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    /// It is null where the time is.
    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = arguments.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.to.clone(), nullable)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        make_scalar_function(|values| self.convert(&values[0]), Vec::new())(&arguments.args)
    }
}

impl Convert {
    fn convert(&self, values: &ArrayRef) -> Result<ArrayRef> {
        match (values.data_type(), &self.to) {
            (DataType::Date32 | DataType::Date64, DataType::Timestamp(unit, Some(zone))) => {
                let zone: Tz = zone.parse()?;
                let options = CastOptions { safe: false, ..CastOptions::default() };
                let days = cast_with_options(values, &DataType::Date32, &options)?;
                let days = days.as_primitive::<Date32Type>();
                let first = |day| first_instant(zone, day).ok_or_else(|| out_of_range(&self.to));
                Ok(match unit {
                    TimeUnit::Second => self.each::<_, TimestampSecondType>(days, first)?,
                    TimeUnit::Millisecond => {
                        self.each::<_, TimestampMillisecondType>(days, first)?
                    }
                    TimeUnit::Microsecond => {
                        self.each::<_, TimestampMicrosecondType>(days, first)?
                    }
                    TimeUnit::Nanosecond => self.each::<_, TimestampNanosecondType>(days, first)?,
                })
            }
            (DataType::Timestamp(unit, Some(zone)), to) => {
                let zone: Tz = zone.parse()?;
                let wall = match unit {
                    TimeUnit::Second => self.clock::<TimestampSecondType>(values, zone)?,
                    TimeUnit::Millisecond => {
                        self.clock::<TimestampMillisecondType>(values, zone)?
                    }
                    TimeUnit::Microsecond => {
                        self.clock::<TimestampMicrosecondType>(values, zone)?
                    }
                    TimeUnit::Nanosecond => self.clock::<TimestampNanosecondType>(values, zone)?,
                };
                let options = CastOptions { safe: false, ..CastOptions::default() };
                Ok(cast_with_options(&wall, to, &options)?)
            }
            (from, to) => exec_err!("no local time from {from} to {to}"),
        }
    }

    /// Instants of values.
    fn each<P: arrow::array::ArrowPrimitiveType, T: ArrowTimestampType>(
        &self,
        values: &PrimitiveArray<P>,
        instant: impl Fn(P::Native) -> Result<NaiveDateTime>,
    ) -> Result<ArrayRef> {
        let number = |value: P::Native| {
            let instant = instant(value)?;
            T::from_naive_datetime(instant, None).ok_or_else(|| out_of_range(&self.to))
        };
        let instants: PrimitiveArray<T> = values.try_unary(number)?;
        Ok(Arc::new(instants.with_data_type(self.to.clone())))
    }

    /// What the clock of the zone shows.
    fn clock<T: ArrowTimestampType>(&self, values: &ArrayRef, zone: Tz) -> Result<ArrayRef> {
        let kind = DataType::Timestamp(T::UNIT, None);
        let number = |value: i64| {
            let instant = arrow::temporal_conversions::as_datetime::<T>(value);
            let shown = instant.and_then(|instant| {
                let offset = zone.offset_from_utc_datetime(&instant).fix();
                instant.checked_add_offset(offset)
            });
            let number = shown.and_then(|shown| T::from_naive_datetime(shown, None));
            number.ok_or_else(|| out_of_range(&kind))
        };
        let shown: PrimitiveArray<T> = values.as_primitive::<T>().try_unary(number)?;
        Ok(Arc::new(shown.with_data_type(kind.clone())))
    }
}

fn out_of_range(kind: &DataType) -> DataFusionError {
    OutOfRange::operation("a conversion of a time", kind).into()
}

/// The first instant of a date, in UTC. Where the clock skips midnight it is the first that the day has.
fn first_instant(zone: Tz, days: i32) -> Option<NaiveDateTime> {
    let date = NaiveDate::from_epoch_days(days)?;
    let midnight = date.and_time(NaiveTime::MIN);
    if let Some(offset) = zone.offset_from_local_datetime(&midnight).earliest() {
        return midnight.checked_sub_offset(offset.fix());
    }
    let shows = |at: NaiveDateTime| {
        Some(at.checked_add_offset(zone.offset_from_utc_datetime(&at).fix())?.date())
    };
    let (mut before, mut at) =
        (midnight.checked_sub_days(Days::new(2))?, midnight.checked_add_days(Days::new(2))?);
    // No zone changes its clock by less than a second.
    while (at - before).num_seconds() > 1 {
        let middle = before + (at - before) / 2;
        if shows(middle)? < date { before = middle } else { at = middle }
    }
    let second = chrono::TimeDelta::nanoseconds(at.and_utc().timestamp_subsec_nanos().into());
    at.checked_sub_signed(second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_with_its_first_instant() {
        for (zone, date, instant) in [
            ("Europe/Berlin", "2026-07-15", "2026-07-14T22:00:00"),
            ("Europe/Berlin", "2026-10-25", "2026-10-24T22:00:00"),
            ("Europe/Berlin", "2026-10-26", "2026-10-25T23:00:00"),
            ("+05:30", "2026-01-01", "2025-12-31T18:30:00"),
            // The clock went from 23:59:59 to 01:00:00.
            ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00"),
            ("America/Havana", "2026-03-08", "2026-03-08T05:00:00"),
            // It went from 23:30:00 to 00:30:00.
            ("America/Toronto", "1919-03-31", "1919-03-31T04:30:00"),
            // It went back from 01:00:00 to 00:00:00: the first of both midnights.
            ("America/Havana", "2026-11-01", "2026-11-01T04:00:00"),
            // The day before did not exist.
            ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00"),
        ] {
            let day: NaiveDate = date.parse().unwrap();
            let found = first_instant(zone.parse().unwrap(), day.to_epoch_days());
            assert_eq!(found, Some(instant.parse().unwrap()), "{zone} {date}");
        }
        assert_eq!(first_instant("Europe/Berlin".parse().unwrap(), i32::MAX), None);
    }
}
