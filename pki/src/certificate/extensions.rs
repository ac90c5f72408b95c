//! The extensions of certificates: written from a profile, and read strictly.

use std::net::IpAddr;

use const_oid::db::{rfc5280, rfc6960};
use const_oid::{AssociatedOid, ObjectIdentifier};
use der::asn1::{Any, Ia5String, Null, OctetString};
use der::{Decode, Encode, Sequence, Tag, Tagged};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::certpolicy::{PolicyInformation, PolicyQualifierInfo};
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName, OtherName};
use x509_cert::ext::pkix::{
    AccessDescription, AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints, CertificatePolicies,
    CrlDistributionPoints, ExtendedKeyUsage, KeyUsage as KeyUsageExtension, SubjectAltName, SubjectKeyIdentifier,
};

use super::{AlternativeNames, CertificateError, PermanentIdentifier};
use crate::profile::CertificateProfile;
use crate::usage::KeyUsage;
use crate::{IssuerDescription, PublicKey, strict};

/// The Microsoft user principal name.
const UPN: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.20.2.3");

/// id-on-permanentIdentifier (RFC 4043 section 2).
const PERMANENT_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.8.3");

/// szOID_NTDS_CA_SECURITY_EXT ([MS-WCCE] 2.2.2.7.7.4): GeneralNames with one otherName of type [`OBJECT_SID`].
pub(crate) const SECURITY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.25.2");

/// szOID_NTDS_OBJECTSID: an OCTET STRING with the text form of the security identifier.
const OBJECT_SID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.25.2.1");

/// id-qt-cps (RFC 5280 4.2.1.4).
const PRACTICE_STATEMENT: ObjectIdentifier = rfc5280::ID_QT_CPS;

const OCSP_NO_CHECK: ObjectIdentifier = rfc6960::ID_PKIX_OCSP_NOCHECK;

/// More extensions than any certificate has here.
const MAX_EXTENSIONS: usize = 32;

/// The extensions of a certificate of `profile`, signed by `issuer` (none: by itself) under `authority_key_identifier`.
pub(super) fn write(
    profile: &CertificateProfile,
    issuer: Option<&IssuerDescription>,
    authority_key_identifier: &[u8],
    key: &PublicKey,
    names: &AlternativeNames,
) -> der::Result<Vec<Extension>> {
    let mut extensions = Vec::new();
    let mut add = |critical: bool, oid, der: Vec<u8>| -> der::Result<()> {
        extensions.push(Extension { extn_id: oid, critical, extn_value: OctetString::new(der)? });
        Ok(())
    };
    let key_identifier = |octets: &[u8]| OctetString::new(octets);
    add(false, SubjectKeyIdentifier::OID, SubjectKeyIdentifier(key_identifier(&key.key_identifier())?).to_der()?)?;
    let aki = AuthorityKeyIdentifier {
        key_identifier: Some(key_identifier(authority_key_identifier)?),
        ..AuthorityKeyIdentifier::default()
    };
    add(false, AuthorityKeyIdentifier::OID, aki.to_der()?)?;
    if profile.purpose().is_ca() {
        let constraints = BasicConstraints { ca: true, path_len_constraint: profile.path_length() };
        add(true, BasicConstraints::OID, constraints.to_der()?)?;
    }
    add(true, KeyUsageExtension::OID, profile.key_usage().to_extension().to_der()?)?;
    if !profile.extended_key_usage().is_empty() {
        add(false, ExtendedKeyUsage::OID, ExtendedKeyUsage(profile.extended_key_usage().to_vec()).to_der()?)?;
    }
    if !profile.policies().is_empty() {
        let policies = profile.policies().iter().map(|oid| write_policy(profile, *oid));
        let policies = CertificatePolicies(policies.collect::<der::Result<_>>()?);
        add(false, CertificatePolicies::OID, policies.to_der()?)?;
    }
    if !names.is_empty() {
        add(false, SubjectAltName::OID, write_names(names)?.to_der()?)?;
    }
    if let Some(sid) = &names.sid {
        let value = Any::new(Tag::OctetString, sid.as_bytes())?;
        let name = GeneralName::OtherName(OtherName { type_id: OBJECT_SID, value });
        add(false, SECURITY_IDENTIFIER, SubjectAltName(vec![name]).to_der()?)?;
    }
    if let Some(issuer) = issuer {
        if profile.aia() {
            add(false, AuthorityInfoAccessSyntax::OID, write_aia(issuer)?.to_der()?)?;
        }
        if profile.crldp() {
            let point = DistributionPoint {
                distribution_point: Some(DistributionPointName::FullName(vec![url(&issuer.crl_url)?])),
                reasons: None,
                crl_issuer: None,
            };
            add(false, CrlDistributionPoints::OID, CrlDistributionPoints(vec![point]).to_der()?)?;
        }
    }
    if profile.ocsp_no_check() {
        add(false, OCSP_NO_CHECK, Null.to_der()?)?;
    }
    for extra in profile.extensions() {
        add(false, extra.oid(), extra.der().to_vec())?;
    }
    Ok(extensions)
}

