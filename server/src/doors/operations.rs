//! The operations door: health and metrics, for this machine.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderValue, StatusCode, header};
use ocsp_responder::door::{self, Door};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::service::Service;
use crate::{metrics, status};

/// The router of the operations door.
pub fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .with_state(service)
}

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    problems: Vec<String>,
    /// What a person must see to before it becomes a problem.
    warnings: Vec<String>,
}

async fn ready(State(service): State<Arc<Service>>) -> Response {
    match service.run(|service| Ok((status::problems(service), status::warnings(service)?))).await {
        Ok((problems, warnings)) => {
            let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (status, Json(Readiness { ready: problems.is_empty(), problems, warnings })).into_response()
        }
        Err(failure) => failure.into_response(),
    }
}

async fn metrics_text(State(service): State<Arc<Service>>) -> Response {
    let text = service.run(|service| metrics::text(service).map_err(crate::failure::Failure::internal)).await;
    match text {
        Ok(text) => {
            let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(failure) => failure.into_response(),
    }
}

/// Serves health and metrics until `stop`.
pub async fn run(listener: TcpListener, router: Router, door: Door, stop: watch::Receiver<bool>) {
    let accept = async || {
        let (stream, from) = listener.accept().await?;
        let service = door::by_router(router.clone());
        Ok((Some(from.ip()), async move { Some((stream, service)) }))
    };
    door.serve(accept, stop).await;
}
