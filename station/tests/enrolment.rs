//! A station is enrolled by a code, and known by its certificate afterwards.

mod common;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::stations::{EnrolmentReply, EnrolmentRequest, ServiceDescription};
use api::{EnrolmentCode, Problem};
use bytes::Bytes;
use common::tls::Pki;
use config::StationConfig;
use http::Response;
use http_body_util::{BodyExt, Full};
use pki::certificate::ParsedCertificate;
use pki::request::check_request;
use rcgen::{CertificateParams, PublicKeyData};
use ring::digest::{SHA256, digest};
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use station::enrol::{Enrolment, join};
use station::{Client, Error, Times, operations, tls};

struct RequestedKey(Vec<u8>);

impl PublicKeyData for RequestedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// How the service answers an enrolment.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Enrols,
    Refuses,
    CertifiesAnotherKey,
    SendsAnotherRoot,
}

struct Service {
    pki: Arc<Pki>,
    address: SocketAddr,
    enrolments: Arc<AtomicUsize>,
}

impl Service {
    async fn start(mode: Mode) -> Self {
        let (pki, enrolments) = (Arc::new(Pki::new()), Arc::new(AtomicUsize::new(0)));
        let (ca, count) = (Arc::clone(&pki), Arc::clone(&enrolments));
        let address = pki
            .serve(None, move |request, certificate| {
                let (ca, count) = (Arc::clone(&ca), Arc::clone(&count));
                async move {
                    assert_eq!(request.uri().path(), "/api/v1/enrolments");
                    assert!(certificate.is_none());
                    count.fetch_add(1, Ordering::SeqCst);
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    enrol(mode, &ca, &serde_json::from_slice(&body).unwrap())
                }
            })
            .await;
        Service { pki, address, enrolments }
    }

    fn fingerprint(&self) -> [u8; 16] {
        digest(&SHA256, self.pki.root.der()).as_ref()[..16].try_into().unwrap()
    }

    fn enrolment(&self, directory: &Path) -> Enrolment {
        Enrolment {
            server: format!("https://localhost:{}/", self.address.port()),
            code: EnrolmentCode { secret: [5; 16], ca_fingerprint: self.fingerprint() },
            name: "desk-1".into(),
            directory: directory.to_owned(),
            replace: false,
            module: None,
        }
    }
}

