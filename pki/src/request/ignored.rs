//! What a request asks for beside its key, in words for the record (conformance: R10).

use std::net::IpAddr;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use der::{Decode, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, CertificatePolicies, ExtendedKeyUsage, SubjectAltName};

use super::{Attribute, CHALLENGE_PASSWORD, EXTENSION_REQUESTS, RequestRefusal, elements};
use crate::name::{AttributeType, is_forbidden};
use crate::strict::{self, Element};
use crate::usage::{self, KeyUsage};

/// No line is longer, in characters.
const MAX_LINE: usize = 200;

pub(super) fn describe(subject: Element<'_>, attributes: &[Attribute<'_>]) -> Result<Vec<String>, RequestRefusal> {
    let mut lines = Vec::new();
    let name = describe_name(subject)?;
    if !name.is_empty() {
        lines.push(format!("subject {name}"));
    }
    for attribute in attributes {
        if EXTENSION_REQUESTS.contains(&attribute.oid) {
            for value in &attribute.values {
                describe_extensions(*value, &mut lines)?;
            }
        } else if attribute.oid == CHALLENGE_PASSWORD {
            // Its value is a secret, and goes nowhere.
            lines.push("challengePassword".to_owned());
        } else {
            lines.push(format!("attribute {}", attribute.oid));
        }
    }
    Ok(lines.into_iter().map(|line| printable(&line)).collect())
}

/// The name as it came, whatever is in it; it is only written down.
fn describe_name(subject: Element<'_>) -> Result<String, RequestRefusal> {
    const SHAPE: RequestRefusal = RequestRefusal::Malformed("the subject is not a Name");
    let mut parts = Vec::new();
    for rdn in elements(subject.content)? {
        let pairs = elements(rdn.content)?;
        if rdn.tag != 0x31 || pairs.is_empty() {
            return Err(SHAPE);
        }
        for pair in pairs {
            let pair_parts = elements(pair.content)?;
            let [oid, value] = pair_parts[..] else { return Err(SHAPE) };
            let oid = ObjectIdentifier::from_der(oid.raw).map_err(|_| SHAPE)?;
            let kind = AttributeType::from_oid(oid).map_or_else(|| oid.to_string(), |kind| kind.to_string());
            parts.push(format!("{kind}={}", String::from_utf8_lossy(value.content)));
            if parts.len() > super::MAX_ELEMENTS {
                return Err(RequestRefusal::TooMany);
            }
        }
    }
    Ok(parts.join(", "))
}

// conformance: R9, R10
fn describe_extensions(value: Element<'_>, lines: &mut Vec<String>) -> Result<(), RequestRefusal> {
    if value.tag != 0x30 {
        return Err(RequestRefusal::Malformed("an extensionRequest is not a list of extensions"));
    }
    let mut seen: Vec<ObjectIdentifier> = Vec::new();
    for element in elements(value.content)? {
        let extension = Extension::from_der(element.raw)
            .map_err(|_| RequestRefusal::Malformed("an extensionRequest is not a list of extensions"))?;
        if seen.contains(&extension.extn_id) {
            return Err(RequestRefusal::DuplicateExtensionRequest);
        }
        seen.push(extension.extn_id);
        lines.push(describe_extension(&extension));
    }
    Ok(())
}

fn describe_extension(extension: &Extension) -> String {
    let value = extension.extn_value.as_bytes();
    // Only what is DER is taken apart: the decoders sort sets, which costs the square of their size unless they are sorted.
    let is_der = strict::check(value).is_ok();
    let words = match extension.extn_id {
        _ if !is_der => None,
        rfc5280::ID_CE_BASIC_CONSTRAINTS => BasicConstraints::from_der(value)
            .ok()
            .map(|constraints| format!("basicConstraints CA:{}", if constraints.ca { "TRUE" } else { "FALSE" })),
        rfc5280::ID_CE_KEY_USAGE => x509_cert::ext::pkix::KeyUsage::from_der(value)
            .ok()
            .map(|usage| format!("keyUsage {}", KeyUsage::from_extension(&usage))),
        rfc5280::ID_CE_EXT_KEY_USAGE => ExtendedKeyUsage::from_der(value).ok().map(|usages| {
            let names: Vec<_> = usages.0.iter().map(|oid| usage::extended_key_usage_name(*oid)).collect();
            format!("extendedKeyUsage {}", names.join(", "))
        }),
        rfc5280::ID_CE_SUBJECT_ALT_NAME => SubjectAltName::from_der(value).ok().map(|names| {
            let names: Vec<_> = names.0.iter().map(general_name).collect();
            format!("subjectAltName {}", names.join(", "))
        }),
        rfc5280::ID_CE_CERTIFICATE_POLICIES => CertificatePolicies::from_der(value).ok().map(|policies| {
            let names: Vec<_> = policies.0.iter().map(|policy| policy.policy_identifier.to_string()).collect();
            format!("certificatePolicies {}", names.join(", "))
        }),
        _ => None,
    };
    words.unwrap_or_else(|| format!("extension {}", extension.extn_id))
}

fn general_name(name: &GeneralName) -> String {
    match name {
        GeneralName::DnsName(name) => format!("DNS:{name}"),
        GeneralName::Rfc822Name(name) => format!("email:{name}"),
        GeneralName::UniformResourceIdentifier(uri) => format!("URI:{uri}"),
        GeneralName::IpAddress(octets) => {
            let octets = octets.as_bytes();
            let four = <[u8; 4]>::try_from(octets).map(IpAddr::from);
            let address = four.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from));
            address.map_or_else(|_| "IP".to_owned(), |address| format!("IP:{address}"))
        }
        GeneralName::OtherName(other) => {
            let value = String::from_utf8_lossy(other.value.value()).into_owned();
            format!("otherName {}:{value}", other.type_id)
        }
        other => {
            let octets = other.to_der().map_or(0, |der| der.len());
            format!("a name of {octets} octets")
        }
    }
}

/// A line as it may stand in a log: nothing that is not printable, and not long.
fn printable(line: &str) -> String {
    let mut text: String = line
        .chars()
        .take(MAX_LINE)
        .map(|character| if is_forbidden(character) { char::REPLACEMENT_CHARACTER } else { character })
        .collect();
    if line.chars().nth(MAX_LINE).is_some() {
        text.push('…');
    }
    text
}