fn write_policy(profile: &CertificateProfile, oid: ObjectIdentifier) -> der::Result<PolicyInformation> {
    let qualifier = |statement: &str| -> der::Result<_> {
        let qualifier = Some(Any::encode_from(&Ia5String::new(statement)?)?);
        Ok(vec![PolicyQualifierInfo { policy_qualifier_id: PRACTICE_STATEMENT, qualifier }])
    };
    let policy_qualifiers = profile.practice_statement(oid).map(qualifier).transpose()?;
    Ok(PolicyInformation { policy_identifier: oid, policy_qualifiers })
}

fn url(url: &str) -> der::Result<GeneralName> {
    Ok(GeneralName::UniformResourceIdentifier(Ia5String::new(url)?))
}

fn write_aia(issuer: &IssuerDescription) -> der::Result<AuthorityInfoAccessSyntax> {
    let access = |access_method, location: &str| -> der::Result<AccessDescription> {
        Ok(AccessDescription { access_method, access_location: url(location)? })
    };
    let mut descriptions = vec![access(rfc5280::ID_AD_CA_ISSUERS, &issuer.ca_issuers_url)?];
    if let Some(ocsp) = &issuer.ocsp_url {
        descriptions.push(access(rfc5280::ID_AD_OCSP, ocsp)?);
    }
    Ok(AuthorityInfoAccessSyntax(descriptions))
}

fn write_names(names: &AlternativeNames) -> der::Result<SubjectAltName> {
    let mut general = Vec::new();
    for name in &names.dns {
        general.push(GeneralName::DnsName(Ia5String::new(name)?));
    }
    general.extend(names.ip.iter().map(|address| GeneralName::from(*address)));
    for email in &names.emails {
        general.push(GeneralName::Rfc822Name(Ia5String::new(email)?));
    }
    for uri in &names.uris {
        general.push(url(uri)?);
    }
    if let Some(upn) = &names.upn {
        let value = Any::new(Tag::Utf8String, upn.as_bytes())?;
        general.push(GeneralName::OtherName(OtherName { type_id: UPN, value }));
    }
    if let Some(identifier) = &names.permanent_identifier {
        let syntax = PermanentIdentifierSyntax { value: Some(identifier.value.clone()), assigner: identifier.assigner };
        let value = Any::encode_from(&syntax)?;
        general.push(GeneralName::OtherName(OtherName { type_id: PERMANENT_IDENTIFIER, value }));
    }
    Ok(SubjectAltName(general))
}

/// RFC 4043 section 2.
#[derive(Sequence)]
struct PermanentIdentifierSyntax {
    #[asn1(optional = "true")]
    value: Option<String>,
    #[asn1(optional = "true")]
    assigner: Option<ObjectIdentifier>,
}

