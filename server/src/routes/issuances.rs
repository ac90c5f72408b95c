//! Issuances: begun by an operator, carried on by the station alone.

use std::sync::Arc;

use api::Problem;
use api::cards::{ConfirmationRequest, IssuanceKind, IssuanceRequest, IssuanceView};
use axum::extract::{Path, State};
use bytes::Bytes;
use ra::issuance::{self, Begun, Confirmation, Issuance, PairRequest, Undoing};
use ra::policy::operation::Operation;
use ra::policy::{On, Permit, operation};
use ra::{CardSerial, IssuanceId};

use super::cards::found;
use crate::caller::{AuthorisedRequest, Caller, json};
use crate::failure::Failure;
use crate::idempotency::{Repeatable, Reply};
use crate::service::Service;
use crate::steps::Step;
use crate::views;

/// Certifies a card's two new keys: the certificates are pending until they are confirmed.
#[utoipa::path(
    post, path = "/cards/{serial}/issuances", request_body = IssuanceRequest,
    params(("serial" = String, Path, description = "the chip's serial number")), security(("session" = [])),
    responses(
        (status = 201, body = IssuanceView), (status = 403, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem)
    )
)]
pub(super) async fn begin(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Path(serial): Path<String>,
    body: Bytes,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let operator = caller.operator(service)?;
            let (card, holder, targets) = found(service, &serial)?;
            let value: IssuanceRequest = json(&body)?;
            let on = On::Person(&holder);
            match value.kind {
                IssuanceKind::Issue => {
                    match operator.authorise::<operation::CardIssue, _>(on, &targets, &body, value)? {
                        Ok(request) => issue(service, &request, |permit, pair, now| {
                            let around = service.surroundings();
                            issuance::begin_issue(around, permit, &request.station, &card.serial, pair, now)
                        }),
                        Err(reply) => Ok(reply),
                    }
                }
                IssuanceKind::Renew => {
                    match operator.authorise::<operation::CardRenew, _>(on, &targets, &body, value)? {
                        Ok(request) => issue(service, &request, |permit, pair, now| {
                            let around = service.surroundings();
                            issuance::begin_renewal(around, permit, &request.station, &card.serial, pair, now)
                        }),
                        Err(reply) => Ok(reply),
                    }
                }
            }
        })
        .await
}

/// One exchange, two commits, two signatures. Any failure between the commits ends *void*.
fn issue<O: Operation>(
    service: &Service,
    request: &AuthorisedRequest<O, IssuanceRequest>,
    begin: impl Fn(&Permit<O>, PairRequest, pki::Timestamp) -> Result<Begun, ra::Error>,
) -> Result<Reply, Failure> {
    let check = |bytes: &[u8], purpose: &'static str| {
        pki::request::check_request(bytes).map_err(|refusal| ra::Error::Request { purpose, refusal })
    };
    let repeatable = &request.repeatable;
    // Once, and not with each attempt to commit: the proof that an RSA modulus is sound takes milliseconds.
    let authentication = check(&request.body.authentication.0, "authentication")?;
    let signing = check(&request.body.signing.0, "signing")?;
    let (committed, begun) = service.commit(|now| {
        let pair = PairRequest {
            authentication: authentication.clone(),
            signing: signing.clone(),
            possession: request.body.possession.as_ref().map(|signature| signature.0.clone()),
        };
        let mut begun = begin(&request.permit, pair, now)?;
        let mut batch = std::mem::take(&mut begun.batch);
        repeatable.in_flight(&mut batch)?;
        service.steps.done(Step::Begun);
        Ok((batch, begun))
    })?;
    let committed = committed.ok_or_else(|| Failure::internal("an issuance without a commit"))?;
    service.steps.done(Step::Reserved);
    let id = begun.issuance().id.clone();
    let finished = begun.committed(&committed).sign(&service.authority()).map_err(Failure::from).and_then(|signed| {
        service.steps.done(Step::Signed);
        service.commit(|now| {
            let (mut batch, moved) = signed.finish(service.store.as_ref(), now)?;
            let certificates = [&moved.authentication, &moved.signing];
            let reply = Reply::json(201, &views::issuance(&moved.issuance, certificates))?.showing(certificates);
            repeatable.finish(&mut batch, &reply)?;
            Ok((batch, reply))
        })
    });
    match finished {
        Ok((_, reply)) => {
            service.steps.done(Step::Pending);
            service.metrics.certificates.inc_by(2);
            Ok(reply)
        }
        Err(failure) => {
            undo(service, &id, repeatable);
            Err(failure)
        }
    }
}

