//! The second half of an answer: its signature, and what is kept of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pki::Timestamp;
use pki::ocsp::{ErrorStatus, Expected, PreparedResponse, ResponderIdForm, verify_response_by};

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
    pub(super) response: PreparedResponse,
    pub(super) about: About,
}

/// What an answer is made of, and what is to become of it.
#[derive(Debug)]
pub(super) struct About {
    pub(super) request: Bytes,
    pub(super) now: Timestamp,
    pub(super) issuer: Arc<Issuer>,
    pub(super) signer: Arc<IssuerSigner>,
    pub(super) seen: Vec<Seen>,
    pub(super) kind: AnswerKind,
    /// The template that it was made by.
    pub(super) responder_id: ResponderIdForm,
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
        self.about.signer.is_blocking()
    }
}

impl Responder {
    /// Signs an answer, and keeps it if it can be given again.
    pub fn finish(&self, signing: Signing) -> Answer {
        let Signing { mut response, mut about } = signing;
        for _ in 0..ATTEMPTS {
            match self.sign(response, &about) {
                Err(status) => return self.counted(self.fall_back(&about, status)),
                Ok(Some(answer)) => return self.counted(answer),
                Ok(None) => {
                    self.metrics.overtaken.add_one();
                    // Others may have signed at a later second meanwhile: it is that late, and the clock did not go back.
                    let now = self.last_produced_at().map_or(about.now, |last| last.max(about.now));
                    match self.prepare(&about.request, now) {
                        Prepared::Ready(answer) => return answer,
                        Prepared::Sign(again) => Signing { response, about } = *again,
                        Prepared::ClockBehind => return self.refuse_clock(),
                    }
                }
            }
        }
        self.counted(Answer::error(ErrorStatus::TryLater))
    }

    /// One try: `None` when a status changed meanwhile.
    fn sign(&self, response: PreparedResponse, about: &About) -> Result<Option<Answer>, ErrorStatus> {
        let About { issuer, signer, .. } = about;
        let signature = signer.sign(response.tbs_der()).map_err(|error| {
            self.metrics.signing_failures.add_one();
            self.not_signed.say(|times| {
                tracing::warn!(times, issuer = issuer.description.id, %error, "OCSP answers could not be signed");
            });
            ErrorStatus::TryLater
        })?;
        self.metrics.signed.add_one();
        let der = Bytes::from(signer.template(about.responder_id).assemble(response, &signature));
        let Some((this_update, next_update)) = about.times else {
            let answer = Answer { der, kind: about.kind, cacheability: None, kept: None };
            return Ok(self.is_still_so(about).then_some(answer));
        };
        let (Some(keep), [Seen { status: Some(status), at, .. }]) = (&about.keep, about.seen.as_slice()) else {
            let max_age = issuer.policy.max_age.min(next_update.since(about.now));
            let cacheability = Some(Cacheability { this_update, next_update, max_age });
            let answer = Answer { der, kind: about.kind, cacheability, kept: None };
            return Ok(self.is_still_so(about).then_some(answer));
        };
        let content = AnswerContent {
            key: keep.key,
            status: *status,
            seen: *at,
            headers: CachingHeaders::new(&der, this_update, next_update),
            der,
            kind: about.kind,
            produced_at: about.now.whole_seconds(),
            this_update,
            next_update,
            policy: issuer.policy,
        };
        self.check(about, &content, &keep.cert_id)?;
        let kept = Arc::new(CachedAnswer::new(content));
        if !self.is_still_so(about) {
            return Ok(None);
        }
        self.cache.insert(&kept);
        Ok(Some(from_cache(kept, keep.is_plain, about.now)))
    }

    /// Whether the statuses that an answer was made of are still the newest.
    // conformance: O6
    fn is_still_so(&self, about: &About) -> bool {
        about.seen.iter().all(|seen| {
            let now = self.changes.moment(&seen.serial);
            let same = || self.replica.status(about.issuer.index, &seen.serial) == seen.status;
            now == seen.at || (!now.is_of_another_state(&seen.at) && same())
        })
    }

