//! Responders, on the server's own machine: codes, the list, expulsion.

use std::sync::Arc;

use api::admin::CodeReply;
use api::responders::{
    ResponderCodeRequest, ResponderExpulsionReply, ResponderExpulsionRequest, ResponderView, SignerKeys,
};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use pki::CrlReason;
use ra::responder;

use super::admin::{Account, code_limits, code_text};
use crate::caller::json;
use crate::failure::Failure;
use crate::idempotency::Reply;
use crate::responders;
use crate::service::Service;

pub(super) fn router() -> Router<Arc<Service>> {
    Router::new()
        .route("/responders", get(list))
        .route("/responder-codes", post(code))
        .route("/responders/expulsions", post(expel))
}

async fn list(State(service): State<Arc<Service>>) -> Result<Reply, Failure> {
    let list = |service: &Service| {
        Reply::json(200, &api::Page::<ResponderView> { items: responders::list(service)?, next: None })
    };
    service.run(list).await
}

async fn code(
    State(service): State<Arc<Service>>,
    Extension(account): Extension<Account>,
    body: Bytes,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let request: ResponderCodeRequest = json(&body)?;
            let keys = match request.signer_keys {
                SignerKeys::Memory => responder::SignerKeys::Memory,
                SignerKeys::Token => responder::SignerKeys::Token,
            };
            let (store, limits, actor) = (service.store.as_ref(), code_limits(service), account.actor());
            let (_, (secret, expires)) = service.commit(|now| {
                let (batch, secret, expires) =
                    responder::responder_code(store, &actor, &request.name, keys, limits, now, &service.random)?;
                Ok((batch, (secret, expires)))
            })?;
            Reply::json(201, &CodeReply { code: code_text(service, secret), expires: expires.to_string() })
        })
        .await
}

async fn expel(
    State(service): State<Arc<Service>>,
    Extension(account): Extension<Account>,
    body: Bytes,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let ResponderExpulsionRequest { name, compromised, really } = json(&body)?;
            let store = service.store.as_ref();
            let reason = if compromised { CrlReason::KeyCompromise } else { CrlReason::CessationOfOperation };
            let connections = service.feed.connections(&name);
            let certificates = if really {
                let actor = account.actor();
                let (_, revoked) = service.commit(|now| Ok(responder::expel(store, &actor, &name, reason, now)?))?;
                // Its certificate's end comes by the feed as well: this is without the way round.
                service.feed.cut(&name);
                service.followers.remove(&name);
                tracing::warn!(responder = name, "a responder was expelled");
                revoked
            } else {
                responder::would_revoke(store, &name, service.now())?
            };
            let certificates = certificates.iter().map(ToString::to_string).collect();
            Reply::json(200, &ResponderExpulsionReply { name, done: really, certificates, connections })
        })
        .await
}
