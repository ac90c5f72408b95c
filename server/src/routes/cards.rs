//! Cards in their life.

use std::sync::Arc;

use api::Problem;
use api::cards::{AllocationRequest, CancelRequest, CardStatusReply, CardView, HoldRequest};
use audit::Target;
use axum::extract::{Path, State};
use bytes::Bytes;
use pki::Timestamp;
use ra::card::{self, CancelCause, Card, HoldReason};
use ra::card_status::{self, Changed};
use ra::person::{self, Person};
use ra::policy::operation::Operation;
use ra::policy::{On, Permit, operation};
use ra::{CardSerial, UserId};
use serde::Serialize;
use store::Batch;

use crate::caller::{AuthorisedRequest, Caller, OperatorCall, json};
use crate::failure::Failure;
use crate::idempotency::Reply;
use crate::service::Service;
use crate::views;

/// A card, its holder, and how audit records name it.
pub(super) fn found(service: &Service, serial: &str) -> Result<(Card, Person, [Target; 1]), Failure> {
    let serial: CardSerial = serial.parse()?;
    let card = card::load(service.store.as_ref(), &serial)?.record;
    let holder = person::load(service.store.as_ref(), &card.holder)?.record;
    let target = Target::new("card", &serial);
    Ok((card, holder, [target]))
}

/// Sets a card aside for a person.
#[utoipa::path(
    post, path = "/cards", request_body = AllocationRequest, security(("session" = [])),
    responses((status = 201, body = CardView), (status = 403, body = Problem), (status = 409, body = Problem))
)]
pub(super) async fn allocate(
    State(service): State<Arc<Service>>,
    caller: Caller,
    body: Bytes,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let operator = caller.operator(service)?;
            let value: AllocationRequest = json(&body)?;
            let serial: CardSerial = value.serial.parse()?;
            let holder: UserId = value.holder.parse()?;
            let holder = person::load(service.store.as_ref(), &holder)?.record;
            let targets = [Target::new("card", &serial), Target::new("person", &holder.user_id)];
            let request: AuthorisedRequest<operation::CardIssue, _> =
                match operator.authorise(On::Person(&holder), &targets, &body, value)? {
                    Ok(request) => request,
                    Err(reply) => return Ok(reply),
                };
            service.reply_with_commit(
                &request.repeatable,
                |now| {
                    let (store, series) = (service.store.as_ref(), &request.body.series);
                    Ok(card_status::allocate(store, &request.permit, serial.clone(), series, &holder, now)?)
                },
                |card| Reply::json(201, &views::card(service.store.as_ref(), card, &[])?),
            )
        })
        .await
}

/// Shows a card with all its certificates.
#[utoipa::path(
    get, path = "/cards/{serial}", params(("serial" = String, Path, description = "the chip's serial number")),
    security(("session" = [])),
    responses((status = 200, body = CardView), (status = 403, body = Problem), (status = 404, body = Problem))
)]
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Path(serial): Path<String>,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let operator = caller.operator(service)?;
            let (card, holder, targets) = found(service, &serial)?;
            operator.permit::<operation::CardShow>(On::Person(&holder), &targets)?;
            Reply::json(200, &views::card(service.store.as_ref(), &card, &[])?)
        })
        .await
}

/// One change of a card's status: authorised, one commit, and the reply says who has seen it.
fn change<O: Operation, T>(
    service: &Service,
    operator: &OperatorCall<'_>,
    serial: &str,
    raw: &Bytes,
    body: T,
    decide: impl Fn(&Permit<O>, &T, &CardSerial, Timestamp) -> Result<(Batch, Changed), Failure>,
) -> Result<Reply, Failure> {
    let (card, holder, targets) = found(service, serial)?;
    let reply = match operator.authorise::<O, T>(On::Person(&holder), &targets, raw, body)? {
        Err(reply) => reply,
        Ok(request) => service.reply_with_commit(
            &request.repeatable,
            |now| decide(&request.permit, &request.body, &card.serial, now),
            |changed| {
                let view = views::card(service.store.as_ref(), &changed.card, &changed.certificates)?;
                Ok(Reply::json(200, &view)?.showing(&changed.certificates))
            },
        )?,
    };
    // What is kept for repetition is the card; how far the change has come is told as it is now.
    #[derive(Serialize)]
    struct WithPublication {
        card: serde_json::Value,
        published: api::cards::Publication,
    }
    let card = serde_json::from_slice(&reply.body).map_err(Failure::internal)?;
    Reply::json(reply.status, &WithPublication { card, published: service.publication()? })
}

