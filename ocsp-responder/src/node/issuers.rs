//! Whom the responder answers for: the CA's document, and why it may be believed.
//!
//! The document comes over a connection that was verified, and is kept on disk, where it is worth no more than the disk.
//! So each issuer's certificate has to lead to a root that is pinned, through what the document has *above* its issuers.
//! A new key of the root is pinned when the link that the old key signed for it is there (RFC 9810 4.4, newWithOld); one
//! that the CA no longer uses is dropped, as long as another one is left.

use std::time::Duration;

use api::feed::{IssuersDocument, ResponderId, UnknownSerial};
use pki::certificate::ParsedCertificate;
use pki::feed::Origin;
use pki::ocsp::{ResponderIdForm, UnknownAnswer};
use pki::{IssuerDescription, Timestamp};

use super::NodeError;
use crate::{AnswerRules, IssuerPolicy, ResponderIssuer};

/// No document has more issuers, and no more certificates above them.
const MAX: usize = 1000;
/// No path from an issuer to a root has more certificates.
const MAX_PATH: usize = 6;

/// A document that was verified.
#[derive(Clone, Debug)]
pub struct TrustedIssuers {
    /// The document's revision: 32 octets, as heartbeats carry it.
    pub revision: [u8; 32],
    /// The issuers.
    pub issuers: Vec<ResponderIssuer>,
    /// The roots that are to be pinned from now on, DER; in another order they are the same.
    pub roots: Vec<Vec<u8>>,
    /// How long after the last heartbeat the statuses are reported as stale.
    pub stale_after: Duration,
    /// How often the feed says something.
    pub heartbeat: Duration,
    /// What is the same in all answers, of every responder of this CA.
    pub rules: AnswerRules,
}

impl TrustedIssuers {
    /// For how long at most the status of an expired certificate is kept.
    pub fn retention(&self) -> Duration {
        self.issuers.iter().map(|issuer| issuer.policy.retention).max().unwrap_or_default()
    }
}

/// Verifies a document by the roots that are pinned.
///
/// # Errors
/// [`NodeError::Issuers`] when it is of another CA, an issuer does not lead to a pinned root, or it makes no sense.
pub fn verify(
    document: &IssuersDocument,
    origin: Origin,
    pinned: &[Vec<u8>],
    now: Timestamp,
) -> Result<TrustedIssuers, NodeError> {
    let refuse = |reason: String| NodeError::Issuers(reason);
    if document.origin != origin.to_string() {
        return Err(refuse(format!(
            "it is of the feed {}, and this responder was enrolled for {origin}: enrol it again if it is to follow \
             another CA",
            document.origin
        )));
    }
    if document.issuers.is_empty() || document.issuers.len() > MAX || document.above.len() > MAX {
        return Err(refuse(format!("it has {} issuers", document.issuers.len())));
    }
    let read =
        |der: &[u8], what: &str| ParsedCertificate::from_der(der).map_err(|error| refuse(format!("{what}: {error}")));
    let pinned = pinned.iter().map(|der| read(der, "a pinned root")).collect::<Result<Vec<_>, _>>()?;
    let mut above = Vec::new();
    for certificate in &document.above {
        above.push(read(&certificate.0, "a certificate above the issuers")?);
    }
    let roots = roots(&pinned, &above, now);

    let mut issuers: Vec<ResponderIssuer> = Vec::new();
    for issuer in &document.issuers {
        let certificate = read(&issuer.certificate.0, &format!("issuer {:?}", issuer.id))?;
        if !certificate.is_ca() || !is_trusted(&certificate, &roots, &above, now, MAX_PATH) {
            return Err(refuse(format!(
                "issuer {:?} does not lead to a root that is trusted here. If the CA's root was rotated while this \
                 responder was off, enrol it again",
                issuer.id
            )));
        }
        // It stands in names of files and keys.
        let is_plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
        if issuer.id.is_empty() || issuer.id.len() > 128 || !issuer.id.bytes().all(is_plain) {
            return Err(refuse(format!("{:?} is no name of an issuer", issuer.id)));
        }
        if issuers.iter().any(|known| known.description.id == issuer.id) {
            return Err(refuse(format!("issuer {:?} stands twice", issuer.id)));
        }
        let times = issuer.times;
        if times.next_update.is_zero() || times.withhold_after >= times.next_update {
            return Err(refuse(format!(
                "issuer {:?}: answers would be given past their nextUpdate (withheld after {:?}, nextUpdate after {:?})",
                issuer.id, times.withhold_after, times.next_update
            )));
        }
        issuers.push(ResponderIssuer {
            description: describe(&issuer.id, &certificate),
            policy: IssuerPolicy {
                next_update: times.next_update,
                unsettled_next_update: times.unsettled_next_update,
                max_age: times.max_age,
                withhold_after: times.withhold_after,
                retention: times.retention,
            },
        });
    }
    let revision = data_encoding::HEXLOWER.decode(document.revision.as_bytes()).ok();
    let revision = revision.and_then(|octets| octets.try_into().ok());
    Ok(TrustedIssuers {
        revision: revision.ok_or_else(|| refuse(format!("its revision is {:?}", document.revision)))?,
        issuers,
        roots: roots.iter().map(|root| root.der().to_vec()).collect(),
        stale_after: document.stale_after,
        heartbeat: document.heartbeat,
        rules: AnswerRules {
            responder_id: match document.responder_id {
                ResponderId::Key => ResponderIdForm::ByKey,
                ResponderId::Name => ResponderIdForm::ByName,
            },
            unknown: match document.unknown_serial {
                UnknownSerial::Unknown => UnknownAnswer::Unknown,
                UnknownSerial::Revoked => UnknownAnswer::Revoked,
            },
        },
    })
}

