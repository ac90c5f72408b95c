//! Extensions of the standards that a site adds: each has the form that its standard gives it.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use x509_cert::ext::pkix::name::{GeneralName, GeneralNames};
use x509_cert::ext::pkix::{IssuerAltName, SubjectInfoAccessSyntax};

use crate::certificate::{check_dns_name, check_email, check_uri, extensions};
use crate::strict::{self, Element};

/// qcStatements (RFC 3739 3.2.6).
const QC_STATEMENTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.3");
/// TLS features (RFC 7633 4).
const TLS_FEATURE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.24");
/// S/MIME capabilities (RFC 4262).
const SMIME_CAPABILITIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.15");

const NOT_YET: &str = "it is not supported as an extra extension yet";
const FORM: &str = "it is not what its identifier says";
const EMPTY: &str = "it is not what its identifier says: there is nothing in it";

/// More elements than an extension of 4096 octets has.
const MAX_ELEMENTS: usize = 4096;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// Checks the content of an extension, which is DER. Of id-ce (2.5.29) and id-pe (1.3.6.1.5.5.7.1) only those are taken
/// whose form is known here; others pass as they are.
pub(super) fn check(oid: ObjectIdentifier, der: &[u8]) -> Result<(), &'static str> {
    match oid {
        rfc5280::ID_CE_ISSUER_ALT_NAME => general_names(extensions::decode::<IssuerAltName>(der)?.0),
        rfc5280::ID_PE_SUBJECT_INFO_ACCESS => {
            let descriptions = extensions::decode::<SubjectInfoAccessSyntax>(der)?.0;
            general_names(descriptions.into_iter().map(|description| description.access_location).collect())
        }
        rfc5280::ID_CE_SUBJECT_DIRECTORY_ATTRIBUTES => each(der, |attribute| match fields(attribute)?[..] {
            [oid, values] if oid.tag == OBJECT_IDENTIFIER && values.tag == SET && !values.content.is_empty() => Ok(()),
            _ => Err(FORM),
        }),
        QC_STATEMENTS | SMIME_CAPABILITIES => each(der, |statement| match fields(statement)?[..] {
            [oid] | [oid, _] if oid.tag == OBJECT_IDENTIFIER => Ok(()),
            _ => Err(FORM),
        }),
        TLS_FEATURE => each(der, |feature| match feature.content {
            [0..=0x7f] | [0, _] | [1..=0x7f, _] | [0, _, _] if feature.tag == INTEGER => Ok(()),
            _ => Err(FORM),
        }),
        rfc5280::ID_CE_FRESHEST_CRL => Err("Cardinal's CRLs say themselves where their deltas are (RFC 5280 5.2.6)"),
        // Its dates belong to one certificate, and what stands in a profile is the same in each.
        rfc5280::ID_CE_PRIVATE_KEY_USAGE_PERIOD => Err(NOT_YET),
        _ if oid.arcs().take(3).eq([2, 5, 29]) => Err("it has no place in a certificate, or is not known here"),
        _ if oid.arcs().take(8).eq([1, 3, 6, 1, 5, 5, 7, 1]) => Err(NOT_YET),
        _ => Ok(()),
    }
}

/// A SEQUENCE OF at least one, each as `check` has it.
fn each(der: &[u8], check: impl Fn(Element<'_>) -> Result<(), &'static str>) -> Result<(), &'static str> {
    let outer = strict::check(der)?;
    let elements = strict::elements(outer.content, MAX_ELEMENTS)?.ok_or(FORM)?;
    match (outer.tag, elements.is_empty()) {
        (SEQUENCE, true) => Err(EMPTY),
        (SEQUENCE, false) => elements.into_iter().try_for_each(check),
        _ => Err(FORM),
    }
}

fn fields(sequence: Element<'_>) -> Result<Vec<Element<'_>>, &'static str> {
    if sequence.tag != SEQUENCE {
        return Err(FORM);
    }
    strict::elements(sequence.content, 2)?.ok_or(FORM)
}

