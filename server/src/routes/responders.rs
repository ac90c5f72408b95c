//! Responders: they enrol themselves by a code, and renew their own certificates.

use std::sync::Arc;

use api::responders::{
    ResponderEnrolmentReply, ResponderEnrolmentRequest, ResponderRenewalReply, ResponderRenewalRequest,
};
use api::{Base64, Problem};
use axum::extract::State;
use bytes::Bytes;
use ra::responder;

use crate::caller::{ResponderIdentity, json};
use crate::certify::{certify, chain, checked};
use crate::failure::Failure;
use crate::idempotency::Reply;
use crate::service::Service;
use crate::views;

/// Enrols an OCSP responder by a single-use code. Needs no client certificate.
#[utoipa::path(
    post, path = "/responder-enrolments", request_body = ResponderEnrolmentRequest,
    responses(
        (status = 201, body = ResponderEnrolmentReply), (status = 403, body = Problem), (status = 422, body = Problem)
    )
)]
pub(super) async fn enrol(State(service): State<Arc<Service>>, body: Bytes) -> Result<Reply, Failure> {
    service.run(move |service| enrol_responder(service, &json(&body)?)).await
}

fn enrol_responder(service: &Service, request: &ResponderEnrolmentRequest) -> Result<Reply, Failure> {
    let store = service.store.as_ref();
    let (secret, name) = (&request.secret.0, &request.name);
    // Whoever has no code does not get a signature checked: this door is open to everybody.
    responder::check_code(store, secret, name, service.now())?;
    let checked = checked(&request.request, "responder")?;
    let record = certify(
        service,
        |now| responder::begin(store, &service.authority(), secret, name, &checked, now, &service.random),
        |certified, now| certified.finish(store, now),
    )?;
    // What an earlier installation of that name acknowledged says nothing of this one.
    service.followers.remove(name);
    service.followers.add(name);
    let signer_keys = responder::load(store, name)?.record.signer_keys;
    let reply = ResponderEnrolmentReply {
        chain: chain(service, &record)?,
        certificate: Base64(record.der.unwrap_or_default()),
        deployment: service.config.service.name.clone(),
        origin: service.feed.origin().to_string(),
        signer_keys: views::signer_keys(signer_keys),
    };
    Reply::json(201, &reply)
}

/// Renews the client certificate of the responder that asks, with a new key, in the last part of its life. The old one
/// stays good until the new one is first used.
#[utoipa::path(
    post, path = "/responders/certificate", request_body = ResponderRenewalRequest,
    responses(
        (status = 201, body = ResponderRenewalReply), (status = 401, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)
    )
)]
pub(super) async fn renew(
    State(service): State<Arc<Service>>,
    responder: ResponderIdentity,
    body: Bytes,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let request: ResponderRenewalRequest = json(&body)?;
            let checked = checked(&request.request, "responder")?;
            let (store, name) = (service.store.as_ref(), &responder.name);
            let window = service.config.times.responder_renewal_window;
            let record = certify(
                service,
                |now| {
                    let authority = service.authority();
                    responder::begin_renewal(store, &authority, name, &checked, window, now, &service.random)
                },
                |certified, now| certified.finish(store, now),
            )?;
            let chain = chain(service, &record)?;
            Reply::json(201, &ResponderRenewalReply { certificate: Base64(record.der.unwrap_or_default()), chain })
        })
        .await
}
