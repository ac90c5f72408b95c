//! The second half of an answer: its signature, and what is kept of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pki::ocsp::{ErrorStatus, Expected, PreparedResponse, verify_response};
use pki::{SerialNumber, Timestamp};
use sha2::{Digest, Sha256};

use super::{Answer, AnswerKind, Cacheability, Prepared, Responder};
use crate::cache::{CacheKey, CachedAnswer};
use crate::issuer::Issuer;
use crate::replica::KnownStatus;
use crate::signer::IssuerSigner;

/// How often an answer is begun again because its status changed meanwhile.
const ATTEMPTS: usize = 3;

/// An answer that waits for its signature.
#[derive(Debug)]
pub struct Signing {
    pub(super) request: Bytes,
    pub(super) now: Timestamp,
    pub(super) issuer: Arc<Issuer>,
    pub(super) signer: Arc<IssuerSigner>,
    pub(super) response: PreparedResponse,
    pub(super) seen: Vec<(SerialNumber, Option<KnownStatus>)>,
    pub(super) kind: AnswerKind,
    /// thisUpdate and nextUpdate of an answer about one certificate without a nonce.
    pub(super) times: Option<(Timestamp, Timestamp)>,
    /// The `CertID`, if the answer is to be kept.
    pub(super) keep: Option<(CacheKey, Vec<u8>)>,
}

impl Signing {
    /// Whether the signature may take a while, so that it belongs on a thread of its own.
    pub fn is_blocking(&self) -> bool {
        self.signer.is_blocking()
    }
}

impl Responder {
    /// Signs an answer, and keeps it if it can be given again.
    pub fn finish(&self, signing: Signing) -> Answer {
        let mut signing = signing;
        for _ in 0..ATTEMPTS {
            match self.sign(&signing) {
                Err(status) => return self.counted(self.fall_back(&signing, status)),
                Ok(Some(answer)) => return self.counted(answer),
                Ok(None) => {
                    self.metrics.overtaken.add_one();
                    let (request, now) = (signing.request.clone(), signing.now);
                    match self.prepare(&request, now) {
                        Prepared::Ready(answer) => return answer,
                        Prepared::Sign(again) => signing = *again,
                        Prepared::ClockBehind => return self.refuse_clock(),
                    }
                }
            }
        }
        self.counted(Answer::error(ErrorStatus::TryLater))
    }

    /// One try: `None` when a status changed meanwhile.
    fn sign(&self, signing: &Signing) -> Result<Option<Answer>, ErrorStatus> {
        let Signing { issuer, signer, .. } = signing;
        let signature = signer.signer().sign(signing.response.tbs_der()).map_err(|error| {
            self.metrics.signing_failures.add_one();
            tracing::warn!(issuer = issuer.description.id, %error, "an OCSP answer could not be signed");
            ErrorStatus::TryLater
        })?;
        self.metrics.signed.add_one();
        let der = signing.response.assemble(&signature, signer.certificate_der()).map_err(|error| {
            tracing::error!(issuer = issuer.description.id, %error, "an OCSP answer could not be encoded");
            ErrorStatus::InternalError
        })?;
        let is_current =
            || signing.seen.iter().all(|(serial, status)| self.replica.status(issuer.index, serial) == *status);
        let Some((this_update, next_update)) = signing.times else {
            let answer = Answer { der: der.into(), kind: signing.kind, cacheability: None };
            return Ok(is_current().then_some(answer));
        };
        let produced_at = signing.now.whole_seconds();
        let cached = CachedAnswer {
            etag: entity_tag(&der),
            der: der.into(),
            kind: signing.kind,
            produced_at,
            this_update,
            next_update,
            refresh_at: produced_at.plus(next_update.since(produced_at) / 2),
        };
        let answer = from_cache(&cached, issuer, signing.now);
        let Some((key, cert_id)) = &signing.keep else { return Ok(is_current().then_some(answer)) };
        self.check(signing, &cached, cert_id)?;
        Ok(self.cache.insert_if(*key, Arc::new(cached), is_current).then_some(answer))
    }

    /// Reads and verifies an answer as a relying system would, before it is kept.
    // conformance: O29
    fn check(&self, signing: &Signing, answer: &CachedAnswer, cert_id: &[u8]) -> Result<(), ErrorStatus> {
        let description = &signing.issuer.description;
        let expected = Expected {
            cert_id,
            issuer_subject_der: &description.subject_der,
            issuer_key: &description.public_key,
            nonce: None,
            now: signing.now,
            max_clock_skew: Duration::ZERO,
        };
        let refused = match verify_response(&answer.der, &expected) {
            Ok(read) => {
                let kind = AnswerKind::from(read.status);
                let times = (read.this_update, read.next_update) == (answer.this_update, answer.next_update);
                if kind == answer.kind && times { return Ok(()) } else { "it says something else".to_owned() }
            }
            Err(error) => error.to_string(),
        };
        self.metrics.verification_failures.add_one();
        tracing::error!(issuer = description.id, reason = refused, "a signed OCSP answer was not sent");
        Err(ErrorStatus::InternalError)
    }

    /// If nobody can sign, the answer that is kept will do until its nextUpdate.
    fn fall_back(&self, signing: &Signing, status: ErrorStatus) -> Answer {
        let kept = signing.keep.as_ref().and_then(|(key, _)| self.cache.get(key, signing.now));
        match kept {
            Some(cached) => {
                self.metrics.cache_hits.add_one();
                from_cache(&cached, &signing.issuer, signing.now)
            }
            None => Answer::error(status),
        }
    }
}

pub(super) fn from_cache(cached: &CachedAnswer, issuer: &Issuer, now: Timestamp) -> Answer {
    Answer {
        der: cached.der.clone(),
        kind: cached.kind,
        cacheability: Some(Cacheability {
            this_update: cached.this_update,
            next_update: cached.next_update,
            max_age: issuer.policy.max_age.min(cached.next_update.since(now)),
            etag: cached.etag.clone(),
        }),
    }
}

fn entity_tag(der: &[u8]) -> Arc<str> {
    format!("\"{}\"", data_encoding::BASE64URL_NOPAD.encode(&Sha256::digest(der))).into()
}
