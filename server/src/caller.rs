//! Who calls: a station or a responder by its TLS certificate, an operator by a session; and the authorised request, which
//! is the only way to the domain.

use std::sync::{Arc, OnceLock};

use audit::Target;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use ca::certificate::{self, CertificateId, CertificateRecord, CertificateState, Holder};
use data_encoding::BASE64URL_NOPAD;
use http::request::Parts;
use pki::Timestamp;
use pki::certificate::ParsedCertificate;
use ra::policy::operation::Operation;
use ra::policy::{self, On, Operator, Permit};
use ra::responder::Standing;
use ra::{enrolment, responder, session};
use store::Store;

use crate::failure::Failure;
use crate::idempotency::{Call, Repeatable, Reply};
use crate::service::Service;

/// The client's certificate of a TLS connection, read once for all of its requests; put into each by the door.
#[derive(Clone, Debug)]
pub struct PeerCertificate(Option<Arc<Peer>>);

#[derive(Debug)]
struct Peer {
    /// `None` when it cannot be read.
    parsed: Option<ParsedCertificate>,
    /// Which one of ours it was found to be. What is recorded of it is looked at anew for each request.
    id: OnceLock<CertificateId>,
}

impl PeerCertificate {
    /// From DER, if the client showed a certificate.
    pub fn new(der: Option<&[u8]>) -> Self {
        let peer = |der| Peer { parsed: ParsedCertificate::from_der(der).ok(), id: OnceLock::new() };
        PeerCertificate(der.map(|der| Arc::new(peer(der))))
    }
}

impl Peer {
    /// Its record as it is now, if it is one of ours.
    fn record(&self, store: &dyn Store, shown: &ParsedCertificate) -> Result<Option<CertificateRecord>, ca::Error> {
        if let Some(id) = self.id.get() {
            let record = certificate::load(store, id)?.record;
            return Ok(record.der.as_deref().is_some_and(|der| der == shown.der()).then_some(record));
        }
        let found = certificate::find(store, shown, shown.der())?;
        if let Some(record) = &found {
            let _ = self.id.set(record.id.clone());
        }
        Ok(found)
    }
}

/// A station whose certificate was good when this request came in.
#[derive(Clone, Debug)]
pub struct StationIdentity(pub String);

/// A responder whose certificate was good when this request came in.
#[derive(Clone, Debug)]
pub struct ResponderIdentity {
    /// Its name.
    pub name: String,
    /// Its certificate.
    pub certificate: CertificateId,
    /// When that ends.
    pub not_after: Timestamp,
}

/// Lets stations through. The status of a client certificate is looked at for every request, not once per connection.
pub async fn require_station(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let how = "this door is for enrolled stations: enrol with a code from `cardinal station enrol`, then connect with the \
               station's certificate";
    require(service, request, next, how, station_of).await
}

/// Lets responders through, likewise.
pub async fn require_responder(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let how = "these calls are for enrolled responders: enrol with a code from `cardinal responder enrol`, then connect \
               with the responder's certificate";
    require(service, request, next, how, responder_of).await
}

async fn require<I: Clone + Send + Sync + 'static>(
    service: Arc<Service>,
    mut request: Request,
    next: Next,
    how: &str,
    identify: fn(&Service, &PeerCertificate) -> Result<I, Failure>,
) -> Response {
    let peer = request.extensions().get::<PeerCertificate>().filter(|peer| peer.0.is_some()).cloned();
    let identity = match peer {
        None => Err(Failure::new(401, "client-certificate", "A client certificate is needed", how)),
        Some(peer) => service.run(move |service| identify(service, &peer)).await,
    };
    match identity {
        Ok(identity) => {
            request.extensions_mut().insert(identity);
            next.run(request).await
        }
        Err(failure) => failure.into_response(),
    }
}

fn refuse(status: u16, detail: &str) -> Failure {
    Failure::new(status, "client-certificate", "The client certificate is not accepted", detail)
}

/// The record of the client's certificate, which may be of no use any longer.
fn known(service: &Service, peer: &PeerCertificate) -> Result<CertificateRecord, Failure> {
    let store = service.store.as_ref();
    let Some(peer) = &peer.0 else {
        return Err(refuse(401, "there is no client certificate"));
    };
    let Some(shown) = &peer.parsed else {
        return Err(refuse(401, "the client certificate cannot be read"));
    };
    let Some(record) = peer.record(store, shown)? else {
        return Err(refuse(401, "the client certificate is not one of this deployment"));
    };
    Ok(record)
}

