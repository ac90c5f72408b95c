//! The service as a station sees it, on a Unix socket: issuances, their confirmation and abortion, logins.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use api::cards::{CardView, CertificateView, ConfirmationRequest, IssuanceKind, IssuanceRequest, IssuanceView};
use api::sessions::{ChallengeReply, SessionReply, SessionRequest};
use api::{Base64, Problem};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pki::certificate::ParsedCertificate;
use pki::request::check_request;
use pki::{KeyType, PublicKey};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PublicKeyData,
};
use ring::digest::{SHA256, digest};
use serde::Serialize;
use tokio::net::UnixListener;

pub(crate) const DEPLOYMENT: &str = "test";
pub(crate) const STATION: &str = "desk-1";
pub(crate) const TOKEN: &str = "a-token";
pub(crate) const HOLDER: &str = "000000000123";

/// What the service knows.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) cards: HashMap<String, CardView>,
    pub(crate) issuances: Vec<IssuanceView>,
    /// How many answers say that an issuance is still being signed.
    pub(crate) still_reserved: usize,
    /// Every request: method and path.
    pub(crate) log: Vec<String>,
    nonces: u8,
}

pub(crate) struct Service {
    pub(crate) socket: PathBuf,
    pub(crate) state: Arc<Mutex<State>>,
    /// Its CA's certificate.
    pub(crate) ca: Vec<u8>,
}

type Reply = Result<serde_json::Value, Box<Problem>>;

impl Service {
    pub(crate) fn start(socket: PathBuf) -> Self {
        let listener = UnixListener::bind(&socket).unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let ca = Arc::new(ca());
        let ca_der = ca.der().to_vec();
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, ca) = (Arc::clone(&shared), Arc::clone(&ca));
                let answer = service_fn(move |request: Request<Incoming>| {
                    let (state, ca) = (Arc::clone(&state), Arc::clone(&ca));
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let reply = state.lock().unwrap().answer(&ca, &head, &body);
                        Ok::<_, Infallible>(response(reply))
                    }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Service { socket, state, ca: ca_der }
    }

    pub(crate) fn client(&self) -> station::Client {
        station::Client::unix(Path::new(&self.socket), station::Times::default())
    }

    pub(crate) fn card(&self, serial: &str) -> CardView {
        self.state.lock().unwrap().cards[serial].clone()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    pub(crate) fn calls(&self, ending: &str) -> usize {
        self.state.lock().unwrap().log.iter().filter(|line| line.ends_with(ending)).count()
    }
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let (status, kind, body) = match reply {
        Ok(value) => (StatusCode::OK, "application/json", value.to_string()),
        Err(problem) => (
            StatusCode::from_u16(problem.status).unwrap(),
            api::problem::MEDIA_TYPE,
            serde_json::to_string(&problem).unwrap(),
        ),
    };
    Response::builder().status(status).header("content-type", kind).body(Full::from(body)).unwrap()
}

fn ca() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn json(value: &impl Serialize) -> Reply {
    Ok(serde_json::to_value(value).unwrap())
}

fn refused(status: u16, name: &str) -> Box<Problem> {
    Box::new(Problem::new(status, name, name, "by the test"))
}

impl State {
    fn answer(&mut self, ca: &CertifiedIssuer<'static, KeyPair>, head: &http::request::Parts, body: &[u8]) -> Reply {
        let path = head.uri.path().strip_prefix(api::PREFIX).unwrap().to_owned();
        self.log.push(format!("{} {path}", head.method));
        let session = head.headers.get(api::SESSION_HEADER).is_some_and(|token| token == TOKEN);
        if head.method == "POST" {
            assert!(head.headers.contains_key(api::IDEMPOTENCY_HEADER), "{path}");
        }
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (head.method.as_str(), parts.as_slice()) {
            ("POST", ["challenges"]) => json(&ChallengeReply {
                nonce: Base64(vec![9; 32]),
                expires: "2030-01-01T00:00:00Z".into(),
                deployment: DEPLOYMENT.into(),
                station: STATION.into(),
            }),
            ("POST", ["sessions"]) => self.login(body),
            ("GET", ["cards", serial, "issuance"]) => self.open_issuance(serial),
            ("DELETE", ["sessions", "current"]) if session => Ok(serde_json::Value::Null),
            ("GET", ["cards", serial]) if session => match self.cards.get(*serial) {
                Some(card) => json(card),
                None => Err(refused(404, "not-found")),
            },
            ("POST", ["cards"]) if session => self.allocate(body),
            ("POST", ["cards", serial, "issuances"]) if session => self.issue(ca, serial, body),
            ("POST", ["issuances", id, "confirmation"]) => self.confirm(id, body),
            ("POST", ["issuances", id, "abort"]) => self.undo(id),
            ("GET", ["certificates", _, serial]) if session => {
                let all = self.cards.values().flat_map(|card| &card.certificates);
                match all.clone().find(|certificate| certificate.serial == *serial) {
                    Some(certificate) => json(certificate),
                    None => Err(refused(404, "not-found")),
                }
            }
            ("POST" | "GET", ["cards" | "certificates", ..]) => Err(refused(401, "no-session")),
            _ => Err(refused(404, "no-such-path")),
        }
    }

