//! A probe says of an OCSP responder what a relying system would find, and nothing of it comes as an error.

use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use data_encoding::BASE64;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::pkcs8::DecodePrivateKey;
use pki::ocsp::{
    CertStatus, ErrorStatus, OcspLimits, OcspRequest, ResponderId, ResponseContent, SingleResponse, prepare_response,
};
use pki::{CrlReason, PublicKey, SignatureAlgorithm, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PublicKeyData,
};
use relying::probe::{OCSP_TIME, OcspProbe, OcspReport, Outcome, SIGNER_WARNING, SeenWithin, Status, ocsp};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

/// 2026-11-22T15:30:00Z.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_361_400);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// How checks come out, by their names.
type Expected = &'static [(&'static str, Outcome)];

type Ca = CertifiedIssuer<'static, KeyPair>;

fn params(name: &str, until: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = NOW.minus(24 * HOUR).to_offset_date_time();
    params.not_after = until.to_offset_date_time();
    params
}

fn ca() -> Ca {
    let mut params = params("Cards", NOW.plus(1000 * HOUR));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A card's certificate.
fn leaf(ca: &Ca) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    params("Ada", NOW.plus(100 * HOUR)).signed_by(&key, ca).unwrap().der().to_vec()
}

/// What is wrong with the responder.
#[derive(Clone, Debug)]
struct Flaws {
    status: CertStatus,
    /// What only POST says.
    posted: Option<CertStatus>,
    /// The producedAt of what GET says.
    got_at: Timestamp,
    this_update: Timestamp,
    next_update: Timestamp,
    signer_until: Timestamp,
    no_check: bool,
    wrong_signature: bool,
    error: Option<ErrorStatus>,
    http_status: u16,
    content_type: &'static str,
    cache_control: Option<&'static str>,
    validators: bool,
    date: Option<String>,
    only_sha256: bool,
    merges_slashes: bool,
    ignores_nonce: bool,
    keeps_nonces: bool,
    ignores_conditions: bool,
    refuses: Option<Method>,
}

impl Default for Flaws {
    fn default() -> Self {
        Flaws {
            status: CertStatus::Good,
            posted: None,
            got_at: NOW,
            this_update: NOW.minus(MINUTE),
            next_update: NOW.plus(9 * MINUTE),
            signer_until: NOW.plus(12 * HOUR),
            no_check: true,
            wrong_signature: false,
            error: None,
            http_status: 200,
            content_type: "application/ocsp-response",
            cache_control: Some("max-age=5, public, no-transform, must-revalidate"),
            validators: true,
            date: Some(http_date(NOW)),
            only_sha256: false,
            merges_slashes: false,
            ignores_nonce: false,
            keeps_nonces: false,
            ignores_conditions: false,
            refuses: None,
        }
    }
}

fn http_date(time: Timestamp) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(time.unix_seconds().unsigned_abs()))
}

struct Responder {
    url: String,
    ca: Arc<Ca>,
    certificate: Vec<u8>,
    flaws: Arc<Mutex<Flaws>>,
}

