//! The linter: a good TBS passes, and each change to it is found under its row.

mod common;

use common::*;
use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use der::asn1::{Any, Ia5String, Null, OctetString, SetOfVec};
use der::{Decode, Encode, Tag};
use pki::certificate::{SubjectFields, Validity, prepare};
use pki::lint::{Expected, lint};
use pki::profile::CertificateProfile;
use pki::{KeyType, PublicKey, SerialNumber, Timestamp};
use x509_cert::TbsCertificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::certpolicy::PolicyInformation;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AccessDescription, AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints, CertificatePolicies,
    ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
};
use x509_cert::name::RelativeDistinguishedName;
use x509_cert::time::Time;

/// A prepared certificate, and what was asked for.
struct Case {
    profile: &'static CertificateProfile,
    fields: SubjectFields,
    key: PublicKey,
    serial: SerialNumber,
    validity: Validity,
    tbs: Vec<u8>,
}

impl Case {
    fn new(profile_name: &'static str, key_type: KeyType) -> Case {
        let key = TestKey::of(key_type).public().clone();
        let issuer = &hierarchy().issuing.description;
        let (profile, serial, fields) = (profile(profile_name), serial(), fields());
        let validity = validity_of(profile, issuer);
        let prepared = prepare(profile, issuer, &fields, &key, serial, validity).unwrap();
        Case { profile, fields, key, serial, validity, tbs: prepared.tbs_der().to_vec() }
    }

    /// The rows that these bytes break.
    fn rows(&self, tbs: &[u8]) -> Vec<&'static str> {
        let expected = Expected {
            profile: self.profile,
            issuer: Some(&hierarchy().issuing.description),
            subject: &self.fields,
            key: &self.key,
            serial: self.serial,
            validity: self.validity,
        };
        lint(tbs, &expected).into_iter().map(|finding| finding.row).collect()
    }

    /// The rows that the TBS breaks after a change.
    fn changed(&self, change: impl FnOnce(&mut TbsCertificate)) -> Vec<&'static str> {
        let mut tbs = TbsCertificate::from_der(&self.tbs).unwrap();
        change(&mut tbs);
        self.rows(&tbs.to_der().unwrap())
    }

    /// The rows that the TBS breaks after one extension got another value.
    fn with_extension(&self, oid: ObjectIdentifier, critical: bool, value: &impl Encode) -> Vec<&'static str> {
        self.changed(|tbs| {
            let extensions = tbs.extensions.get_or_insert_default();
            extensions.retain(|extension| extension.extn_id != oid);
            extensions.push(extension(oid, critical, value));
        })
    }

    fn without_extension(&self, oid: ObjectIdentifier) -> Vec<&'static str> {
        self.changed(|tbs| tbs.extensions.get_or_insert_default().retain(|extension| extension.extn_id != oid))
    }
}

fn extension(oid: ObjectIdentifier, critical: bool, value: &impl Encode) -> Extension {
    Extension { extn_id: oid, critical, extn_value: OctetString::new(value.to_der().unwrap()).unwrap() }
}

fn card() -> Case {
    Case::new("card-authentication", KeyType::P256)
}

fn uri(uri: &str) -> GeneralName {
    GeneralName::UniformResourceIdentifier(Ia5String::new(uri).unwrap())
}

fn rdn(oid: ObjectIdentifier, tag: Tag, value: &str) -> RelativeDistinguishedName {
    let value = Any::new(tag, value.as_bytes()).unwrap();
    RelativeDistinguishedName(SetOfVec::try_from([AttributeTypeAndValue { oid, value }]).unwrap())
}

#[test]
fn what_was_prepared_has_no_findings() {
    for profile in leaf_profiles() {
        let case = Case::new(profile.name(), KeyType::P256);
        assert!(case.rows(&case.tbs).is_empty(), "{}", profile.name());
    }
}