    fn login(&self, body: &[u8]) -> Reply {
        let person = match serde_json::from_slice(body).unwrap() {
            SessionRequest::Code { .. } => HOLDER.to_owned(),
            SessionRequest::Card { nonce, certificate, signature } => {
                let certificate = ParsedCertificate::from_der(&certificate.0).unwrap();
                let key = certificate.public_key();
                let statement = pki::statement::login(DEPLOYMENT, STATION, &nonce.0);
                if key.verify(key.key_type().signature_algorithm(), &statement, &signature.0).is_err() {
                    return Err(refused(403, "login-refused"));
                }
                certificate.user_id().unwrap().to_owned()
            }
        };
        json(&SessionReply { token: TOKEN.into(), person, expires: "2030-01-01T00:00:00Z".into() })
    }

    fn allocate(&mut self, body: &[u8]) -> Reply {
        let request: api::cards::AllocationRequest = serde_json::from_slice(body).unwrap();
        let card = self.cards.entry(request.serial.clone()).or_insert(CardView {
            serial: request.serial,
            series: request.series,
            holder: request.holder,
            state: "allocated".into(),
            holds: Vec::new(),
            cause: None,
            issuance: None,
            certificates: Vec::new(),
        });
        if card.state == "allocated" { json(card) } else { Err(refused(409, "exists")) }
    }

    fn open_issuance(&mut self, serial: &str) -> Reply {
        let open = self.issuances.iter().find(|issuance| issuance.card == serial && issuance.state == "pending");
        match open {
            Some(issuance) if self.still_reserved > 0 => {
                self.still_reserved -= 1;
                json(&IssuanceView { state: "reserved".into(), ..issuance.clone() })
            }
            Some(issuance) => json(issuance),
            None => Err(refused(404, "not-found")),
        }
    }

    fn issue(&mut self, ca: &CertifiedIssuer<'static, KeyPair>, serial: &str, body: &[u8]) -> Reply {
        let request: IssuanceRequest = serde_json::from_slice(body).unwrap();
        let wanted = match request.kind {
            IssuanceKind::Issue => "allocated",
            IssuanceKind::Renew => "active",
        };
        let open = self.issuances.iter().any(|issuance| issuance.card == serial && issuance.state == "pending");
        if open || self.cards.get(serial).is_none_or(|card| card.state != wanted) {
            return Err(refused(409, "wrong-state"));
        }
        let certify = |request: &Base64, profile: &str| certify(ca, &request.0, profile);
        self.nonces += 1;
        let issuance = IssuanceView {
            id: format!("{:032}", self.nonces),
            card: serial.to_owned(),
            person: HOLDER.into(),
            kind: request.kind,
            state: "pending".into(),
            nonce: Base64(vec![self.nonces; 32]),
            confirm_by: "2030-01-01T00:00:00Z".into(),
            authentication: certify(&request.authentication, "card-authentication"),
            signing: certify(&request.signing, "card-signing"),
        };
        self.issuances.push(issuance.clone());
        let card = self.cards.get_mut(serial).unwrap();
        for certificate in [&issuance.authentication, &issuance.signing] {
            card.certificates.insert(0, certificate.clone());
        }
        json(&issuance)
    }