impl Responder {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/ocsp", listener.local_addr().unwrap());
        let ca = Arc::new(ca());
        let flaws = Arc::new(Mutex::new(Flaws::default()));
        let (shared, signing_for) = (Arc::clone(&flaws), Arc::clone(&ca));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (flaws, ca) = (Arc::clone(&shared), Arc::clone(&signing_for));
                let answer = service_fn(move |request: Request<Incoming>| {
                    let (flaws, ca) = (flaws.lock().unwrap().clone(), Arc::clone(&ca));
                    async move { Ok::<_, hyper::Error>(reply(request, &flaws, &ca).await) }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        let certificate = leaf(&ca);
        Responder { url, ca, certificate, flaws }
    }

    fn probe(&self) -> OcspProbe {
        OcspProbe {
            url: self.url.clone(),
            certificate: self.certificate.clone(),
            issuers: vec![ca().der().to_vec(), self.ca.der().to_vec()],
            nonce: true,
            expected: None,
            warn: SIGNER_WARNING,
            now: NOW,
            time: OCSP_TIME,
        }
    }

    async fn with(&self, flaws: Flaws) -> OcspReport {
        *self.flaws.lock().unwrap() = flaws;
        ocsp(&self.probe()).await.unwrap()
    }
}

async fn reply(request: Request<Incoming>, flaws: &Flaws, ca: &Ca) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    if flaws.refuses.as_ref() == Some(&parts.method) {
        return Response::builder().status(405).body(Full::default()).unwrap();
    }
    let is_post = parts.method == Method::POST;
    let der = if is_post {
        body.collect().await.unwrap().to_bytes().to_vec()
    } else {
        let path = parts.uri.path().strip_prefix("/ocsp/").unwrap().to_owned();
        let path = if flaws.merges_slashes && path.contains("//") { path.replace("//", "/") } else { path };
        let text = path.replace("%2F", "/").replace("%2B", "+").replace("%3D", "=");
        BASE64.decode(text.as_bytes()).unwrap_or_default()
    };
    let answer = answer(&der, flaws, ca, is_post);
    let has_nonce = OcspRequest::from_der(&der, &OcspLimits::default()).is_ok_and(|request| request.nonce().is_some());
    let tag = format!("\"{}\"", data_encoding::HEXLOWER.encode(&Sha256::digest(&der)[..4]));
    let mut response = Response::builder().header(header::CONTENT_TYPE, flaws.content_type);
    if let Some(date) = &flaws.date {
        response = response.header(header::DATE, date);
    }
    let mut status = flaws.http_status;
    let mut body = answer;
    if (is_post || has_nonce) && !flaws.keeps_nonces {
        response = response.header(header::CACHE_CONTROL, "no-store");
    } else {
        if let Some(text) = flaws.cache_control {
            response = response.header(header::CACHE_CONTROL, text);
        }
        if flaws.validators {
            response = response.header(header::LAST_MODIFIED, http_date(flaws.this_update));
            response = response.header(header::EXPIRES, http_date(flaws.next_update));
            response = response.header(header::ETAG, &tag);
        }
        let known = parts.headers.get(header::IF_NONE_MATCH).is_some_and(|one| one.to_str().unwrap() == tag);
        if known && !flaws.ignores_conditions {
            status = 304;
            body.clear();
        }
    }
    response.status(StatusCode::from_u16(status).unwrap()).body(Full::from(body)).unwrap()
}

fn answer(der: &[u8], flaws: &Flaws, ca: &Ca, is_post: bool) -> Vec<u8> {
    let Ok(request) = OcspRequest::from_der(der, &OcspLimits::default()) else {
        return ErrorStatus::MalformedRequest.response_der().to_vec();
    };
    if let Some(error) = flaws.error {
        return error.response_der().to_vec();
    }
    let cert_id = request.cert_ids()[0];
    if flaws.only_sha256 && cert_id.issuer_name_hash().len() != 32 {
        return ErrorStatus::Unauthorized.response_der().to_vec();
    }
    let mut delegate = params("Signer", flaws.signer_until);
    delegate.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    delegate.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
    if flaws.no_check {
        let no_check = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 48, 1, 5], vec![5, 0]);
        delegate.custom_extensions = vec![no_check];
    }
    let key = KeyPair::generate().unwrap();
    let delegate = delegate.signed_by(&key, ca).unwrap();
    let public = PublicKey::from_spki_der(&key.subject_public_key_info()).unwrap();
    let status = flaws.posted.filter(|_| is_post).unwrap_or(flaws.status);
    let content = ResponseContent {
        responder_id: ResponderId::ByKey(public.key_identifier()),
        produced_at: if is_post { NOW } else { flaws.got_at },
        responses: &[SingleResponse {
            cert_id: cert_id.der(),
            status,
            this_update: flaws.this_update,
            next_update: flaws.next_update,
            archive_cutoff: None,
        }],
        nonce: request.nonce().filter(|_| !flaws.ignores_nonce),
        extended_revoke: false,
    };
    let prepared = prepare_response(&content, SignatureAlgorithm::EcdsaP256Sha256).unwrap();
    let key = p256::ecdsa::SigningKey::from_pkcs8_der(&key.serialize_der()).unwrap();
    let mut digest = Sha256::digest(prepared.tbs_der());
    digest[0] ^= u8::from(flaws.wrong_signature);
    let signature: p256::ecdsa::Signature = key.sign_prehash(&digest).unwrap();
    prepared.assemble(signature.to_der().as_bytes(), Some(delegate.der())).unwrap()
}

fn found<'a>(report: &'a OcspReport, name: &str) -> &'a relying::probe::Check {
    let found: Vec<_> = report.checks.iter().filter(|check| check.name == name).collect();
    assert_eq!(found.len(), 1, "{name}: {:#?}", report.checks);
    found[0]
}

