//! Functions of our own, beside the engine's: access to `attributes`, the name that others give percentiles, and a
//! quicker `approx_distinct`, and a `sum` that does not wrap around.

mod distinct;
mod sum;

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use arrow::{
    array::{Array, ArrayRef, BooleanArray, Float64Array, StringArray},
    compute,
    datatypes::DataType,
};
use datafusion::{
    common::{Result, utils::take_function_args},
    functions_aggregate::approx_percentile_cont::approx_percentile_cont_udaf,
    logical_expr::{
        AggregateUDF, ColumnarValue, DocSection, Documentation, ScalarFunctionArgs, ScalarUDF,
        ScalarUDFImpl, Signature, Volatility,
    },
};
use serde_json::value::RawValue;

/// What one member of a JSON object is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum JsonKind {
    Text,
    Number,
    Boolean,
}

/// `json_get_text(attributes, 'team')` and its like. Null where there is no such member, or none of this kind.
#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonGet {
    kind: JsonKind,
    signature: Signature,
}

/// A member of a JSON object as it is written; `None` when there is none, or the text is no object. Other members may be
/// whatever they like.
fn member<'j>(json: &'j str, key: &str) -> Option<&'j str> {
    let members: Members<'j> = serde_json::from_str(json).ok()?;
    members.get(key).map(|raw| raw.get())
}

type Members<'j> = HashMap<Cow<'j, str>, &'j RawValue>;

fn is_number(raw: &str) -> bool {
    raw.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// A text without its quotes, or a number or flag as it is written.
fn text_of(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'"' => serde_json::from_str(raw).ok().map(Cow::<'_, str>::Owned),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(raw)),
    }
}

/// Scalar functions of our own.
pub(crate) fn scalar() -> Vec<ScalarUDF> {
    [JsonKind::Text, JsonKind::Number, JsonKind::Boolean]
        .map(|kind| ScalarUDF::from(JsonGet::new(kind)))
        .into()
}

/// Aggregates of the engine, changed.
pub(crate) fn aggregate() -> [AggregateUDF; 3] {
    let percentile = approx_percentile_cont_udaf();
    [
        percentile.as_ref().clone().with_aliases(["approx_percentile"]),
        AggregateUDF::from(distinct::ApproxDistinct::new()),
        AggregateUDF::from(sum::Sum::new()),
    ]
}

impl JsonGet {
    fn new(kind: JsonKind) -> Self {
        Self { kind, signature: Signature::string(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for JsonGet {
    fn name(&self) -> &'static str {
        match self.kind {
            JsonKind::Text => "json_get_text",
            JsonKind::Number => "json_get_number",
            JsonKind::Boolean => "json_get_boolean",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            JsonKind::Text => DataType::Utf8,
            JsonKind::Number => DataType::Float64,
            JsonKind::Boolean => DataType::Boolean,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let text = |value: &ColumnarValue| -> Result<ArrayRef> {
            Ok(compute::cast(&value.to_array(rows)?, &DataType::Utf8)?)
        };
        let [json, key] = take_function_args(self.name(), &args.args)?;
        let (json, key) = (text(json)?, text(key)?);
        let [Some(json), Some(key)] =
            [&json, &key].map(|array| array.as_any().downcast_ref::<StringArray>())
        else {
            return datafusion::common::internal_err!("text was cast to text");
        };
        let members = (0..rows).map(|row| {
            let is_there = json.is_valid(row) && key.is_valid(row);
            is_there.then(|| member(json.value(row), key.value(row)))?
        });
        Ok(ColumnarValue::Array(match self.kind {
            JsonKind::Text => Arc::new(members.map(|raw| text_of(raw?)).collect::<StringArray>()),
            JsonKind::Number => {
                let number = |raw: &str| raw.parse().ok().filter(|number: &f64| number.is_finite());
                let numbers = members.map(|raw| number(raw.filter(|raw| is_number(raw))?));
                Arc::new(numbers.collect::<Float64Array>())
            }
            JsonKind::Boolean => {
                Arc::new(members.map(|raw| raw?.parse().ok()).collect::<BooleanArray>())
            }
        }))
    }

    fn documentation(&self) -> Option<&Documentation> {
        static TEXTS: LazyLock<[Documentation; 3]> = LazyLock::new(|| {
            [
                ("text", "Reads a member of a JSON object as text; numbers and flags are as they were written."),
                ("number", "Reads a member of a JSON object as a double; null where it is no number, or beyond the range."),
                ("boolean", "Reads a member of a JSON object as a flag; null where it is none."),
            ]
            .map(|(kind, description)| {
                let syntax = format!("json_get_{kind}(json, key)");
                Documentation::builder(DocSection::default(), description, syntax)
                    .with_sql_example(format!(
                        "select json_get_{kind}(attributes, 'team') from usage_events"
                    ))
                    .build()
            })
        });
        Some(&TEXTS[self.kind as usize])
    }
}
