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

impl PartialSchema for AnyValue {
    fn schema() -> RefOr<Schema> {
        let types =
            [Type::Null, Type::Boolean, Type::Number, Type::String, Type::Array, Type::Object];
        RefOr::T(ObjectBuilder::new().schema_type(SchemaType::from_iter(types)).build().into())
    }
}

impl PartialSchema for AnyObject {
    fn schema() -> RefOr<Schema> {
        let any = AdditionalProperties::RefOr(AnyValue::schema());
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