// conformance: O1, O7, O12, O13, O17, O23, H1, H7, H9, H10, H11
#[tokio::test]
async fn a_responder_as_it_should_be_passes_and_it_is_said_how_late_a_revocation_is_seen() {
    let responder = Responder::start().await;
    let report = responder.with(Flaws::default()).await;
    let other: Vec<_> = report.checks.iter().filter(|check| check.outcome != Outcome::Passed).collect();
    assert!(other.is_empty(), "{other:#?}");
    assert_eq!(report.status, Some(Status::Good));
    assert_eq!(report.signer.as_deref(), Some("CN=Signer"));
    assert_eq!(report.revocation_seen_within_seconds, Some(SeenWithin { next_update: 600, max_age: Some(5) }));
    let visibility = found(&report, "visibility");
    assert!(visibility.text.contains("10 min") && visibility.text.contains("5 s"), "{visibility:?}");
    let without = ocsp(&OcspProbe { nonce: false, ..responder.probe() }).await.unwrap();
    assert_eq!(found(&without, "nonce").outcome, Outcome::Skipped);
}

// conformance: O2, O3, O4
#[tokio::test]
async fn the_status_is_told_and_compared_with_what_was_expected() {
    let responder = Responder::start().await;
    let revoked = CertStatus::Revoked { at: NOW.minus(HOUR), reason: CrlReason::CertificateHold };
    let report = responder.with(Flaws { status: revoked, ..Flaws::default() }).await;
    assert_eq!((report.status, report.count(Outcome::Failed)), (Some(Status::Revoked), 0));
    assert_eq!((report.revoked_at, report.reason.as_deref()), (Some(NOW.minus(HOUR)), Some("certificateHold")));
    for (expected, outcome) in [(Status::Revoked, Outcome::Passed), (Status::Good, Outcome::Failed)] {
        let report = ocsp(&OcspProbe { expected: Some(expected), ..responder.probe() }).await.unwrap();
        assert_eq!(found(&report, "status").outcome, outcome, "{expected}");
    }
    let report = responder.with(Flaws { status: CertStatus::Unknown, ..Flaws::default() }).await;
    assert_eq!(found(&report, "status").outcome, Outcome::Failed);
}

