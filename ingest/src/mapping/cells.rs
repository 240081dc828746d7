//! The cells of a file: whatever the file's format, a cell is one of a few things.

use std::borrow::Cow;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array,
        RecordBatch, StringArray, TimestampMicrosecondArray,
    },
    compute::{self, CastOptions, cast_with_options},
    datatypes::{
        DataType, Date32Type, Date64Type, Decimal128Type, Float64Type, Int64Type, TimeUnit,
        TimestampMicrosecondType,
    },
    error::ArrowError,
    util::display::array_value_to_string,
};

use super::Mapping;
use crate::{Error, money, time};

/// Some rows of a file, with the columns that a mapping reads.
#[derive(Debug)]
pub struct FileRows {
    columns: Vec<Column>,
    /// The number of each row in its file, from 1.
    numbers: Vec<u64>,
}

/// One value of a row. Text is what CSV knows; the other formats say more.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    /// Null, or a text without a character.
    Absent,
    Text(Cow<'a, str>),
    /// JSON that is not a text.
    Json(&'a str),
    Count(i64),
    Number(f64),
    Flag(bool),
    Time(time::Micros),
    /// What a clock shows, in a zone that the file does not tell, as if it were UTC.
    Clock(time::Micros),
    /// An unscaled value, and the digits after its point.
    Decimal(i128, i8),
    /// What no field can take: as text, to be shown.
    Unfit(Cow<'a, str>),
}

#[derive(Debug)]
enum Column {
    Text(StringArray),
    Json(StringArray),
    Count(Int64Array),
    Number(Float64Array),
    Flag(BooleanArray),
    Time(TimestampMicrosecondArray),
    Clock(TimestampMicrosecondArray),
    Decimal(Decimal128Array, i8),
    /// Values of a type that is wider than ours, and those of them that do not fit, as text.
    Partly {
        fit: Box<Column>,
        unfit: StringArray,
        kept: Unfit,
    },
    Absent,
}

/// What becomes of a value that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unfit {
    /// It is a number, and as good a text as any.
    AsText,
    /// No field takes it.
    Not,
}

impl FileRows {
    /// Takes the columns that the mapping reads out of rows that are typed, as Parquet's are, or text, as those
    /// of CSV. `numbers` are the rows' numbers in their file.
    ///
    /// # Errors
    /// [`Error::Mapping`] for a column of a type that no field can be made of.
    pub fn typed(mapping: &Mapping, rows: &RecordBatch, numbers: Vec<u64>) -> Result<Self, Error> {
        let column = |name: &String| match rows.column_by_name(name) {
            Some(values) => Column::of(name, values),
            None => Ok(Column::Absent),
        };
        let columns = mapping.columns().iter().map(column).collect::<Result<_, _>>()?;
        Ok(Self { columns, numbers })
    }

    /// The same for rows whose columns hold JSON, as those of NDJSON do.
    pub fn json(mapping: &Mapping, rows: &RecordBatch, numbers: Vec<u64>) -> Self {
        let column = |name: &String| {
            let values = rows.column_by_name(name).and_then(|c| c.as_string_opt::<i32>());
            values.map_or(Column::Absent, |values| Column::Json(values.clone()))
        };
        Self { columns: mapping.columns().iter().map(column).collect(), numbers }
    }

    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    pub(crate) fn number(&self, row: usize) -> u64 {
        self.numbers[row]
    }

    pub(crate) fn cell(&self, column: usize, row: usize) -> Cell<'_> {
        self.columns[column].cell(row)
    }
}

