use arrow::datatypes::DataType;
use datafusion::common::DataFusionError;
use serde::{Deserialize, Serialize};

/// Why a query gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    pub reason: Reason,
    /// A sentence for the one who asked; never a value of a row, or a path.
    pub message: String,
    /// Line and column, from 1, of what is wrong in the text.
    pub position: Option<(u64, u64)>,
    /// What may have been meant.
    #[serde(default)]
    pub hint: Option<String>,
}

/// The closed list of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The text is not SQL.
    Syntax,
    /// It is SQL, and names something that is not there, or mixes types.
    Invalid,
    /// It is larger or harder than a statement may be.
    TooComplex,
    /// A value for a parameter is missing, not needed, or of another type.
    Parameters,
    /// It would write, or reach outside the session.
    NotAllowed,
    /// It would show what says something of persons to one who may not see that.
    Persons,
    /// It failed on the rows.
    Failed,
    /// A number that it computes does not fit its type.
    OutOfRange,
    /// It needed more memory than it may use.
    Memory,
    /// The answer has more rows than were asked for.
    TooLarge,
    /// It did not end in time, and was stopped.
    Deadline,
    /// Somebody stopped it.
    Canceled,
    /// Every worker is busy.
    Busy,
    /// The one who asks has as many waiting as one may have.
    TooMany,
    /// The worker died.
    Lost,
    /// The lake could not be read.
    Unavailable,
}

impl QueryError {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), position: None, hint: None }
    }
}

/// A number that does not fit its type. It says nothing of the rows.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct OutOfRange {
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl OutOfRange {
    pub(crate) fn sum(kind: &DataType) -> Self {
        let (name, wider) = (type_name(kind), wider(kind));
        let hint = match wider {
            Some(wider) => format!("write sum(cast(… as {wider}))"),
            None => "sum fewer rows, or cast to double".into(),
        };
        Self { message: format!("a sum does not fit {name}"), hint }
    }

    /// Where only the engine knows which number it is.
    pub(crate) fn unknown() -> Self {
        Self {
            message: "a number does not fit its type".into(),
            hint: "cast what is computed to decimal(38, 0) or to double".into(),
        }
    }

    pub(crate) fn operation(operation: &str, kind: &DataType) -> Self {
        let (name, wider) = (type_name(kind), wider(kind));
        let hint = match wider {
            Some(wider) => format!("cast an operand: cast(… as {wider})"),
            None => "cast an operand to double".into(),
        };
        Self { message: format!("the result of {operation} does not fit {name}"), hint }
    }
}

impl From<OutOfRange> for DataFusionError {
    fn from(error: OutOfRange) -> Self {
        Self::External(Box::new(error))
    }
}

/// A type as SQL names it.
pub(crate) fn type_name(kind: &DataType) -> String {
    match kind {
        DataType::Int8 => "tinyint".into(),
        DataType::Int16 => "smallint".into(),
        DataType::Int32 => "integer".into(),
        DataType::Int64 => "bigint".into(),
        DataType::UInt8 => "tinyint unsigned".into(),
        DataType::UInt16 => "smallint unsigned".into(),
        DataType::UInt32 => "integer unsigned".into(),
        DataType::UInt64 => "bigint unsigned".into(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("decimal({precision}, {scale})"),
        DataType::Duration(_) | DataType::Interval(_) => "interval".into(),
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => "text".into(),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => "double".into(),
        DataType::Timestamp(..) => "timestamp".into(),
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::Time32(_) | DataType::Time64(_) => "time".into(),
        DataType::Boolean => "boolean".into(),
        other => other.to_string().to_lowercase(),
    }
}

/// A type that holds more, if there is one.
fn wider(kind: &DataType) -> Option<String> {
    match kind {
        DataType::Decimal128(_, scale) if *scale > 0 => Some(format!("decimal(38, {})", scale / 2)),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => Some("bigint".into()),
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => Some("bigint".into()),
        DataType::Int64 | DataType::UInt64 => Some("decimal(38, 0)".into()),
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) => {
            Some(format!("decimal(38, {scale})"))
        }
        _ => None,
    }
}