/// What the extensions of a certificate say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extensions {
    /// Each one's identifier, and whether it is critical.
    pub(crate) present: Vec<(ObjectIdentifier, bool)>,
    pub(crate) basic_constraints: Option<BasicConstraints>,
    pub(crate) key_usage: Option<KeyUsage>,
    pub(crate) extended_key_usage: Vec<ObjectIdentifier>,
    pub(crate) policies: Vec<ObjectIdentifier>,
    pub(crate) subject_key_identifier: Option<Vec<u8>>,
    pub(crate) authority_key_identifier: Option<AuthorityKeyIdentifier>,
    pub(crate) names: AlternativeNames,
    /// How many alternative names there are of kinds that are not known here.
    pub(crate) other_names: usize,
    pub(crate) practice_statements: Vec<(ObjectIdentifier, String)>,
    /// How many policy qualifiers there are that are no practice statement.
    pub(crate) other_qualifiers: usize,
    /// What is not known here: identifier and content.
    pub(crate) unknown: Vec<(ObjectIdentifier, Vec<u8>)>,
    pub(crate) ca_issuers: Vec<String>,
    pub(crate) ocsp: Vec<String>,
    pub(crate) crls: Vec<String>,
    pub(crate) ocsp_no_check: bool,
}

impl Extensions {
    /// Reads extensions. Those that are not known here are passed over, unless they are critical.
    pub(crate) fn read(extensions: &[Extension]) -> Result<Self, CertificateError> {
        if extensions.len() > MAX_EXTENSIONS {
            return Err(CertificateError::Malformed("it has more than 32 extensions"));
        }
        let mut read = Extensions::default();
        for extension in extensions {
            let oid = extension.extn_id;
            // conformance: E6
            if read.present.iter().any(|(known, _)| *known == oid) {
                return Err(CertificateError::DuplicateExtension(oid));
            }
            read.present.push((oid, extension.critical));
            let known = read
                .take(oid, extension.extn_value.as_bytes())
                .map_err(|rule| CertificateError::Extension { oid, rule })?;
            if !known {
                if extension.critical {
                    return Err(CertificateError::UnknownCriticalExtension(oid));
                }
                read.unknown.push((oid, extension.extn_value.as_bytes().to_vec()));
            }
        }
        Ok(read)
    }

    /// Whether the extension is there and critical.
    pub(crate) fn criticality(&self, oid: ObjectIdentifier) -> Option<bool> {
        self.present.iter().find(|(known, _)| *known == oid).map(|(_, critical)| *critical)
    }

