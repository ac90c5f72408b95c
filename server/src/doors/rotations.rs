//! Rotations and the root's CRLs on the admin socket.

use std::sync::Arc;

use api::admin::CrlReply;
use api::rotation::{PeopleRequest, RootWork, RootWorkDone, RotationRequest};
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Extension, Router};
use bytes::Bytes;

use super::admin::Account;
use crate::caller::json;
use crate::failure::Failure;
use crate::idempotency::Reply;
use crate::service::Service;
use crate::{root_crls, rotation};

/// The calls about rotations.
pub(super) fn router() -> Router<Arc<Service>> {
    Router::new()
        .route("/rotations", get(list).post(start))
        .route("/rotations/plan", post(plan))
        .route("/rotations/{id}/resume", post(resume))
        .route("/rotations/{id}/root-work", post(root_work))
        .route("/rotations/{id}/back-out", post(back_out))
        .route("/root-crls", post(begin_root_crls))
        .route("/root-crls/signed", post(publish_root_crls))
}

async fn list(State(service): State<Arc<Service>>) -> Result<Reply, Failure> {
    service.run(|service| Reply::json(200, &api::Page { items: rotation::list(service)?, next: None })).await
}

async fn plan(State(service): State<Arc<Service>>, body: Bytes) -> Result<Reply, Failure> {
    service.run(move |service| Reply::json(200, &rotation::plan(service, &json::<RotationRequest>(&body)?)?)).await
}

async fn start(
    State(service): State<Arc<Service>>,
    Extension(account): Extension<Account>,
    body: Bytes,
) -> Result<Reply, Failure> {
    let work = move |service: &Service| {
        let request = json::<RotationRequest>(&body)?;
        Reply::json(201, &rotation::start(service, &request, &account.actor())?)
    };
    service.run(work).await
}

async fn resume(
    State(service): State<Arc<Service>>,
    Extension(account): Extension<Account>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Reply, Failure> {
    let work = move |service: &Service| {
        let request = json::<PeopleRequest>(&body)?;
        Reply::json(200, &rotation::resume(service, &id, &request.people, &account.actor())?)
    };
    service.run(work).await
}

async fn root_work(
    State(service): State<Arc<Service>>,
    Extension(account): Extension<Account>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Reply, Failure> {
    let work = move |service: &Service| {
        let done = json::<RootWorkDone>(&body)?;
        Reply::json(200, &rotation::supply(service, &id, &done, &account.actor())?)
    };
    service.run(work).await
}

async fn begin_root_crls(
    State(service): State<Arc<Service>>,
    Extension(account): Extension<Account>,
) -> Result<Reply, Failure> {
    let work = move |service: &Service| {
        let crls = root_crls::begin(service, &account.actor())?;
        Reply::json(200, &RootWork::SignCrls { crls })
    };
    service.run(work).await
}

async fn publish_root_crls(
    State(service): State<Arc<Service>>,
    Extension(account): Extension<Account>,
    body: Bytes,
) -> Result<Reply, Failure> {
    let work = move |service: &Service| {
        let done = json::<RootWorkDone>(&body)?;
        let crls = root_crls::publish(service, &done.signed, &account.actor())?;
        Reply::json(200, &CrlReply { crls })
    };
    service.run(work).await
}

async fn back_out(
    State(service): State<Arc<Service>>,
    Extension(account): Extension<Account>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Reply, Failure> {
    let work = move |service: &Service| {
        let request = json::<PeopleRequest>(&body)?;
        Reply::json(200, &rotation::back_out(service, &id, &request.people, &account.actor())?)
    };
    service.run(work).await
}