#[test]
fn version_and_serial_number() {
    // conformance: E1
    let case = card();
    assert_eq!(case.changed(|tbs| tbs.version = x509_cert::Version::V2), ["E1"]);
    let other = serial();
    let set = |tbs: &mut TbsCertificate, octets: &[u8]| {
        tbs.serial_number = x509_cert::serial_number::SerialNumber::new(octets).unwrap();
    };
    assert_eq!(case.changed(|tbs| set(tbs, other.as_bytes())), ["E1"]);
    // 63 bits, as some have issued; and zero.
    let short = SerialNumber::from_der_content(&[0x7f; 8]).unwrap();
    let case = Case { serial: short, ..case };
    assert_eq!(case.changed(|tbs| set(tbs, short.as_bytes())), ["E1"]);
    assert_eq!(case.changed(|tbs| set(tbs, &[0])), ["E1"]);
    // Negative.
    let case = card();
    let mut tbs = case.tbs.clone();
    let at = tbs.windows(16).position(|window| window == case.serial.as_bytes()).unwrap();
    tbs[at] |= 0x80;
    assert_eq!(case.rows(&tbs), ["E1"]);
}

#[test]
fn times() {
    // conformance: E2
    let case = card();
    let time = |text: &str| {
        let time: Timestamp = text.parse().unwrap();
        let since = std::time::Duration::from_secs(time.unix_seconds().try_into().unwrap());
        der::asn1::GeneralizedTime::from_unix_duration(since).unwrap()
    };
    let utc = |text: &str| Time::UtcTime(der::asn1::UtcTime::from_date_time(time(text).to_date_time()).unwrap());
    assert_eq!(case.changed(|tbs| tbs.validity.not_before = utc("2026-11-22T15:29:59Z")), ["E2"]);
    // Beyond the issuer, and longer than the profile says.
    assert_eq!(case.changed(|tbs| tbs.validity.not_after = utc("2040-01-01T00:00:00Z")), ["E2", "E2", "E2"]);
    // Ends before it begins.
    assert_eq!(case.changed(|tbs| tbs.validity.not_after = utc("2025-01-01T00:00:00Z")), ["E2", "E2"]);
    // The right time in the wrong form.
    assert_eq!(case.changed(|tbs| tbs.validity.not_before = Time::GeneralTime(time("2026-11-22T15:30:00Z"))), ["E2"]);
}

#[test]
fn key_identifiers() {
    // conformance: E3
    let case = card();
    assert_eq!(case.without_extension(rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER), ["E3"]);
    assert_eq!(case.without_extension(rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER), ["E3", "E3"]);
    let octets = |octets: &[u8]| OctetString::new(octets).unwrap();
    assert_eq!(case.with_extension(rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER, false, &octets(&[1; 20])), ["E3"]);
    let aki = |identifier: &[u8], serial| AuthorityKeyIdentifier {
        key_identifier: Some(octets(identifier)),
        authority_cert_issuer: None,
        authority_cert_serial_number: serial,
    };
    let oid = rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER;
    assert_eq!(case.with_extension(oid, false, &aki(&[1; 20], None)), ["E3"]);
    let issuer = &hierarchy().issuing.description.key_identifier;
    let serial = x509_cert::serial_number::SerialNumber::new(&[1]).unwrap();
    assert_eq!(case.with_extension(oid, false, &aki(issuer, Some(serial))), ["E3"]);
    assert_eq!(case.with_extension(oid, true, &aki(issuer, None)), ["profile"]);
    // Another key.
    let other = TestKey::ec(KeyType::P256);
    let spki = spki::SubjectPublicKeyInfoOwned::from_der(other.public().spki_der()).unwrap();
    assert_eq!(case.changed(|tbs| tbs.subject_public_key_info = spki), ["E3"]);
}

#[test]
fn leaves_are_no_cas() {
    // conformance: E4
    let case = card();
    let oid = rfc5280::ID_CE_BASIC_CONSTRAINTS;
    let constraints = |ca| BasicConstraints { ca, path_len_constraint: None };
    assert_eq!(case.with_extension(oid, true, &constraints(true)), ["E4", "E4"]);
    assert_eq!(case.with_extension(oid, true, &constraints(false)), ["E4"]);
    for bit in [KeyUsages::KeyCertSign, KeyUsages::CRLSign] {
        let usage = KeyUsage(KeyUsages::DigitalSignature | bit);
        assert_eq!(case.with_extension(rfc5280::ID_CE_KEY_USAGE, true, &usage), ["E4", "profile"]);
    }
}

