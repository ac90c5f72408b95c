//! Stations.

use std::sync::Arc;

use api::stations::{EnrolmentReply, EnrolmentRequest, ServiceDescription};
use api::{Base64, Problem};
use axum::extract::State;
use bytes::Bytes;
use ra::enrolment;

use crate::caller::{Caller, json};
use crate::certify::{certify, chain, checked};
use crate::failure::Failure;
use crate::idempotency::Reply;
use crate::service::Service;

/// Enrols a station by a single-use code. Needs no client certificate.
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
    let checked = checked(&request.request, "station")?;
    let record = certify(
        service,
        |now| {
            let (secret, authority) = (&request.secret.0, service.authority());
            enrolment::begin_station(store, &authority, secret, &request.name, &checked, now, &service.random)
        },
        |certified, now| certified.finish(store, now),
    )?;
    let reply = EnrolmentReply {
        chain: chain(service, &record)?,
        certificate: Base64(record.der.unwrap_or_default()),
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
