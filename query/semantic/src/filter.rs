//! Conditions on dimensions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Dimension, DimensionType, Error};

/// What rows a question is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Filter {
    /// Every filter of a list holds: `{"and": [...]}` in JSON.
    And(And),
    /// At least one filter of a list holds: `{"or": [...]}` in JSON.
    Or(Or),
    /// One dimension is compared: an object with `dimension` and `operator` in JSON.
    Condition(Condition),
}

/// All of them hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FilterAnd)]
pub struct And {
    #[schema(no_recursion)]
    and: Vec<Filter>,
}

/// One of them holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FilterOr)]
pub struct Or {
    #[schema(no_recursion)]
    or: Vec<Filter>,
}

/// A condition on one dimension. A row without a value is neither equal to a text nor in a list of texts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FilterCondition)]
pub struct Condition {
    /// The name of the dimension that is compared.
    pub dimension: String,
    /// The comparison. It decides whether the condition has one value, a list of values, or none.
    pub operator: Operator,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<String>,
}

/// The comparison of a condition. In JSON it is a text such as `!=` or `not in`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[schema(as = FilterOperator)]
pub enum Operator {
    /// The dimension is equal to the one value.
    #[serde(rename = "=")]
    Equal,
    /// The dimension is not equal to the one value. Rows without a value of the dimension are included.
    #[serde(rename = "!=")]
    NotEqual,
    /// The dimension is equal to one value of a list, which has 1 to 100 of them.
    #[serde(rename = "in")]
    In,
    /// The dimension is equal to no value of a list. Rows without a value of the dimension are included.
    #[serde(rename = "not in")]
    NotIn,
    /// Capitals and small letters are the same.
    #[serde(rename = "contains")]
    Contains,
    /// The row has no value of the dimension.
    #[serde(rename = "is null")]
    Null,
    /// The row has a value of the dimension.
    #[serde(rename = "is not null")]
    NotNull,
}

/// Conditions of one filter, filters within filters, and values of one condition.
const CONDITIONS_MAX: usize = 50;
const DEPTH_MAX: usize = 4;
const VALUES_MAX: usize = 100;
const VALUE_BYTES_MAX: usize = 256;

impl Condition {
    /// The one value that the dimension must be equal to.
    pub fn equal_to(&self) -> Option<&str> {
        self.value.as_deref().filter(|_| self.operator == Operator::Equal)
    }
}

impl Filter {
    /// All of these hold.
    pub fn all(filters: Vec<Self>) -> Self {
        Self::And(And { and: filters })
    }

