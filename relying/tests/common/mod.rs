//! A small PKI, an OCSP responder that says what it is told to, and a client.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pki::ocsp::{CertStatus, OcspLimits, OcspRequest, ResponderId, ResponseContent, SingleResponse, prepare_response};
use pki::{PublicKey, SignatureAlgorithm, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SigningKey,
};
use relying::{Clock, Options, RelyingServer, system_clock};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

pub(crate) type Ca = CertifiedIssuer<'static, KeyPair>;

pub(crate) fn name(common_name: &str, user_id: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Test");
    name.push(DnType::CommonName, common_name);
    if let Some(user_id) = user_id {
        name.push(DnType::CustomDnType(vec![2, 5, 4, 5]), rcgen::DnValue::PrintableString(user_id.try_into().unwrap()));
    }
    name
}

fn ca_params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(common_name, None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

pub(crate) struct Leaf {
    pub(crate) der: Vec<u8>,
    pub(crate) key: KeyPair,
}

pub(crate) fn leaf(ca: &Ca, params: CertificateParams) -> Leaf {
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    Leaf { der: certificate.der().to_vec(), key }
}

pub(crate) fn card_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("000000000123_Ada_Byron", Some("000000000123"));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

/// A root, the CA for cards, another CA, and a server.
pub(crate) struct Pki {
    pub(crate) root: Vec<u8>,
    pub(crate) cards: Ca,
    pub(crate) devices: Ca,
    pub(crate) server: Leaf,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let root = CertifiedIssuer::self_signed(ca_params("Root"), KeyPair::generate().unwrap()).unwrap();
        let sub = |name| CertifiedIssuer::signed_by(ca_params(name), KeyPair::generate().unwrap(), &root).unwrap();
        let (cards, devices) = (sub("Cards"), sub("Devices"));
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server = leaf(&devices, params);
        Pki { root: root.der().to_vec(), cards, devices, server }
    }

    pub(crate) async fn start(&self, ocsp_url: Option<String>, clock: Clock) -> RelyingServer {
        let options = Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            chain: vec![self.server.der.clone(), self.devices.der().to_vec()],
            key: Options::key_from_pem(self.server.key.serialize_pem().as_bytes()).unwrap(),
            roots: vec![self.root.clone()],
            issuers: vec![self.cards.der().to_vec()],
            ocsp_url,
            clock,
        };
        RelyingServer::start(options).await.unwrap()
    }
}

/// What the responder is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Says(CertStatus),
    /// Good, with another request's nonce.
    Replays,
    /// Good, signed by another key under the CA's name.
    Forges,
    /// Good, until a minute ago.
    Outdated,
    /// HTTP 500.
    Fails,
    /// Something that is no OCSP answer.
    Babbles,
}

pub(crate) struct Responder {
    pub(crate) url: String,
    mode: Arc<Mutex<Mode>>,
}

impl Responder {
    pub(crate) async fn start(ca: &Ca) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/ocsp", listener.local_addr().unwrap());
        let mode = Arc::new(Mutex::new(Mode::Says(CertStatus::Good)));
        let key = Arc::new(KeyPair::from_pem(&ca.key().serialize_pem()).unwrap());
        let shared = Arc::clone(&mode);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mode, key) = (Arc::clone(&shared), Arc::clone(&key));
                let answer = service_fn(move |request: Request<Incoming>| {
                    let (mode, key) = (*mode.lock().unwrap(), Arc::clone(&key));
                    async move {
                        assert_eq!(request.headers()["content-type"], "application/ocsp-request");
                        let body = request.into_body().collect().await?.to_bytes();
                        Ok::<_, hyper::Error>(response(mode, &key, &body))
                    }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Responder { url, mode }
    }

    pub(crate) fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }
}

fn response(mode: Mode, key: &KeyPair, body: &[u8]) -> Response<Full<Bytes>> {
    let request = OcspRequest::from_der(body, &OcspLimits::default()).unwrap();
    let now = system_clock()().whole_seconds();
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let (status, next_update) = match mode {
        Mode::Says(status) => (status, now.plus(minutes(10))),
        Mode::Outdated => (CertStatus::Good, now.minus(minutes(1))),
        _ => (CertStatus::Good, now.plus(minutes(10))),
    };
    let cert_id = request.cert_ids()[0];
    let single = SingleResponse {
        cert_id: cert_id.der(),
        status,
        this_update: now.minus(minutes(20)),
        next_update,
        archive_cutoff: None,
    };
    let other = [&[0x04, 0x20][..], &[7; 32]].concat();
    let nonce = match mode {
        Mode::Replays => Some(pki::ocsp::Nonce::from_extension_value(&other).unwrap()),
        _ => request.nonce(),
    };
    let public = PublicKey::from_spki_der(&rcgen::PublicKeyData::subject_public_key_info(key)).unwrap();
    let content = ResponseContent {
        responder_id: ResponderId::ByKey(public.key_identifier()),
        produced_at: now.minus(minutes(5)),
        responses: &[single],
        nonce,
        extended_revoke: false,
    };
    let prepared = prepare_response(&content, SignatureAlgorithm::EcdsaP256Sha256).unwrap();
    let signature = match mode {
        Mode::Forges => KeyPair::generate().unwrap().sign(prepared.tbs_der()).unwrap(),
        _ => key.sign(prepared.tbs_der()).unwrap(),
    };
    let mut response = match mode {
        Mode::Babbles => Response::new(Full::from("no OCSP")),
        _ => Response::new(Full::from(prepared.assemble(&signature, None).unwrap())),
    };
    if mode == Mode::Fails {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    response
}

/// A connection that stays open for several requests.
pub(crate) struct Visitor {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl Visitor {
    /// Connects; the server's refusal of the certificate may come now or with the first request.
    pub(crate) async fn new(pki: &Pki, address: SocketAddr, leaf: Option<&Leaf>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(pki.root.clone())).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match leaf {
            None => config.with_no_client_auth(),
            Some(leaf) => {
                let key = PrivateKeyDer::try_from(leaf.key.serialize_der()).unwrap();
                config.with_client_auth_cert(vec![leaf.der.clone().into()], key).unwrap()
            }
        };
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|e| e.to_string())?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Ok(Visitor { sender })
    }

    pub(crate) async fn get(&mut self) -> Result<(u16, serde_json::Value), String> {
        let request = Request::get("/").header("host", "localhost").body(Full::default()).unwrap();
        let text = |error: hyper::Error| format!("{error:?}");
        self.sender.ready().await.map_err(text)?;
        let answer = self.sender.send_request(request).await.map_err(text)?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(text)?.to_bytes();
        Ok((status, serde_json::from_slice(&body).unwrap()))
    }
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}
