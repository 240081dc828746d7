//! Values for the `$name` and `$1` of a statement. They are bound to the plan, and never become part of the text.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, NaiveDate};
use datafusion::{
    common::{ParamValues, ScalarValue},
    dataframe::DataFrame,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strum::IntoStaticStr;

use crate::{QueryError, Reason, RowAccess, explain::explain, format::type_name};

/// The values of a statement's parameters by name; those of `$1`, `$2` … are called `1`, `2` ….
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameters(BTreeMap<String, Parameter>);

/// One value; without text it is null. A null may have no kind: it is of the one that its place takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Parameter {
    kind: Option<ParameterKind>,
    text: Option<String>,
}

/// The types a value may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum ParameterKind {
    Boolean,
    Integer,
    Decimal,
    Double,
    Text,
    Timestamp,
    Date,
}

impl ParameterKind {
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What types have in common, as far as a value of one may stand for the other.
#[derive(PartialEq, Eq)]
enum Family {
    Flag,
    Number,
    Text,
    Time,
    Other,
}

const PARAMETERS_MAX: usize = 200;
const DECIMAL_DIGITS_MAX: usize = 38;

impl Parameters {
    /// Reads an object (by name) or an array (by position) of JSON values, or of `{"type": …, "value": …}`.
    pub fn from_json(value: &Value) -> Result<Self, QueryError> {
        let named: Vec<(String, &Value)> = match value {
            Value::Null => Vec::new(),
            Value::Object(object) => object.iter().map(|(name, v)| (name.clone(), v)).collect(),
            Value::Array(values) => {
                values.iter().enumerate().map(|(i, v)| ((i + 1).to_string(), v)).collect()
            }
            _ => return Err(refuse("`params` must be an object or an array")),
        };
        let mut parameters = Self::default();
        for (name, value) in named {
            let parameter = Parameter::from_json(value)
                .and_then(|parameter| parameter.scalar().map(|_| parameter))
                .map_err(|reason| refuse(format!("parameter `{name}`: {reason}")))?;
            parameters.insert(&name, parameter)?;
        }
        Ok(parameters)
    }

    /// Adds a value of a declared type that came as plain text.
    pub fn add(&mut self, name: &str, kind: ParameterKind, text: &str) -> Result<(), QueryError> {
        let parameter = Parameter { kind: Some(kind), text: Some(text.to_owned()) };
        parameter.scalar().map_err(|reason| refuse(format!("parameter `{name}`: {reason}")))?;
        self.insert(name, parameter)
    }

    fn insert(&mut self, name: &str, parameter: Parameter) -> Result<(), QueryError> {
        let name = name.strip_prefix('$').unwrap_or(name);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            return Err(refuse("the name of a parameter has letters, digits and `_` only"));
        }
        if self.0.len() >= PARAMETERS_MAX {
            return Err(refuse(format!("there are more than {PARAMETERS_MAX} parameters")));
        }
        match self.0.insert(name.to_owned(), parameter) {
            Some(_) => Err(refuse(format!("parameter `{name}` has two values"))),
            None => Ok(()),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts the values into a plan. Each parameter must have one, and each value a parameter.
    pub(crate) fn bind(
        &self,
        frame: DataFrame,
        reach: &RowAccess,
    ) -> Result<DataFrame, QueryError> {
        let failed = |error| explain(error, reach);
        let expected = frame.logical_plan().get_parameter_fields().map_err(failed)?;
        let mut values = HashMap::new();
        for (id, field) in expected {
            let name = id.trim_start_matches('$');
            let parameter = self
                .0
                .get(name)
                .ok_or_else(|| refuse(format!("parameter `{name}` has no value")))?;
            let value = parameter.scalar().and_then(|value| match &field {
                Some(field) => parameter.fit(value, field.data_type()),
                None => Ok(value),
            });
            let value = value.map_err(|reason| refuse(format!("parameter `{name}`: {reason}")))?;
            values.insert(name.to_owned(), value);
        }
        if let Some(name) = self.0.keys().find(|name| !values.contains_key(*name)) {
            return Err(refuse(format!("the statement has no parameter `${name}`")));
        }
        if values.is_empty() {
            return Ok(frame);
        }
        frame.with_param_values(ParamValues::from(values)).map_err(failed)
    }
}

impl Parameter {
    fn from_json(value: &Value) -> Result<Self, String> {
        let of = |kind, text: String| Ok(Self { kind: Some(kind), text: Some(text) });
        match value {
            Value::Null => Ok(Self { kind: None, text: None }),
            Value::Bool(flag) => of(ParameterKind::Boolean, flag.to_string()),
            Value::String(text) => of(ParameterKind::Text, text.clone()),
            Value::Number(number) if number.is_i64() => {
                of(ParameterKind::Integer, number.to_string())
            }
            // As in the text of a statement, what has a point is a decimal, and what has an exponent is not.
            Value::Number(number) => match number.to_string() {
                text if text.contains(['e', 'E']) => of(ParameterKind::Double, text),
                text => of(ParameterKind::Decimal, text),
            },
            Value::Object(object) => {
                let known = object.keys().all(|key| key == "type" || key == "value");
                let kind = object.get("type").filter(|_| known);
                let kind = kind.ok_or("an object must have `type` and `value` only")?;
                let kind = ParameterKind::deserialize(kind).map_err(
                    |_| "`type` must be boolean, integer, decimal, double, text, timestamp or date",
                )?;
                let text = match object.get("value") {
                    None | Some(Value::Null) => None,
                    Some(Value::String(text)) => Some(text.clone()),
                    Some(value @ (Value::Number(_) | Value::Bool(_))) => Some(value.to_string()),
                    Some(_) => return Err("`value` must be text, a number, a flag or null".into()),
                };
                Ok(Self { kind: Some(kind), text })
            }
            Value::Array(_) => Err("a list is not possible; use one parameter for each".into()),
        }
    }

