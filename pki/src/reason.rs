//! Revocation reasons (RFC 5280 5.3.1).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a certificate is revoked or on hold (RFC 5280 5.3.1, `CRLReason ::= ENUMERATED`). `removeFromCRL` is no reason
/// of a certificate, but a word of delta CRLs; `unspecified` is never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[repr(u8)]
pub enum CrlReason {
    /// No reason given; left out of CRL entries and OCSP answers.
    Unspecified = 0,
    /// The private key is, or may be, in other hands. On a *signing* certificate relying systems take it to mean that
    /// every signature ever made is void.
    KeyCompromise = 1,
    /// The issuer's key is, or may be, in other hands.
    CaCompromise = 2,
    /// The holder's name or organisation changed.
    AffiliationChanged = 3,
    /// Another certificate has taken its place.
    Superseded = 4,
    /// It is needed no longer.
    CessationOfOperation = 5,
    /// On hold: it may come back.
    CertificateHold = 6,
    /// A privilege was withdrawn.
    PrivilegeWithdrawn = 9,
    /// An attribute authority's key is in other hands.
    AaCompromise = 10,
}

impl CrlReason {
    /// The code of the ENUMERATED.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason with this code, if there is one.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Unspecified,
            1 => Self::KeyCompromise,
            2 => Self::CaCompromise,
            3 => Self::AffiliationChanged,
            4 => Self::Superseded,
            5 => Self::CessationOfOperation,
            6 => Self::CertificateHold,
            9 => Self::PrivilegeWithdrawn,
            10 => Self::AaCompromise,
            _ => return None,
        })
    }
}

impl fmt::Display for CrlReason {
    /// The name as RFC 5280 spells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::CaCompromise => "cACompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::CertificateHold => "certificateHold",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
            Self::AaCompromise => "aACompromise",
        })
    }
}