/// What could not be finished becomes void. If even that fails, the reservation's lease does it later.
fn undo(service: &Service, id: &IssuanceId, repeatable: &Repeatable) {
    let actor = audit::Actor::service();
    let undone = service.commit(|now| {
        let (mut batch, _) = issuance::undo(service.store.as_ref(), id, Undoing::NotSigned, &actor, now)?;
        repeatable.forget(&mut batch);
        Ok((batch, ()))
    });
    if let Err(failure) = undone {
        tracing::error!(issuance = id.as_str(), problem = failure.problem().detail, "an issuance was not undone");
    }
}

fn of_station(service: &Service, caller: &Caller, id: &IssuanceId) -> Result<Issuance, Failure> {
    let issuance = issuance::load(service.store.as_ref(), id)?.record;
    if issuance.station == caller.station() {
        return Ok(issuance);
    }
    let detail = format!("issuance {id} was begun at another station: it is confirmed or aborted there");
    Err(Failure::new(403, "refused", "Not permitted", detail).with_rule("same-station"))
}

/// The issuance that is under way on a card: how a station takes up what was interrupted.
#[utoipa::path(
    get, path = "/cards/{serial}/issuance", params(("serial" = String, Path, description = "the chip's serial number")),
    responses((status = 200, body = IssuanceView), (status = 403, body = Problem), (status = 404, body = Problem))
)]
pub(super) async fn open(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Path(serial): Path<String>,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let serial: CardSerial = serial.parse()?;
            let card = ra::card::load(service.store.as_ref(), &serial)?.record;
            let Some(id) = card.issuance else {
                let detail = format!("no issuance is under way on card {serial}");
                return Err(Failure::new(404, "not-found", "Not found", detail));
            };
            let issuance = of_station(service, &caller, &id)?;
            Reply::json(200, &views::stored_issuance(service.store.as_ref(), &issuance)?)
        })
        .await
}

/// Shows an issuance of this station.
#[utoipa::path(
    get, path = "/issuances/{id}", params(("id" = String, Path, description = "32 hex digits")),
    responses((status = 200, body = IssuanceView), (status = 403, body = Problem), (status = 404, body = Problem))
)]
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let issuance = of_station(service, &caller, &id.parse()?)?;
            Reply::json(200, &views::stored_issuance(service.store.as_ref(), &issuance)?)
        })
        .await
}

/// Both certificates were read back from the card: card and certificates are good, what was there is superseded.
#[utoipa::path(
    post, path = "/issuances/{id}/confirmation", request_body = ConfirmationRequest,
    params(("id" = String, Path, description = "32 hex digits")),
    responses((status = 200, body = IssuanceView), (status = 409, body = Problem), (status = 422, body = Problem))
)]
pub(super) async fn confirm(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let id: IssuanceId = id.parse()?;
            of_station(service, &caller, &id)?;
            let request: ConfirmationRequest = json(&body)?;
            let repeatable = match caller.repeatable(service, &body)? {
                Ok(repeatable) => repeatable,
                Err(reply) => return Ok(reply),
            };
            let confirmation = Confirmation { authentication: request.authentication.0, signing: request.signing.0 };
            let actor = caller.station_actor();
            let reply = service.reply_with_commit(
                &repeatable,
                |now| {
                    let reasons = service.policy.revocation_reasons();
                    let decided = issuance::confirm(service.surroundings(), reasons, &id, &confirmation, &actor, now)?;
                    service.steps.done(Step::Confirming);
                    Ok(decided)
                },
                |moved| {
                    let certificates = [&moved.authentication, &moved.signing];
                    Ok(Reply::json(200, &views::issuance(&moved.issuance, certificates))?.showing(certificates))
                },
            )?;
            service.steps.done(Step::Confirmed);
            // The holder may log in with the reply: relying systems are told before.
            service.publication()?;
            service.metrics.confirmations.inc();
            Ok(reply)
        })
        .await
}

/// The station gives an issuance up: its certificates are revoked, the card is free again.
#[utoipa::path(
    post, path = "/issuances/{id}/abort", params(("id" = String, Path, description = "32 hex digits")),
    responses((status = 200, body = IssuanceView), (status = 409, body = Problem))
)]
pub(super) async fn abort(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let id: IssuanceId = id.parse()?;
            of_station(service, &caller, &id)?;
            let actor = caller.station_actor();
            let store = service.store.as_ref();
            service.commit(|now| Ok(issuance::undo(store, &id, Undoing::Aborted, &actor, now)?))?;
            let issuance = issuance::load(store, &id)?.record;
            Reply::json(200, &views::stored_issuance(store, &issuance)?)
        })
        .await
}
