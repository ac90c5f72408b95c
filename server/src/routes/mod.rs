//! The API's routes. Each reads its body under a limit, gets its authorised request, and makes one call to the domain.

mod cards;
mod certificates;
mod feed;
mod issuances;
mod people;
mod responders;
mod sessions;
mod stations;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use http::StatusCode;
use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::caller::{require_responder, require_station};
use crate::failure::Failure;
use crate::service::Service;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Cardinal",
        description = "The interface of RA stations, and of OCSP responders that follow the status feed. Every call needs \
                       TLS with the client certificate of a station, those of /feed and /responders that of a responder; \
                       only enrolment needs none. Errors are problem details (RFC 9457). A call that changes something can be repeated \
                       safely with an Idempotency-Key."
    ),
    modifiers(&SessionHeader)
)]
struct Document;

struct SessionHeader;

impl utoipa::Modify for SessionHeader {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let scheme = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
            "Cardinal-Session",
            "The token of an operator's session.",
        )));
        components.add_security_scheme("session", scheme);
    }
}

fn guarded() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
        .routes(routes!(stations::describe))
        .routes(routes!(sessions::challenge))
        .routes(routes!(sessions::open))
        .routes(routes!(sessions::close))
        .routes(routes!(people::register, people::list))
        .routes(routes!(people::show))
        .routes(routes!(people::verify_identity))
        .routes(routes!(people::accept_terms))
        .routes(routes!(cards::allocate))
        .routes(routes!(cards::show))
        .routes(routes!(cards::suspend))
        .routes(routes!(cards::resume))
        .routes(routes!(cards::report_lost))
        .routes(routes!(cards::cancel))
        .routes(routes!(issuances::begin))
        .routes(routes!(issuances::open))
        .routes(routes!(issuances::show))
        .routes(routes!(issuances::confirm))
        .routes(routes!(issuances::abort))
        .routes(routes!(certificates::show))
}

fn for_responders() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new()
        .routes(routes!(responders::renew))
        .routes(routes!(feed::issuers))
        .routes(routes!(feed::snapshot))
        .routes(routes!(feed::tail))
        .routes(routes!(feed::acknowledge))
        .routes(routes!(feed::signer))
}

fn unguarded() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(stations::enrol)).routes(routes!(responders::enrol))
}

/// The OpenAPI document of the interface, made from the code.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let document = OpenApiRouter::<Arc<Service>>::with_openapi(Document::openapi());
    let (_, document) =
        document.nest(api::PREFIX, unguarded().merge(guarded()).merge(for_responders())).split_for_parts();
    document
}

/// The router of the API door.
pub fn router(service: Arc<Service>) -> Router {
    let body_limit = service.config.limits.body_bytes;
    let (open, _) = OpenApiRouter::new().nest(api::PREFIX, unguarded()).split_for_parts();
    let (guarded, _) = OpenApiRouter::new().nest(api::PREFIX, guarded()).split_for_parts();
    let (followers, _) = OpenApiRouter::new().nest(api::PREFIX, for_responders()).split_for_parts();
    let followers = followers.layer(middleware::from_fn_with_state(Arc::clone(&service), require_responder));
    let document =
        Router::new().route(&format!("{}/openapi.json", api::PREFIX), axum::routing::get(async || Json(openapi())));
    let guarded = guarded
        .merge(document)
        .fallback(not_found)
        .layer(middleware::from_fn_with_state(Arc::clone(&service), require_station));
    open.merge(followers)
        .merge(guarded)
        .layer(DefaultBodyLimit::max(body_limit))
        .layer(middleware::from_fn_with_state(Arc::clone(&service), count))
        .with_state(service)
}

async fn not_found() -> Failure {
    let detail = "there is no such call; the calls are in /api/v1/openapi.json";
    Failure::new(404, "not-found", "Not found", detail)
}

async fn count(
    State(service): State<Arc<Service>>,
    request: axum::extract::Request,
    next: middleware::Next,
) -> Response {
    // A body that trickles in does not hold a connection for longer than this.
    let response = match tokio::time::timeout(service.config.times.request, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = "the request took too long; whether it was done shows when you look again, or repeat it with \
                          the same Idempotency-Key";
            Failure::unavailable("too-slow", detail, "times.request is over").into_response()
        }
    };
    let response = as_problem(response);
    service.metrics.request(response.status().as_u16());
    response
}

/// What the framework refuses by itself (method, size, path, query) is a problem like all others.
fn as_problem(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !status.is_client_error() || kind == Some(api::problem::MEDIA_TYPE) {
        return response;
    }
    let (name, title, detail) = match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            ("method", "No such method here", "the call takes another method; see /api/v1/openapi.json")
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            ("too-large", "The body is too large", "the body is larger than limits.body_bytes permits; send less")
        }
        _ => ("request", "The request cannot be read", "path or query are not as /api/v1/openapi.json has them"),
    };
    let mut problem = Failure::new(status.as_u16(), name, title, detail).into_response();
    if let Some(allow) = response.headers().get(http::header::ALLOW) {
        problem.headers_mut().insert(http::header::ALLOW, allow.clone());
    }
    problem
}
