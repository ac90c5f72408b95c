//! The target of a GET, as anybody sends it: the base64 of an OCSP request in any spelling, or whatever else.
#![no_main]

use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use axum::Router;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use fuzz::NOW;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::service::Service;
use ocsp_responder::http::{HttpOptions, HttpState, OcspService, path};
use ocsp_responder::{Responder, ResponderOptions};

/// A responder that knows no issuer, so that every answer is an error's: nothing is signed.
static SERVICE: LazyLock<OcspService> = LazyLock::new(|| {
    let responder = Arc::new(Responder::new(ResponderOptions::default()));
    let state = HttpState::new(responder, Arc::new(|| NOW), HttpOptions::default());
    OcspService::new(state, Router::new())
});

/// What is answered: the status, and how many octets are announced and come.
fn answer(method: Method, target: &str) -> Option<(StatusCode, Option<u64>, usize)> {
    let request = Request::builder().method(method).uri(target).body(Empty::<Bytes>::new()).ok()?;
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(response)) = pin!(SERVICE.call(request)).poll(&mut context) else {
        panic!("nothing has to be waited for");
    };
    let status = response.status();
    let announced = response.headers().get(http::header::CONTENT_LENGTH);
    let announced = announced.map(|length| length.to_str().expect("a number").parse().expect("a number"));
    let Poll::Ready(Ok(body)) = pin!(response.into_body().collect()).poll(&mut context) else {
        panic!("the body is there");
    };
    Some((status, announced, body.to_bytes().len()))
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(der) = path::decode(text).filter(|der| der.first() == Some(&0x30)) {
        // What is a request in one spelling is the same in every other.
        let raw = STANDARD.encode(&der);
        for spelling in
            [raw.replace('/', "%2F").replace('+', "%2b").replace('=', "%3D"), URL_SAFE_NO_PAD.encode(&der), raw]
        {
            assert_eq!(path::decode(&spelling).as_ref(), Some(&der), "{spelling}");
        }
    }
    for target in [format!("/ocsp/{text}"), format!("/{text}")] {
        let Some((status, announced, octets)) = answer(Method::GET, &target) else { continue };
        match status {
            // An OCSP response without an answer: a SEQUENCE of one ENUMERATED.
            StatusCode::OK => assert_eq!((announced, octets), (Some(5), 5)),
            StatusCode::URI_TOO_LONG => assert!(target.len() > HttpOptions::default().max_path_bytes),
            other => assert!(other == StatusCode::NOT_FOUND && !target.starts_with("/ocsp/"), "{other}"),
        }
        let head = answer(Method::HEAD, &target).expect("as with GET");
        assert_eq!(head, (status, announced, 0));
    }
});
