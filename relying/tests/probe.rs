//! A probe says of a CRL what a relying system would find, and nothing of it comes as an error.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::pkcs8::DecodePrivateKey;
use pki::certificate::ParsedCertificate;
use pki::crl::{CrlEntry, CrlHeader, EntryReason, prepare_crl};
use pki::{CrlReason, IssuerDescription, SerialNumber, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use relying::probe::{CrlProbe, CrlReport, MAX_OCTETS, Outcome, crl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// 2026-11-22T15:30:00Z.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_361_400);
const HOUR: Duration = Duration::from_secs(3600);

struct Ca {
    key: KeyPair,
    description: IssuerDescription,
}

impl Ca {
    fn new(usages: Vec<KeyUsagePurpose>) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Cards");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = usages;
        let key = KeyPair::generate().unwrap();
        let certificate_der = params.self_signed(&key).unwrap().der().to_vec();
        let certificate = ParsedCertificate::from_der(&certificate_der).unwrap();
        let description = IssuerDescription {
            id: "cards-1".into(),
            subject_der: certificate.subject_der().to_vec(),
            public_key: certificate.public_key().clone(),
            key_identifier: certificate.subject_key_identifier().unwrap().to_vec(),
            not_after: certificate.not_after(),
            certificate_der,
            ca_issuers_url: String::new(),
            ocsp_url: None,
            crl_url: String::new(),
        };
        Ca { key, description }
    }

    fn signs_crls() -> Self {
        Ca::new(vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign])
    }

    fn header(&self, number: u64) -> CrlHeader<'_> {
        CrlHeader {
            issuer: &self.description,
            number: number.into(),
            this_update: NOW.minus(HOUR),
            next_update: NOW.plus(24 * HOUR),
            base: None,
            distribution_point: None,
            freshest_crl: None,
            expired_certs_on_crl: None,
        }
    }

    fn crl(&self, header: &CrlHeader<'_>, entries: &[CrlEntry]) -> Vec<u8> {
        let prepared = prepare_crl(header, entries).unwrap();
        let key = p256::ecdsa::SigningKey::from_pkcs8_der(&self.key.serialize_der()).unwrap();
        let signature: p256::ecdsa::Signature = key.sign_prehash(prepared.digest()).unwrap();
        let mut der = Vec::new();
        prepared.write(entries, signature.to_der().as_bytes(), &self.description.public_key, &mut der).unwrap();
        der
    }
}

fn entry(last: u32, reason: EntryReason) -> CrlEntry {
    let mut random = [0x41; 16];
    random[12..].copy_from_slice(&last.to_be_bytes());
    CrlEntry { serial: SerialNumber::from_random(random), at: NOW.minus(2 * HOUR), reason, invalidity_date: None }
}

/// What is wrong with the server.
#[derive(Clone, Copy, Debug, Default)]
struct Flaws {
    status: Option<u16>,
    content_type: Option<&'static str>,
    max_age: Option<u64>,
    cache_control: Option<&'static str>,
    no_validators: bool,
    ignores_conditions: bool,
    no_ranges: bool,
    wrong_ranges: bool,
}

type Files = Arc<Mutex<HashMap<String, (Vec<u8>, Flaws)>>>;

/// A server of CRLs as it should be, but for its flaws.
struct Publisher {
    base: String,
    files: Files,
}