fn enrol(mode: Mode, pki: &Pki, request: &EnrolmentRequest) -> Response<Full<Bytes>> {
    assert_eq!((request.name.as_str(), &request.secret.0[..]), ("desk-1", &[5; 16][..]));
    if mode == Mode::Refuses {
        let problem = Problem::new(403, "code-refused", "Code refused", "it was used already");
        return Response::builder()
            .status(403)
            .header("content-type", api::problem::MEDIA_TYPE)
            .body(Full::from(serde_json::to_string(&problem).unwrap()))
            .unwrap();
    }
    let checked = check_request(&request.request.0).unwrap();
    let key = match mode {
        Mode::CertifiesAnotherKey => rcgen::KeyPair::generate().unwrap().der_bytes().to_vec(),
        _ => checked.public_key().key_bits().to_vec(),
    };
    let mut params = CertificateParams::new(vec!["desk-1".to_owned()]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&RequestedKey(key), &pki.issuing).unwrap();
    let root = match mode {
        Mode::SendsAnotherRoot => Pki::new().root.der().to_vec(),
        _ => pki.root.der().to_vec(),
    };
    let reply = EnrolmentReply {
        certificate: certificate.der().to_vec().into(),
        chain: vec![pki.issuing.der().to_vec().into(), root.into()],
        deployment: "test".into(),
    };
    Response::new(Full::from(serde_json::to_string(&reply).unwrap()))
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_station_is_enrolled_and_known_by_its_certificate_from_then_on() {
    let service = Service::start(Mode::Enrols).await;
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("station");
    let enrolled = join(&service.enrolment(&place)).await.unwrap();
    assert_eq!(enrolled.deployment, "test");
    assert_eq!(names(&place), ["root.pem", "station.key", "station.pem", "station.toml"]);
    let config = StationConfig::load(&enrolled.config_file).unwrap();
    assert_eq!((config.name.as_str(), config.server.ends_with('/')), ("desk-1", false));
    let mode = std::fs::metadata(&config.key_file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(tls::certificates(&config.ca_file).unwrap(), [service.pki.root.der().to_vec()]);
    assert_eq!(tls::certificates(&config.certificate_file).unwrap().len(), 2);

    // The door that only stations go through.
    let door = service.pki.serve(Some(service.pki.root.der()), |request, certificate| async move {
        let certificate = ParsedCertificate::from_der(&certificate.unwrap()).unwrap();
        assert_eq!(request.uri().path(), "/api/v1/service");
        let station = certificate.dns_names()[0].clone();
        let description = ServiceDescription { deployment: "test".into(), version: "1".into(), station };
        Response::new(Full::from(serde_json::to_string(&description).unwrap()))
    });
    let mut config = config;
    config.server = format!("https://localhost:{}", door.await.port());
    let client = Client::for_station(&config).unwrap();
    assert_eq!(operations::service(&client).await.unwrap().station, "desk-1");

    // Nobody else does.
    let roots = [service.pki.root.der().to_vec()];
    let stranger = Client::https(&config.server, tls::plain_config(&roots).unwrap(), Times::default()).unwrap();
    let error = operations::service(&stranger).await.unwrap_err();
    assert!(matches!(&error, Error::HandshakeRefused { alert, .. } if alert == "CertificateRequired"), "{error}");

    std::fs::set_permissions(&config.key_file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = Client::for_station(&config).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[tokio::test]
async fn a_server_with_another_root_than_the_codes_gets_no_code() {
    let service = Service::start(Mode::Enrols).await;
    let directory = tempfile::tempdir().unwrap();
    let mut enrolment = service.enrolment(directory.path());
    enrolment.code.ca_fingerprint[15] ^= 1;
    let error = join(&enrolment).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::ServerNotTrusted { .. }), "{error}");
    assert_eq!(service.enrolments.load(Ordering::SeqCst), 0);
    assert_eq!(names(directory.path()), [""; 0]);
}

#[test]
fn the_codes_root_at_the_end_of_the_chain_is_not_enough() {
    // Somebody in between knows the real root, sends it along, and has a certificate by another.
    let (real, fake) = (Pki::new(), Pki::new());
    let fingerprint = digest(&SHA256, real.root.der()).as_ref()[..16].try_into().unwrap();
    let (_, pinned) = tls::enrolment_config(fingerprint).unwrap();
    let verify = |pki: &Pki| {
        let chain = [pki.issuing.der().clone(), real.root.der().clone()];
        let name = ServerName::try_from("localhost").unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
        pinned.verify_server_cert(&CertificateDer::from(pki.server.0.clone()), &chain, &name, &[], now)
    };
    verify(&fake).unwrap_err();
    assert_eq!(pinned.root(), None);
    verify(&real).unwrap();
    assert_eq!(pinned.root(), Some(real.root.der().to_vec()));
}

#[tokio::test]
async fn the_right_service_under_another_name_gets_no_code() {
    let service = Service::start(Mode::Enrols).await;
    let directory = tempfile::tempdir().unwrap();
    let mut enrolment = service.enrolment(directory.path());
    enrolment.server = format!("https://127.0.0.1:{}", service.address.port());
    let error = join(&enrolment).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::ServerNotTrusted { .. }), "{error}");
    assert_eq!(service.enrolments.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_station_is_replaced_only_when_that_is_said() {
    let service = Service::start(Mode::Enrols).await;
    let directory = tempfile::tempdir().unwrap();
    let enrolment = service.enrolment(directory.path());
    join(&enrolment).await.unwrap();
    let key = || std::fs::read(directory.path().join("station.key")).unwrap();
    let first = key();
    assert!(matches!(join(&enrolment).await, Err(Error::AlreadyEnrolled { .. })));
    assert_eq!((key(), service.enrolments.load(Ordering::SeqCst)), (first.clone(), 1));
    join(&Enrolment { replace: true, ..enrolment }).await.unwrap();
    assert_ne!(key(), first);
    assert_eq!(names(directory.path()).len(), 4);
}

#[tokio::test]
async fn what_the_service_refuses_or_gets_wrong_leaves_no_station() {
    for mode in [Mode::Refuses, Mode::CertifiesAnotherKey, Mode::SendsAnotherRoot] {
        let service = Service::start(mode).await;
        let directory = tempfile::tempdir().unwrap();
        let error = join(&service.enrolment(directory.path())).await.map(|_| ()).unwrap_err();
        match mode {
            Mode::Refuses => assert_eq!(error.problem().unwrap().name(), "code-refused"),
            _ => assert!(matches!(error, Error::Enrolment(_)), "{error}"),
        }
        assert_eq!(names(directory.path()), [""; 0]);
    }
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_before_the_code_is_used() {
    let service = Service::start(Mode::Enrols).await;
    let directory = tempfile::tempdir().unwrap();
    let enrolment = Enrolment { name: "Desk 1".into(), ..service.enrolment(directory.path()) };
    assert!(matches!(join(&enrolment).await, Err(Error::Config(_))));
    assert_eq!(service.enrolments.load(Ordering::SeqCst), 0);
}
