//! One question, in the forms that clients give it, and its answer, verified.

use std::time::Instant;

use bytes::Bytes;
use data_encoding::BASE64;
use http::header::CONTENT_TYPE;
use http::{HeaderName, Method, StatusCode};
use pki::Timestamp;
use pki::certificate::ParsedCertificate;
use pki::ocsp::client::MAX_RESPONSE_BYTES;
use pki::ocsp::{Expected, HashAlgorithm, IssuerHashes, VerifiedStatus, build_request, verify_response};

use crate::Error;
use crate::probe::MAX_CLOCK_SKEW;
use crate::probe::exchange::{self, Answer, Target};

/// What is asked, and whom.
pub(super) struct Question<'a> {
    pub(super) target: &'a Target,
    pub(super) certificate: &'a ParsedCertificate,
    pub(super) issuer: &'a ParsedCertificate,
    pub(super) now: Timestamp,
}

/// A request, and what its answer has to have.
pub(super) struct Asked {
    request: Vec<u8>,
    cert_id: Vec<u8>,
    nonce: Option<Vec<u8>>,
    echo: bool,
}

impl Asked {
    /// The answer must carry the nonce.
    pub(super) fn with_echo(self) -> Self {
        Asked { echo: true, ..self }
    }

    /// The path of a GET, after the responder's.
    pub(super) fn path(&self, spelling: Spelling) -> String {
        let text = BASE64.encode(&self.request);
        match spelling {
            Spelling::Raw => text,
            Spelling::Escaped => text.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D"),
        }
    }
}

/// How the base64 stands in the path of a GET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// As RFC 6960 A.1 wants it: what has a meaning in addresses is escaped.
    Escaped,
    /// As some clients send it: as it is.
    Raw,
}

/// How the request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In the path.
    Get(Spelling),
    /// In the body.
    Post,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) answer: Answer,
    pub(super) milliseconds: u64,
    /// What it says, or why it is not to be relied upon.
    pub(super) said: Result<VerifiedStatus, String>,
}

impl Question<'_> {
    /// A request for the certificate's status.
    pub(super) fn about(&self, hash: HashAlgorithm, nonce: Option<&[u8]>) -> Result<Asked, Error> {
        let hashes = IssuerHashes::new(self.issuer.subject_der(), self.issuer.public_key());
        let cert_id = hashes.cert_id(hash, self.certificate.serial());
        let request = build_request(&[&cert_id], nonce)?;
        Ok(Asked { request, cert_id, nonce: nonce.map(<[u8]>::to_vec), echo: false })
    }

    /// Sends it, and verifies what is answered.
    pub(super) async fn ask(&self, asked: &Asked, way: Way) -> Result<Got, Error> {
        let (target, method, body) = match way {
            Way::Get(spelling) => (self.target.below(&asked.path(spelling)), Method::GET, Bytes::new()),
            Way::Post => (self.target.clone(), Method::POST, Bytes::from(asked.request.clone())),
        };
        let headers: Vec<(HeaderName, String)> = match way {
            Way::Get(_) => Vec::new(),
            Way::Post => vec![(CONTENT_TYPE, "application/ocsp-request".to_owned())],
        };
        let began = Instant::now();
        let answer = exchange::ask(&target, method, &headers, body, MAX_RESPONSE_BYTES).await?;
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let said = self.verified(asked, &answer);
        Ok(Got { answer, milliseconds, said })
    }

    fn verified(&self, asked: &Asked, answer: &Answer) -> Result<VerifiedStatus, String> {
        if answer.status != StatusCode::OK {
            return Err(format!("HTTP status {} instead of 200", answer.status));
        }
        let body = answer.body.as_ref();
        let body = body.ok_or_else(|| format!("it broke off, or is longer than {MAX_RESPONSE_BYTES} octets"))?;
        let expected = Expected {
            cert_id: &asked.cert_id,
            issuer_subject_der: self.issuer.subject_der(),
            issuer_key: self.issuer.public_key(),
            nonce: asked.nonce.as_deref().filter(|_| asked.echo),
            now: self.now,
            max_clock_skew: MAX_CLOCK_SKEW,
        };
        verify_response(body, &expected).map_err(|error| error.to_string())
    }
}