#[test]
fn key_usage_fits_key_and_profile() {
    // conformance: E5
    let oid = rfc5280::ID_CE_KEY_USAGE;
    let usage = |bits| KeyUsage(bits);
    let encipher = usage(KeyUsages::DigitalSignature | KeyUsages::KeyEncipherment);
    let agree = usage(KeyUsages::DigitalSignature | KeyUsages::KeyAgreement);
    let ec = card();
    let rsa = Case::new("card-authentication", KeyType::Rsa2048);
    assert_eq!(ec.with_extension(oid, true, &encipher), ["E5", "profile"]);
    assert_eq!(rsa.with_extension(oid, true, &encipher), ["profile"]);
    assert_eq!(ec.with_extension(oid, true, &agree), ["profile"]);
    assert_eq!(rsa.with_extension(oid, true, &agree), ["E5", "profile"]);
    assert_eq!(ec.with_extension(oid, false, &usage(KeyUsages::DigitalSignature.into())), ["E5"]);
    assert_eq!(ec.without_extension(oid), ["E5", "profile"]);
    // Both usages on one card: a signing key that also logs in.
    let signing = Case::new("card-signing", KeyType::P256);
    let both = usage(KeyUsages::DigitalSignature | KeyUsages::NonRepudiation);
    assert_eq!(signing.with_extension(oid, true, &both), ["profile"]);
    let server = ExtendedKeyUsage(vec![rfc5280::ID_KP_CLIENT_AUTH, rfc5280::ID_KP_SERVER_AUTH]);
    assert_eq!(ec.with_extension(rfc5280::ID_CE_EXT_KEY_USAGE, false, &server), ["profile"]);
}

#[test]
fn nothing_stands_twice() {
    // conformance: E6
    let case = card();
    let twice = case.changed(|tbs| {
        let extensions = tbs.extensions.get_or_insert_default();
        extensions.push(extensions[0].clone());
    });
    assert_eq!(twice, ["E6"]);
    let policy = PolicyInformation { policy_identifier: case.profile.policies()[0], policy_qualifiers: None };
    let policies = CertificatePolicies(vec![policy.clone(), policy]);
    assert_eq!(case.with_extension(rfc5280::ID_CE_CERTIFICATE_POLICIES, false, &policies), ["E6", "profile"]);
    let unit = rdn(const_oid::db::rfc4519::ORGANIZATIONAL_UNIT_NAME, Tag::Utf8String, "People");
    assert_eq!(case.changed(|tbs| tbs.subject.0.push(unit)), ["E6", "E11"]);
    let name = rdn(const_oid::db::rfc4519::COMMON_NAME, Tag::Utf8String, "People");
    assert_eq!(case.changed(|tbs| tbs.subject.0.push(name)), ["E8"], "no name has two CNs");
}

#[test]
fn policies_and_addresses() {
    // conformance: E7
    let case = card();
    assert_eq!(case.without_extension(rfc5280::ID_CE_CERTIFICATE_POLICIES), ["E7", "profile"]);
    assert_eq!(case.without_extension(rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS), ["E7"]);
    assert_eq!(case.without_extension(rfc5280::ID_PE_AUTHORITY_INFO_ACCESS), ["E7", "E7", "E7"]);
    let aia = |ca: &str, ocsp: &str| {
        let access = |access_method, url: &str| AccessDescription { access_method, access_location: uri(url) };
        AuthorityInfoAccessSyntax(vec![access(rfc5280::ID_AD_CA_ISSUERS, ca), access(rfc5280::ID_AD_OCSP, ocsp)])
    };
    let (ca, ocsp) = ("http://pki.example/ca/authentication-1.cer", "http://pki.example/ocsp");
    let with = |ca, ocsp| case.with_extension(rfc5280::ID_PE_AUTHORITY_INFO_ACCESS, false, &aia(ca, ocsp));
    assert!(with(ca, ocsp).is_empty());
    assert_eq!(with("http://elsewhere.example/", ocsp), ["E7"]);
    assert_eq!(with(ca, "https://pki.example/ocsp"), ["E7", "E7"]);
    assert_eq!(with("ldap://pki.example/", ocsp), ["E7", "E7"]);
}