    fn take(&mut self, oid: ObjectIdentifier, value: &[u8]) -> Result<bool, &'static str> {
        match oid {
            BasicConstraints::OID => self.basic_constraints = Some(decode(value)?),
            KeyUsageExtension::OID => {
                let usage = KeyUsage::from_extension(&decode(value)?);
                if usage.is_empty() {
                    return Err("no bit is set");
                }
                self.key_usage = Some(usage);
            }
            ExtendedKeyUsage::OID => self.extended_key_usage = not_empty(decode::<ExtendedKeyUsage>(value)?.0)?,
            CertificatePolicies::OID => {
                let policies = not_empty(decode::<CertificatePolicies>(value)?.0)?;
                self.policies = policies.iter().map(|policy| policy.policy_identifier).collect();
                for policy in policies {
                    self.take_qualifiers(policy)?;
                }
            }
            SubjectKeyIdentifier::OID => {
                self.subject_key_identifier = Some(decode::<SubjectKeyIdentifier>(value)?.0.into_bytes());
            }
            AuthorityKeyIdentifier::OID => self.authority_key_identifier = Some(decode(value)?),
            SECURITY_IDENTIFIER => self.take_security_identifier(decode::<SubjectAltName>(value)?.0)?,
            SubjectAltName::OID => self.take_names(not_empty(decode::<SubjectAltName>(value)?.0)?)?,
            AuthorityInfoAccessSyntax::OID => {
                for access in not_empty(decode::<AuthorityInfoAccessSyntax>(value)?.0)? {
                    let GeneralName::UniformResourceIdentifier(url) = access.access_location else { continue };
                    match access.access_method {
                        rfc5280::ID_AD_CA_ISSUERS => self.ca_issuers.push(url.to_string()),
                        rfc5280::ID_AD_OCSP => self.ocsp.push(url.to_string()),
                        _ => {}
                    }
                }
            }
            CrlDistributionPoints::OID => {
                for point in not_empty(decode::<CrlDistributionPoints>(value)?.0)? {
                    let Some(DistributionPointName::FullName(names)) = point.distribution_point else { continue };
                    self.crls.extend(names.iter().filter_map(|name| match name {
                        GeneralName::UniformResourceIdentifier(url) => Some(url.to_string()),
                        _ => None,
                    }));
                }
            }
            OCSP_NO_CHECK => {
                decode::<Null>(value)?;
                self.ocsp_no_check = true;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_names(&mut self, names: Vec<GeneralName>) -> Result<(), &'static str> {
        for name in names {
            match name {
                GeneralName::DnsName(name) => self.names.dns.push(name.to_string()),
                GeneralName::IpAddress(octets) => self.names.ip.push(match octets.as_bytes().len() {
                    4 => IpAddr::from(<[u8; 4]>::try_from(octets.as_bytes()).unwrap_or_default()),
                    16 => IpAddr::from(<[u8; 16]>::try_from(octets.as_bytes()).unwrap_or_default()),
                    _ => return Err("an iPAddress has 4 or 16 octets"),
                }),
                GeneralName::Rfc822Name(email) => self.names.emails.push(email.to_string()),
                GeneralName::UniformResourceIdentifier(uri) => self.names.uris.push(uri.to_string()),
                GeneralName::OtherName(other) => self.take_other_name(&other)?,
                _ => self.other_names += 1,
            }
        }
        Ok(())
    }
}

/// The parts of extensions that have parts of their own.
impl Extensions {
    fn take_other_name(&mut self, other: &OtherName) -> Result<(), &'static str> {
        match other.type_id {
            UPN if other.value.tag() == Tag::Utf8String && self.names.upn.is_none() => {
                let upn = std::str::from_utf8(other.value.value()).map_err(|_| "a UPN is not UTF-8")?;
                self.names.upn = Some(upn.to_owned());
            }
            PERMANENT_IDENTIFIER if self.names.permanent_identifier.is_none() => {
                let syntax: PermanentIdentifierSyntax =
                    other.value.decode_as().map_err(|_| "a permanent identifier is not of the form of RFC 4043")?;
                match syntax.value {
                    Some(value) => {
                        let assigner = syntax.assigner;
                        self.names.permanent_identifier = Some(PermanentIdentifier { value, assigner });
                    }
                    None => self.other_names += 1,
                }
            }
            _ => self.other_names += 1,
        }
        Ok(())
    }

    fn take_security_identifier(&mut self, names: Vec<GeneralName>) -> Result<(), &'static str> {
        const FORM: &str = "it is not one szOID_NTDS_OBJECTSID ([MS-WCCE] 2.2.2.7.7.4)";
        let [GeneralName::OtherName(name)] = &names[..] else { return Err(FORM) };
        if name.type_id != OBJECT_SID || name.value.tag() != Tag::OctetString {
            return Err(FORM);
        }
        let sid = std::str::from_utf8(name.value.value()).map_err(|_| FORM)?;
        self.names.sid = Some(sid.to_owned());
        Ok(())
    }

    fn take_qualifiers(&mut self, policy: PolicyInformation) -> Result<(), &'static str> {
        let Some(qualifiers) = policy.policy_qualifiers else { return Ok(()) };
        for one in not_empty(qualifiers)? {
            let statement = (one.policy_qualifier_id == PRACTICE_STATEMENT).then_some(one.qualifier).flatten();
            match statement.map(|value| value.decode_as::<Ia5String>()) {
                Some(Ok(url)) => self.practice_statements.push((policy.policy_identifier, url.to_string())),
                Some(Err(_)) => return Err("the address of a practice statement is not an IA5String"),
                None => self.other_qualifiers += 1,
            }
        }
        Ok(())
    }
}

fn not_empty<T>(list: Vec<T>) -> Result<Vec<T>, &'static str> {
    if list.is_empty() { Err("the list is empty") } else { Ok(list) }
}

/// Decodes DER that encodes again to the same bytes (conformance: E9).
pub(crate) fn decode<'a, T: Decode<'a> + Encode>(der: &'a [u8]) -> Result<T, &'static str> {
    strict::check(der)?;
    let value = T::from_der(der).map_err(|_| "it is not what its identifier says")?;
    if value.to_der().is_ok_and(|again| again == der) { Ok(value) } else { Err("it is not in DER") }
}
