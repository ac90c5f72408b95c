//! Rows H of conformance.md.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::service::Service;
use ocsp_responder::http::{HttpOptions, HttpState, OcspService};
use pki::Timestamp;
use pki::ocsp::{CertIdHash, ErrorStatus, HashAlgorithm, build_request};

use crate::support::{AUTHENTICATION, Behaviour, NOW, Scene, seconds, serial};

/// A responder behind HTTP, with a clock that stands still.
pub(crate) struct Door {
    pub(crate) scene: Scene,
    service: OcspService,
    pub(crate) clock: Arc<AtomicI64>,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Door {
    pub(crate) fn new() -> Self {
        Door::with(HttpOptions::default())
    }

    fn with(options: HttpOptions) -> Self {
        let scene = Scene::new();
        scene.good(1);
        let clock = Arc::new(AtomicI64::new(NOW.unix_millis()));
        let time = clock.clone();
        let now = Arc::new(move || Timestamp::from_unix_millis(time.load(Ordering::SeqCst)));
        let state = HttpState::new(scene.responder.clone(), now, options);
        let others = Router::new().route("/ca/{file}", get(async || "a CA certificate"));
        Door { scene, service: OcspService::new(state, others), clock }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.service.call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Reply { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.send(Request::get(target).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, body: impl Into<Body>) -> Reply {
        let request = Request::post("/ocsp").header("content-type", "application/ocsp-request");
        self.send(request.body(body.into()).unwrap()).await
    }

    /// A request whose base64 has two slashes in a row, a plus and padding.
    fn awkward_request(&self) -> (String, Vec<u8>) {
        let hash = CertIdHash { algorithm: HashAlgorithm::Sha256, null_parameters: false };
        for nonce in 0..200_000_u32 {
            let nonce = [&[0xff, 0xff, 0xfb][..], &nonce.to_be_bytes(), &[0xff, 0xff, 0xff]].concat();
            let id = self.scene.ca.hashes.cert_id_spelled(hash, serial(1));
            let der = build_request(&[&id], Some(&nonce)).unwrap();
            let text = STANDARD.encode(&der);
            if text.contains("//") && text.contains('+') && text.ends_with('=') {
                return (text, der);
            }
        }
        panic!("no such request")
    }

    fn assert_good(&self, reply: &Reply, what: &str) {
        assert_eq!(reply.status, StatusCode::OK, "{what}");
        assert_eq!(reply.header("content-type"), "application/ocsp-response", "{what}");
        let hash = CertIdHash { algorithm: HashAlgorithm::Sha256, null_parameters: false };
        let id = self.scene.ca.hashes.cert_id_spelled(hash, serial(1));
        let read = self.scene.verify(&reply.body, &id, NOW).unwrap_or_else(|status| panic!("{what}: {status:?}"));
        assert_eq!(read.status, pki::ocsp::CertStatus::Good, "{what}");
    }
}

#[tokio::test]
async fn every_spelling_of_a_get_is_answered() {
    // conformance: H1, H2, H3
    let door = Door::new();
    let (text, der) = door.awkward_request();
    let slashes = [text.replace('/', "%2F"), text.replace('/', "%2f"), text.clone()];
    for path in slashes {
        door.assert_good(&door.get(&format!("/ocsp/{path}")).await, &path);
    }
    for path in [
        text.replace('+', "%2B"),
        text.replace('+', "%2b"),
        text.replace('+', "%20"),
        text.replace('=', "%3D"),
        text.replace('=', "%3d"),
        text.trim_end_matches('=').to_owned(),
        URL_SAFE_NO_PAD.encode(&der),
        format!("/{text}"),
        format!("//{text}"),
        text.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D"),
    ] {
        door.assert_good(&door.get(&format!("/ocsp/{path}")).await, &path);
    }
    for target in [
        format!("http://host.example.test//{text}"),
        format!("http://host.example.test/{text}"),
        format!("/{text}"),
        format!("//{text}"),
        format!("http://host.example.test/ocsp//{text}"),
    ] {
        // `//…` in origin form is for the server to read; the parser of `Uri` takes it for an authority.
        let target = if target.starts_with("//") { format!("http://host.example.test{target}") } else { target };
        door.assert_good(&door.get(&target).await, &target);
    }
    for target in ["/favicon.ico", "/ocspx", "/ocspM"] {
        assert_eq!(door.get(target).await.status, StatusCode::NOT_FOUND, "{target}");
    }
    assert_eq!(&door.get("/ca/root-1.cer").await.body[..], b"a CA certificate");
}

#[tokio::test]
async fn long_gets_are_answered_up_to_the_cap() {
    // conformance: H4
    let door = Door::new();
    let ids: Vec<_> = (1..20).map(|number| door.scene.ca.cert_id(number)).collect();
    let ids: Vec<_> = ids.iter().map(Vec::as_slice).collect();
    let text = STANDARD.encode(build_request(&ids, None).unwrap());
    assert!(text.len() > 255);
    let reply = door.get(&format!("/ocsp/{text}")).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(door.scene.verify(&reply.body, ids[0], NOW).is_ok());
    assert_eq!(door.get(&format!("/ocsp/{}", "A".repeat(9000))).await.status, StatusCode::URI_TOO_LONG);
}

#[tokio::test]
async fn a_post_over_the_cap_is_refused() {
    // conformance: H5
    let door = Door::new();
    let limit = door.scene.responder.limits().max_request_bytes;
    assert_eq!(door.post(vec![0; limit]).await.status, StatusCode::OK);
    assert_eq!(door.post(vec![0; limit + 1]).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let announced = Request::post("/ocsp").header("content-length", "100000000").body(Body::empty()).unwrap();
    assert_eq!(door.send(announced).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

/// A body that never comes.
struct Never;

impl hyper::body::Body for Never {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let door = Door::with(HttpOptions { body_timeout: Duration::from_millis(1), ..HttpOptions::default() });
    assert_eq!(door.post(Body::new(Never)).await.status, StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test]
async fn a_post_of_any_content_type_is_read() {
    // conformance: H6
    let door = Door::new();
    let (_, der) = door.awkward_request();
    for content_type in [Some("application/ocsp-request"), Some("application/octet-stream"), Some("text/plain"), None] {
        for target in ["/ocsp", "/ocsp/", "/"] {
            let mut request = Request::post(target);
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            let reply = door.send(request.body(Body::from(der.clone())).unwrap()).await;
            door.assert_good(&reply, target);
        }
    }
}

#[tokio::test]
async fn other_methods_are_refused_and_head_is_a_get_without_a_body() {
    // conformance: H7
    let door = Door::new();
    let path = format!("/ocsp/{}", STANDARD.encode(door.scene.request(1)));
    for method in [Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        let reply = door.send(Request::builder().method(method).uri(&path).body(Body::empty()).unwrap()).await;
        assert_eq!((reply.status, reply.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD, POST"));
    }
    let get = door.get(&path).await;
    let head = door.send(Request::head(&path).body(Body::empty()).unwrap()).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(head.headers, get.headers);
    assert_eq!(head.header("content-length"), get.body.len().to_string());
}

#[tokio::test]
async fn an_ocsp_error_is_an_http_success_that_nobody_keeps() {
    // conformance: H8, O27
    let door = Door::new();
    let malformed = ErrorStatus::MalformedRequest.response_der();
    for path in ["/ocsp", "/ocsp/", "/ocsp/MAA=", "/ocsp/not%20base64!", "/ocsp/%zz", "/ocsp/M\u{FFFD}"] {
        let path: String = path.chars().filter(char::is_ascii).collect();
        let reply = door.get(&path).await;
        assert_eq!((reply.status, &reply.body[..]), (StatusCode::OK, &malformed[..]), "{path}");
        assert_eq!(reply.header("cache-control"), "no-store");
        assert_eq!(reply.header("content-type"), "application/ocsp-response");
    }
    assert_eq!(&door.post("rubbish").await.body[..], malformed);
}

#[tokio::test]
async fn a_get_without_a_nonce_may_be_kept_by_caches() {
    // conformance: H9, H10
    let door = Door::new();
    let path = format!("/ocsp/{}", STANDARD.encode(door.scene.request(1)));
    let reply = door.get(&path).await;
    for (name, value) in [
        ("content-type", "application/ocsp-response"),
        ("date", "Sun, 22 Nov 2026 15:30:00 GMT"),
        ("last-modified", "Sun, 22 Nov 2026 15:30:00 GMT"),
        ("expires", "Sun, 22 Nov 2026 15:40:00 GMT"),
        ("cache-control", "max-age=5, public, no-transform, must-revalidate"),
        ("content-length", &reply.body.len().to_string()),
    ] {
        assert_eq!(reply.header(name), value, "{name}");
    }
    assert!(reply.header("etag").starts_with('"') && reply.header("etag").ends_with('"'));

    let nonce = build_request(&[&door.scene.ca.cert_id(1)], Some(&[1; 16])).unwrap();
    let reply = door.get(&format!("/ocsp/{}", STANDARD.encode(nonce))).await;
    assert_eq!((reply.header("cache-control"), reply.header("etag")), ("no-store", ""));
    let reply = door.post(door.scene.request(1)).await;
    assert_eq!((reply.header("cache-control"), reply.header("expires")), ("no-store", ""));
}

#[tokio::test]
async fn max_age_is_never_longer_than_what_is_left() {
    // conformance: H9
    let door = Door::new();
    let path = format!("/ocsp/{}", STANDARD.encode(door.scene.request(1)));
    door.get(&path).await;
    door.scene.signer.behave(Behaviour::Busy);
    let late = NOW.whole_seconds().plus(seconds(597));
    door.clock.store(late.unix_millis(), Ordering::SeqCst);
    door.scene.heartbeat(late);
    let reply = door.get(&path).await;
    assert_eq!(reply.header("cache-control"), "max-age=3, public, no-transform, must-revalidate");
    assert_eq!(reply.header("date"), "Sun, 22 Nov 2026 15:39:57 GMT");
}

#[tokio::test]
async fn who_has_the_answer_is_told_so() {
    // conformance: H11
    let door = Door::new();
    let path = format!("/ocsp/{}", STANDARD.encode(door.scene.request(1)));
    let first = door.get(&path).await;
    let etag = first.header("etag");
    for (tag, known) in [
        (etag.to_owned(), true),
        (format!("W/{etag}"), true),
        (format!("\"other\", {etag}"), true),
        ("*".to_owned(), true),
        ("\"other\"".to_owned(), false),
    ] {
        let request = Request::get(&path).header("if-none-match", &tag).body(Body::empty()).unwrap();
        let reply = door.send(request).await;
        assert_eq!(reply.status == StatusCode::NOT_MODIFIED, known, "{tag}");
        for name in ["etag", "cache-control", "expires", "last-modified", "date"] {
            assert_eq!(reply.header(name), first.header(name), "{tag}: {name}");
        }
        assert!(!known || reply.body.is_empty());
    }
    door.scene.publish(1, pki::feed::PublishedStatus::OnHold { since: NOW });
    let request = Request::get(&path).header("if-none-match", etag).body(Body::empty()).unwrap();
    assert_eq!(door.send(request).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_clock_that_only_looks_behind_is_asked_again() {
    // conformance: O24
    let door = Door::new();
    let scene = &door.scene;
    let asked = Arc::new(AtomicI64::new(0));
    let count = asked.clone();
    // The first look at the clock was before another thread's answer, the second is after it.
    let clock = Arc::new(move || match count.fetch_add(1, Ordering::SeqCst) {
        0 => NOW,
        _ => NOW.plus(seconds(1)),
    });
    scene.ask(2, NOW.plus(seconds(1)));
    let state = HttpState::new(scene.responder.clone(), clock, HttpOptions::default());
    let service = OcspService::new(state, Router::new());
    let request = Request::post("/ocsp").body(Body::from(scene.request(1))).unwrap();
    let body = service.call(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert!(scene.verify(&body, &scene.ca.cert_id(1), NOW.plus(seconds(1))).is_ok());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert!(!scene.responder.is_clock_behind(NOW));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signatures_that_block_stay_off_the_async_threads_and_are_bounded() {
    // conformance: O26
    let options = HttpOptions { max_blocking: 1, signing_timeout: Duration::from_secs(60), ..HttpOptions::default() };
    let door = Arc::new(Door::with(options));
    let delegate = door.scene.ca.delegate(&door.scene.signer, NOW.plus(seconds(1000)), true);
    door.scene.responder.set_signers(AUTHENTICATION, vec![delegate]).unwrap();
    let gate = Arc::new((Mutex::new((false, false)), Condvar::new()));
    let held = gate.clone();
    door.scene.signer.behave(Behaviour::Wait(Arc::new(move || {
        let (state, changed) = &*held;
        let mut state = state.lock().unwrap();
        state.0 = true;
        changed.notify_all();
        drop(changed.wait_while(state, |state| !state.1).unwrap());
    })));
    let first = tokio::spawn({
        let door = door.clone();
        async move { door.post(door.scene.request(1)).await }
    });
    let waiting = gate.clone();
    tokio::task::spawn_blocking(move || {
        let (state, changed) = &*waiting;
        drop(changed.wait_while(state.lock().unwrap(), |state| !state.0).unwrap());
    })
    .await
    .unwrap();
    // The only thread is taken: the next one is told so at once.
    let second = door.post(door.scene.request(2)).await;
    assert_eq!(&second.body[..], ErrorStatus::TryLater.response_der());
    gate.0.lock().unwrap().1 = true;
    gate.1.notify_all();
    let first = first.await.unwrap();
    assert!(door.scene.verify(&first.body, &door.scene.ca.cert_id(1), NOW).is_ok());
    door.scene.signer.behave(Behaviour::Sign);
    let third = door.post(door.scene.request(1)).await;
    assert_eq!(third.status, StatusCode::OK);
}

#[tokio::test]
async fn a_signature_that_takes_too_long_is_try_later() {
    // conformance: O26
    let options = HttpOptions { signing_timeout: Duration::from_millis(1), ..HttpOptions::default() };
    let door = Door::with(options);
    let delegate = door.scene.ca.delegate(&door.scene.signer, NOW.plus(seconds(1000)), true);
    door.scene.responder.set_signers(AUTHENTICATION, vec![delegate]).unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    door.scene.signer.behave(Behaviour::Wait(Arc::new(move || {
        // Ends when the test lets go.
        let _ = held.lock().unwrap().recv();
    })));
    let reply = door.post(door.scene.request(1)).await;
    drop(release);
    assert_eq!(&reply.body[..], ErrorStatus::TryLater.response_der());
}