/// A record, if it is of a certificate that is good.
fn usable(service: &Service, record: CertificateRecord) -> Result<CertificateRecord, Failure> {
    match record.state {
        CertificateState::Good { .. } if record.is_usable(service.now()) => {}
        CertificateState::Good { .. } if service.now() < record.not_before => {
            return Err(refuse(401, "the client certificate is not valid yet, by the clock of the service"));
        }
        CertificateState::Good { .. } => return Err(refuse(401, "the client certificate has expired")),
        CertificateState::OnHold { .. } => return Err(refuse(401, "the client certificate is on hold")),
        _ => return Err(refuse(401, "the client certificate is revoked or was never confirmed")),
    }
    Ok(record)
}

/// The station whose certificate this is.
fn station_of(service: &Service, peer: &PeerCertificate) -> Result<StationIdentity, Failure> {
    let record = usable(service, known(service, peer)?)?;
    let Holder::Station { name } = record.holder else {
        return Err(refuse(403, "this call is for stations: it takes a station's certificate and no other"));
    };
    match enrolment::station(service.store.as_ref(), &name)? {
        Some(station) if station.record.certificate == record.id => Ok(StationIdentity(name)),
        _ => Err(refuse(401, "another certificate has taken the place of this station's")),
    }
}

/// The responder whose certificate this is. One that was renewed, and is used for the first time, takes the place of the one
/// before.
///
/// # Errors
/// When it is none, or another one has taken its place.
pub(crate) fn responder_of(service: &Service, peer: &PeerCertificate) -> Result<ResponderIdentity, Failure> {
    let record = known(service, peer)?;
    if let (Holder::Responder { name }, CertificateState::Revoked { .. }) = (&record.holder, &record.state) {
        return Err(ended(service, name)?);
    }
    let CertificateRecord { id, holder, not_after, .. } = usable(service, record)?;
    let Holder::Responder { name } = holder else {
        return Err(refuse(403, "this call is for responders: it takes a responder's certificate and no other"));
    };
    let store = service.store.as_ref();
    let standing = || Ok::<_, ra::Error>(responder::find(store, &name)?.map(|found| found.record.standing(&id)));
    let mut stands = standing()?;
    if stands == Some(Standing::Renewed) {
        service.commit(|now| {
            let batch = responder::take_up(store, &name, &id, now)?;
            Ok((batch.unwrap_or_else(|| ca::batch(now)), ()))
        })?;
        stands = standing()?;
    }
    match stands {
        Some(Standing::Current) => Ok(ResponderIdentity { name, certificate: id, not_after }),
        Some(Standing::Expelled) => Err(ended(service, &name)?),
        _ => Err(refuse(401, "another certificate has taken the place of this responder's")),
    }
}

/// What a responder is told whose certificate was ended on purpose. It has to cease to answer: under names of their own,
/// so that this is told from a certificate that is merely not good now.
fn ended(service: &Service, name: &str) -> Result<Failure, Failure> {
    let found = responder::find(service.store.as_ref(), name)?;
    Ok(match found.and_then(|found| found.record.expelled) {
        Some(at) => Failure::new(
            401,
            api::responders::EXPELLED,
            "The responder is expelled",
            format!("{name} was expelled at {at}: stop it, or enrol it again by a new code"),
        ),
        None => Failure::new(
            401,
            api::responders::REVOKED,
            "The responder's certificate is revoked",
            format!(
                "another certificate of {name} is in its place: stop this responder, or enrol it again by a new code"
            ),
        ),
    })
}

impl FromRequestParts<Arc<Service>> for ResponderIdentity {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Service>) -> Result<Self, Failure> {
        let responder = parts.extensions.get::<ResponderIdentity>().cloned();
        responder.ok_or_else(|| Failure::internal("a route without the responder's guard"))
    }
}

/// A call from a station: its head and its body.
#[derive(Debug)]
pub struct Caller {
    station: String,
    session: Option<String>,
    idempotency_key: Option<String>,
    target: String,
}

impl FromRequestParts<Arc<Service>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Service>) -> Result<Self, Failure> {
        let Some(StationIdentity(station)) = parts.extensions.get::<StationIdentity>().cloned() else {
            return Err(Failure::internal("a route without the station's guard"));
        };
        let text = |name: &str| -> Result<Option<String>, Failure> {
            match parts.headers.get(name).map(|value| value.to_str()) {
                None => Ok(None),
                Some(Ok(value)) => Ok(Some(value.to_owned())),
                Some(Err(_)) => {
                    let detail = format!("the header {name} has characters that it cannot have");
                    Err(Failure::new(400, "header", "A header cannot be read", detail))
                }
            }
        };
        Ok(Caller {
            station,
            session: text(api::SESSION_HEADER)?,
            idempotency_key: text(api::IDEMPOTENCY_HEADER)?,
            target: format!("{} {}", parts.method, parts.uri.path()),
        })
    }
}

