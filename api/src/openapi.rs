//! `/openapi.json`: the contract, made from the code.

use std::collections::HashMap;

use actix_web::{
    HttpResponse,
    web::{self, Bytes},
};
use rest::{feature::Feature, principal::SESSION_COOKIE, problem};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Content, PathItem, RefOr,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_actix_web::{AppExt, service_config::ServiceConfig};

use crate::server::System;

/// The document, at `/openapi.json`.
pub(crate) const FEATURE: Feature<System> = Feature::new("openapi").with_routes(|config, _| {
    config.route("/openapi.json", web::get().to(document));
});

/// The document of the routes that a server registers.
#[derive(Debug)]
pub(crate) struct Contract {
    /// Pretty-printed: kept as a golden file.
    text: Bytes,
    /// The methods of each path, as `Allow` says them.
    methods: HashMap<String, String>,
}

impl Contract {
    /// Registers the routes, and notes what is said of them.
    pub(crate) fn of(register: impl FnOnce(&mut ServiceConfig<'_>)) -> Self {
        let app = actix_web::App::new().into_utoipa_app().openapi(Frame::openapi());
        let (_, mut document) = app.configure(register).split_for_parts();
        document.paths.paths.values_mut().for_each(name_problems);
        let text = document.to_pretty_json().unwrap_or_default() + "\n";
        let methods = document.paths.paths.into_iter().map(|(path, item)| {
            let methods = [
                ("GET", item.get.is_some()),
                ("HEAD", item.head.is_some()),
                ("POST", item.post.is_some()),
                ("PUT", item.put.is_some()),
                ("PATCH", item.patch.is_some()),
                ("DELETE", item.delete.is_some()),
            ];
            let methods: Vec<_> =
                methods.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
            (path, methods.join(", "))
        });
        Self { text: text.into(), methods: methods.collect() }
    }

    /// The methods of a path, as `Allow` says them.
    pub(crate) fn methods(&self, path: &str) -> Option<&str> {
        self.methods.get(path).map(String::as_str)
    }
}

/// A problem has a media type of its own, whatever a route forgot to say.
fn name_problems(item: &mut PathItem) {
    let operations = [
        &mut item.get,
        &mut item.head,
        &mut item.post,
        &mut item.put,
        &mut item.patch,
        &mut item.delete,
    ];
    let responses = operations.into_iter().flatten().flat_map(|it| &mut it.responses.responses);
    for (_, response) in responses {
        let RefOr::T(response) = response else { continue };
        for (media_type, content) in std::mem::take(&mut response.content) {
            let is_problem = matches!(&content, RefOr::T(Content { schema: Some(RefOr::Ref(schema)), .. }) if schema.ref_location.ends_with("/Problem"));
            let media_type = if is_problem { problem::CONTENT_TYPE.into() } else { media_type };
            response.content.insert(media_type, content);
        }
    }
}

async fn document(contract: web::Data<Contract>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(contract.text.clone())
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "AI Hub Analytics",
        description = "Usage and billing events in; SQL, metrics and forecasts out.",
        license(name = "Apache-2.0"),
    ),
    modifiers(&Credentials),
    security(("api_key" = []), ("session" = [])),
)]
struct Frame;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_with(Default::default);
        components.add_security_scheme(
            "api_key",
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()),
        );
        components.add_security_scheme(
            "session",
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(SESSION_COOKIE))),
        );
    }
}
