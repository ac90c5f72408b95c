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
    let Some(issuer) = file.strip_suffix(".cer") else { return StatusCode::NOT_FOUND.into_response() };
    let id = issuer.to_owned();
    let found =
        service.run(move |service| Ok(store::load::<ca::IssuerRecord>(service.store.as_ref(), id.as_bytes())?)).await;
    match found {
        Ok(Some(found)) => {
            let now = service.now();
            let meta = Meta {
                content_type: "application/pkix-cert",
                etag: format!("\"{}\"", HEXLOWER.encode(&Sha256::digest(&found.record.certificate_der)[..16])),
                last_modified: found.record.created,
                expires: now.plus(std::time::Duration::from_secs(CA_MAX_AGE.unsigned_abs())),
                max_age: CA_MAX_AGE,
            };
            meta.reply(&headers, found.record.certificate_der.into())
        }
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(failure) => failure.into_response(),
    }
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