fn general_names(names: GeneralNames) -> Result<(), &'static str> {
    if names.is_empty() {
        return Err(EMPTY);
    }
    names.iter().try_for_each(|name| match name {
        GeneralName::Rfc822Name(email) => check_email(email.as_str()),
        GeneralName::DnsName(host) => check_dns_name(&host.as_str().to_ascii_lowercase()),
        GeneralName::UniformResourceIdentifier(uri) => check_uri(uri.as_str()),
        GeneralName::IpAddress(address) if matches!(address.as_bytes().len(), 4 | 16) => Ok(()),
        GeneralName::IpAddress(_) => Err("an IP address has 4 or 16 octets"),
        GeneralName::DirectoryName(name) if name.0.is_empty() => Err("a directoryName is empty"),
        GeneralName::DirectoryName(_) | GeneralName::OtherName(_) | GeneralName::RegisteredId(_) => Ok(()),
        GeneralName::EdiPartyName(_) => Err("an ediPartyName is not supported here"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(oid: &str, hex: &str) -> Result<(), &'static str> {
        let der = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
        strict::check(&der).unwrap();
        check(ObjectIdentifier::new_unwrap(oid), &der)
    }

    #[test]
    fn an_extension_of_a_standard_has_its_form() {
        // conformance: E9
        for (oid, hex) in [
            ("2.5.29.18", "300b8209612e6578616d706c65".to_owned()),
            ("2.5.29.18", "300687047f000001".to_owned()),
            // dateOfBirth: a SET of one GeneralizedTime.
            ("2.5.29.9", "301f301d06082b060105050709013111180f31393830303130313030303030305a".to_owned()),
            ("1.3.6.1.5.5.7.1.3", "300a3008060604008e460101".to_owned()),
            ("1.2.840.113549.1.9.15", "300d300b0609608648016503040102".to_owned()),
            ("1.3.6.1.5.5.7.1.24", "3003020105".to_owned()),
            ("1.3.6.1.5.5.7.1.11", "3016301406082b06010505073005860875726e3a613a6263".to_owned()),
            ("1.3.6.1.4.1.311.20.2", "1e020041".to_owned()),
        ] {
            assert_eq!(checked(oid, &hex), Ok(()), "{oid}");
        }
        for (oid, hex) in [
            ("2.5.29.18", "3000"),
            ("2.5.29.18", "0500"),
            ("2.5.29.18", "30058203612e2e"),
            ("2.5.29.18", "3003860161"),
            ("2.5.29.18", "300587037f0000"),
            ("2.5.29.18", "3004a4023000"),
            ("2.5.29.9", "3000"),
            ("2.5.29.9", "0500"),
            ("2.5.29.9", "30020500"),
            ("2.5.29.9", "3009300706035504033100"),
            ("2.5.29.16", "3000"),
            ("2.5.29.46", "3000"),
            ("2.5.29.99", "3000"),
            ("1.3.6.1.5.5.7.1.3", "3000"),
            ("1.3.6.1.5.5.7.1.3", "0500"),
            ("1.3.6.1.5.5.7.1.3", "30023000"),
            ("1.3.6.1.5.5.7.1.3", "30020500"),
            ("1.2.840.113549.1.9.15", "3000"),
            ("1.2.840.113549.1.9.15", "0500"),
            ("1.3.6.1.5.5.7.1.24", "3000"),
            ("1.3.6.1.5.5.7.1.24", "020105"),
            ("1.3.6.1.5.5.7.1.24", "30020500"),
            ("1.3.6.1.5.5.7.1.24", "30030201ff"),
            ("1.3.6.1.5.5.7.1.24", "3006020401000000"),
            ("1.3.6.1.5.5.7.1.11", "3000"),
            ("1.3.6.1.5.5.7.1.11", "0500"),
            ("1.3.6.1.5.5.7.1.14", "3000"),
        ] {
            let der = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
            assert!(check(ObjectIdentifier::new_unwrap(oid), &der).is_err(), "{oid}: {hex}");
        }
    }
}
