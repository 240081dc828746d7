//! Schemas of the OpenAPI document for values that have no Rust type of their own.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr, Schema,
        schema::{AdditionalProperties, SchemaType, Type},
    },
};

/// A value of any type: a cell of a query's answer, or a parameter of a query.
#[derive(Debug)]
pub struct AnyValue;

/// A JSON object whose members depend on what it describes.
#[derive(Debug)]
pub struct AnyObject;

/// A value of a metric, a limit or a quota: a number; of money a decimal as text; null where there is none.
#[derive(Debug)]
pub struct Quantity;

/// A text in each language of the pages.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub struct Words {
    en: String,
    #[schema(rename = "zh-CN")]
    zh_cn: String,
}

/// Rows of a query's answer in JSON.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub struct QueryAnswer {
    columns: Vec<AnswerColumn>,
    /// One object for each row, by the names of the columns.
    rows: Vec<AnyObject>,
    row_count: u64,
    /// There are more rows than were asked for.
    truncated: bool,
    /// The cut it was read at.
    as_of: Option<String>,
    /// What the query read and how long it took; less of it for an organization.
    statistics: AnyObject,
}

/// A column of a query's answer.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub struct AnswerColumn {
    name: String,
    /// The type in Arrow's words.
    #[schema(rename = "type")]
    kind: String,
}

impl PartialSchema for AnyValue {
    fn schema() -> RefOr<Schema> {
        let types =
            [Type::Null, Type::Boolean, Type::Number, Type::String, Type::Array, Type::Object];
        RefOr::T(ObjectBuilder::new().schema_type(SchemaType::from_iter(types)).build().into())
    }
}

impl PartialSchema for AnyObject {
    fn schema() -> RefOr<Schema> {
        let any = AdditionalProperties::FreeForm(true);
        RefOr::T(ObjectBuilder::new().additional_properties(Some(any)).build().into())
    }
}

impl PartialSchema for Quantity {
    fn schema() -> RefOr<Schema> {
        let types = SchemaType::from_iter([Type::Number, Type::String, Type::Null]);
        RefOr::T(ObjectBuilder::new().schema_type(types).build().into())
    }
}

impl ToSchema for AnyValue {}
impl ToSchema for AnyObject {}
impl ToSchema for Quantity {}