    /// Reads `model=gpt-4o`, `model!=gpt-4o`, `model~gpt`, `region=eu,us`, `error_code=` (no value) or
    /// `error_code!=` (some value).
    ///
    /// # Errors
    /// When there is no operator.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let at = text.find(['=', '!', '~']).filter(|at| *at > 0);
        let (dimension, rest) = text.split_at(at.ok_or_else(|| unreadable(text))?);
        let (operator, value) = ["!=", "=", "~"]
            .iter()
            .find_map(|operator| Some((*operator, rest.strip_prefix(operator)?)))
            .ok_or_else(|| unreadable(text))?;
        let values: Vec<_> = value.split(',').map(|value| value.trim().to_owned()).collect();
        let (operator, value, values) = match (operator, values.len()) {
            ("~", _) => (Operator::Contains, Some(value.to_owned()), Vec::new()),
            ("=", _) if value.is_empty() => (Operator::Null, None, Vec::new()),
            (_, _) if value.is_empty() => (Operator::NotNull, None, Vec::new()),
            ("=", 1) => (Operator::Equal, Some(value.trim().to_owned()), Vec::new()),
            (_, 1) => (Operator::NotEqual, Some(value.trim().to_owned()), Vec::new()),
            ("=", _) => (Operator::In, None, values),
            (_, _) => (Operator::NotIn, None, values),
        };
        Ok(Self::Condition(Condition {
            dimension: dimension.trim().to_owned(),
            operator,
            value,
            values,
        }))
    }

    /// The conditions.
    pub fn conditions(&self) -> Vec<&Condition> {
        match self {
            Self::And(And { and: filters }) | Self::Or(Or { or: filters }) => {
                filters.iter().flat_map(Self::conditions).collect()
            }
            Self::Condition(condition) => vec![condition],
        }
    }

    /// The conditions, if all of them hold; nothing if one of several may.
    pub(crate) fn all_of(&self) -> Option<Vec<&Condition>> {
        match self {
            Self::And(And { and }) => {
                let each: Option<Vec<_>> = and.iter().map(Self::all_of).collect();
                each.map(|conditions| conditions.into_iter().flatten().collect())
            }
            Self::Or(_) => None,
            Self::Condition(condition) => Some(vec![condition]),
        }
    }

    /// For each condition of a filter all of whose conditions hold: the others, its dimension, and the values that it
    /// names; none is the value of rows without one.
    pub fn each_condition(&self) -> Vec<(Vec<Self>, String, Vec<Option<String>>)> {
        let conditions = self.all_of().unwrap_or_default();
        let each = conditions.iter().enumerate().map(|(i, condition)| {
            let others = conditions.iter().enumerate().filter(|(j, _)| *j != i);
            let others = others.map(|(_, other)| Self::Condition((*other).clone())).collect();
            let named = condition.values.iter().chain(&condition.value).cloned().map(Some);
            let null = matches!(condition.operator, Operator::Null | Operator::NotNull);
            let values = named.chain(null.then_some(None)).collect();
            (others, condition.dimension.clone(), values)
        });
        each.collect()
    }

    fn depth(&self) -> usize {
        match self {
            Self::And(And { and: filters }) | Self::Or(Or { or: filters }) => {
                1 + filters.iter().map(Self::depth).max().unwrap_or_default()
            }
            Self::Condition(_) => 0,
        }
    }

    /// Whether a statement can take it.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |what: String| Err(Error::Filter(what));
        if self.depth() > DEPTH_MAX {
            return refuse(format!("a filter has at most {DEPTH_MAX} levels of `and` and `or`"));
        }
        if self.conditions().len() > CONDITIONS_MAX {
            return refuse(format!("a filter has at most {CONDITIONS_MAX} conditions"));
        }
        if self.has_empty_list() {
            return refuse("`and` and `or` hold at least one condition".into());
        }
        self.conditions().into_iter().try_for_each(Condition::check)
    }

    fn has_empty_list(&self) -> bool {
        match self {
            Self::And(And { and: filters }) | Self::Or(Or { or: filters }) => {
                filters.is_empty() || filters.iter().any(Self::has_empty_list)
            }
            Self::Condition(_) => false,
        }
    }

    /// The condition in SQL. `dimension` finds what a name stands for.
    pub(crate) fn sql<'a>(
        &self,
        dimension: &impl Fn(&str) -> Result<&'a Dimension, Error>,
    ) -> Result<String, Error> {
        let joined = |filters: &[Self], with: &str| -> Result<String, Error> {
            let parts: Vec<_> =
                filters.iter().map(|filter| filter.sql(dimension)).collect::<Result<_, _>>()?;
            Ok(format!("({})", parts.join(with)))
        };
        match self {
            Self::And(And { and }) => joined(and, " AND "),
            Self::Or(Or { or }) => joined(or, " OR "),
            Self::Condition(condition) => condition.sql(dimension(&condition.dimension)?),
        }
    }
}

impl Condition {
    fn check(&self) -> Result<(), Error> {
        let Self { dimension, value, values, .. } = self;
        let wrong = match self.operator {
            Operator::Equal | Operator::NotEqual | Operator::Contains => {
                (value.is_none() || !values.is_empty()).then_some("takes one `value`")
            }
            Operator::In | Operator::NotIn => {
                (values.is_empty() || value.is_some()).then_some("takes a list of `values`")
            }
            Operator::Null | Operator::NotNull => {
                (value.is_some() || !values.is_empty()).then_some("takes no value")
            }
        };
        if let Some(wrong) = wrong {
            return Err(Error::Filter(format!("the condition on `{dimension}` {wrong}")));
        }
        if values.len() > VALUES_MAX {
            return Err(Error::Filter(format!(
                "the condition on `{dimension}` takes at most {VALUES_MAX} values"
            )));
        }
        if values.iter().chain(value).any(|value| value.len() > VALUE_BYTES_MAX) {
            return Err(Error::Filter(format!(
                "a value of `{dimension}` has more than {VALUE_BYTES_MAX} bytes"
            )));
        }
        Ok(())
    }

    /// For each of its values: that the dimension has that value, and the condition without it, if others are left.
    pub(crate) fn each_value(&self) -> Vec<(Self, Option<Self>)> {
        let only = |value: &String| Self {
            operator: Operator::Equal,
            value: Some(value.clone()),
            values: Vec::new(),
            ..self.clone()
        };
        let rest = |value: &String| {
            let mut values = self.values.clone();
            values.retain(|other| other != value);
            (!values.is_empty()).then(|| Self { values, ..self.clone() })
        };
        self.values.iter().chain(&self.value).map(|value| (only(value), rest(value))).collect()
    }

