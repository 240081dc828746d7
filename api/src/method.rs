//! What a request is told that comes with a method which its path does not take.

use actix_web::{
    Error, HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        StatusCode,
        header::{ALLOW, HeaderValue},
    },
    middleware::Next,
    web,
};
use rest::problem::{Code, Problem};

use portal::contract::Contract;

/// For paths, or methods of them, that no route has.
pub(crate) async fn no_route(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(match request.resource_map().has_resource(request.path()) {
        true => refusal(&request),
        false => Problem::not_found("there is nothing here"),
    })
}

/// Explains what the framework refuses by itself. For `App::wrap(middleware::from_fn(method::explain))`.
pub(crate) async fn explain<B>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error>
where
    B: MessageBody + 'static,
{
    let response = next.call(request).await?.map_into_boxed_body();
    if response.status() != StatusCode::METHOD_NOT_ALLOWED || response.response().error().is_some()
    {
        return Ok(response);
    }
    let problem = refusal(response.request());
    Ok(response.into_response(HttpResponse::from_error(problem)))
}

fn refusal(request: &HttpRequest) -> Problem {
    let contract = request.app_data::<web::Data<Contract>>();
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, Code::MethodNotAllowed);
    let pattern = request.resource_map().match_pattern(request.path());
    let allowed =
        contract.zip(pattern.as_ref()).and_then(|(contract, path)| contract.methods(path));
    match allowed.and_then(|allowed| HeaderValue::from_str(allowed).ok()) {
        Some(allowed) => problem.with_header(ALLOW, allowed),
        None => problem,
    }
}
