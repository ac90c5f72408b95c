//! Stations.

use std::sync::Arc;

use api::stations::{EnrolmentReply, EnrolmentRequest, ServiceDescription};
use api::{Base64, Problem};
use axum::extract::State;
use bytes::Bytes;
use ra::enrolment;

use crate::caller::{Caller, json};
use crate::failure::Failure;
use crate::idempotency::Reply;
use crate::service::Service;

/// Enrols a station by a single-use code. The one call without a client certificate.
#[utoipa::path(
    post, path = "/enrolments", request_body = EnrolmentRequest,
    responses((status = 201, body = EnrolmentReply), (status = 403, body = Problem), (status = 422, body = Problem))
)]
pub(super) async fn enrol(State(service): State<Arc<Service>>, body: Bytes) -> Result<Reply, Failure> {
    service.run(move |service| enrol_station(service, &json::<EnrolmentRequest>(&body)?)).await
}

fn enrol_station(service: &Service, request: &EnrolmentRequest) -> Result<Reply, Failure> {
    let store = service.store.as_ref();
    // Whoever has no code does not get a signature checked: this door is open to everybody.
    enrolment::check_station_code(store, &request.secret.0, &request.name, service.now())?;
    let checked = pki::request::check_request(&request.request.0)
        .map_err(|refusal| ra::Error::Request { purpose: "station", refusal })?;
    let (committed, mut begun) = service.commit(|now| {
        let mut begun = enrolment::begin_station(
            store,
            &service.authority(),
            &request.secret.0,
            &request.name,
            &checked,
            now,
            &service.random,
        )?;
        Ok((std::mem::take(&mut begun.batch), begun))
    })?;
    let id = begun.certificate().clone();
    begun.batch = store::Batch::default();
    let committed = committed.ok_or_else(|| Failure::internal("an enrolment without a commit"))?;
    let finished = begun
        .sign(&service.authority(), &committed)
        .map_err(Failure::from)
        .and_then(|signed| service.commit(|now| Ok(signed.finish(store, now)?)));
    let (_, certificate) = match finished {
        Ok(finished) => finished,
        Err(failure) => {
            service.commit(|now| {
                let mut batch = ca::batch(now);
                ca::recovery::void(store, &mut batch, &id, &audit::Actor::service(), Some(&request.name))?;
                Ok((batch, ()))
            })?;
            return Err(failure);
        }
    };
    service.metrics.certificates.inc();
    let authority = service.authority();
    let issuer = authority.issuer(&id.issuer)?;
    let reply = EnrolmentReply {
        certificate: Base64(certificate),
        chain: std::iter::once(&issuer.description().certificate_der)
            .chain(service.above_issuing_cas().iter())
            .map(|der| Base64(der.clone()))
            .collect(),
        deployment: service.config.service.name.clone(),
    };
    Reply::json(201, &reply)
}

/// What the service is, and as whom it knows the caller.
#[utoipa::path(get, path = "/service", responses((status = 200, body = ServiceDescription), (status = 401, body = Problem)))]
pub(super) async fn describe(State(service): State<Arc<Service>>, caller: Caller) -> Result<Reply, Failure> {
    let description = ServiceDescription {
        deployment: service.config.service.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        station: caller.station().to_owned(),
    };
    Reply::json(200, &description)
}
