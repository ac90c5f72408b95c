//! Keys that others know, on the admin socket.

use std::sync::Arc;

use api::keys::{CompromisedKeysRequest, RemovalRequest};
use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use serde::Deserialize;

use super::admin::Account;
use crate::caller::json;
use crate::failure::Failure;
use crate::idempotency::Reply;
use crate::known_keys;
use crate::service::Service;

/// The calls about keys.
pub(super) fn router() -> Router<Arc<Service>> {
    Router::new()
        .route("/compromised-keys", get(list).post(add))
        .route("/compromised-keys/certificates", get(certificates))
        .route("/compromised-keys/removal", post(remove))
        .route("/known-key-lists", get(lists))
        .route("/known-key-lists/reload", post(reload))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageOfKeys {
    after: Option<String>,
    limit: Option<usize>,
}

impl PageOfKeys {
    fn limit(&self, service: &Service) -> usize {
        let most = service.config.limits.page_max;
        self.limit.unwrap_or(most).clamp(1, most)
    }
}

async fn add(
    State(service): State<Arc<Service>>,
    Extension(account): Extension<Account>,
    body: Bytes,
) -> Result<Reply, Failure> {
    let work = move |service: &Service| {
        let request = json::<CompromisedKeysRequest>(&body)?;
        Reply::json(201, &known_keys::add(service, &request, &account.actor())?)
    };
    service.run(work).await
}

async fn list(State(service): State<Arc<Service>>, Query(page): Query<PageOfKeys>) -> Result<Reply, Failure> {
    let work = move |service: &Service| {
        Reply::json(200, &known_keys::list(service, page.after.as_deref(), page.limit(service))?)
    };
    service.run(work).await
}

async fn certificates(State(service): State<Arc<Service>>, Query(page): Query<PageOfKeys>) -> Result<Reply, Failure> {
    let work = move |service: &Service| {
        Reply::json(200, &known_keys::certificates(service, page.after.as_deref(), page.limit(service))?)
    };
    service.run(work).await
}

async fn remove(
    State(service): State<Arc<Service>>,
    Extension(account): Extension<Account>,
    body: Bytes,
) -> Result<Reply, Failure> {
    let work = move |service: &Service| {
        let request = json::<RemovalRequest>(&body)?;
        Reply::json(200, &known_keys::remove(service, &request, &account.actor())?)
    };
    service.run(work).await
}

async fn lists(State(service): State<Arc<Service>>) -> Result<Reply, Failure> {
    service.run(|service| Reply::json(200, &api::Page { items: known_keys::lists(service), next: None })).await
}

async fn reload(State(service): State<Arc<Service>>, Extension(account): Extension<Account>) -> Result<Reply, Failure> {
    let work = move |service: &Service| {
        let items = known_keys::reload(service, &account.actor())?;
        Reply::json(200, &api::Page { items, next: None })
    };
    service.run(work).await
}