impl Publisher {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let files = Files::default();
        let shared = Arc::clone(&files);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let files = Arc::clone(&shared);
                let answer = service_fn(move |request: Request<Incoming>| {
                    let found = files.lock().unwrap().get(request.uri().path()).cloned();
                    async move { Ok::<_, hyper::Error>(reply(&request, found)) }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Publisher { base, files }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn put(&self, path: &str, crl: Vec<u8>, flaws: Flaws) -> String {
        self.files.lock().unwrap().insert(path.to_owned(), (crl, flaws));
        self.url(path)
    }
}

fn reply(request: &Request<Incoming>, found: Option<(Vec<u8>, Flaws)>) -> Response<Full<Bytes>> {
    let Some((crl, flaws)) = found else {
        return Response::builder().status(404).body(Full::default()).unwrap();
    };
    let this_update = UNIX_EPOCH + Duration::from_secs(NOW.minus(HOUR).unix_seconds().unsigned_abs());
    let mut response =
        Response::builder().header(header::CONTENT_TYPE, flaws.content_type.unwrap_or("application/pkix-crl")).header(
            header::CACHE_CONTROL,
            match flaws.cache_control {
                Some(text) => text.to_owned(),
                None => format!("max-age={}, public", flaws.max_age.unwrap_or(3600)),
            },
        );
    let mut status = flaws.status.unwrap_or(200);
    if !flaws.no_validators {
        response = response.header(header::ETAG, "\"7\"");
        response = response.header(header::LAST_MODIFIED, httpdate::fmt_http_date(this_update));
    }
    let asked = |name| request.headers().contains_key(name);
    let conditional = asked(header::IF_NONE_MATCH) || asked(header::IF_MODIFIED_SINCE);
    let mut body = crl.clone();
    if conditional && !flaws.ignores_conditions {
        status = 304;
        body.clear();
    } else if asked(header::RANGE) && !flaws.no_ranges {
        assert_eq!(request.headers()[header::RANGE], "bytes=0-127");
        status = 206;
        let from = usize::from(flaws.wrong_ranges);
        body = crl[from..128 + from].to_vec();
        response = response.header(header::CONTENT_RANGE, format!("bytes 0-127/{}", crl.len()));
    }
    if request.method() == Method::HEAD {
        response = response.header(header::CONTENT_LENGTH, crl.len());
        body.clear();
    }
    response.status(StatusCode::from_u16(status).unwrap()).body(Full::from(body)).unwrap()
}

fn probe(ca: &Ca, url: &str) -> CrlProbe {
    CrlProbe {
        url: url.to_owned(),
        base: None,
        issuers: vec![ca.description.certificate_der.clone()],
        now: NOW,
        max_octets: MAX_OCTETS,
        time: Duration::from_secs(30),
    }
}

fn outcome(report: &CrlReport, name: &str) -> Outcome {
    let found: Vec<_> = report.checks.iter().filter(|check| check.name == name).collect();
    assert_eq!(found.len(), 1, "{name}: {:#?}", report.checks);
    found[0].outcome
}

fn assert_all_passed(report: &CrlReport) {
    let other: Vec<_> = report.checks.iter().filter(|check| check.outcome != Outcome::Passed).collect();
    assert!(other.is_empty(), "{other:#?}");
}

// conformance: C1, C2, C5
#[tokio::test]
async fn a_crl_as_it_should_be_passes_whatever_its_length() {
    let (ca, publisher) = (Ca::signs_crls(), Publisher::start().await);
    let entries: Vec<_> = (0..20_000).map(|last| entry(last, CrlReason::Superseded.into())).collect();
    for entries in [&entries[..1], &entries[..]] {
        let url = publisher.put("/cards-1.crl", ca.crl(&ca.header(7), entries), Flaws::default());
        let report = crl(&probe(&ca, &url)).await.unwrap();
        assert_all_passed(&report);
        assert_eq!((report.kind, report.number.as_deref()), (Some("full"), Some("0x07")));
        assert_eq!(report.entries, Some(entries.len() as u64));
    }
}

// conformance: C7, C11
#[tokio::test]
async fn shards_and_deltas_are_checked_against_their_address_and_their_base() {
    let (ca, publisher) = (Ca::signs_crls(), Publisher::start().await);
    let (place, delta_place) = (publisher.url("/cards-1/3.crl"), publisher.url("/cards-1/3/delta.crl"));
    let held = [entry(3, CrlReason::CertificateHold.into())];
    let shard = CrlHeader { distribution_point: Some(&place), freshest_crl: Some(&delta_place), ..ca.header(7) };
    let delta = CrlHeader { base: Some(7.into()), freshest_crl: None, number: 9.into(), ..shard };
    let released = [entry(3, EntryReason::RemoveFromCrl)];
    publisher.put("/cards-1/3.crl", ca.crl(&shard, &held), Flaws::default());
    publisher.put("/cards-1/3/delta.crl", ca.crl(&delta, &released), Flaws::default());

    let report = crl(&probe(&ca, &place)).await.unwrap();
    assert_all_passed(&report);
    assert_eq!(report.kind, Some("shard"));
    let with_base = |base: &str| CrlProbe { base: Some(base.to_owned()), ..probe(&ca, &delta_place) };
    let report = crl(&with_base(&place)).await.unwrap();
    assert_all_passed(&report);
    assert_eq!((report.kind, report.base.as_deref()), (Some("delta of a shard"), Some("0x07")));
    let alone = crl(&probe(&ca, &delta_place)).await.unwrap();
    assert_eq!(outcome(&alone, "base"), Outcome::Skipped);

    // The same shard under another address is not what the certificates there name.
    let elsewhere = publisher.put("/cards-1/4.crl", ca.crl(&shard, &held), Flaws::default());
    assert_eq!(outcome(&crl(&probe(&ca, &elsewhere)).await.unwrap(), "scope"), Outcome::Failed);
    // Bases that are none: of another scope, too old, a delta itself, not there.
    let full = publisher.put("/cards-1.crl", ca.crl(&ca.header(7), &held), Flaws::default());
    let old = publisher.put("/old.crl", ca.crl(&CrlHeader { number: 6.into(), ..shard }, &held), Flaws::default());
    for base in [full.as_str(), &old, &delta_place, &publisher.url("/none.crl"), "http://127.0.0.1:1/"] {
        let report = crl(&with_base(base)).await.unwrap();
        assert_eq!(outcome(&report, "base"), Outcome::Failed, "{base}: {:#?}", report.checks);
    }
    let newer = publisher.put("/new.crl", ca.crl(&CrlHeader { number: 9.into(), ..shard }, &[]), Flaws::default());
    assert_eq!(outcome(&crl(&with_base(&newer)).await.unwrap(), "base"), Outcome::Warning);
    let no_delta = CrlProbe { base: Some(full), ..probe(&ca, &place) };
    assert_eq!(outcome(&crl(&no_delta).await.unwrap(), "base"), Outcome::Failed);
}

#[tokio::test]
async fn who_signed_it_is_found_out() {
    let (ca, other) = (Ca::signs_crls(), Ca::signs_crls());
    let publisher = Publisher::start().await;
    let url = publisher.put("/cards-1.crl", ca.crl(&ca.header(7), &[]), Flaws::default());
    let with = |issuers: &[&Ca]| CrlProbe {
        issuers: issuers.iter().map(|ca| ca.description.certificate_der.clone()).collect(),
        ..probe(&ca, &url)
    };
    assert_eq!(outcome(&crl(&with(&[])).await.unwrap(), "signature"), Outcome::Skipped);
    // Two keys under one name: the key identifier tells them apart.
    assert_all_passed(&crl(&with(&[&other, &ca])).await.unwrap());
    assert_eq!(outcome(&crl(&with(&[&other])).await.unwrap(), "signature"), Outcome::Failed);
    let foreign = Ca::new(vec![KeyUsagePurpose::KeyCertSign]);
    let url = publisher.put("/foreign.crl", foreign.crl(&foreign.header(7), &[]), Flaws::default());
    let report = crl(&probe(&foreign, &url)).await.unwrap();
    assert_eq!(outcome(&report, "issuer"), Outcome::Failed, "a CA without cRLSign");
    let mut forged = ca.crl(&ca.header(7), &[entry(1, CrlReason::Superseded.into())]);
    let superseded = [0x55, 0x1d, 0x15, 0x04, 0x03, 0x0a, 0x01, 0x04];
    let at = forged.windows(superseded.len()).position(|window| window == superseded).unwrap();
    forged[at + 7] = 1;
    let url = publisher.put("/forged.crl", forged, Flaws::default());
    assert_eq!(outcome(&crl(&probe(&ca, &url)).await.unwrap(), "signature"), Outcome::Failed);
}

// conformance: C2
#[tokio::test]
async fn a_crl_out_of_its_time_fails_and_one_near_its_end_is_a_warning() {
    let (ca, publisher) = (Ca::signs_crls(), Publisher::start().await);
    let url = publisher.put("/cards-1.crl", ca.crl(&ca.header(7), &[]), Flaws { max_age: Some(0), ..Flaws::default() });
    let at = async |now| crl(&CrlProbe { now, ..probe(&ca, &url) }).await.unwrap();
    assert_eq!(outcome(&at(NOW.plus(23 * HOUR)).await, "margin"), Outcome::Warning);
    assert_eq!(outcome(&at(NOW.plus(24 * HOUR)).await, "times"), Outcome::Failed);
    assert_eq!(outcome(&at(NOW.minus(2 * HOUR)).await, "times"), Outcome::Failed);
}

#[tokio::test]
async fn what_http_gets_wrong_is_said() {
    let (ca, publisher) = (Ca::signs_crls(), Publisher::start().await);
    let der = ca.crl(&ca.header(7), &[entry(1, CrlReason::Superseded.into())]);
    let plain = Flaws::default();
    for (flaws, name, expected) in [
        (Flaws { content_type: Some("text/html"), ..plain }, "http", Outcome::Warning),
        (Flaws { status: Some(503), ..plain }, "http", Outcome::Failed),
        (Flaws { status: Some(503), ..plain }, "form", Outcome::Failed),
        (Flaws { max_age: Some(25 * 3600), ..plain }, "caching", Outcome::Failed),
        (Flaws { cache_control: Some("Public, MAX-AGE=90000"), ..plain }, "caching", Outcome::Failed),
        (Flaws { cache_control: Some("max-age=99999999999999999999999"), ..plain }, "caching", Outcome::Failed),
        (Flaws { cache_control: Some("max-age=60, S-MaxAge=\"90000\""), ..plain }, "caching", Outcome::Failed),
        (Flaws { cache_control: Some("max-age=60, No-Store"), ..plain }, "caching", Outcome::Warning),
        (Flaws { cache_control: Some("Max-Age=3600"), ..plain }, "caching", Outcome::Passed),
        (Flaws { no_validators: true, ..plain }, "caching", Outcome::Warning),
        (Flaws { no_validators: true, ..plain }, "not_modified", Outcome::Skipped),
        (Flaws { ignores_conditions: true, ..plain }, "not_modified", Outcome::Warning),
        (Flaws { no_ranges: true, ..plain }, "ranges", Outcome::Warning),
        (Flaws { wrong_ranges: true, ..plain }, "ranges", Outcome::Failed),
    ] {
        let url = publisher.put("/cards-1.crl", der.clone(), flaws);
        let report = crl(&probe(&ca, &url)).await.unwrap();
        assert_eq!(outcome(&report, name), expected, "{flaws:?}: {:#?}", report.checks);
    }
}

#[tokio::test]
async fn a_download_that_was_cut_off_is_no_crl() {
    let ca = Ca::signs_crls();
    let der = ca.crl(&ca.header(7), &[entry(1, CrlReason::Superseded.into())]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/cards-1.crl", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await.unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", der.len());
        stream.write_all(&[head.as_bytes(), &der[..der.len() / 2]].concat()).await.unwrap();
    });
    let report = crl(&probe(&ca, &url)).await.unwrap();
    let form = report.checks.iter().find(|check| check.name == "form").unwrap();
    assert!(form.outcome == Outcome::Failed && form.text.contains("cut off"), "{form:?}");
}

