//! The public door: OCSP, CRLs and CA certificates over plain HTTP, for relying systems.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use ocsp_responder::http::HttpState;
use pki::Timestamp;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{DoorLimits, serve};
use crate::crls;
use crate::service::Service;

/// RFC 9110 5.6.7: IMF-fixdate.
const IMF_FIXDATE: &[FormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// How long a cache may keep a CA certificate: they do not change under their address.
const CA_MAX_AGE: i64 = 86_400;
/// How long a cache may keep the bundle: a rotation changes it.
const BUNDLE_MAX_AGE: i64 = 3600;
/// One certificate (RFC 2585).
const DER: &str = "application/pkix-cert";
/// Several.
const PEM: &str = "application/x-pem-file";

/// The router of the public door.
pub fn router(service: Arc<Service>, ocsp: Arc<HttpState>) -> Router {
    Router::new()
        .route("/crl/{file}", get(crl))
        .route("/ca/{file}", get(ca_certificate))
        .with_state(service)
        .merge(ocsp_responder::http::router(Arc::clone(&ocsp)))
        .fallback_service(axum::routing::any(ocsp_responder::http::at_root).with_state(ocsp))
}

fn http_date(time: Timestamp) -> Option<HeaderValue> {
    let time: OffsetDateTime = time.to_offset_date_time();
    HeaderValue::from_str(&time.format(IMF_FIXDATE).ok()?).ok()
}

async fn crl(State(service): State<Arc<Service>>, Path(file): Path<String>, headers: HeaderMap) -> Response {
    let Some(crl) = file.strip_suffix(".crl").and_then(|issuer| service.crls.get(issuer)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let now = service.now();
    let left = crl.next_update.unix_seconds() - now.unix_seconds();
    let interval = crls::interval(&service, &crl.issuer).as_secs() as i64;
    let etag = format!("\"{}\"", HEXLOWER.encode(crl.number.as_bytes()));
    // A client that fetches each time a CRL is due gets the newest; none keeps one past its end.
    let due = crl.this_update.unix_seconds() + interval - now.unix_seconds();
    let max_age = due.clamp(0, left.max(0));
    let meta = Meta {
        content_type: "application/pkix-crl",
        etag,
        last_modified: crl.this_update,
        expires: now.plus(std::time::Duration::from_secs(max_age.unsigned_abs())),
        max_age,
    };
    meta.reply(&headers, crl.der.clone())
}

async fn ca_certificate(State(service): State<Arc<Service>>, Path(file): Path<String>, headers: HeaderMap) -> Response {
    match service.run(move |service| published_certificate(service, &file)).await {
        Ok(Some(PublishedFile { content_type, last_modified, body })) => {
            let now = service.now();
            let max_age = if content_type == PEM { BUNDLE_MAX_AGE } else { CA_MAX_AGE };
            let meta = Meta {
                content_type,
                etag: format!("\"{}\"", HEXLOWER.encode(&Sha256::digest(&body)[..16])),
                last_modified,
                expires: now.plus(std::time::Duration::from_secs(max_age.unsigned_abs())),
                max_age,
            };
            meta.reply(&headers, body.into())
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
        let newest = in_use.clone().map(|issuer| issuer.created).max().unwrap_or(Timestamp::EPOCH);
        let certificates = in_use.flat_map(|issuer| {
            std::iter::once(&issuer.certificate_der).chain(issuer.links.iter().map(|link| &link.der))
        });
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

struct Meta {
    content_type: &'static str,
    etag: String,
    last_modified: Timestamp,
    expires: Timestamp,
    max_age: i64,
}

impl Meta {
    fn reply(&self, request: &HeaderMap, body: bytes::Bytes) -> Response {
        let unchanged = request.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(|tags| {
            tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == self.etag)
        });
        let mut response = if unchanged { StatusCode::NOT_MODIFIED.into_response() } else { body.into_response() };
        let headers = response.headers_mut();
        let cache = format!("max-age={}, public, no-transform, must-revalidate", self.max_age);
        for (name, value) in [
            (header::CONTENT_TYPE, Some(HeaderValue::from_static(self.content_type))),
            (header::ETAG, HeaderValue::from_str(&self.etag).ok()),
            (header::LAST_MODIFIED, http_date(self.last_modified)),
            (header::EXPIRES, http_date(self.expires)),
            (header::CACHE_CONTROL, HeaderValue::from_str(&cache).ok()),
        ] {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// Serves OCSP, CRLs and CA certificates until `stop`.
pub async fn run(listener: TcpListener, router: Router, limits: DoorLimits, stop: watch::Receiver<bool>) {
    let accept = async || {
        let (stream, _) = listener.accept().await?;
        let router = router.clone();
        Ok(async move {
            let _ = stream.set_nodelay(true);
            Some((stream, router))
        })
    };
    serve("public", accept, limits, stop).await;
}
