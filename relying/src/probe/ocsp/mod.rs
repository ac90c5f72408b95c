//! Asking an OCSP responder as relying systems do, by GET and by POST, and looking at all that they depend on: signature
//! and signer, times, nonce, `CertID`, and what HTTP says for caches (RFC 6960, 9919, 9654, 9110, 9111).

mod ask;
mod content;
mod transport;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use pki::Timestamp;
use pki::certificate::ParsedCertificate;
use pki::ocsp::{CertStatus, HashAlgorithm, VerifiedStatus};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;

use super::exchange::{Kind, Target};
use super::{Check, Checks, Outcome, count, name_of};
use crate::Error;
use ask::{Got, Question, Spelling, Way};

/// How long everything may take when nothing else is said.
pub const OCSP_TIME: Duration = Duration::from_secs(30);

/// How long before its end a signer's certificate is worth a warning when nothing else is said.
pub const SIGNER_WARNING: Duration = Duration::from_secs(3600);

/// RFC 9654 2.1 asks for at least 32 octets.
const NONCE_OCTETS: usize = 32;

/// What is to be looked at.
#[derive(Clone, Debug)]
pub struct OcspProbe {
    /// Where the responder is: `http://`, as in a certificate's AIA.
    pub url: String,
    /// The certificate that is asked about, DER.
    pub certificate: Vec<u8>,
    /// Certificates of CAs, DER; the one that issued the certificate is found among them.
    pub issuers: Vec<Vec<u8>>,
    /// Whether to ask with a nonce too.
    pub nonce: bool,
    /// What the status must be, if anything in particular.
    pub expected: Option<Status>,
    /// A signer's certificate that ends sooner is a warning.
    pub warn: Duration,
    /// The time.
    pub now: Timestamp,
    /// How long everything may take.
    pub time: Duration,
}

/// What an answer says of a certificate (RFC 6960 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Issued, and neither revoked nor on hold.
    Good,
    /// Revoked or on hold.
    Revoked,
    /// Not known there.
    Unknown,
}

impl From<CertStatus> for Status {
    fn from(status: CertStatus) -> Self {
        match status {
            CertStatus::Good => Status::Good,
            CertStatus::Revoked { .. } => Status::Revoked,
            CertStatus::Unknown => Status::Unknown,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Good => "good",
            Status::Revoked => "revoked",
            Status::Unknown => "unknown",
        })
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Status::Good, Status::Revoked, Status::Unknown]
            .into_iter()
            .find(|status| status.to_string() == text)
            .ok_or_else(|| format!("{text:?} is no status: write good, revoked or unknown"))
    }
}

/// How late a revocation can be seen by who keeps an answer, counted from the revocation, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SeenWithin {
    /// By who keeps it to its nextUpdate.
    pub next_update: u64,
    /// By who keeps it as HTTP says; none where HTTP says nothing.
    pub max_age: Option<u64>,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct OcspReport {
    /// Where it was asked.
    pub url: String,
    /// The serial number of the certificate, in hex.
    pub certificate: String,
    /// The name of its issuer (RFC 4514).
    pub issuer: String,
    /// What the answer says; none when there is no answer to rely on.
    pub status: Option<Status>,
    /// Since when it is revoked.
    pub revoked_at: Option<Timestamp>,
    /// Why it is revoked, as RFC 5280 5.3.1 calls it.
    pub reason: Option<String>,
    /// thisUpdate.
    pub this_update: Option<Timestamp>,
    /// nextUpdate.
    pub next_update: Option<Timestamp>,
    /// producedAt.
    pub produced_at: Option<Timestamp>,
    /// Who signed: the delegate's name, or the CA's own (RFC 4514).
    pub signer: Option<String>,
    /// When the delegate's certificate ends.
    pub signer_until: Option<Timestamp>,
    /// How late a revocation can be seen by who keeps answers.
    pub revocation_seen_within_seconds: Option<SeenWithin>,
    /// How long the answer to the GET took, in milliseconds.
    pub milliseconds: u64,
    /// What was looked at.
    pub checks: Vec<Check>,
}