#[test]
fn an_issuer_with_an_address_that_is_not_http_issues_nothing() {
    // conformance: E7
    let mut issuer = hierarchy().issuing.description.clone();
    issuer.crl_url = "https://pki.example/a.crl".into();
    let (card, key) = (profile("card-signing"), TestKey::of(KeyType::P256).public());
    let error = prepare(card, &issuer, &fields(), key, serial(), validity_of(card, &issuer)).unwrap_err();
    assert!(error.to_string().contains("E7: \"https://pki.example/a.crl\": it does not begin with http://"), "{error}");
    issuer.crl_url = "http://pki.example/a.crl".into();
    issuer.ocsp_url = None;
    let error = prepare(card, &issuer, &fields(), key, serial(), validity_of(card, &issuer)).unwrap_err();
    assert!(error.to_string().contains("E7: a leaf names no OCSP responder"), "{error}");
}

#[test]
fn strings() {
    // conformance: E8
    let case = card();
    let cn = const_oid::db::rfc4519::COMMON_NAME;
    let replace = |rdn| case.changed(|tbs| tbs.subject.0[2] = rdn);
    assert_eq!(replace(rdn(cn, Tag::Utf8String, "Zoe\u{308}")), ["E8"]);
    assert_eq!(replace(rdn(cn, Tag::Utf8String, &"x".repeat(65))), ["E8"]);
    assert_eq!(replace(rdn(cn, Tag::TeletexString, "Zoe")), ["E8"]);
    assert_eq!(replace(rdn(cn, Tag::BmpString, "\0Z")), ["E8"]);
    assert_eq!(replace(rdn(cn, Tag::Utf8String, "a\u{7}")), ["E8"]);
    assert_eq!(replace(rdn(cn, Tag::Utf8String, "")), ["E8"]);
    let serial_number = rdn(const_oid::db::rfc4519::SERIAL_NUMBER, Tag::Utf8String, "555000000017");
    assert_eq!(case.changed(|tbs| tbs.subject.0[3] = serial_number), ["E8"]);
}

#[test]
fn encoding_and_issuer() {
    // conformance: E9
    let case = card();
    assert_eq!(case.rows(&[&case.tbs[..], &[0]].concat()), ["E9"]);
    assert_eq!(case.rows(&case.tbs[..case.tbs.len() - 1]), ["E9"]);
    // The same name in another string type is another name to many readers.
    let printable = rdn(const_oid::db::rfc4519::ORGANIZATION_NAME, Tag::PrintableString, "Example Health");
    assert_eq!(case.changed(|tbs| tbs.issuer.0[0] = printable), ["E9"]);
    let algorithm = spki::AlgorithmIdentifierOwned { oid: rfc5912_sha384(), parameters: None };
    assert_eq!(case.changed(|tbs| tbs.signature = algorithm), ["E9"]);
    // Extension content that is not what its identifier says.
    assert_eq!(case.with_extension(rfc5280::ID_CE_KEY_USAGE, true, &Null), ["E9"]);
    // BER inside an extension: keyUsage with a trailing zero octet.
    let ber = Any::new(Tag::BitString, [0, 0x80, 0x00].as_slice()).unwrap();
    assert_eq!(case.with_extension(rfc5280::ID_CE_KEY_USAGE, true, &ber), ["E9"]);
    let unknown = ObjectIdentifier::new_unwrap("1.2.3.4");
    assert_eq!(case.with_extension(unknown, true, &Null), ["E9"]);
    assert_eq!(case.with_extension(unknown, false, &Null), ["profile"]);
}

fn rfc5912_sha384() -> ObjectIdentifier {
    const_oid::db::rfc5912::ECDSA_WITH_SHA_384
}

#[test]
fn names_are_the_registrys() {
    // conformance: E11
    let case = card();
    let other = rdn(const_oid::db::rfc4519::COMMON_NAME, Tag::Utf8String, "555000000017_Somebody_Else");
    assert_eq!(case.changed(|tbs| tbs.subject.0[2] = other), ["E11"]);
    let other = rdn(const_oid::db::rfc4519::SERIAL_NUMBER, Tag::PrintableString, "555000000018");
    assert_eq!(case.changed(|tbs| tbs.subject.0[3] = other), ["E11"]);
    assert_eq!(case.without_extension(rfc5280::ID_CE_SUBJECT_ALT_NAME), ["E11"]);
    let mail = SubjectAltName(vec![GeneralName::Rfc822Name(Ia5String::new("a@b.example").unwrap())]);
    assert_eq!(case.with_extension(rfc5280::ID_CE_SUBJECT_ALT_NAME, false, &mail), ["E11"]);
    let dns = SubjectAltName(vec![GeneralName::DnsName(Ia5String::new("evil.example").unwrap())]);
    let station = Case::new("ra-station", KeyType::P256);
    assert_eq!(station.with_extension(rfc5280::ID_CE_SUBJECT_ALT_NAME, false, &dns), ["E11"]);
}

