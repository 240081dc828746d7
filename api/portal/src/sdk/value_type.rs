//! The types of values, read from JSON schemas and written in the words of a language.

use std::collections::BTreeMap;

use serde_json::Value;

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ValueType {
    Any,
    Text,
    Integer,
    Number,
    Boolean,
    /// One of these texts.
    Literal(Vec<String>),
    List(Box<ValueType>),
    /// Any names, with values of one type.
    Map(Box<ValueType>),
    /// A type of the contract.
    Named(String),
    /// A value with these members.
    Object(Vec<Member>),
    OneOf(Vec<ValueType>),
    /// The type, or nothing.
    Optional(Box<ValueType>),
}

/// A member of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) required: bool,
    pub(super) value: ValueType,
}

/// The schemas of a contract by their names.
pub(super) type Schemas = serde_json::Map<String, Value>;

impl ValueType {
    /// Reads a schema.
    pub(super) fn of(schema: &Value, schemas: &Schemas) -> Self {
        if let Some(reference) = schema["$ref"].as_str() {
            return Self::Named(reference.rsplit('/').next().unwrap_or_default().to_owned());
        }
        if let Some(parts) = schema["allOf"].as_array() {
            return Self::of_parts(parts, schemas);
        }
        if let Some(choices) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
            let is_null = |choice: &&Value| choice["type"] == "null";
            let values: Vec<_> = choices
                .iter()
                .filter(|choice| !is_null(choice))
                .map(|choice| Self::of(choice, schemas))
                .collect();
            let nullable = values.len() < choices.len();
            let one = match <[Self; 1]>::try_from(values) {
                Ok([one]) => one,
                Err(many) => Self::OneOf(many),
            };
            return if nullable { Self::Optional(Box::new(one)) } else { one };
        }
        if let Some(texts) = schema["enum"].as_array() {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            return texts.iter().map(text).collect::<Option<_>>().map_or(Self::Any, Self::Literal);
        }
        match &schema["type"] {
            Value::Array(types) => {
                let known: Vec<_> = types.iter().filter(|kind| **kind != "null").collect();
                if known.len() > 3 {
                    return Self::Any;
                }
                let mut each = known.iter().map(|kind| Self::primitive(kind, schema, schemas));
                let one = match (known.len(), each.next()) {
                    (1, Some(one)) => one,
                    (_, first) => Self::OneOf(first.into_iter().chain(each).collect()),
                };
                match types.len() == known.len() {
                    true => one,
                    false => Self::Optional(Box::new(one)),
                }
            }
            kind => Self::primitive(kind, schema, schemas),
        }
    }

    fn primitive(kind: &Value, schema: &Value, schemas: &Schemas) -> Self {
        match kind.as_str().unwrap_or_default() {
            "string" => Self::Text,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            "array" => Self::List(Box::new(Self::of(&schema["items"], schemas))),
            "object" => match schema["properties"].as_object() {
                // Types of the languages refuse members that they do not name.
                Some(_) if schema["additionalProperties"].is_object() => {
                    Self::Map(Box::new(Self::Any))
                }
                Some(properties) => Self::Object(members(properties, schema, schemas)),
                None if schema["additionalProperties"].is_object() => {
                    let value = Self::of(&schema["additionalProperties"], schemas);
                    Self::Map(Box::new(value))
                }
                None => Self::Map(Box::new(Self::Any)),
            },
            _ => Self::Any,
        }
    }

    /// The members of all parts together, where they are known.
    fn of_parts(parts: &[Value], schemas: &Schemas) -> Self {
        let mut all = BTreeMap::new();
        for part in parts {
            match Self::of(part, schemas).resolved(schemas) {
                Self::Object(members) => {
                    all.extend(members.into_iter().map(|member| (member.name.clone(), member)));
                }
                // Members that are not known beside others that are.
                Self::Map(_) => {}
                other if parts.len() == 1 => return other,
                _ => return Self::Map(Box::new(Self::Any)),
            }
        }
        Self::Object(all.into_values().collect())
    }

    /// What a name stands for.
    pub(super) fn resolved(self, schemas: &Schemas) -> Self {
        match &self {
            Self::Named(name) => {
                schemas.get(name).map_or(Self::Any, |schema| Self::of(schema, schemas))
            }
            _ => self,
        }
    }

    /// In type hints of Python. Names are in quotes, so that their order does not matter.
    pub(super) fn python(&self) -> String {
        match self {
            Self::Any => "Any".into(),
            Self::Text => "str".into(),
            Self::Integer => "int".into(),
            Self::Number => "float".into(),
            Self::Boolean => "bool".into(),
            Self::Literal(texts) => format!("Literal[{}]", quoted(texts).join(", ")),
            Self::List(value) => format!("List[{}]", value.python()),
            Self::Map(value) => format!("Dict[str, {}]", value.python()),
            Self::Named(name) => format!("\"{name}\""),
            Self::Object(_) => "Dict[str, Any]".into(),
            Self::OneOf(values) => {
                let values: Vec<_> = values.iter().map(Self::python).collect();
                format!("Union[{}]", values.join(", "))
            }
            Self::Optional(value) => format!("Optional[{}]", value.python()),
        }
    }

    /// In TypeScript.
    pub(super) fn typescript(&self) -> String {
        match self {
            Self::Any => "unknown".into(),
            Self::Text => "string".into(),
            Self::Integer | Self::Number => "number".into(),
            Self::Boolean => "boolean".into(),
            Self::Literal(texts) => quoted(texts).join(" | "),
            Self::List(value) => format!("Array<{}>", value.typescript()),
            Self::Map(value) => format!("Record<string, {}>", value.typescript()),
            Self::Named(name) => name.clone(),
            Self::Object(members) => {
                let members: Vec<_> = members
                    .iter()
                    .map(|member| {
                        let mark = if member.required { "" } else { "?" };
                        format!("\"{}\"{mark}: {}", member.name, member.value.typescript())
                    })
                    .collect();
                format!("{{ {} }}", members.join("; "))
            }
            Self::OneOf(values) => {
                let values: Vec<_> = values.iter().map(Self::typescript).collect();
                values.join(" | ")
            }
            Self::Optional(value) => format!("{} | null", value.typescript()),
        }
    }

    /// In the comments that tools for PHP read. Values with members are arrays.
    pub(super) fn php(&self) -> String {
        match self {
            Self::Any | Self::Named(_) => "mixed".into(),
            Self::Text | Self::Literal(_) => "string".into(),
            Self::Integer => "int".into(),
            Self::Number => "float".into(),
            Self::Boolean => "bool".into(),
            Self::List(value) => format!("list<{}>", value.php()),
            Self::Map(value) => format!("array<string, {}>", value.php()),
            Self::Object(members) => {
                let members: Vec<_> = members
                    .iter()
                    .map(|member| {
                        let mark = if member.required { "" } else { "?" };
                        format!("'{}'{mark}: {}", member.name, member.value.php())
                    })
                    .collect();
                format!("array{{{}}}", members.join(", "))
            }
            Self::OneOf(values) => {
                let values: Vec<_> = values.iter().map(Self::php).collect();
                values.join("|")
            }
            Self::Optional(value) => format!("{}|null", value.php()),
        }
    }
}