// conformance: O12, O13, O17, O23, H1, H7, H8, H9, H10, H11
#[tokio::test]
async fn what_a_relying_system_cannot_use_fails_and_what_it_can_live_with_is_a_warning() {
    use Outcome::{Failed, Passed, Skipped, Warning};
    let responder = Responder::start().await;
    let plain = Flaws::default;
    let revoked = CertStatus::Revoked { at: NOW.minus(HOUR), reason: CrlReason::KeyCompromise };
    let cases: Vec<(&str, Flaws, Expected)> = vec![
        ("forged", Flaws { wrong_signature: true, ..plain() }, &[("get", Failed), ("post", Failed)]),
        ("busy", Flaws { error: Some(ErrorStatus::TryLater), ..plain() }, &[("get", Failed), ("post", Failed)]),
        ("HTTP error", Flaws { http_status: 503, ..plain() }, &[("get", Failed), ("post", Failed)]),
        ("no GET", Flaws { refuses: Some(Method::GET), ..plain() }, &[("get", Failed), ("post", Passed)]),
        ("no POST", Flaws { refuses: Some(Method::POST), ..plain() }, &[("get", Passed), ("post", Failed)]),
        ("content type", Flaws { content_type: "text/html", ..plain() }, &[("get", Warning), ("post", Warning)]),
        ("over", Flaws { next_update: NOW, ..plain() }, &[("get", Failed), ("post", Failed)]),
        (
            "nearly over",
            Flaws { this_update: NOW.minus(8 * MINUTE), next_update: NOW.plus(2 * MINUTE), ..plain() },
            &[("get", Passed), ("margin", Warning)],
        ),
        ("signer near its end", Flaws { signer_until: NOW.plus(30 * MINUTE), ..plain() }, &[("signer", Warning)]),
        ("outlives its signer", Flaws { signer_until: NOW.plus(5 * MINUTE), ..plain() }, &[("signer", Warning)]),
        ("signer over", Flaws { signer_until: NOW.minus(MINUTE), ..plain() }, &[("get", Failed), ("post", Failed)]),
        ("no ocsp-nocheck", Flaws { no_check: false, ..plain() }, &[("get", Passed), ("signer", Warning)]),
        ("an old answer", Flaws { posted: Some(revoked), ..plain() }, &[("agreement", Failed)]),
        ("SHA-256 only", Flaws { only_sha256: true, ..plain() }, &[("get", Passed), ("sha1", Warning)]),
        ("merged slashes", Flaws { merges_slashes: true, ..plain() }, &[("get", Passed), ("slashes", Warning)]),
        ("no nonce back", Flaws { ignores_nonce: true, ..plain() }, &[("nonce", Failed), ("slashes", Passed)]),
        ("nonces are kept", Flaws { keeps_nonces: true, ..plain() }, &[("nonce", Warning)]),
        (
            "no caching",
            Flaws { cache_control: None, validators: false, ..plain() },
            &[("caching", Warning), ("not_modified", Skipped)],
        ),
        ("no-store", Flaws { cache_control: Some("no-store"), ..plain() }, &[("caching", Warning)]),
        ("no validators", Flaws { validators: false, ..plain() }, &[("caching", Warning), ("not_modified", Skipped)]),
        ("kept too long", Flaws { cache_control: Some("max-age=600"), ..plain() }, &[("caching", Failed)]),
        (
            "kept too long by proxies",
            Flaws { cache_control: Some("max-age=5, S-MaxAge=600"), ..plain() },
            &[("caching", Failed)],
        ),
        ("bare max-age", Flaws { cache_control: Some("max-age=5"), ..plain() }, &[("caching", Warning)]),
        ("no 304", Flaws { ignores_conditions: true, ..plain() }, &[("not_modified", Warning)]),
        ("no HEAD", Flaws { refuses: Some(Method::HEAD), ..plain() }, &[("head", Warning)]),
        ("no Date", Flaws { date: Some("now".to_owned()), ..plain() }, &[("clock", Warning), ("dates", Warning)]),
        (
            "an old form of Date",
            Flaws { date: Some("Sunday, 22-Nov-26 15:30:00 GMT".to_owned()), ..plain() },
            &[("clock", Passed), ("dates", Warning)],
        ),
        ("a clock ahead", Flaws { date: Some(http_date(NOW.plus(2 * MINUTE))), ..plain() }, &[("clock", Warning)]),
        ("a clock behind", Flaws { date: Some(http_date(NOW.minus(2 * MINUTE))), ..plain() }, &[("clock", Warning)]),
    ];
    for (what, flaws, expected) in cases {
        let report = responder.with(flaws).await;
        for (name, outcome) in expected {
            let check = found(&report, name);
            assert_eq!(check.outcome, *outcome, "{what}: {check:?}");
            assert!(!check.text.is_empty(), "{what}: {check:?}");
        }
    }
}

#[tokio::test]
async fn an_old_answer_is_a_warning_for_as_long_as_caches_may_keep_it_and_then_a_failure() {
    let responder = Responder::start().await;
    let revoked = CertStatus::Revoked { at: NOW, reason: CrlReason::KeyCompromise };
    for (age, outcome) in [(0, Outcome::Failed), (5, Outcome::Warning), (6, Outcome::Failed)] {
        let got_at = NOW.minus(Duration::from_secs(age));
        let report = responder.with(Flaws { posted: Some(revoked), got_at, ..Flaws::default() }).await;
        assert_eq!(found(&report, "agreement").outcome, outcome, "{age}");
        assert_eq!(report.status, Some(Status::Good), "what GET says is what most relying systems see");
    }
}

#[tokio::test]
async fn nobody_there_no_address_and_a_foreign_certificate_are_errors() {
    let responder = Responder::start().await;
    let nobody = ocsp(&OcspProbe { url: "http://127.0.0.1:1/ocsp".to_owned(), ..responder.probe() }).await;
    assert!(matches!(nobody, Err(relying::Error::Unreachable { .. })), "{nobody:?}");
    for url in ["https://ca.example/ocsp", "ldap://ca.example/", "ca.example", "", "http://ca.example/ocsp?a=b"] {
        let refused = ocsp(&OcspProbe { url: url.to_owned(), ..responder.probe() }).await;
        assert!(matches!(refused, Err(relying::Error::Url { .. })), "{url}: {refused:?}");
    }
    let foreign = ocsp(&OcspProbe { issuers: vec![ca().der().to_vec()], ..responder.probe() }).await;
    assert!(matches!(&foreign, Err(relying::Error::NotItsIssuer { issuer }) if issuer == "CN=Cards"), "{foreign:?}");
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/ocsp", silent.local_addr().unwrap());
    let late = ocsp(&OcspProbe { url, time: Duration::from_millis(50), ..responder.probe() }).await;
    assert!(matches!(late, Err(relying::Error::Unreachable { .. })), "{late:?}");
}