#[test]
fn an_ocsp_signer_has_no_addresses() {
    // conformance: O12
    let case = Case::new("ocsp-signer", KeyType::P256);
    let aia = AuthorityInfoAccessSyntax(vec![AccessDescription {
        access_method: rfc5280::ID_AD_OCSP,
        access_location: uri("http://pki.example/ocsp"),
    }]);
    assert_eq!(case.with_extension(rfc5280::ID_PE_AUTHORITY_INFO_ACCESS, false, &aia), ["E7", "O12"]);
    assert_eq!(case.without_extension(const_oid::db::rfc6960::ID_PKIX_OCSP_NOCHECK), ["profile"]);
}

/// A card of a site that uses all that a profile can say.
fn rich_card() -> Case {
    let key = TestKey::of(KeyType::P256).public().clone();
    let issuer = &hierarchy().issuing.description;
    let (profile, serial, fields) = (rich_profile(), serial(), fields());
    let validity = validity_of(profile, issuer);
    let prepared = prepare(profile, issuer, &fields, &key, serial, validity).unwrap();
    Case { profile, fields, key, serial, validity, tbs: prepared.tbs_der().to_vec() }
}

fn set_extension(tbs: &mut TbsCertificate, oid: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let oid = ObjectIdentifier::new_unwrap(oid);
    let all = tbs.extensions.get_or_insert_default();
    let one = all.iter_mut().find(|extension| extension.extn_id == oid).unwrap();
    let mut octets = one.extn_value.as_bytes().to_vec();
    change(&mut octets);
    one.extn_value = OctetString::new(octets).unwrap();
}

/// Replaces text by other text of the same length.
fn swap(octets: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let at = octets.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    octets[at..at + to.len()].copy_from_slice(to.as_bytes());
}

#[test]
fn all_that_a_site_may_add_is_held_to_registry_and_profile() {
    // conformance: E6, E7, E11
    let case = rich_card();
    assert!(case.rows(&case.tbs).is_empty());
    const SAN: &str = "2.5.29.17";
    for (oid, from, to, rows) in [
        (SAN, "urn:example:555000000017", "urn:example:555000000018", &["E11"][..]),
        (SAN, "zoe@health.example", "joe@health.example", &["E11"]),
        (SAN, "555000000017", "555000000018", &["E11"]),
        ("1.3.6.1.4.1.311.25.2", "-682003330-512", "-682003330-513", &["E11"]),
        ("2.5.29.32", "https://pki.example/cps", "https://pki.evil.sx/cps", &["profile"]),
        ("1.3.6.1.4.1.99999.2.1", "site A", "site B", &["profile"]),
    ] {
        let found = case.changed(|tbs| set_extension(tbs, oid, |octets| swap(octets, from, to)));
        assert_eq!(found, rows, "{from}");
    }
    for oid in ["1.3.6.1.4.1.311.25.2", "1.3.6.1.4.1.99999.2.1"] {
        let rows = case.without_extension(ObjectIdentifier::new_unwrap(oid));
        assert_eq!(rows, [if oid.contains("311") { "E11" } else { "profile" }], "{oid}");
    }
    // Critical, the certificate could not be read by those who do not know the extension: ourselves among them.
    let critical = |oid: &str| {
        case.changed(|tbs| {
            let oid = ObjectIdentifier::new_unwrap(oid);
            let all = tbs.extensions.get_or_insert_default();
            all.iter_mut().find(|extension| extension.extn_id == oid).unwrap().critical = true;
        })
    };
    assert_eq!(critical("1.3.6.1.4.1.311.25.2"), ["profile"]);
    assert_eq!(critical("1.3.6.1.4.1.99999.2.1"), ["E9"]);
    // A security identifier that belongs to somebody else, where the profile asks for none.
    let sid = rich_card().changed(|tbs| set_extension(tbs, "1.3.6.1.4.1.311.25.2", |octets| octets[0] = 0x31));
    assert_eq!(sid, ["E9"]);
}
