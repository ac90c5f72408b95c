//! The public door: OCSP, CRLs and CA certificates over plain HTTP, for relying systems.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{HeaderMap, Method, StatusCode};
use ocsp_responder::door::Door;
use ocsp_responder::http::{HttpState, OcspService};
use pki::Timestamp;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::download::{Caching, Content};
use crate::crls::{CrlName, ServedCrl, schedule};
use crate::service::Service;

/// How long a cache may keep a CA certificate: they do not change under their address.
const CA_MAX_AGE: i64 = 86_400;
/// How long a cache may keep the bundle: a rotation changes it.
const BUNDLE_MAX_AGE: i64 = 3600;
/// One certificate (RFC 2585).
const DER: &str = "application/pkix-cert";
/// Several.
const PEM: &str = "application/x-pem-file";

/// What answers at the public door: the OCSP responder, and behind it what is fetched less often.
pub fn answering(service: Arc<Service>, ocsp: Arc<HttpState>) -> OcspService {
    let router = Router::new().route("/crl/{*path}", get(crl)).route("/ca/{file}", get(ca_certificate));
    OcspService::new(ocsp, router.with_state(service))
}

async fn crl(
    State(service): State<Arc<Service>>,
    method: Method,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(crl) = CrlName::parse(&path).and_then(|name| service.crls.find(&name)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let now = service.now();
    let left = crl.next_update.unix_seconds() - now.unix_seconds();
    let interval = schedule::interval(&service, &crl.name).as_secs() as i64;
    // A client that fetches each time a CRL is due gets the newest; none keeps one past its end.
    let due = crl.this_update.unix_seconds() + interval - now.unix_seconds();
    let caching = Caching {
        content_type: "application/pkix-crl",
        etag: crl.etag.clone(),
        last_modified: crl.this_update,
        expires: crl.next_update,
        max_age: due.clamp(0, left.max(0)),
    };
    caching.reply(&method, &headers, crl)
}

impl Content for ServedCrl {
    fn octets(&self) -> u64 {
        ServedCrl::octets(self)
    }

    fn in_memory(&self) -> Option<Bytes> {
        ServedCrl::in_memory(self).cloned()
    }

    fn read(&self, at: u64, most: usize) -> std::io::Result<Bytes> {
        ServedCrl::read(self, at, most)
    }
}

async fn ca_certificate(
    State(service): State<Arc<Service>>,
    method: Method,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Response {
    match service.run(move |service| published_certificate(service, &file)).await {
        Ok(Some(PublishedFile { content_type, last_modified, body })) => {
            let now = service.now();
            let max_age = if content_type == PEM { BUNDLE_MAX_AGE } else { CA_MAX_AGE };
            let caching = Caching {
                content_type,
                etag: format!("\"{}\"", HEXLOWER.encode(&Sha256::digest(&body)[..16])),
                last_modified,
                expires: now.plus(std::time::Duration::from_secs(max_age.unsigned_abs())),
                max_age,
            };
            caching.reply(&method, &headers, Arc::new(Bytes::from(body)))
        }
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(failure) => failure.into_response(),
    }
}

struct PublishedFile {
    content_type: &'static str,
    last_modified: Timestamp,
    body: Vec<u8>,
}

/// A CA's certificate, a link between two keys of the root, or all that is in use in one file.
fn published_certificate(service: &Service, file: &str) -> Result<Option<PublishedFile>, crate::failure::Failure> {
    let issuers = ca::issuer::all(service.store.as_ref())?;
    if file == "bundle.pem" {
        let in_use = issuers.iter().filter(|issuer| issuer.is_in_use());
        // One that retires leaves the bundle, which changes it as well.
        let newest = issuers.iter().map(|issuer| issuer.created.max(issuer.state_since())).max();
        let newest = newest.unwrap_or(Timestamp::EPOCH);
        // Path building that takes the first certificate of the right name and key must meet a link before the root that
        // ends the path: whoever trusts the other root gets no further from there (conformance: K2).
        let (roots, others): (Vec<_>, Vec<_>) = in_use.partition(|issuer| issuer.is_root());
        let links = roots.iter().flat_map(|root| root.links.iter().map(|link| &link.der));
        let certificates = others.iter().map(|issuer| &issuer.certificate_der).chain(links);
        let certificates = certificates.chain(roots.iter().map(|root| &root.certificate_der));
        let body = pki::pem::encode_certificates(certificates).into_bytes();
        return Ok(Some(PublishedFile { content_type: PEM, last_modified: newest, body }));
    }
    let Some(name) = file.strip_suffix(".cer") else { return Ok(None) };
    for issuer in issuers {
        if issuer.id == name {
            let (last_modified, body) = (issuer.created, issuer.certificate_der);
            return Ok(Some(PublishedFile { content_type: DER, last_modified, body }));
        }
        if let Some(link) = issuer.links.into_iter().find(|link| link.name == name) {
            let (last_modified, body) = (issuer.created, link.der);
            return Ok(Some(PublishedFile { content_type: DER, last_modified, body }));
        }
    }
    Ok(None)
}

/// Serves OCSP, CRLs and CA certificates until `stop`.
pub async fn run(listener: TcpListener, service: OcspService, door: Door, stop: watch::Receiver<bool>) {
    let accept = async || {
        let (stream, from) = listener.accept().await?;
        let service = service.clone();
        Ok((Some(from.ip()), async move {
            let _ = stream.set_nodelay(true);
            Some((stream, service))
        }))
    };
    door.serve(accept, stop).await;
}