impl Column {
    fn of(name: &str, values: &ArrayRef) -> Result<Self, Error> {
        let failed = |error| Error::Mapping(format!("the column `{name}`: {error}"));
        let cast = |to: &DataType| {
            cast_with_options(values, to, &CastOptions { safe: false, ..CastOptions::default() })
                .map_err(failed)
        };
        Ok(match values.data_type() {
            DataType::Null => Self::Absent,
            DataType::Boolean => Self::Flag(cast(&DataType::Boolean)?.as_boolean().clone()),
            DataType::UInt64 => Self::partly(values, &DataType::Int64, Unfit::AsText, |fit| {
                Self::Count(fit.as_primitive::<Int64Type>().clone())
            })
            .map_err(failed)?,
            kind if kind.is_integer() => {
                Self::Count(cast(&DataType::Int64)?.as_primitive::<Int64Type>().clone())
            }
            kind if kind.is_floating() => {
                Self::Number(cast(&DataType::Float64)?.as_primitive::<Float64Type>().clone())
            }
            DataType::Date32 | DataType::Date64 => Self::Clock(of_dates(values).map_err(failed)?),
            DataType::Timestamp(_, zone) => {
                let plain = DataType::Timestamp(TimeUnit::Microsecond, None);
                let has_zone = zone.is_some();
                Self::partly(values, &plain, Unfit::Not, |fit| {
                    let times = fit.as_primitive::<TimestampMicrosecondType>().clone();
                    if has_zone { Self::Time(times) } else { Self::Clock(times) }
                })
                .map_err(failed)?
            }
            DataType::Decimal32(_, scale)
            | DataType::Decimal64(_, scale)
            | DataType::Decimal128(_, scale)
            | DataType::Decimal256(_, scale) => {
                let wide = DataType::Decimal128(money::PRECISION, *scale);
                Self::partly(values, &wide, Unfit::AsText, |fit| {
                    Self::Decimal(fit.as_primitive::<Decimal128Type>().clone(), *scale)
                })
                .map_err(failed)?
            }
            DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Time32(_)
            | DataType::Time64(_) => Self::Text(cast(&DataType::Utf8)?.as_string().clone()),
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => {
                let bytes = cast(&DataType::Binary)?;
                Self::partly(&bytes, &DataType::Utf8, Unfit::Not, |fit| {
                    Self::Text(fit.as_string().clone())
                })
                .map_err(failed)?
            }
            DataType::Dictionary(_, of) => Self::of(name, &cast(of)?)?,
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
            | DataType::FixedSizeList(..)
            | DataType::Map(..) => {
                let reason = format!("the column `{name}` holds lists, which no field can take");
                return Err(Error::Mapping(reason));
            }
            other => {
                let reason = format!("the column `{name}` holds {other}, which no field can take");
                return Err(Error::Mapping(reason));
            }
        })
    }

    /// A column of a wider type than ours. What does not fit is told with its row, and the others go on.
    fn partly(
        values: &ArrayRef,
        kind: &DataType,
        kept: Unfit,
        column: impl FnOnce(&ArrayRef) -> Self,
    ) -> Result<Self, ArrowError> {
        let fit = cast_with_options(values, kind, &CastOptions::default())?;
        let column = column(&fit);
        if fit.null_count() == values.null_count() {
            return Ok(column);
        }
        let unfit = (0..values.len()).map(|row| {
            let is_unfit = values.is_valid(row) && fit.is_null(row);
            is_unfit.then(|| shown(values, row))
        });
        Ok(Self::Partly { fit: Box::new(column), unfit: unfit.collect(), kept })
    }

    fn cell(&self, row: usize) -> Cell<'_> {
        if let Self::Partly { fit, unfit, kept } = self {
            let odd = || Cow::Borrowed(unfit.value(row));
            return match kept {
                _ if unfit.is_null(row) => fit.cell(row),
                Unfit::AsText => Cell::Text(odd()),
                Unfit::Not => Cell::Unfit(odd()),
            };
        }
        if self.is_null(row) {
            return Cell::Absent;
        }
        match self {
            Self::Text(values) => text(values.value(row)),
            Self::Json(values) => Cell::of_json(values.value(row)),
            Self::Count(values) => Cell::Count(values.value(row)),
            Self::Number(values) => Cell::Number(values.value(row)),
            Self::Flag(values) => Cell::Flag(values.value(row)),
            Self::Time(values) => Cell::Time(values.value(row)),
            Self::Clock(values) => Cell::Clock(values.value(row)),
            Self::Decimal(values, scale) => Cell::Decimal(values.value(row), *scale),
            Self::Partly { .. } | Self::Absent => Cell::Absent,
        }
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Text(values) | Self::Json(values) => values.is_null(row),
            Self::Count(values) => values.is_null(row),
            Self::Number(values) => values.is_null(row),
            Self::Flag(values) => values.is_null(row),
            Self::Time(values) | Self::Clock(values) => values.is_null(row),
            Self::Decimal(values, _) => values.is_null(row),
            Self::Partly { .. } => false,
            Self::Absent => true,
        }
    }
}

/// A value that does not fit, for people.
fn shown(values: &ArrayRef, row: usize) -> String {
    let raw = match values.data_type() {
        DataType::Timestamp(..) => compute::cast(&values.slice(row, 1), &DataType::Int64),
        _ => Ok(values.slice(row, 1)),
    };
    short(&raw.and_then(|raw| array_value_to_string(&raw, 0)).unwrap_or_default())
}

