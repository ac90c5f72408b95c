//! The status feed, for responders: whom they answer for, all statuses, what is new, and the certificates of their OCSP
//! signers.

use std::sync::Arc;

use api::feed::{Acknowledgement, DIVERGED, IssuersDocument, MEDIA_TYPE, SignerReply, SignerRequest, TailQuery};
use api::{Base64, Problem};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use pki::feed::{FeedPosition, Mark};
use ra::responder::{self, SignerKeys};

use crate::caller::{PeerCertificate, ResponderIdentity, json, responder_of};
use crate::certify::{certify, checked};
use crate::doors::download::{self, Content};
use crate::failure::Failure;
use crate::feed::{snapshot, tail};
use crate::idempotency::Reply;
use crate::service::Service;
use crate::signers;

/// The issuers that a responder answers for, and by which times. Its revision comes with each heartbeat of the feed.
#[utoipa::path(get, path = "/feed/issuers", responses((status = 200, body = IssuersDocument), (status = 401, body = Problem)))]
pub(super) async fn issuers(State(service): State<Arc<Service>>, _: ResponderIdentity) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], service.feed.document().json.clone()).into_response()
}

/// The status of every certificate, as a file: `CRDNSTA1`, then the place in the feed after which `/feed/tail` goes on.
#[utoipa::path(
    get, path = "/feed/snapshot",
    responses(
        (status = 200, content_type = "application/octet-stream"), (status = 401, body = Problem),
        (status = 503, body = Problem)
    )
)]
pub(super) async fn snapshot(State(service): State<Arc<Service>>, _: ResponderIdentity) -> Result<Response, Failure> {
    let snapshot = service.run(snapshot::open).await?;
    let octets = snapshot.octets();
    let mut response = octets_response(download::body(Arc::new(snapshot), 0, octets));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(octets));
    Ok(response)
}

/// What comes after a place in the feed, as a stream of frames that stays open. 409 `feed-diverged` when the feed was never
/// at that place: fetch a snapshot then.
#[utoipa::path(
    get, path = "/feed/tail", params(TailQuery),
    responses(
        (status = 200, content_type = "application/octet-stream"), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)
    )
)]
pub(super) async fn tail(
    State(service): State<Arc<Service>>,
    responder: ResponderIdentity,
    Extension(peer): Extension<PeerCertificate>,
    Query(query): Query<TailQuery>,
) -> Result<Response, Failure> {
    let mark: Mark = query.mark.parse().map_err(|error: pki::feed::InvalidDigest| {
        Failure::new(400, "mark", "The mark cannot be read", format!("mark: {error}"))
    })?;
    let after = FeedPosition { epoch: query.epoch, sequence: query.after };
    let shared = Arc::clone(&service);
    let frames = service
        .run(move |service| {
            let check = || responder_of(service, &peer).map(|_| ());
            tail::open(&shared, responder, after, mark, &check)
        })
        .await?;
    Ok(octets_response(Body::from_stream(frames)))
}

fn octets_response(body: Body) -> Response {
    let headers = [(header::CONTENT_TYPE, MEDIA_TYPE), (header::CACHE_CONTROL, "no-store")];
    (headers, body).into_response()
}

/// Says how far the responder answers by the feed, and has it on its disk.
#[utoipa::path(
    post, path = "/feed/acknowledgements", request_body = Acknowledgement,
    responses((status = 204), (status = 401, body = Problem), (status = 409, body = Problem))
)]
pub(super) async fn acknowledge(
    State(service): State<Arc<Service>>,
    responder: ResponderIdentity,
    body: Bytes,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let Acknowledgement { epoch, sequence } = json(&body)?;
            let there = service.store.feed_position()?;
            if epoch != there.epoch || sequence > there.sequence {
                let (at, of) = (there.sequence, there.epoch);
                let detail = format!("the feed is at entry {at} in epoch {of}, and what was acknowledged is not in it");
                return Err(Failure::new(409, DIVERGED, "Not where the feed is", detail));
            }
            service.followers.acknowledge(&responder.name, sequence);
            Ok(Reply::empty(204))
        })
        .await
}

/// Certifies a key of the responder that asks as an OCSP signer of one issuer, by that issuer itself. Each certificate is
/// for a new key.
#[utoipa::path(
    post, path = "/feed/signers", request_body = SignerRequest,
    responses(
        (status = 201, body = SignerReply), (status = 401, body = Problem), (status = 404, body = Problem),
        (status = 422, body = Problem), (status = 429, body = Problem)
    )
)]
pub(super) async fn signer(
    State(service): State<Arc<Service>>,
    responder: ResponderIdentity,
    body: Bytes,
) -> Result<Reply, Failure> {
    service.run(move |service| certify_signer(service, &responder.name, &json(&body)?)).await
}

// conformance: O12, K3
fn certify_signer(service: &Service, name: &str, request: &SignerRequest) -> Result<Reply, Failure> {
    let store = service.store.as_ref();
    service.authority().issuer(&request.issuer)?;
    let checked = checked(&request.request, "OCSP signer's")?;
    let most = service.config.limits.responder_signers_per_hour;
    if let Err(again) = service.feed.pace(name, &request.issuer, most, service.now()) {
        let detail = format!(
            "{name} was certified {most} OCSP signers of {} within an hour, as many as \
             limits.responder_signers_per_hour permits: keep the one that you have",
            request.issuer
        );
        let failure = Failure::new(429, "too-many-signers", "Too many OCSP signers", detail);
        return Err(failure.with_retry_after(u32::try_from(again.as_secs() + 1).unwrap_or(u32::MAX)));
    }
    let times = &service.config.times;
    let life = match responder::load(store, name)?.record.signer_keys {
        SignerKeys::Memory => times.ocsp_signer_life,
        SignerKeys::Token => times.ocsp_signer_life_in_token,
    };
    let record = certify(
        service,
        |now| {
            let authority = service.authority();
            let issuer = &request.issuer;
            responder::begin_signer(store, &authority, name, issuer, &checked, life, now, &service.random)
        },
        |certified, now| certified.finish(store, now),
    )?;
    let life = record.not_after.since(record.not_before);
    let replace_at = signers::replacement(record.not_before, life, times.ocsp_signer_renewal_window);
    tracing::info!(responder = name, issuer = request.issuer, "a responder has a new OCSP signer");
    let reply = SignerReply { certificate: Base64(record.der.unwrap_or_default()), replace_at: replace_at.to_string() };
    Reply::json(201, &reply)
}