#[tokio::test]
async fn what_is_no_crl_or_too_long_fails_and_nobody_there_is_an_error() {
    let (ca, publisher) = (Ca::signs_crls(), Publisher::start().await);
    let url = publisher.put("/page.crl", b"<html>not here</html>".to_vec(), Flaws::default());
    let report = crl(&probe(&ca, &url)).await.unwrap();
    assert_eq!((outcome(&report, "form"), report.number), (Outcome::Failed, None));
    let entries: Vec<_> = (0..20_000).map(|last| entry(last, CrlReason::Superseded.into())).collect();
    let url = publisher.put("/long.crl", ca.crl(&ca.header(7), &entries), Flaws::default());
    let report = crl(&CrlProbe { max_octets: 100_000, ..probe(&ca, &url) }).await.unwrap();
    let form = report.checks.iter().find(|check| check.name == "form").unwrap();
    assert!(form.outcome == Outcome::Failed && form.text.contains("100000"), "{form:?}");

    let nobody = crl(&probe(&ca, "http://127.0.0.1:1/cards-1.crl")).await;
    assert!(matches!(nobody, Err(relying::Error::CrlUnreachable { .. })), "{nobody:?}");
    for address in ["https://ca.example/1.crl", "ldap://ca.example/", "cards-1.crl", ""] {
        let refused = crl(&probe(&ca, address)).await;
        assert!(matches!(refused, Err(relying::Error::CrlUrl { .. })), "{address}: {refused:?}");
    }
}

#[test]
fn ca_certificates_come_in_pem_and_der() {
    let (one, two) = (Ca::signs_crls(), Ca::signs_crls());
    let ders = [one.description.certificate_der, two.description.certificate_der];
    let pem = pki::pem::encode_certificates(&ders);
    assert_eq!(relying::probe::ca_certificates(pem.as_bytes()).unwrap(), ders);
    assert_eq!(relying::probe::ca_certificates(&ders[0]).unwrap(), ders[..1]);
    assert!(relying::probe::ca_certificates(b"no certificate").is_err());
}
