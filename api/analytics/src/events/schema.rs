//! The data of events, as the contract describes it: the columns of the tables that they go to.

use ingest::{Table, schema::ColumnType};
use rest::schema::AnyValue;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, Ref, RefOr, Schema, SchemaFormat,
        schema::{AdditionalProperties, AnyOfBuilder, SchemaType, Type},
    },
};

/// What an event says. Members that are no columns are kept as attributes.
#[derive(Debug)]
pub(super) struct EventData;

/// The data of `usage.request`.
#[derive(Debug)]
pub(super) struct UsageData;

/// The data of `billing.…`.
#[derive(Debug)]
pub(super) struct BillingData;

/// The data of `activity.…`.
#[derive(Debug)]
pub(super) struct ActivityData;

fn columns(table: Table, description: &str) -> RefOr<Schema> {
    let any = AdditionalProperties::RefOr(AnyValue::schema());
    let mut data = ObjectBuilder::new().description(Some(description));
    for column in table.columns() {
        let (types, format) = match column.kind {
            ColumnType::Text => (vec![Type::String], None),
            ColumnType::Count => (vec![Type::Integer], Some(KnownFormat::Int64)),
            ColumnType::Flag => (vec![Type::Boolean], None),
            // A decimal as text or as a number.
            ColumnType::Money => (vec![Type::String, Type::Number], None),
            ColumnType::Time => (vec![Type::String], Some(KnownFormat::DateTime)),
        };
        let types = SchemaType::from_iter(types.into_iter().chain([Type::Null]));
        let format = format.map(SchemaFormat::KnownFormat);
        let column_schema = ObjectBuilder::new().schema_type(types).format(format);
        data = data.property(column.name, column_schema);
    }
    RefOr::T(data.additional_properties(Some(any)).build().into())
}

impl PartialSchema for EventData {
    fn schema() -> RefOr<Schema> {
        let names = [UsageData::name(), BillingData::name(), ActivityData::name()];
        let data =
            AnyOfBuilder::new().description(Some("Members that are no columns are attributes."));
        let data =
            names.into_iter().fold(data, |data, name| data.item(Ref::from_schema_name(name)));
        RefOr::T(data.build().into())
    }
}

impl ToSchema for EventData {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((UsageData::name().into(), UsageData::schema()));
        schemas.push((BillingData::name().into(), BillingData::schema()));
        schemas.push((ActivityData::name().into(), ActivityData::schema()));
    }
}

impl PartialSchema for UsageData {
    fn schema() -> RefOr<Schema> {
        columns(Table::UsageLedger, "The data of `usage.request`.")
    }
}

impl PartialSchema for BillingData {
    fn schema() -> RefOr<Schema> {
        columns(Table::BillingEvents, "The data of `billing.…`.")
    }
}

impl PartialSchema for ActivityData {
    fn schema() -> RefOr<Schema> {
        columns(Table::ActivityEvents, "The data of `activity.…`.")
    }
}

impl ToSchema for UsageData {}
impl ToSchema for BillingData {}
impl ToSchema for ActivityData {}
