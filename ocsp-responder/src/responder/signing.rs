//! The second half of an answer: its signature, and what is kept of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pki::Timestamp;
use pki::ocsp::{ErrorStatus, Expected, PreparedResponse, verify_response};

use super::content::Seen;
use super::{Answer, AnswerKind, Cacheability, Prepared, Responder};
use crate::cache::{AnswerContent, CacheKey, CachedAnswer};
use crate::http::caching::CachingHeaders;
use crate::issuer::Issuer;
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
    pub(super) seen: Vec<Seen>,
    pub(super) kind: AnswerKind,
    /// thisUpdate and nextUpdate of an answer about one certificate without a nonce.
    pub(super) times: Option<(Timestamp, Timestamp)>,
    /// If the answer is to be kept.
    pub(super) keep: Option<Keep>,
}

/// How an answer is to be kept.
#[derive(Debug)]
pub(super) struct Keep {
    pub(super) key: CacheKey,
    /// The DER `CertID`.
    pub(super) cert_id: Bytes,
    /// Whether whoever sends the same octets is to get it.
    pub(super) is_plain: bool,
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
                    // Others may have signed at a later second meanwhile: it is that late, and the clock did not go back.
                    let now = self.last_produced_at().map_or(signing.now, |last| last.max(signing.now));
                    let request = signing.request.clone();
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
        let Some((this_update, next_update)) = signing.times else {
            let answer = Answer { der: der.into(), kind: signing.kind, cacheability: None, kept: None };
            return Ok(self.is_still_so(signing).then_some(answer));
        };
        let (Some(keep), [Seen { status: Some(status), at, .. }]) = (&signing.keep, signing.seen.as_slice()) else {
            let max_age = issuer.policy.max_age.min(next_update.since(signing.now));
            let cacheability = Some(Cacheability { this_update, next_update, max_age });
            let answer = Answer { der: der.into(), kind: signing.kind, cacheability, kept: None };
            return Ok(self.is_still_so(signing).then_some(answer));
        };
        let content = AnswerContent {
            key: keep.key,
            status: *status,
            seen: *at,
            headers: CachingHeaders::new(&der, this_update, next_update),
            der: der.into(),
            kind: signing.kind,
            produced_at: signing.now.whole_seconds(),
            this_update,
            next_update,
            policy: issuer.policy,
        };
        self.check(signing, &content, &keep.cert_id)?;
        let kept = Arc::new(CachedAnswer::new(content));
        if !self.is_still_so(signing) {
            return Ok(None);
        }
        self.cache.insert(&kept);
        Ok(Some(from_cache(kept, keep.is_plain, signing.now)))
    }

    /// Whether the statuses that an answer was made of are still the newest.
    // conformance: O6
    fn is_still_so(&self, signing: &Signing) -> bool {
        signing.seen.iter().all(|seen| {
            let same = || self.replica.status(signing.issuer.index, &seen.serial) == seen.status;
            self.changes.moment(&seen.serial) == seen.at || same()
        })
    }

    /// Reads and verifies an answer as a relying system would, before it is kept.
    // conformance: O29
    fn check(&self, signing: &Signing, answer: &AnswerContent, cert_id: &[u8]) -> Result<(), ErrorStatus> {
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
        let keep = signing.keep.as_ref();
        let kept = keep.and_then(|keep| Some((self.cache.get(&keep.key, signing.now)?, keep.is_plain)));
        match kept {
            Some((kept, is_plain)) if self.is_current(&kept) => {
                self.metrics.cache_hits.add_one();
                from_cache(kept, is_plain, signing.now)
            }
            _ => Answer::error(status),
        }
    }
}

/// An answer that is kept, as it is given at `now`.
pub(super) fn from_cache(kept: Arc<CachedAnswer>, is_plain: bool, now: Timestamp) -> Answer {
    let content = &kept.content;
    let (this_update, next_update) = (content.this_update, content.next_update);
    Answer {
        der: content.der.clone(),
        kind: content.kind,
        cacheability: Some(Cacheability { this_update, next_update, max_age: kept.max_age(now) }),
        kept: is_plain.then_some(kept),
    }
}