fn describe(id: &str, certificate: &ParsedCertificate) -> IssuerDescription {
    IssuerDescription {
        id: id.to_owned(),
        certificate_der: certificate.der().to_vec(),
        subject_der: certificate.subject_der().to_vec(),
        public_key: certificate.public_key().clone(),
        key_identifier: certificate.subject_key_identifier().unwrap_or_default().to_vec(),
        not_after: certificate.not_after(),
        // A responder issues nothing that would name these.
        ca_issuers_url: String::new(),
        ocsp_url: None,
        crl_url: String::new(),
    }
}

fn is_self_signed(certificate: &ParsedCertificate) -> bool {
    certificate.is_self_issued() && certificate.verify_signed_by(certificate.public_key()).is_ok()
}

/// Whether one certificate was signed by another, which is a CA's.
fn is_signed_by(certificate: &ParsedCertificate, issuer: &ParsedCertificate) -> bool {
    issuer.is_ca()
        && issuer.subject_der() == certificate.issuer_der()
        && certificate.verify_signed_by(issuer.public_key()).is_ok()
}

/// Whether a path leads from a certificate to one of the roots. `longest` bounds the path, and each certificate above
/// stands on it once at most since it has to be signed by the next.
fn is_trusted(
    certificate: &ParsedCertificate,
    roots: &[ParsedCertificate],
    above: &[ParsedCertificate],
    now: Timestamp,
    longest: usize,
) -> bool {
    if !certificate.is_valid_at(now) || longest == 0 {
        return false;
    }
    let by_root = roots.iter().any(|root| root.is_valid_at(now) && is_signed_by(certificate, root));
    let others = above.iter().filter(|other| other.der() != certificate.der() && !is_self_signed(other));
    by_root
        || others
            .filter(|other| is_signed_by(certificate, other))
            .any(|other| is_trusted(other, roots, above, now, longest - 1))
}