    fn scalar(&self) -> Result<ScalarValue, String> {
        let Some(text) = self.text.as_deref() else {
            return Ok(self.kind.map_or(ScalarValue::Null, ParameterKind::null));
        };
        match self.kind {
            None => Ok(ScalarValue::Null),
            Some(kind) => kind.scalar(text).ok_or_else(|| {
                let looks = match kind {
                    ParameterKind::Boolean => "true or false",
                    ParameterKind::Integer => "a whole number of 64 bits",
                    ParameterKind::Decimal => "a number of at most 38 digits, without exponent",
                    ParameterKind::Double => "a finite number",
                    ParameterKind::Text => "text",
                    ParameterKind::Timestamp => "a time such as 2026-11-01T00:00:00Z (RFC 3339)",
                    ParameterKind::Date => "a date such as 2026-11-01",
                };
                format!("expected {looks}")
            }),
        }
    }

    /// The value as its place in the statement takes it.
    fn fit(
        &self,
        value: ScalarValue,
        expected: &arrow::datatypes::DataType,
    ) -> Result<ScalarValue, String> {
        if value.is_null() {
            return ScalarValue::try_from(expected).map_err(|_| "null is not possible here".into());
        }
        let (has, wants) = (Family::of(&value.data_type()), Family::of(expected));
        if has == wants || wants == Family::Other {
            return Ok(value);
        }
        let refused = || format!("expected a value of type {}", type_name(expected));
        // JSON has no times: they come as text.
        if has == Family::Text && wants == Family::Time {
            value.cast_to(expected).map_err(|_| refused())
        } else {
            Err(refused())
        }
    }
}

impl ParameterKind {
    fn null(self) -> ScalarValue {
        match self {
            Self::Boolean => ScalarValue::Boolean(None),
            Self::Integer => ScalarValue::Int64(None),
            Self::Decimal => ScalarValue::Decimal128(None, 38, 12),
            Self::Double => ScalarValue::Float64(None),
            Self::Text => ScalarValue::Utf8(None),
            Self::Timestamp => ScalarValue::TimestampMicrosecond(None, Some("UTC".into())),
            Self::Date => ScalarValue::Date32(None),
        }
    }