    fn confirm(&mut self, id: &str, body: &[u8]) -> Reply {
        let request: ConfirmationRequest = serde_json::from_slice(body).unwrap();
        let issuance = self.issuances.iter_mut().find(|issuance| issuance.id == id).unwrap();
        if issuance.state != "pending" {
            return Err(refused(409, "ended"));
        }
        let der = |view: &CertificateView| view.certificate.clone().unwrap().0;
        let sum = |view: &CertificateView| -> [u8; 32] { digest(&SHA256, &der(view)).as_ref().try_into().unwrap() };
        let statement = pki::statement::confirmation(
            id,
            &issuance.nonce.0,
            &sum(&issuance.authentication),
            &sum(&issuance.signing),
        );
        for (view, signature) in
            [(&issuance.authentication, &request.authentication), (&issuance.signing, &request.signing)]
        {
            let certificate = ParsedCertificate::from_der(&der(view)).unwrap();
            let key = certificate.public_key();
            if key.verify(key.key_type().signature_algorithm(), &statement, &signature.0).is_err() {
                return Err(refused(422, "not-confirmed"));
            }
        }
        issuance.state = "confirmed".into();
        let new = [issuance.authentication.serial.clone(), issuance.signing.serial.clone()];
        let card = self.cards.get_mut(&issuance.card).unwrap();
        card.state = "active".into();
        for certificate in &mut card.certificates {
            if new.contains(&certificate.serial) {
                certificate.state = "good".into();
            } else if certificate.state == "good" {
                certificate.state = "revoked".into();
            }
        }
        json(issuance)
    }

    pub(crate) fn undo(&mut self, id: &str) -> Reply {
        let issuance = self.issuances.iter_mut().find(|issuance| issuance.id == id).unwrap();
        issuance.state = "undone".into();
        let undone = [issuance.authentication.serial.clone(), issuance.signing.serial.clone()];
        for certificate in &mut self.cards.get_mut(&issuance.card).unwrap().certificates {
            if undone.contains(&certificate.serial) {
                certificate.state = "revoked".into();
            }
        }
        json(issuance)
    }
}

struct CertifiedKey(PublicKey);

impl PublicKeyData for CertifiedKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.key_bits()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self.0.key_type() {
            KeyType::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyType::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            _ => &rcgen::PKCS_RSA_SHA256,
        }
    }
}

fn certify(ca: &CertifiedIssuer<'static, KeyPair>, request: &[u8], profile: &str) -> CertificateView {
    let checked = check_request(request).unwrap();
    assert!(checked.ignored().is_empty(), "{:?}", checked.ignored());
    let key = CertifiedKey(checked.public_key().clone());
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("{HOLDER}_Ada_Byron"));
    let serial_number = rcgen::DnValue::PrintableString(HOLDER.try_into().unwrap());
    params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), serial_number);
    params.is_ca = IsCa::ExplicitNoCa;
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, ca).unwrap();
    let parsed = ParsedCertificate::from_der(certificate.der()).unwrap();
    CertificateView {
        issuer: "ca-1".into(),
        serial: parsed.serial().to_string(),
        profile: profile.into(),
        state: "pending".into(),
        reason: None,
        not_before: parsed.not_before().to_string(),
        not_after: parsed.not_after().to_string(),
        ignored: Vec::new(),
        certificate: Some(Base64(certificate.der().to_vec())),
    }
}
