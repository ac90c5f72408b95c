//! Logins and sessions. Answers that carry a secret are not kept for repetition: a nonce or a code works once.

use std::sync::Arc;

use api::sessions::{ChallengeReply, SessionReply, SessionRequest};
use api::{Base64, Problem};
use axum::extract::State;
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use ra::session;

use crate::caller::{Caller, json};
use crate::failure::Failure;
use crate::idempotency::Reply;
use crate::service::Service;

/// Asks for a nonce that an operator's card signs.
#[utoipa::path(post, path = "/challenges", responses((status = 201, body = ChallengeReply)))]
pub(super) async fn challenge(State(service): State<Arc<Service>>, caller: Caller) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let times = service.session_times();
            let (_, (nonce, expires)) = service.commit(|now| {
                let (batch, nonce, expires) = session::challenge(caller.station(), times, now, &service.random)?;
                Ok((batch, (nonce, expires)))
            })?;
            let reply = ChallengeReply {
                nonce: Base64(nonce.to_vec()),
                expires: expires.to_string(),
                deployment: service.config.service.name.clone(),
                station: caller.station().to_owned(),
            };
            Reply::json(201, &reply)
        })
        .await
}

/// Opens a session: by a nonce that the operator's card signed, or by a first-card code.
#[utoipa::path(
    post, path = "/sessions", request_body = SessionRequest,
    responses((status = 201, body = SessionReply), (status = 401, body = Problem), (status = 403, body = Problem))
)]
pub(super) async fn open(State(service): State<Arc<Service>>, caller: Caller, body: Bytes) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let request: SessionRequest = json(&body)?;
            let store = service.store.as_ref();
            let times = service.session_times();
            let opened = service.commit(|now| {
                let (batch, token, session) = match &request {
                    SessionRequest::Card { nonce, certificate, signature } => {
                        let login = session::Login {
                            nonce: &nonce.0,
                            certificate_der: &certificate.0,
                            signature: &signature.0,
                        };
                        let deployment = &service.config.service.name;
                        session::login(store, deployment, caller.station(), &login, times, now, &service.random)?
                    }
                    SessionRequest::Code { secret } => {
                        session::login_with_code(store, &secret.0, caller.station(), times, now, &service.random)?
                    }
                };
                Ok((batch, (token, session)))
            });
            let (_, (token, session)) = match opened {
                Ok(opened) => opened,
                Err(failure) => {
                    record_refused_login(service, &caller, &failure)?;
                    return Err(failure);
                }
            };
            let reply = SessionReply {
                token: BASE64URL_NOPAD.encode(&token),
                person: session.person.to_string(),
                expires: session.expires.to_string(),
            };
            Reply::json(201, &reply)
        })
        .await
}

fn record_refused_login(service: &Service, caller: &Caller, failure: &Failure) -> Result<(), Failure> {
    let problem = failure.problem();
    if !matches!(problem.status, 401 | 403) {
        return Ok(());
    }
    service.metrics.refusals.inc();
    service.commit(|now| {
        let outcome = audit::Outcome::Refused { rule: problem.name().to_owned() };
        let record = audit::AuditRecord::new(now, caller.station_actor(), "session.open", outcome);
        let mut batch = ca::batch(now);
        ca::record(&mut batch, &record)?;
        Ok((batch, ()))
    })?;
    Ok(())
}

/// Ends the session.
#[utoipa::path(
    delete, path = "/sessions/current", security(("session" = [])),
    responses((status = 204), (status = 401, body = Problem))
)]
pub(super) async fn close(State(service): State<Arc<Service>>, caller: Caller) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            caller.operator(service)?;
            let token = caller.token()?;
            service.commit(|now| Ok((session::close(service.store.as_ref(), &token, now)?, ())))?;
            Ok(Reply::empty(204))
        })
        .await
}