fn named<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str, field: &'static str, text: &str) -> Result<T, Failure> {
    all.iter().copied().find(|one| name(*one) == text).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|one| name(*one)).collect();
        ra::Error::invalid(field, format!("must be one of {}", names.join(", "))).into()
    })
}

/// Puts a card on hold.
#[utoipa::path(
    post, path = "/cards/{serial}/suspend", request_body = HoldRequest,
    params(("serial" = String, Path, description = "the chip's serial number")), security(("session" = [])),
    responses((status = 200, body = CardStatusReply), (status = 403, body = Problem), (status = 409, body = Problem))
)]
pub(super) async fn suspend(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Path(serial): Path<String>,
    body: Bytes,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let operator = caller.operator(service)?;
            let reason = named(&HoldReason::ALL, HoldReason::name, "reason", &json::<HoldRequest>(&body)?.reason)?;
            change::<operation::CardSuspend, _>(
                service,
                &operator,
                &serial,
                &body,
                reason,
                |permit, reason, card, now| {
                    Ok(card_status::suspend(service.store.as_ref(), permit, card, *reason, now)?)
                },
            )
        })
        .await
}

/// Takes a card off hold, for one of its reasons.
#[utoipa::path(
    post, path = "/cards/{serial}/resume", request_body = HoldRequest,
    params(("serial" = String, Path, description = "the chip's serial number")), security(("session" = [])),
    responses((status = 200, body = CardStatusReply), (status = 403, body = Problem), (status = 409, body = Problem))
)]
pub(super) async fn resume(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Path(serial): Path<String>,
    body: Bytes,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let operator = caller.operator(service)?;
            let reason = named(&HoldReason::ALL, HoldReason::name, "reason", &json::<HoldRequest>(&body)?.reason)?;
            change::<operation::CardResume, _>(
                service,
                &operator,
                &serial,
                &body,
                reason,
                |permit, reason, card, now| {
                    Ok(card_status::resume(service.store.as_ref(), permit, card, *reason, now)?)
                },
            )
        })
        .await
}

/// Reports a card lost: it goes on hold at once.
#[utoipa::path(
    post, path = "/cards/{serial}/report-lost",
    params(("serial" = String, Path, description = "the chip's serial number")), security(("session" = [])),
    responses((status = 200, body = CardStatusReply), (status = 403, body = Problem), (status = 409, body = Problem))
)]
pub(super) async fn report_lost(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Path(serial): Path<String>,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let operator = caller.operator(service)?;
            change::<operation::CardReportLost, _>(
                service,
                &operator,
                &serial,
                &Bytes::new(),
                (),
                |permit, (), card, now| Ok(card_status::report_lost(service.store.as_ref(), permit, card, now)?),
            )
        })
        .await
}

/// Ends a card's life: every certificate on it is revoked.
#[utoipa::path(
    post, path = "/cards/{serial}/cancel", request_body = CancelRequest,
    params(("serial" = String, Path, description = "the chip's serial number")), security(("session" = [])),
    responses((status = 200, body = CardStatusReply), (status = 403, body = Problem), (status = 409, body = Problem))
)]
pub(super) async fn cancel(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Path(serial): Path<String>,
    body: Bytes,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let operator = caller.operator(service)?;
            let value: CancelRequest = json(&body)?;
            let cause = named(&CancelCause::ALL, CancelCause::name, "cause", &value.cause)?;
            let since = value
                .compromised_since
                .as_deref()
                .map(str::parse::<Timestamp>)
                .transpose()
                .map_err(|error| Failure::from(ra::Error::invalid("compromised_since", error.to_string())))?;
            let what = (cause, since);
            change::<operation::CardCancel, _>(service, &operator, &serial, &body, what, |permit, what, card, now| {
                let (cause, since) = *what;
                let reasons = service.policy.revocation_reasons();
                Ok(card_status::cancel(service.store.as_ref(), permit, card, cause, reasons, since, now)?)
            })
        })
        .await
}
