//! People.

use std::sync::Arc;

use api::people::{IdentityCheckRequest, PersonRequest, PersonView, TermsRequest};
use api::{Page, Problem};
use audit::Target;
use axum::extract::{Path, Query, State};
use bytes::Bytes;
use ra::person::{self, Checker, Person, Registration};
use ra::policy::{On, operation};
use ra::{OdsCode, UserId, organisation};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::caller::{AuthorisedRequest, Caller, json};
use crate::failure::Failure;
use crate::idempotency::Reply;
use crate::service::Service;
use crate::views;

/// Registers a person.
#[utoipa::path(
    post, path = "/people", request_body = PersonRequest, security(("session" = [])),
    responses((status = 201, body = PersonView), (status = 403, body = Problem), (status = 422, body = Problem))
)]
pub(super) async fn register(
    State(service): State<Arc<Service>>,
    caller: Caller,
    body: Bytes,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let operator = caller.operator(service)?;
            let request: PersonRequest = json(&body)?;
            let code: OdsCode = request.organisation.parse()?;
            organisation::load(service.store.as_ref(), &code)?;
            let on = On::Organisation(&code);
            let request: AuthorisedRequest<operation::PersonRegister, _> =
                match operator.authorise(on, &[], &body, request)? {
                    Ok(request) => request,
                    Err(reply) => return Ok(reply),
                };
            service.reply_with_commit(
                &request.repeatable,
                |now| {
                    let registration = Registration {
                        given_name: request.body.given_name.clone(),
                        family_name: request.body.family_name.clone(),
                        organisation: code.clone(),
                    };
                    Ok(person::register(service.store.as_ref(), &request.permit, registration, now, &service.random)?)
                },
                |person| Reply::json(201, &views::person(service.store.as_ref(), person)?),
            )
        })
        .await
}

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    /// The `next` of the page before.
    after: Option<String>,
    /// How many items at most.
    limit: Option<usize>,
}

/// How many pages of the register one call looks through: a page of the list may be short, and still not be the last.
const PAGES_LOOKED_AT: usize = 20;

/// Lists the people that the operator may find, by user id.
#[utoipa::path(
    get, path = "/people", params(Paging), security(("session" = [])),
    responses((status = 200, body = Page<PersonView>), (status = 401, body = Problem))
)]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Query(paging): Query<Paging>,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let operator = caller.operator(service)?;
            let store = service.store.as_ref();
            let limits = &service.config.limits;
            let default = limits.page_default;
            let most = limits.page_max;
            let limit = paging.limit.unwrap_or(default).clamp(1, most);
            let mut after: Option<UserId> = paging.after.map(UserId::try_from).transpose()?;
            let mut items = Vec::new();
            for _ in 0..PAGES_LOOKED_AT {
                let people = person::page(store, after.as_ref(), most)?;
                let Some(last) = people.last() else {
                    return Reply::json(200, &Page { items, next: None });
                };
                after = Some(last.user_id.clone());
                for person in &people {
                    if !ra::policy::may_find(&service.policy, store, operator.operator(), person)? {
                        continue;
                    }
                    items.push(views::person(store, person)?);
                    if items.len() == limit {
                        let next = Some(person.user_id.to_string());
                        return Reply::json(200, &Page { items, next });
                    }
                }
            }
            Reply::json(200, &Page { items, next: after.map(|id| id.to_string()) })
        })
        .await
}

fn found(service: &Service, id: &str) -> Result<(UserId, Person, [Target; 1]), Failure> {
    let user_id: UserId = id.parse()?;
    let person = person::load(service.store.as_ref(), &user_id)?.record;
    let target = Target::new("person", &user_id);
    Ok((user_id, person, [target]))
}

/// Shows a person.
#[utoipa::path(
    get, path = "/people/{user_id}", params(("user_id" = String, Path, description = "12 digits")),
    security(("session" = [])),
    responses((status = 200, body = PersonView), (status = 403, body = Problem), (status = 404, body = Problem))
)]
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let operator = caller.operator(service)?;
            let (_, person, targets) = found(service, &id)?;
            operator.permit::<operation::PersonFind>(On::Person(&person), &targets)?;
            Reply::json(200, &views::person(service.store.as_ref(), &person)?)
        })
        .await
}

/// Records that the operator checked a person's identity, face to face.
#[utoipa::path(
    post, path = "/people/{user_id}/identity-check", request_body = IdentityCheckRequest,
    params(("user_id" = String, Path, description = "12 digits")), security(("session" = [])),
    responses((status = 200, body = PersonView), (status = 403, body = Problem), (status = 409, body = Problem))
)]
pub(super) async fn verify_identity(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let operator = caller.operator(service)?;
            let (user_id, person, targets) = found(service, &id)?;
            let on = On::Person(&person);
            let body_value: IdentityCheckRequest = json(&body)?;
            let request: AuthorisedRequest<operation::PersonVerifyIdentity, _> =
                match operator.authorise(on, &targets, &body, body_value)? {
                    Ok(request) => request,
                    Err(reply) => return Ok(reply),
                };
            let checker = Checker::Person(operator.operator().person.clone());
            service.reply_with_commit(
                &request.repeatable,
                |now| {
                    let documents = request.body.documents.clone();
                    let store = service.store.as_ref();
                    Ok(person::verify_identity(store, &request.permit, &user_id, checker.clone(), documents, now)?)
                },
                |person| Reply::json(200, &views::person(service.store.as_ref(), person)?),
            )
        })
        .await
}

/// Records that a person accepted the terms.
#[utoipa::path(
    post, path = "/people/{user_id}/terms", request_body = TermsRequest,
    params(("user_id" = String, Path, description = "12 digits")), security(("session" = [])),
    responses((status = 200, body = PersonView), (status = 403, body = Problem), (status = 409, body = Problem))
)]
pub(super) async fn accept_terms(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let operator = caller.operator(service)?;
            let (user_id, person, targets) = found(service, &id)?;
            let body_value: TermsRequest = json(&body)?;
            let request: AuthorisedRequest<operation::PersonAcceptTerms, _> =
                match operator.authorise(On::Person(&person), &targets, &body, body_value)? {
                    Ok(request) => request,
                    Err(reply) => return Ok(reply),
                };
            service.reply_with_commit(
                &request.repeatable,
                |now| {
                    let store = service.store.as_ref();
                    Ok(person::accept_terms(store, &request.permit, &user_id, &request.body.version, now)?)
                },
                |person| Reply::json(200, &views::person(service.store.as_ref(), person)?),
            )
        })
        .await
}
