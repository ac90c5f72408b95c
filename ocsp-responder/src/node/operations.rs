//! The operations door: health and metrics, for this machine.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::Node;
use crate::exposition::{self, counter, gauge};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The router of the operations door.
pub(super) fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(node)
}

async fn ready(State(node): State<Arc<Node>>) -> Response {
    let readiness = node.readiness(node.now());
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

async fn metrics(State(node): State<Arc<Node>>) -> Response {
    match text(&node) {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// All metrics as text.
fn text(node: &Node) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("cardinal");
    let now = node.now();
    exposition::register(&mut registry, &node.responder, now);

    let int = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let position = node.responder.replica().position();
    let view = node.feed.view();
    registry.register("feed_sequence", "Newest entry of the feed by which is answered", gauge(int(position.sequence)));
    registry.register("feed_epoch", "Epoch of the feed", gauge(int(position.epoch)));
    let behind = if view.announced.epoch == position.epoch {
        view.announced.sequence.saturating_sub(position.sequence)
    } else {
        view.announced.sequence
    };
    registry.register("feed_entries_behind", "Entries that the CA spoke of and that have not come", gauge(int(behind)));
    registry.register(
        "feed_acknowledged_sequence",
        "Newest entry that the CA was told of",
        gauge(int(view.acknowledged.sequence)),
    );
    registry.register("feed_connected", "1 while the feed is followed", gauge(i64::from(view.connected)));
    registry.register(
        "responder_expelled",
        "1 while the CA says that this responder was expelled, or its certificate revoked, and nothing is answered",
        gauge(i64::from(node.expulsion.reason().is_some())),
    );
    registry.register(
        "feed_clock_ahead_milliseconds",
        "How far this machine's clock is ahead of the CA's",
        gauge(view.clock_ahead_ms),
    );
    for (name, help, count) in [
        ("feed_connections", "How often the feed was connected", &node.feed.connections),
        ("feed_snapshots", "Snapshots that were fetched", &node.feed.snapshots),
        ("feed_entries", "Entries that came", &node.feed.entries),
        ("feed_heartbeats", "Heartbeats that came", &node.feed.heartbeats),
    ] {
        registry.register(name, help, counter(count.load(Ordering::Relaxed)));
    }
    registry.register(
        "replica_kept",
        "1 while a replica is kept on disk, from which a start does not need the CA",
        gauge(i64::from(node.replica.is_kept())),
    );
    registry.register(
        "ocsp_signer_queue",
        "Signatures that wait for the token; 0 with keys in memory",
        gauge(node.signers.queued().map_or(0, |queued| i64::try_from(queued).unwrap_or(i64::MAX))),
    );
    exposition::register_doors(&mut registry, [("public", &node.door)]);
    let (_, end) = node.identity.validity();
    registry.register(
        "client_certificate_seconds_left",
        "Seconds until this responder's client certificate ends",
        gauge(end.unix_seconds() - now.unix_seconds()),
    );
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}