    pub(crate) fn sql(&self, dimension: &Dimension) -> Result<String, Error> {
        let column = dimension.sql();
        let typed = |value: &String| typed(dimension, value);
        let list = || -> Result<String, Error> {
            Ok(self.values.iter().map(typed).collect::<Result<Vec<_>, _>>()?.join(", "))
        };
        let value = || typed(self.value.as_ref().unwrap_or(&String::new()));
        Ok(match self.operator {
            Operator::Equal => format!("{column} = {}", value()?),
            Operator::NotEqual => format!("({column} <> {} OR {column} IS NULL)", value()?),
            Operator::In => format!("{column} IN ({})", list()?),
            Operator::NotIn => format!("({column} NOT IN ({}) OR {column} IS NULL)", list()?),
            Operator::Contains => {
                let value = quoted(&self.value.clone().unwrap_or_default().to_lowercase());
                format!("strpos(lower(CAST({column} AS VARCHAR)), {value}) > 0")
            }
            Operator::Null => format!("{column} IS NULL"),
            Operator::NotNull => format!("{column} IS NOT NULL"),
        })
    }
}

/// A value of a dimension's type in SQL.
fn typed(dimension: &Dimension, value: &str) -> Result<String, Error> {
    let wrong = |what: &str| {
        Err(Error::Filter(format!("a value of `{}` is {what}, not `{value}`", dimension.name)))
    };
    match dimension.kind {
        DimensionType::Text => Ok(quoted(value)),
        DimensionType::Integer => match value.parse::<i64>() {
            Ok(number) => Ok(number.to_string()),
            Err(_) => wrong("a whole number"),
        },
        DimensionType::Boolean => match value {
            "true" | "false" => Ok(value.to_owned()),
            _ => wrong("true or false"),
        },
    }
}

/// A text in SQL.
pub fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

fn unreadable(text: &str) -> Error {
    Error::Filter(format!("`{text}` is no filter: write DIMENSION=VALUE, !=VALUE or ~TEXT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dimension(name: &str) -> Result<&'static Dimension, Error> {
        let dimension = Dimension {
            kind: if name == "status_code" { DimensionType::Integer } else { DimensionType::Text },
            ..Dimension::text(name)
        };
        Ok(Box::leak(Box::new(dimension)))
    }

    #[test]
    fn filters_become_conditions() {
        for (json, sql) in [
            (r#"{"dimension":"model","operator":"=","value":"it's"}"#, "model = 'it''s'"),
            (
                r#"{"dimension":"model","operator":"!=","value":"a"}"#,
                "(model <> 'a' OR model IS NULL)",
            ),
            (
                r#"{"dimension":"status_code","operator":"in","values":["429","500"]}"#,
                "status_code IN (429, 500)",
            ),
            (
                r#"{"or":[{"dimension":"model","operator":"contains","value":"GPT"},{"and":[{"dimension":"region","operator":"is null"}]}]}"#,
                "(strpos(lower(CAST(model AS VARCHAR)), 'gpt') > 0 OR (region IS NULL))",
            ),
        ] {
            let filter: Filter = serde_json::from_str(json).unwrap();
            filter.check().unwrap();
            assert_eq!(filter.sql(&dimension).unwrap(), sql);
        }
        for (short, json) in [
            ("model=a", r#"{"dimension":"model","operator":"=","value":"a"}"#),
            ("model!=a, b", r#"{"dimension":"model","operator":"not in","values":["a","b"]}"#),
            ("model~a=b", r#"{"dimension":"model","operator":"contains","value":"a=b"}"#),
            ("model=", r#"{"dimension":"model","operator":"is null"}"#),
            ("model!=", r#"{"dimension":"model","operator":"is not null"}"#),
        ] {
            assert_eq!(
                Filter::parse(short).unwrap(),
                serde_json::from_str::<Filter>(json).unwrap(),
                "{short}"
            );
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        let deep = (0..5)
            .fold(r#"{"dimension":"a","operator":"is null"}"#.to_owned(), |inner, _| {
                format!(r#"{{"and":[{inner}]}}"#)
            });
        for json in [
            r#"{"dimension":"a","operator":"="}"#,
            r#"{"dimension":"a","operator":"in","values":[]}"#,
            r#"{"dimension":"a","operator":"is null","value":"x"}"#,
            r#"{"dimension":"a","operator":"=","value":"x","values":["y"]}"#,
            r#"{"and":[]}"#,
            &deep,
        ] {
            let filter: Filter = serde_json::from_str(json).unwrap();
            assert!(filter.check().is_err(), "{json}");
        }
        for json in [
            r#"{"dimension":"a","operator":"like","value":"x"}"#,
            r#"{"and":[],"or":[]}"#,
            "[]",
            r#"{"dimension":"a","operator":"=","value":1}"#,
        ] {
            assert!(serde_json::from_str::<Filter>(json).is_err(), "{json}");
        }
        for text in ["", "model", "=a", "model>3", "model!a"] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
        let number = Filter::parse("status_code=4xx").unwrap();
        assert!(number.sql(&dimension).is_err());
    }
}