/// A request that was found to be permitted. Its permit opens the domain.
#[derive(Debug)]
pub struct AuthorisedRequest<O, T> {
    /// The permission.
    pub permit: Permit<O>,
    /// The station.
    pub station: String,
    /// The body.
    pub body: T,
    /// Its idempotency key.
    pub repeatable: Repeatable,
}

/// A call whose operator is known.
#[derive(Debug)]
pub struct OperatorCall<'a> {
    service: &'a Service,
    caller: &'a Caller,
    operator: Operator,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("name", &self.config.service.name).finish_non_exhaustive()
    }
}

impl Caller {
    /// The station's name.
    pub fn station(&self) -> &str {
        &self.station
    }

    /// For audit records of what the station does without an operator.
    pub fn station_actor(&self) -> audit::Actor {
        audit::Actor { station: Some(self.station.clone()), ..audit::Actor::default() }
    }

    /// The session's token, as octets.
    pub(crate) fn token(&self) -> Result<Vec<u8>, Failure> {
        let token = self.session.as_deref().ok_or(ra::Error::NoSession)?;
        BASE64URL_NOPAD.decode(token.as_bytes()).map_err(|_| ra::Error::NoSession.into())
    }

    /// The operator, by the session.
    ///
    /// # Errors
    /// 401 when there is no session, or it has ended.
    pub fn operator<'a>(&'a self, service: &'a Service) -> Result<OperatorCall<'a>, Failure> {
        let token = self.token()?;
        let times = service.session_times();
        let (_, operator) = service.commit(|now| {
            let (session, used) = session::find(service.store.as_ref(), &token, &self.station, times, now)?;
            let batch = used.unwrap_or_else(|| ca::batch(now));
            Ok((batch, session.operator()))
        })?;
        Ok(OperatorCall { service, caller: self, operator })
    }

    /// Looks the idempotency key up, for a call without an operator.
    ///
    /// # Errors
    /// As [`Repeatable::begin`].
    pub fn repeatable(&self, service: &Service, body: &[u8]) -> Result<Result<Repeatable, Reply>, Failure> {
        self.begin(service, "", body)
    }

    fn begin(&self, service: &Service, operator: &str, body: &[u8]) -> Result<Result<Repeatable, Reply>, Failure> {
        let now = service.now();
        let call =
            Call { station: &self.station, operator, target: &self.target, key: self.idempotency_key.as_deref(), body };
        let expires = now.plus(service.config.times.idempotency);
        Repeatable::begin(service.store.as_ref(), call, service.authority().owner(), expires, now)
    }
}

impl OperatorCall<'_> {
    /// Who calls.
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// Permission to look at something. A refusal is recorded.
    ///
    /// # Errors
    /// 403 with the rule.
    pub fn permit<O: Operation>(&self, on: On<'_>, targets: &[Target]) -> Result<Permit<O>, Failure> {
        let service = self.service;
        match policy::authorise::<O>(&service.policy, service.store.as_ref(), &self.operator, on) {
            Ok(permit) => Ok(permit),
            Err(ra::Error::Refused(refusal)) => {
                service.metrics.refusals.inc();
                let actor = self.operator.actor();
                service.commit(|now| Ok((refusal.recorded(&actor, targets, now)?, ())))?;
                Err(ra::Error::Refused(refusal).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Permission to change something; then the idempotency key is looked up. An answer that was given already comes as
    /// `Ok(Err(reply))`.
    ///
    /// # Errors
    /// 403 with the rule, or as [`Repeatable::begin`].
    pub fn authorise<O: Operation, T>(
        &self,
        on: On<'_>,
        targets: &[Target],
        raw: &Bytes,
        body: T,
    ) -> Result<Result<AuthorisedRequest<O, T>, Reply>, Failure> {
        let permit = self.permit::<O>(on, targets)?;
        let station = self.caller.station.clone();
        let repeatable = self.caller.begin(self.service, self.operator.person.as_str(), raw)?;
        Ok(repeatable.map(|repeatable| AuthorisedRequest { permit, station, body, repeatable }))
    }
}

/// Reads a JSON body.
///
/// # Errors
/// 400 with the place where it is wrong.
pub fn json<T: serde::de::DeserializeOwned>(body: &Bytes) -> Result<T, Failure> {
    // A struct could also be read from an array, by the order of its fields: the document knows objects only.
    if body.iter().find(|octet| !octet.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Failure::new(400, "body", "The body cannot be read", "the body must be a JSON object"));
    }
    serde_json::from_slice(body)
        .map_err(|error| Failure::new(400, "body", "The body cannot be read", format!("the JSON body: {error}")))
}
