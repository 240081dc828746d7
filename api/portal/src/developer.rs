//! The contract, code samples, SDKs and the Postman collection, for programs. They say nothing of anybody, so nobody signs in.

use std::collections::BTreeMap;

use actix_web::{
    HttpRequest, HttpResponse, get,
    http::header::{CACHE_CONTROL, CONTENT_DISPOSITION},
    web,
};
use rest::{
    feature::Feature,
    problem::{Code, Problem, parameters},
    schema::AnyObject,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    Portal,
    contract::Contract,
    postman,
    sdk::{self, Sample, SdkLanguage},
};

/// What programs read.
pub(crate) const FEATURE: Feature<Portal> = Feature::new("developer").with_routes(|config, _| {
    config
        .service(get_openapi)
        .service(get_openapi_yaml)
        .service(get_older_openapi)
        .service(get_sample)
        .service(get_sdk)
        .service(get_postman_collection)
        .service(get_postman_environment);
});

/// This document: OpenAPI 3.1 in JSON.
#[utoipa::path(tag = "developer", security(()), responses((status = 200, body = AnyObject)))]
#[get("/openapi.json")]
async fn get_openapi(contract: web::Data<Contract>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(contract.json())
}

/// This document in YAML.
#[utoipa::path(
    tag = "developer",
    security(()),
    responses((status = 200, body = AnyObject, content_type = "application/yaml")),
)]
#[get("/openapi.yaml")]
async fn get_openapi_yaml(contract: web::Data<Contract>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/yaml").body(contract.yaml())
}

/// This document as OpenAPI 3.0.3, for tools that do not read 3.1.
#[utoipa::path(tag = "developer", security(()), responses((status = 200, body = AnyObject)))]
#[get("/openapi-3.0.json")]
async fn get_older_openapi(contract: web::Data<Contract>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(contract.older())
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct SampleParameters {
    /// The id of an operation, such as `send_events`.
    #[param(example = "send_events")]
    op: String,
    /// `curl`, `python`, `javascript` or `php`; all of them without it.
    lang: Option<String>,
}

/// Code for one operation.
#[derive(Debug, Serialize, ToSchema)]
struct SampleView {
    operation: String,
    /// The code by language.
    code: BTreeMap<String, String>,
}

fn language_of(word: &str) -> Result<SdkLanguage, Problem> {
    word.parse().map_err(|_| {
        let known: Vec<_> = SdkLanguage::ALL.iter().map(|language| language.as_str()).collect();
        Problem::invalid_parameters(format!("`{word}` is none of {}", known.join(", ")))
    })
}

/// A code sample of an operation, in each language.
#[utoipa::path(
    tag = "developer",
    security(()),
    params(SampleParameters),
    responses((status = 200, body = SampleView), (status = 400, body = Problem), (status = 404, body = Problem)),
)]
#[get("/v1/dev/snippets")]
async fn get_sample(
    asked: Result<web::Query<SampleParameters>, actix_web::Error>,
    contract: web::Data<Contract>,
) -> Result<HttpResponse, Problem> {
    let SampleParameters { op, lang } = parameters(asked)?;
    let absent = || Problem::not_found(format!("there is no operation `{op}`"));
    let operation = contract.operation(&op).ok_or_else(absent)?;
    let languages = match &lang {
        Some(word) => vec![language_of(word)?],
        None => SdkLanguage::ALL.to_vec(),
    };
    let code = languages.into_iter().map(|language| {
        (language.as_str().to_owned(), sdk::sample(operation, language, &Sample::default()))
    });
    Ok(HttpResponse::Ok().json(SampleView { operation: op.clone(), code: code.collect() }))
}

/// The SDK of a language as a ZIP archive.
#[utoipa::path(
    tag = "developer",
    security(()),
    params(("language" = String, Path, description = "`curl`, `python`, `javascript` or `php`.")),
    responses(
        (status = 200, body = String, content_type = "application/zip"),
        (status = 404, body = Problem),
    ),
)]
#[get("/v1/dev/sdk/{language}.zip")]
async fn get_sdk(
    language: web::Path<String>,
    contract: web::Data<Contract>,
) -> Result<HttpResponse, Problem> {
    let language = language_of(&language)
        .map_err(|problem| Problem::not_found(problem.detail.as_deref().unwrap_or_default()))?;
    let packed = web::block(move || sdk::zip(&contract, language)).await;
    let packed = packed.map_err(|_| Problem::internal())?.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "an SDK cannot be made");
        Problem::internal()
    })?;
    let name = format!("attachment; filename=\"aihub-analytics-{}.zip\"", language.as_str());
    Ok(HttpResponse::Ok()
        .content_type("application/zip")
        .insert_header((CONTENT_DISPOSITION, name))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(packed))
}

/// A Postman collection of all operations.
#[utoipa::path(tag = "developer", security(()), responses((status = 200, body = AnyObject)))]
#[get("/v1/dev/postman.json")]
async fn get_postman_collection(contract: web::Data<Contract>) -> HttpResponse {
    HttpResponse::Ok().json(postman::collection(&contract))
}

/// The environment of the collection: the address of this server, and an empty key.
#[utoipa::path(
    tag = "developer",
    security(()),
    responses((status = 200, body = AnyObject), (status = 400, body = Problem)),
)]
#[get("/v1/dev/postman-environment.json")]
async fn get_postman_environment(
    request: HttpRequest,
    portal: web::Data<Portal>,
) -> Result<HttpResponse, Problem> {
    let base = portal.base_url(&request).ok_or_else(|| {
        Problem::bad_request(Code::InvalidHeader, "the request names no usable host")
    })?;
    Ok(HttpResponse::Ok().json(postman::environment(&base)))
}