/// The roots to be pinned from now on.
fn roots(pinned: &[ParsedCertificate], above: &[ParsedCertificate], now: Timestamp) -> Vec<ParsedCertificate> {
    let mut roots = pinned.to_vec();
    // A root may have been rotated more than once since this responder was connected.
    loop {
        let next = above.iter().find(|root| {
            let is_known = roots.iter().any(|known| known.der() == root.der());
            let is_linked = || {
                above.iter().any(|link| {
                    link.is_valid_at(now)
                        && link.is_ca()
                        && link.subject_der() == root.subject_der()
                        && link.public_key() == root.public_key()
                        && roots
                            .iter()
                            .any(|known| known.public_key() != root.public_key() && is_signed_by(link, known))
                })
            };
            !is_known && is_self_signed(root) && root.is_ca() && root.is_valid_at(now) && is_linked()
        });
        match next {
            Some(next) => roots.push(next.clone()),
            None => break,
        }
    }
    let in_use = |root: &ParsedCertificate| above.iter().any(|one| one.der() == root.der());
    if roots.iter().any(in_use) {
        roots.retain(in_use);
    }
    roots
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use api::Base64;
    use api::feed::{FeedIssuer, FeedIssuerTimes};
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    const ORIGIN: Origin = Origin::from_bytes([7; 32]);
    const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

    /// A CA certificate: for a key under a name, signed by another.
    struct Ca {
        name: &'static str,
        key: KeyPair,
    }

    impl Ca {
        fn new(name: &'static str) -> Self {
            Ca { name, key: KeyPair::generate().unwrap() }
        }

        fn params(&self) -> CertificateParams {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, self.name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params
        }

        fn certificate(&self, by: &Ca) -> Vec<u8> {
            let params = by.params();
            let issuer = Issuer::from_params(&params, &by.key);
            self.params().signed_by(&self.key, &issuer).unwrap().der().to_vec()
        }
    }

    fn document(above: &[&Vec<u8>], issuer: &[u8]) -> IssuersDocument {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let times = FeedIssuerTimes {
            next_update: minutes(10),
            unsettled_next_update: minutes(1),
            max_age: Duration::from_secs(5),
            withhold_after: minutes(5),
            retention: Duration::ZERO,
        };
        IssuersDocument {
            origin: ORIGIN.to_string(),
            revision: "ab".repeat(32),
            above: above.iter().map(|der| Base64(der.to_vec())).collect(),
            issuers: vec![FeedIssuer { id: "authentication-1".into(), certificate: Base64(issuer.to_vec()), times }],
            heartbeat: Duration::from_secs(1),
            stale_after: Duration::from_secs(5),
            responder_id: ResponderId::Key,
            unknown_serial: UnknownSerial::Unknown,
        }
    }

    #[test]
    fn an_issuer_under_a_pinned_root_is_answered_for_and_another_is_not() {
        let (root, other, issuing) = (Ca::new("Root"), Ca::new("Root"), Ca::new("Issuing"));
        let (pinned, stranger) = (root.certificate(&root), other.certificate(&other));
        let issuer = issuing.certificate(&root);
        let trusted = verify(&document(&[&pinned], &issuer), ORIGIN, from_ref(&pinned), NOW).unwrap();
        assert_eq!(trusted.issuers[0].description.certificate_der, issuer);
        assert_eq!((trusted.revision, &trusted.roots[..]), ([0xab; 32], from_ref(&pinned)));
        // A root that nobody vouches for does not become one by being sent along.
        let forged = issuing.certificate(&other);
        let refused = verify(&document(&[&pinned, &stranger], &forged), ORIGIN, from_ref(&pinned), NOW).unwrap_err();
        assert!(refused.to_string().contains("does not lead to a root"), "{refused}");
        let elsewhere = Origin::from_bytes([8; 32]);
        let refused = verify(&document(&[&pinned], &issuer), elsewhere, &[pinned], NOW).unwrap_err();
        assert!(refused.to_string().contains("enrol it again"), "{refused}");
    }

    #[test]
    fn a_new_root_is_pinned_by_its_link_and_one_that_is_used_no_longer_is_dropped() {
        // conformance: K2
        let (old, new, issuing) = (Ca::new("Root"), Ca::new("Root"), Ca::new("Issuing"));
        let (old_root, new_root) = (old.certificate(&old), new.certificate(&new));
        let (new_with_old, old_with_new) = (new.certificate(&old), old.certificate(&new));
        let by_old = issuing.certificate(&old);
        let without = document(&[&old_root, &new_root], &by_old);
        assert_eq!(verify(&without, ORIGIN, from_ref(&old_root), NOW).unwrap().roots, from_ref(&old_root));

        let rotating = document(&[&new_with_old, &old_with_new, &old_root, &new_root], &by_old);
        let trusted = verify(&rotating, ORIGIN, from_ref(&old_root), NOW).unwrap();
        assert_eq!(trusted.roots, [old_root.clone(), new_root.clone()]);

        let by_new = issuing.certificate(&new);
        let over = document(&[&new_root], &by_new);
        let trusted = verify(&over, ORIGIN, &[old_root.clone(), new_root.clone()], NOW).unwrap();
        assert_eq!(trusted.roots, [new_root]);
        // Whoever was off all that time trusts none of it.
        assert!(verify(&over, ORIGIN, &[old_root], NOW).is_err());
    }

    #[test]
    fn how_answers_name_their_signer_and_what_they_say_of_unknown_serials_comes_with_the_document() {
        // conformance: O4, O11
        let (root, issuing) = (Ca::new("Root"), Ca::new("Issuing"));
        let pinned = root.certificate(&root);
        let mut json = serde_json::to_value(document(&[&pinned], &issuing.certificate(&root))).unwrap();
        let rules = |json: &serde_json::Value| {
            let document = serde_json::from_value(json.clone()).unwrap();
            verify(&document, ORIGIN, from_ref(&pinned), NOW).unwrap().rules
        };
        json["responder_id"] = "name".into();
        json["unknown_serial"] = "revoked".into();
        let others = AnswerRules { responder_id: ResponderIdForm::ByName, unknown: UnknownAnswer::Revoked };
        assert_eq!(rules(&json), others);
        // A document that was kept by the version before does not have them.
        for key in ["responder_id", "unknown_serial"] {
            json.as_object_mut().unwrap().remove(key);
        }
        assert_eq!(rules(&json), AnswerRules::default());
    }

    #[test]
    fn a_document_that_makes_no_sense_is_refused_with_what_is_wrong() {
        let (root, issuing) = (Ca::new("Root"), Ca::new("Issuing"));
        let pinned = root.certificate(&root);
        let issuer = issuing.certificate(&root);
        let refuse = |change: &dyn Fn(&mut IssuersDocument), words: &str| {
            let mut document = document(&[&pinned], &issuer);
            change(&mut document);
            let refused = verify(&document, ORIGIN, from_ref(&pinned), NOW).unwrap_err().to_string();
            assert!(refused.contains(words), "{refused}");
        };
        refuse(&|document| document.issuers.clear(), "0 issuers");
        refuse(&|document| document.issuers.push(document.issuers[0].clone()), "stands twice");
        refuse(&|document| document.issuers[0].id = "../escape".into(), "no name of an issuer");
        refuse(&|document| document.issuers[0].certificate.0.truncate(100), "authentication-1");
        refuse(
            &|document| document.issuers[0].times.withhold_after = Duration::from_secs(600),
            "past their nextUpdate",
        );
        refuse(&|document| document.revision = "ab".into(), "revision");
    }
}
