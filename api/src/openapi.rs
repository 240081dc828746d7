//! `/openapi.json`: the contract, made from the code.

use std::collections::HashMap;

use actix_web::{HttpResponse, web};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use crate::{
    accounts, audit, dead_letters, erasure, events, figures, health, imports, keys, persons,
    principal::SESSION_COOKIE, queries,
};

pub(crate) fn configure(config: &mut web::ServiceConfig) {
    config.route("/openapi.json", web::get().to(document));
}

/// The document as it is served, pretty-printed: kept as a golden file.
pub fn text() -> String {
    Contract::openapi().to_pretty_json().unwrap_or_default() + "\n"
}

/// The methods of each path, as `Allow` says them.
pub(crate) fn methods() -> HashMap<String, String> {
    let paths = Contract::openapi().paths.paths.into_iter();
    let named = paths.map(|(path, item)| {
        let methods = [
            ("GET", item.get.is_some()),
            ("HEAD", item.head.is_some()),
            ("POST", item.post.is_some()),
            ("PUT", item.put.is_some()),
            ("PATCH", item.patch.is_some()),
            ("DELETE", item.delete.is_some()),
        ];
        let methods: Vec<_> = methods.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        (path, methods.join(", "))
    });
    named.collect()
}

async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(text())
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "AI Hub Analytics",
        description = "Usage and billing events in; SQL, metrics and forecasts out.",
        license(name = "Apache-2.0"),
    ),
    paths(
        events::take_in, events::find_event, events::void_event, events::correct_event, queries::post_query, queries::get_query, queries::get_schema, queries::save_query, queries::list_saved, queries::get_saved,
        queries::remove_saved, queries::run_saved, queries::get_functions, queries::explain_query, queries::validate_query,
        queries::start_query, queries::list_queries, queries::get_query_state, queries::stop_query, queries::get_result, figures::list_metrics,
        figures::get_metric, figures::get_forecast, accounts::login, accounts::logout, accounts::me, accounts::list_users, accounts::disable_user, accounts::enable_user,
        accounts::reset_password, accounts::sign_out_user, audit::list_acts, audit::verify_acts,
        dead_letters::list_letters, dead_letters::replay_letters, erasure::erase_persons, imports::undo_import, persons::list_grants, persons::grant_persons, persons::revoke_persons, keys::list_keys, keys::create_key, keys::grant_key, keys::revoke_key, health::alive, health::ready,
        health::measurements,
    ),
    modifiers(&Credentials),
    security(("api_key" = []), ("session" = [])),
)]
struct Contract;

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
