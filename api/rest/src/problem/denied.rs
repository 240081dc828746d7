//! The refusals of every route that needs a permission, for the OpenAPI document.

use std::collections::BTreeMap;

use utoipa::{
    IntoResponses, ToSchema,
    openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder},
};

use super::Problem;

/// 401 and 403, in the `responses` of a route.
#[derive(Debug)]
pub struct Denied;

impl IntoResponses for Denied {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let problem = Ref::from_schema_name(Problem::name());
        let content = ContentBuilder::new().schema(Some(problem)).build();
        let response = ResponseBuilder::new().content("application/json", content).build();
        ["401", "403"].map(|status| (status.to_owned(), response.clone().into())).into()
    }
}
