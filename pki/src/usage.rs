//! Key usage and extended key usage: their names and their bits (RFC 5280 4.2.1.3, 4.2.1.12).

use std::fmt;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use der::flagset::FlagSet;
use x509_cert::ext::pkix::{KeyUsage as KeyUsageExtension, KeyUsages};

use crate::{KeyType, oid};

/// `KeyUsage ::= BIT STRING { digitalSignature (0) … decipherOnly (8) }`: what a key may be used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyUsage(u16);

impl KeyUsage {
    /// Verifying signatures on all but certificates and CRLs: logins, TLS, OCSP answers.
    pub const DIGITAL_SIGNATURE: KeyUsage = KeyUsage(1 << 0);
    /// Verifying signatures that a person answers for; formerly nonRepudiation.
    pub const CONTENT_COMMITMENT: KeyUsage = KeyUsage(1 << 1);
    /// Encrypting keys; RSA only.
    pub const KEY_ENCIPHERMENT: KeyUsage = KeyUsage(1 << 2);
    /// Encrypting data; RSA only.
    pub const DATA_ENCIPHERMENT: KeyUsage = KeyUsage(1 << 3);
    /// Agreeing on keys; elliptic curves only.
    pub const KEY_AGREEMENT: KeyUsage = KeyUsage(1 << 4);
    /// Verifying signatures on certificates.
    pub const KEY_CERT_SIGN: KeyUsage = KeyUsage(1 << 5);
    /// Verifying signatures on CRLs.
    pub const CRL_SIGN: KeyUsage = KeyUsage(1 << 6);
    /// With keyAgreement: for encryption only.
    pub const ENCIPHER_ONLY: KeyUsage = KeyUsage(1 << 7);
    /// With keyAgreement: for decryption only.
    pub const DECIPHER_ONLY: KeyUsage = KeyUsage(1 << 8);

    /// What a CA's key does: certificates and CRLs.
    pub const CA: KeyUsage = Self::KEY_CERT_SIGN.union(Self::CRL_SIGN);

    const NAMES: [(&'static str, KeyUsage); 9] = [
        ("digitalSignature", Self::DIGITAL_SIGNATURE),
        ("contentCommitment", Self::CONTENT_COMMITMENT),
        ("keyEncipherment", Self::KEY_ENCIPHERMENT),
        ("dataEncipherment", Self::DATA_ENCIPHERMENT),
        ("keyAgreement", Self::KEY_AGREEMENT),
        ("keyCertSign", Self::KEY_CERT_SIGN),
        ("cRLSign", Self::CRL_SIGN),
        ("encipherOnly", Self::ENCIPHER_ONLY),
        ("decipherOnly", Self::DECIPHER_ONLY),
    ];

    /// The bits in the order of the standard: bit *n* of the number is bit *n* of the BIT STRING.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Both together.
    #[must_use]
    pub const fn union(self, other: KeyUsage) -> KeyUsage {
        KeyUsage(self.0 | other.0)
    }

    /// Whether all of `other` is allowed.
    pub const fn contains(self, other: KeyUsage) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is allowed.
    pub const fn intersects(self, other: KeyUsage) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing is allowed.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The usage with this name of RFC 5280 (`nonRepudiation` is the old name of `contentCommitment`).
    pub fn from_name(name: &str) -> Option<KeyUsage> {
        let name = if name == "nonRepudiation" { "contentCommitment" } else { name };
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, usage)| *usage)
    }

    /// The names of all that is allowed.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(_, usage)| self.contains(*usage)).map(|(name, _)| *name)
    }

    /// What of it a key of this kind cannot do: an elliptic-curve key encrypts nothing, an RSA key agrees on nothing
    /// (RFC 3279 2.3.1, RFC 5480 3).
    // conformance: E5
    pub const fn unfit_for(self, key_type: KeyType) -> KeyUsage {
        let unfit = if key_type.is_ec() {
            Self::KEY_ENCIPHERMENT.union(Self::DATA_ENCIPHERMENT)
        } else {
            Self::KEY_AGREEMENT.union(Self::ENCIPHER_ONLY).union(Self::DECIPHER_ONLY)
        };
        KeyUsage(self.0 & unfit.0)
    }

    pub(crate) fn to_extension(self) -> KeyUsageExtension {
        KeyUsageExtension(FlagSet::<KeyUsages>::new_truncated(self.0))
    }

    pub(crate) fn from_extension(extension: &KeyUsageExtension) -> Self {
        KeyUsage(extension.0.bits())
    }
}

impl fmt::Display for KeyUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing");
        }
        for (index, name) in self.names().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

/// id-kp-clientAuth.
pub const CLIENT_AUTH: ObjectIdentifier = rfc5280::ID_KP_CLIENT_AUTH;
/// id-kp-serverAuth.
pub const SERVER_AUTH: ObjectIdentifier = rfc5280::ID_KP_SERVER_AUTH;
/// id-kp-OCSPSigning (RFC 6960 4.2.2.2).
pub const OCSP_SIGNING: ObjectIdentifier = rfc5280::ID_KP_OCSP_SIGNING;
/// id-kp-documentSigning (RFC 9336).
pub const DOCUMENT_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.36");
/// Microsoft smartcard logon.
pub const SMARTCARD_LOGON: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.20.2.2");
/// id-pkinit-KPClientAuth (RFC 4556 3.2.2).
pub const PKINIT_CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.2.3.4");
/// id-kp-timeStamping (RFC 3161 2.3): never certified here.
pub const TIME_STAMPING: ObjectIdentifier = rfc5280::ID_KP_TIME_STAMPING;
/// anyExtendedKeyUsage: never certified here.
pub const ANY_EXTENDED_KEY_USAGE: ObjectIdentifier = rfc5280::ANY_EXTENDED_KEY_USAGE;

