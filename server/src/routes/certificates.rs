//! Certificates.

use std::sync::Arc;

use api::Problem;
use api::cards::CertificateView;
use audit::Target;
use axum::extract::{Path, State};
use ca::certificate::{self, CertificateId, Holder};
use ra::policy::{On, operation};
use ra::{UserId, person};

use crate::caller::Caller;
use crate::failure::Failure;
use crate::idempotency::Reply;
use crate::service::Service;
use crate::views;

/// Shows a card's certificate.
#[utoipa::path(
    get, path = "/certificates/{issuer}/{serial}",
    params(
        ("issuer" = String, Path, description = "such as `authentication-1`"),
        ("serial" = String, Path, description = "the serial number in hex")
    ),
    security(("session" = [])),
    responses((status = 200, body = CertificateView), (status = 403, body = Problem), (status = 404, body = Problem))
)]
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Path((issuer, serial)): Path<(String, String)>,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let operator = caller.operator(service)?;
            let store = service.store.as_ref();
            let serial = serial.parse().map_err(|error: pki::serial::InvalidSerialNumber| {
                Failure::from(ra::Error::invalid("serial", error.to_string()))
            })?;
            let id = CertificateId { issuer, serial };
            let record = certificate::load(store, &id)?.record;
            let Holder::Person { user_id, .. } = &record.holder else {
                return Err(ca::Error::NoSuchCertificate(id).into());
            };
            let user_id: UserId = user_id.parse()?;
            let holder = person::load(store, &user_id)?.record;
            let targets = [Target::new("certificate", &id)];
            operator.permit::<operation::CertificateShow>(On::Person(&holder), &targets)?;
            Reply::json(200, &views::certificate(&record))
        })
        .await
}