impl OcspReport {
    /// How many checks came out so.
    pub fn count(&self, outcome: Outcome) -> usize {
        count(&self.checks, outcome)
    }
}

/// Asks for a certificate's status and looks at the answers.
///
/// # Errors
/// [`Error::Url`] for what is no address, [`Error::Certificate`] and [`Error::NotItsIssuer`] for certificates that do not
/// fit, and [`Error::Unreachable`] when nothing is answered. All else is in the report.
pub async fn ocsp(probe: &OcspProbe) -> Result<OcspReport, Error> {
    let target = Target::new(&probe.url, Kind::Ocsp)?;
    let certificate = ParsedCertificate::from_der(&probe.certificate)?;
    let mut issuer = None;
    for candidate in &probe.issuers {
        let candidate = ParsedCertificate::from_der(candidate)?;
        let issued = candidate.subject_der() == certificate.issuer_der()
            && certificate.verify_signed_by(candidate.public_key()).is_ok();
        if issued {
            issuer = Some(candidate);
            break;
        }
    }
    let issuer = issuer.ok_or_else(|| Error::NotItsIssuer { issuer: name_of(certificate.issuer_der()) })?;
    let question = Question { target: &target, certificate: &certificate, issuer: &issuer, now: probe.now };
    let late = || Error::Unreachable {
        url: probe.url.clone(),
        reason: format!("not everything was answered within {} s", probe.time.as_secs()),
    };
    tokio::time::timeout(probe.time, look(probe, &question)).await.map_err(|_| late())?
}

async fn look(probe: &OcspProbe, question: &Question<'_>) -> Result<OcspReport, Error> {
    let mut checks = Checks::default();
    let asked = question.about(HashAlgorithm::Sha256, None)?;
    let get = question.ask(&asked, Way::Get(Spelling::Escaped)).await?;
    transport::answer(&mut checks, "get", Ok(&get));
    let post = question.ask(&asked, Way::Post).await;
    transport::answer(&mut checks, "post", post.as_ref());
    let posted = post.as_ref().ok().and_then(|post| post.said.as_ref().ok());
    let said = get.said.as_ref().ok().or(posted);
    if let Some(said) = said {
        content::signer(&mut checks, said, question, probe.warn);
        content::times(&mut checks, said, probe.now);
        content::status(&mut checks, said, probe.expected);
    }
    if let (Ok(got), Some(posted)) = (&get.said, posted) {
        content::agreement(&mut checks, got, posted, &get.answer.headers);
    }
    transport::clock(&mut checks, &get, probe.now);
    if let Some(said) = said {
        other_forms(&mut checks, question, said).await;
        nonce(&mut checks, probe, question).await?;
    }
    let mut seen = None;
    if let Ok(got) = &get.said {
        transport::caching(&mut checks, &get.answer.headers, got, probe.now);
        transport::dates(&mut checks, &get.answer.headers);
        transport::conditions(&mut checks, question, &asked, &get).await;
        seen = Some(content::visibility(&mut checks, got, &get.answer.headers));
    }
    content::address(&mut checks, question, &probe.url);
    Ok(report(probe, question, &get, said, seen, checks))
}