const EXTENDED_KEY_USAGES: [(&str, ObjectIdentifier); 10] = [
    ("clientAuth", CLIENT_AUTH),
    ("serverAuth", SERVER_AUTH),
    ("OCSPSigning", OCSP_SIGNING),
    ("documentSigning", DOCUMENT_SIGNING),
    ("smartcardLogon", SMARTCARD_LOGON),
    ("pkinitClientAuth", PKINIT_CLIENT_AUTH),
    ("codeSigning", rfc5280::ID_KP_CODE_SIGNING),
    ("emailProtection", rfc5280::ID_KP_EMAIL_PROTECTION),
    ("timeStamping", TIME_STAMPING),
    ("anyExtendedKeyUsage", ANY_EXTENDED_KEY_USAGE),
];

/// The key usages that go with an extended key usage: at least one of them must be there (RFC 5280 4.2.1.12; RFC 4556
/// 3.2.2; RFC 9336 3.2). Nothing for those that are not known here.
pub fn fit_for(extended: ObjectIdentifier) -> KeyUsage {
    const SIGNATURE: KeyUsage = KeyUsage::DIGITAL_SIGNATURE;
    const COMMITMENT: KeyUsage = SIGNATURE.union(KeyUsage::CONTENT_COMMITMENT);
    const EXCHANGE: KeyUsage = KeyUsage::KEY_ENCIPHERMENT.union(KeyUsage::KEY_AGREEMENT);
    match extended {
        SERVER_AUTH => SIGNATURE.union(EXCHANGE),
        CLIENT_AUTH => SIGNATURE.union(KeyUsage::KEY_AGREEMENT),
        SMARTCARD_LOGON | PKINIT_CLIENT_AUTH | rfc5280::ID_KP_CODE_SIGNING => SIGNATURE,
        rfc5280::ID_KP_EMAIL_PROTECTION => COMMITMENT.union(EXCHANGE),
        OCSP_SIGNING | DOCUMENT_SIGNING | TIME_STAMPING => COMMITMENT,
        _ => KeyUsage(0),
    }
}

/// The extended key usage with this name, or in this dotted notation.
pub fn extended_key_usage_from_name(name: &str) -> Option<ObjectIdentifier> {
    match EXTENDED_KEY_USAGES.iter().find(|(known, _)| *known == name) {
        Some((_, oid)) => Some(*oid),
        None => oid::parse(name).ok(),
    }
}

/// The name of an extended key usage; in dotted notation when it has none here.
pub fn extended_key_usage_name(oid: ObjectIdentifier) -> String {
    match EXTENDED_KEY_USAGES.iter().find(|(_, known)| *known == oid) {
        Some((name, _)) => (*name).to_owned(),
        None => oid.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use der::{Decode, Encode};

    use super::*;

    #[test]
    fn bits_are_written_in_the_shortest_form() {
        // conformance: E5
        let der = |usage: KeyUsage| usage.to_extension().to_der().unwrap();
        assert_eq!(der(KeyUsage::DIGITAL_SIGNATURE), [0x03, 2, 7, 0x80]);
        assert_eq!(der(KeyUsage::CONTENT_COMMITMENT), [0x03, 2, 6, 0x40]);
        assert_eq!(der(KeyUsage::CA), [0x03, 2, 1, 0x06]);
        assert_eq!(der(KeyUsage::DECIPHER_ONLY), [0x03, 3, 7, 0x00, 0x80]);
        let back = KeyUsageExtension::from_der(&[0x03, 2, 1, 0x06]).unwrap();
        assert_eq!(KeyUsage::from_extension(&back), KeyUsage::CA);
    }

    #[test]
    fn curves_encrypt_nothing_and_rsa_agrees_on_nothing() {
        // conformance: E5
        let all = KeyUsage(0x1ff);
        assert_eq!(all.unfit_for(KeyType::P256).to_string(), "keyEncipherment, dataEncipherment");
        assert_eq!(all.unfit_for(KeyType::Rsa2048).to_string(), "keyAgreement, encipherOnly, decipherOnly");
    }

    #[test]
    fn names_are_those_of_the_standards() {
        for (name, usage) in KeyUsage::NAMES {
            assert_eq!(KeyUsage::from_name(name), Some(usage));
            assert_eq!(usage.to_string(), name);
        }
        assert_eq!(KeyUsage::from_name("nonRepudiation"), Some(KeyUsage::CONTENT_COMMITMENT));
        assert_eq!(extended_key_usage_from_name("clientAuth"), Some(CLIENT_AUTH));
        assert_eq!(extended_key_usage_from_name("1.3.6.1.5.5.7.3.2"), Some(CLIENT_AUTH));
        assert_eq!(extended_key_usage_from_name("clientauth"), None);
        assert_eq!(extended_key_usage_name(ObjectIdentifier::new_unwrap("1.2.3.4")), "1.2.3.4");
    }
}