    fn scalar(self, text: &str) -> Option<ScalarValue> {
        Some(match self {
            Self::Boolean => ScalarValue::Boolean(Some(text.parse().ok()?)),
            Self::Integer => ScalarValue::Int64(Some(text.parse().ok()?)),
            Self::Decimal => decimal(text)?,
            Self::Double => {
                ScalarValue::Float64(Some(text.parse().ok().filter(|n: &f64| n.is_finite())?))
            }
            Self::Text => ScalarValue::Utf8(Some(text.to_owned())),
            Self::Timestamp => {
                let at = DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros();
                ScalarValue::TimestampMicrosecond(Some(at), Some("UTC".into()))
            }
            Self::Date => {
                let date: NaiveDate = text.parse().ok()?;
                let since = date.signed_duration_since(NaiveDate::default()).num_days();
                ScalarValue::Date32(Some(since.try_into().ok()?))
            }
        })
    }
}

impl Family {
    fn of(data_type: &arrow::datatypes::DataType) -> Self {
        use arrow::datatypes::DataType;
        match data_type {
            DataType::Boolean => Self::Flag,
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => Self::Text,
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Self::Time,
            number if number.is_numeric() => Self::Number,
            _ => Self::Other,
        }
    }
}

/// A decimal with as many digits as are written, like a literal.
fn decimal(text: &str) -> Option<ScalarValue> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || all.len() > DECIMAL_DIGITS_MAX || !all.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let value: i128 = all.parse().ok()?;
    let (precision, scale) = (u8::try_from(all.len()).ok()?, i8::try_from(fraction.len()).ok()?);
    Some(ScalarValue::Decimal128(Some(if negative { -value } else { value }), precision, scale))
}

fn refuse(message: impl Into<String>) -> QueryError {
    QueryError::new(Reason::Parameters, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scalar(value: Value) -> Result<ScalarValue, String> {
        Parameter::from_json(&value)?.scalar()
    }

    #[test]
    fn json_values_have_the_types_of_literals() {
        assert_eq!(scalar(json!(null)), Ok(ScalarValue::Null));
        assert_eq!(scalar(json!(true)), Ok(ScalarValue::Boolean(Some(true))));
        assert_eq!(scalar(json!(-5)), Ok(ScalarValue::Int64(Some(-5))));
        assert_eq!(scalar(json!(0.1)), Ok(ScalarValue::Decimal128(Some(1), 2, 1)));
        assert_eq!(scalar(json!(1e300)), Ok(ScalarValue::Float64(Some(1e300))));
        assert_eq!(scalar(json!("a'b")), Ok(ScalarValue::from("a'b")));
        let big = json!({"type": "decimal", "value": "-12345678901234567890.5"});
        let digits = -123_456_789_012_345_678_905;
        assert_eq!(scalar(big), Ok(ScalarValue::Decimal128(Some(digits), 21, 1)));
        let time = json!({"type": "timestamp", "value": "1970-01-01T01:00:00.000001+01:00"});
        let expected = ScalarValue::TimestampMicrosecond(Some(1), Some("UTC".into()));
        assert_eq!(scalar(time), Ok(expected));
        let date = json!({"type": "date", "value": "1970-01-11"});
        assert_eq!(scalar(date), Ok(ScalarValue::Date32(Some(10))));
        let none = json!({"type": "integer", "value": null});
        assert_eq!(scalar(none), Ok(ScalarValue::Int64(None)));
    }

    #[test]
    fn what_is_no_value_is_refused_by_name() {
        for (value, named) in [
            (json!({"a": [1]}), "`a`"),
            (json!({"a": {"value": 1}}), "`a`"),
            (json!({"a": {"type": "blob", "value": 1}}), "`a`"),
            (json!({"a": {"type": "integer", "value": "1.5"}}), "`a`"),
            (json!({"a": {"type": "timestamp", "value": "2026-11-01"}}), "`a`"),
            (json!({"a": {"type": "double", "value": "NaN"}}), "`a`"),
            (json!({"a": {"type": "decimal", "value": "1e5"}}), "`a`"),
            (json!([1, {"type": "date", "value": "yesterday"}]), "`2`"),
            (json!({"a; drop": 1}), "letters"),
            (json!("a"), "object"),
        ] {
            let error = Parameters::from_json(&value).unwrap_err();
            assert!(error.reason == Reason::Parameters, "{value}");
            assert!(error.message.contains(named), "{value}: {error}");
        }
        let mut twice = Parameters::from_json(&json!({"a": 1})).unwrap();
        assert!(twice.add("$a", ParameterKind::Integer, "2").is_err());
    }

    #[test]
    fn a_value_must_be_of_the_kind_that_its_place_takes() {
        use arrow::datatypes::DataType;
        let fits = |value: Value, expected: DataType| {
            let parameter = Parameter::from_json(&value).unwrap();
            parameter.fit(parameter.scalar().unwrap(), &expected).is_ok()
        };
        assert!(fits(json!(1), DataType::Float64) && fits(json!(1.5), DataType::Int64));
        assert!(!fits(json!("1"), DataType::Int64) && !fits(json!(1), DataType::Utf8View));
        assert!(!fits(json!(true), DataType::Int64) && fits(json!(null), DataType::Int64));
        assert!(fits(json!("2026-11-01"), DataType::Date32));
        assert!(!fits(json!("soon"), DataType::Date32));
    }
}