fn quoted(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| format!("\"{text}\"")).collect()
}

fn members(
    properties: &serde_json::Map<String, Value>,
    schema: &Value,
    schemas: &Schemas,
) -> Vec<Member> {
    let required = |name: &str| {
        schema["required"].as_array().is_some_and(|names| names.iter().any(|one| one == name))
    };
    let member = |(name, value): (&String, &Value)| Member {
        name: name.clone(),
        required: required(name),
        value: ValueType::of(value, schemas),
    };
    properties.iter().map(member).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_are_types_of_each_language() {
        let schemas = json!({"Point": {"type": "object", "required": ["at"], "properties": {
            "at": {"type": "string"}, "value": {"type": ["number", "null"]}}}});
        let schemas = schemas.as_object().unwrap();
        let cases = [
            (json!({"type": "string"}), "str", "string", "string"),
            (json!({"type": ["integer", "null"]}), "Optional[int]", "number | null", "int|null"),
            (
                json!({"type": "array", "items": {"$ref": "#/components/schemas/Point"}}),
                "List[\"Point\"]",
                "Array<Point>",
                "list<mixed>",
            ),
            (
                json!({"enum": ["now", "later"]}),
                "Literal[\"now\", \"later\"]",
                "\"now\" | \"later\"",
                "string",
            ),
            (
                json!({"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Point"}]}),
                "Optional[\"Point\"]",
                "Point | null",
                "mixed|null",
            ),
            (
                json!({"allOf": [{"$ref": "#/components/schemas/Point"}, {"type": "object",
                    "properties": {"more": {"type": "boolean"}}}]}),
                "Dict[str, Any]",
                "{ \"at\": string; \"more\"?: boolean; \"value\"?: number | null }",
                "array{'at': string, 'more'?: bool, 'value'?: float|null}",
            ),
            (
                json!({"type": "object", "additionalProperties": {"type": "string"}}),
                "Dict[str, str]",
                "Record<string, string>",
                "array<string, string>",
            ),
            (json!({}), "Any", "unknown", "mixed"),
        ];
        for (schema, python, typescript, php) in cases {
            let found = ValueType::of(&schema, schemas);
            assert_eq!(found.python(), python, "{schema}");
            assert_eq!(found.typescript(), typescript, "{schema}");
            assert_eq!(found.php(), php, "{schema}");
        }
    }
}
