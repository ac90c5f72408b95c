//! Looking at what a CA publishes as a relying system would: over plain HTTP, with nothing but the CA's certificate.
//!
//! [`crl`] fetches a CRL, [`ocsp`] asks for a certificate's status. Each says of every thing that a relying system depends
//! on whether it is as it should be. A probe changes nothing.

mod crl;
mod exchange;
mod headers;
mod ocsp;

use std::time::Duration;

use pki::certificate::ParsedCertificate;
use pki::name::DistinguishedName;
use serde::Serialize;

pub use crl::{CrlProbe, CrlReport, MAX_OCTETS, TIME, crl};
pub use ocsp::{OCSP_TIME, OcspProbe, OcspReport, SIGNER_WARNING, SeenWithin, Status, ocsp};

use crate::Error;

/// How much the publisher's clock may be ahead of ours.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(60);

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// Relying systems can live with it, and somebody should look at it.
    Warning,
    /// A relying system must not, or cannot, rely on this.
    Failed,
    /// Not looked at, since something is missing for it; the text says what.
    Skipped,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it came out.
    pub outcome: Outcome,
    /// What was found, and what to do about it.
    pub text: String,
}

/// Checks, as they are made.
#[derive(Debug, Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn add(&mut self, name: &'static str, outcome: Outcome, text: impl Into<String>) {
        self.0.push(Check { name, outcome, text: text.into() });
    }

    fn skipped(&mut self, name: &'static str, text: impl Into<String>) {
        self.add(name, Outcome::Skipped, text);
    }

    fn passed(&mut self, name: &'static str, text: impl Into<String>) {
        self.add(name, Outcome::Passed, text);
    }

    fn warning(&mut self, name: &'static str, text: impl Into<String>) {
        self.add(name, Outcome::Warning, text);
    }

    fn failed(&mut self, name: &'static str, text: impl Into<String>) {
        self.add(name, Outcome::Failed, text);
    }
}

/// CA certificates from a file: PEM, one or many, or one in DER.
///
/// # Errors
/// When it holds no certificate.
pub fn ca_certificates(file: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let certificates = if pki::pem::is_pem(file) {
        pki::pem::decode_certificates(file).map_err(|error| Error::CaCertificate(error.to_string()))?
    } else {
        vec![file.to_vec()]
    };
    for certificate in &certificates {
        ParsedCertificate::from_der(certificate)?;
    }
    Ok(certificates)
}

/// How many checks came out so.
fn count(checks: &[Check], outcome: Outcome) -> usize {
    checks.iter().filter(|check| check.outcome == outcome).count()
}

fn name_of(der: &[u8]) -> String {
    DistinguishedName::from_der(der).map_or_else(|error| format!("(unreadable: {error})"), |name| name.to_string())
}

/// A duration for people.
fn words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