/// As much of a text as a name may have.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Midnights, in UTC.
fn of_dates(values: &ArrayRef) -> Result<TimestampMicrosecondArray, ArrowError> {
    /// No calendar has it, so that it is refused as a time.
    const BEYOND: time::Micros = time::Micros::MAX;
    let micros = |units: i64, each: i64| units.checked_mul(each).unwrap_or(BEYOND);
    Ok(match values.data_type() {
        DataType::Date32 => {
            values.as_primitive::<Date32Type>().unary(|days| micros(days.into(), 86_400_000_000))
        }
        _ => values.as_primitive::<Date64Type>().unary(|millis| micros(millis, 1_000)),
    })
}

fn text(text: &str) -> Cell<'_> {
    if text.is_empty() { Cell::Absent } else { Cell::Text(Cow::Borrowed(text)) }
}

impl<'a> Cell<'a> {
    pub(crate) fn of_json(json: &'a str) -> Self {
        match crate::decode::text(json) {
            Some(Cow::Borrowed(inner)) => text(inner),
            Some(Cow::Owned(inner)) if inner.is_empty() => Self::Absent,
            Some(Cow::Owned(inner)) => Self::Text(Cow::Owned(inner)),
            None if json == "null" => Self::Absent,
            None => Self::Json(json),
        }
    }

    /// The same value as one that no field can take.
    pub(super) fn unfit<'o>(&self) -> Cell<'o> {
        Cell::Unfit(short(&self.text().unwrap_or_default()).into())
    }

    /// The cell as a whole number, if it is one.
    pub(crate) fn count(&self) -> Option<i64> {
        match self {
            Self::Text(text) => money::whole(text.trim()),
            Self::Json(json) => money::whole(json),
            Self::Count(count) => Some(*count),
            // Programs that know no empty integer write 5.0.
            #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
            Self::Number(number) => {
                (number.fract() == 0.0 && number.abs() < 9e15).then_some(*number as i64)
            }
            Self::Decimal(unscaled, scale) => {
                let one = 10_i128.checked_pow(u32::try_from(*scale).ok()?)?;
                (unscaled % one == 0).then(|| i64::try_from(unscaled / one).ok())?
            }
            Self::Flag(_) | Self::Time(_) | Self::Clock(_) | Self::Unfit(_) | Self::Absent => None,
        }
    }

    /// The cell as a truth value, if it is one.
    pub(crate) fn flag(&self) -> Option<bool> {
        match self {
            Self::Flag(flag) => Some(*flag),
            Self::Count(1) => Some(true),
            Self::Count(0) => Some(false),
            Self::Json(json) => json.parse().ok(),
            Self::Text(text) => match text.trim() {
                "true" | "True" | "TRUE" | "1" => Some(true),
                "false" | "False" | "FALSE" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// The cell as an unscaled amount of money, if it is one.
    pub(crate) fn money(&self) -> Option<i128> {
        match self {
            Self::Decimal(unscaled, scale) => {
                let digits = i32::from(money::SCALE) - i32::from(*scale);
                let factor = 10_i128.checked_pow(digits.unsigned_abs())?;
                if digits >= 0 {
                    unscaled.checked_mul(factor)
                } else {
                    (unscaled % factor == 0).then(|| unscaled / factor)
                }
            }
            Self::Unfit(_) => None,
            cell => money::parse(cell.text()?.trim()),
        }
    }

    /// The cell as text; `None` without one.
    pub(crate) fn text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Absent => return None,
            Self::Text(text) | Self::Unfit(text) => Cow::Borrowed(&**text),
            Self::Json(json) => Cow::Borrowed(*json),
            Self::Count(count) => Cow::Owned(count.to_string()),
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Flag(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
            Self::Time(at) | Self::Clock(at) => Cow::Owned(time::to_rfc3339(*at)),
            Self::Decimal(unscaled, scale) => Cow::Owned(money::text(*unscaled, *scale)),
        })
    }

    /// The cell as a JSON scalar, for an attribute; `None` without one.
    pub(crate) fn into_json(self) -> Option<Cow<'a, str>> {
        Some(match self {
            Self::Absent => return None,
            Self::Json(json) => Cow::Borrowed(json),
            // No column and no attribute takes an object.
            Self::Unfit(text) => Cow::Owned(serde_json::json!({"unfit": text}).to_string()),
            Self::Count(_) | Self::Flag(_) => Cow::Owned(self.text()?.into_owned()),
            Self::Number(number) if number.is_finite() => Cow::Owned(number.to_string()),
            cell => Cow::Owned(serde_json::Value::from(cell.text()?).to_string()),
        })
    }
}
