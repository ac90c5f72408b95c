//! The calls of the API that need nothing but a session: one function each.

use api::Page;
use api::cards::{CancelRequest, CardStatusReply, CardView, CertificateView, HoldRequest};
use api::people::{IdentityCheckRequest, PersonRequest, PersonView, TermsRequest};
use api::stations::ServiceDescription;

use crate::http::{Call, Client, path};
use crate::{Error, Session};

/// What the service tells about itself.
///
/// # Errors
/// When it refuses, or cannot be reached; the same with all others here.
pub async fn service(client: &Client) -> Result<ServiceDescription, Error> {
    client.send(Call::get(path("/service", &[]))).await
}

/// A card as the service knows it.
///
/// # Errors
/// As [`service`].
pub async fn show_card(client: &Client, session: &Session, serial: &str) -> Result<CardView, Error> {
    client.send(Call::get(path("/cards/{}", &[serial])).session(session)?).await
}

/// Puts a card on hold for a reason: `person_suspended`, `investigation` or `holder_request`.
///
/// # Errors
/// As [`service`].
pub async fn suspend_card(
    client: &Client,
    session: &Session,
    serial: &str,
    reason: &str,
) -> Result<CardStatusReply, Error> {
    let body = HoldRequest { reason: reason.to_owned() };
    client.send(Call::post(path("/cards/{}/suspend", &[serial]), &body)?.session(session)?).await
}

/// Takes a reason for which a card is on hold away; with the last one it comes off hold.
///
/// # Errors
/// As [`service`].
pub async fn resume_card(
    client: &Client,
    session: &Session,
    serial: &str,
    reason: &str,
) -> Result<CardStatusReply, Error> {
    let body = HoldRequest { reason: reason.to_owned() };
    client.send(Call::post(path("/cards/{}/resume", &[serial]), &body)?.session(session)?).await
}

/// Puts a card on hold because it is reported lost.
///
/// # Errors
/// As [`service`].
pub async fn report_card_lost(client: &Client, session: &Session, serial: &str) -> Result<CardStatusReply, Error> {
    client.send(Call::post_empty(path("/cards/{}/report-lost", &[serial]))?.session(session)?).await
}

/// Ends a card's life for a cause, such as `lost`.
///
/// # Errors
/// As [`service`].
pub async fn cancel_card(
    client: &Client,
    session: &Session,
    serial: &str,
    request: &CancelRequest,
) -> Result<CardStatusReply, Error> {
    client.send(Call::post(path("/cards/{}/cancel", &[serial]), request)?.session(session)?).await
}

/// Registers a person.
///
/// # Errors
/// As [`service`].
pub async fn register_person(client: &Client, session: &Session, request: &PersonRequest) -> Result<PersonView, Error> {
    client.send(Call::post(path("/people", &[]), request)?.session(session)?).await
}

/// People in the order of their user ids, after `after`.
///
/// # Errors
/// As [`service`].
pub async fn list_people(
    client: &Client,
    session: &Session,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<PersonView>, Error> {
    let query = match after {
        Some(after) => path("/people?after={}&limit={}", &[after, &limit.to_string()]),
        None => path("/people?limit={}", &[&limit.to_string()]),
    };
    client.send(Call::get(query).session(session)?).await
}

/// A person.
///
/// # Errors
/// As [`service`].
pub async fn show_person(client: &Client, session: &Session, user_id: &str) -> Result<PersonView, Error> {
    client.send(Call::get(path("/people/{}", &[user_id])).session(session)?).await
}

/// Records that the operator checked a person's identity, face to face, by these kinds of document.
///
/// # Errors
/// As [`service`].
pub async fn check_identity(
    client: &Client,
    session: &Session,
    user_id: &str,
    documents: &[String],
) -> Result<PersonView, Error> {
    let body = IdentityCheckRequest { documents: documents.to_vec() };
    client.send(Call::post(path("/people/{}/identity-check", &[user_id]), &body)?.session(session)?).await
}

/// Records that a person accepted this version of the terms.
///
/// # Errors
/// As [`service`].
pub async fn accept_terms(
    client: &Client,
    session: &Session,
    user_id: &str,
    version: &str,
) -> Result<PersonView, Error> {
    let body = TermsRequest { version: version.to_owned() };
    client.send(Call::post(path("/people/{}/terms", &[user_id]), &body)?.session(session)?).await
}

/// A certificate, by its issuer's id and its serial number in hex.
///
/// # Errors
/// As [`service`].
pub async fn show_certificate(
    client: &Client,
    session: &Session,
    issuer: &str,
    serial: &str,
) -> Result<CertificateView, Error> {
    client.send(Call::get(path("/certificates/{}/{}", &[issuer, serial])).session(session)?).await
}
