//! Whom the responder answers for: the CA's document, and why it may be believed.
//!
//! The document comes over a connection that was verified, and is kept on disk, where it is worth no more than the disk.
//! So each issuer's certificate has to lead to a root that is pinned, through what the document has *above* its issuers.
//! A new key of the root is pinned when the link that the old key signed for it is there (RFC 9810 4.4, newWithOld); one
//! that the CA no longer uses is dropped, as long as another one is left.

use std::time::Duration;

use api::feed::IssuersDocument;
use pki::certificate::ParsedCertificate;
use pki::feed::Origin;
use pki::{IssuerDescription, Timestamp};

use super::NodeError;
use crate::{IssuerPolicy, ResponderIssuer};

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