    /// Reads and verifies an answer as a relying system would, before it is kept.
    // conformance: O29
    fn check(&self, about: &About, answer: &AnswerContent, cert_id: &[u8]) -> Result<(), ErrorStatus> {
        let description = &about.issuer.description;
        let expected = Expected {
            cert_id,
            issuer_subject_der: &description.subject_der,
            issuer_key: &description.public_key,
            nonce: None,
            now: about.now,
            max_clock_skew: Duration::ZERO,
        };
        // The signer's certificate was verified when it came.
        let refused = match verify_response_by(&answer.der, &expected, about.signer.signer().public_key()) {
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
    fn fall_back(&self, about: &About, status: ErrorStatus) -> Answer {
        let keep = about.keep.as_ref();
        let kept = keep.and_then(|keep| Some((self.cache.get(&keep.key, about.now)?, keep.is_plain)));
        match kept {
            Some((kept, is_plain)) if self.is_current(&kept) => {
                self.metrics.cache_hits.add_one();
                from_cache(kept, is_plain, about.now)
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

#[cfg(test)]
mod tests {
    use hsm::{MemoryKey, Signer};
    use pki::feed::{FeedPosition, PublishedStatus, StatusEntry};
    use pki::ocsp::{HashAlgorithm, IssuerHashes, build_request};
    use pki::{CrlReason, IssuerDescription, SerialNumber};

    use super::*;
    use crate::responder::ResponderOptions;
    use crate::{IssuerPolicy, IssuerSigner, ResponderIssuer};

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
    const ISSUER: &str = "authentication-1";
    /// A Name without a part.
    const SUBJECT: [u8; 2] = [0x30, 0];

    /// A responder whose CA signs itself, and a request about its one certificate.
    struct Scene {
        responder: Responder,
        serial: SerialNumber,
        request: Bytes,
    }

    impl Scene {
        fn new() -> Self {
            let key = Arc::new(MemoryKey::generate_p256().unwrap());
            let description = IssuerDescription {
                id: ISSUER.to_owned(),
                certificate_der: Vec::new(),
                subject_der: SUBJECT.to_vec(),
                public_key: key.public_key().clone(),
                key_identifier: Vec::new(),
                not_after: NOW.plus(Duration::from_secs(86_400)),
                ca_issuers_url: String::new(),
                ocsp_url: None,
                crl_url: String::new(),
            };
            let serial = SerialNumber::from_der_content(&[0x41]).unwrap();
            let hashes = IssuerHashes::new(&SUBJECT, key.public_key());
            let request = build_request(&[&hashes.cert_id(HashAlgorithm::Sha1, serial)], None).unwrap();
            let responder = Responder::new(ResponderOptions::default());
            let signer = IssuerSigner::issuer(key, &description, false).unwrap();
            let policy = IssuerPolicy::AUTHENTICATION;
            responder.set_issuers(vec![ResponderIssuer { description, policy }]).unwrap();
            responder.set_signers(ISSUER, vec![signer]).unwrap();
            responder.heartbeat(FeedPosition { epoch: 0, sequence: 0 }, NOW, NOW).unwrap();
            Scene { responder, serial, request: request.into() }
        }

        fn publish(&self, status: PublishedStatus) {
            let not_after = NOW.plus(Duration::from_secs(80_000));
            let entry = StatusEntry { issuer: ISSUER.to_owned(), serial: self.serial, status, not_after, shard: None };
            self.responder.apply(self.responder.replica().position().sequence + 1, &entry).unwrap();
        }

        fn begin(&self) -> Signing {
            match self.responder.prepare(&self.request, NOW) {
                Prepared::Sign(signing) => *signing,
                other => panic!("it is to be signed: {other:?}"),
            }
        }
    }

    #[test]
    fn an_answer_that_verifies_and_says_something_else_is_neither_sent_nor_kept() {
        // conformance: O29
        let scene = Scene::new();
        scene.publish(PublishedStatus::Good { since: NOW.minus(Duration::from_secs(60)) });
        let good = scene.begin();
        let at = NOW.minus(Duration::from_secs(1));
        scene.publish(PublishedStatus::Revoked { at, reason: CrlReason::KeyCompromise, invalidity_date: None });
        let (revoked, later) = (scene.begin(), scene.begin());

        // What was put together is the `good` of before: rightly signed, about the same certificate, of the same time.
        let wrong = Signing { response: good.response, about: revoked.about };
        let answer = scene.responder.finish(wrong);
        assert_eq!(answer.kind, AnswerKind::Error(ErrorStatus::InternalError));
        assert_eq!(scene.responder.metrics().verification_failures.get(), 1);
        assert_eq!(scene.responder.cached_answers(), 0);

        // So with times that are others than those by which it would be kept.
        let right = scene.begin();
        let mut wrong = later;
        wrong.about.times = wrong.about.times.map(|(from, to)| (from, to.plus(Duration::from_secs(60))));
        let answer = scene.responder.finish(wrong);
        assert_eq!(answer.kind, AnswerKind::Error(ErrorStatus::InternalError));
        assert_eq!(scene.responder.cached_answers(), 0);

        assert_eq!(scene.responder.finish(right).kind, AnswerKind::Revoked);
        assert_eq!((scene.responder.cached_answers(), scene.responder.metrics().verification_failures.get()), (1, 2));
    }
}