/// Other ways to ask the same, which clients in the field take.
async fn other_forms(checks: &mut Checks, question: &Question<'_>, said: &VerifiedStatus) {
    let same = |got: Result<Got, Error>| match got {
        Err(error) => Err(error.to_string()),
        Ok(Got { said: Err(reason), .. }) => Err(reason),
        Ok(Got { said: Ok(other), .. }) if Status::from(other.status) == Status::from(said.status) => Ok(()),
        Ok(Got { said: Ok(other), .. }) => Err(format!("the answer is {}", Status::from(other.status))),
    };
    let ask = async |hash, nonce: Option<&[u8]>, way| match question.about(hash, nonce) {
        Ok(asked) => same(question.ask(&asked, way).await),
        Err(error) => Err(error.to_string()),
    };
    match ask(HashAlgorithm::Sha1, None, Way::Get(Spelling::Escaped)).await {
        Ok(()) => checks.passed("sha1", "a CertID in SHA-1, as most clients send it, is answered alike"),
        Err(reason) => {
            let text = format!("asked with a CertID in SHA-1, as most clients do, it is not answered alike: {reason}");
            checks.warning("sha1", text);
        }
    }
    // Base64 of these octets is nothing but slashes. An echo of the nonce is not demanded here.
    let slashes = [0xff; NONCE_OCTETS];
    match ask(HashAlgorithm::Sha256, Some(&slashes), Way::Get(Spelling::Raw)).await {
        Ok(()) => checks.passed("slashes", "base64 in the path is taken as it is, with slashes in a row (rule H1)"),
        Err(reason) => {
            let text = format!(
                "a GET whose base64 has slashes in a row, not escaped, is not answered alike (rule H1): {reason}. Does a \
                 proxy merge slashes, or decode the path?"
            );
            checks.warning("slashes", text);
        }
    }
}

/// Whether a nonce comes back.
async fn nonce(checks: &mut Checks, probe: &OcspProbe, question: &Question<'_>) -> Result<(), Error> {
    if !probe.nonce {
        checks.skipped("nonce", "not asked with one; --nonce does");
        return Ok(());
    }
    let mut nonce = [0; NONCE_OCTETS];
    SystemRandom::new().fill(&mut nonce).map_err(|_| Error::Random)?;
    let asked = question.about(HashAlgorithm::Sha256, Some(&nonce))?.with_echo();
    let mut wrong = Vec::new();
    for (name, way) in [("GET", Way::Get(Spelling::Escaped)), ("POST", Way::Post)] {
        match question.ask(&asked, way).await.map(|got| (got.said, got.answer)) {
            Err(error) => wrong.push(format!("by {name}: {error}")),
            Ok((Err(reason), _)) => wrong.push(format!("by {name}: {reason}")),
            Ok((Ok(_), answer)) if transport::may_be_kept(&answer.headers) => {
                checks.warning("nonce", format!("by {name}: caches may keep an answer that is good for one question"));
                return Ok(());
            }
            Ok((Ok(_), _)) => {}
        }
    }
    if wrong.is_empty() {
        checks.passed("nonce", format!("{NONCE_OCTETS} octets come back, by GET and by POST"));
    } else {
        checks.failed("nonce", wrong.join("; "));
    }
    Ok(())
}

fn report(
    probe: &OcspProbe,
    question: &Question<'_>,
    get: &Got,
    said: Option<&VerifiedStatus>,
    seen: Option<SeenWithin>,
    checks: Checks,
) -> OcspReport {
    let (revoked_at, reason) = match said.map(|said| said.status) {
        Some(CertStatus::Revoked { at, reason }) => (Some(at), Some(reason.to_string())),
        _ => (None, None),
    };
    let delegate = said.and_then(|said| said.delegate.as_ref());
    let own = |said: &VerifiedStatus| {
        let delegate = said.delegate.as_ref();
        name_of(delegate.map_or(question.issuer.subject_der(), |delegate| delegate.subject_der()))
    };
    OcspReport {
        url: probe.url.clone(),
        certificate: question.certificate.serial().to_string(),
        issuer: name_of(question.issuer.subject_der()),
        status: said.map(|said| said.status.into()),
        revoked_at,
        reason,
        this_update: said.map(|said| said.this_update),
        next_update: said.map(|said| said.next_update),
        produced_at: said.map(|said| said.produced_at),
        signer: said.map(own),
        signer_until: delegate.map(|delegate| delegate.not_after()),
        revocation_seen_within_seconds: seen,
        milliseconds: get.milliseconds,
        checks: checks.0,
    }
}
