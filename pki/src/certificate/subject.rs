//! From the registry's fields to the names in a certificate (conformance: E11).

use std::net::IpAddr;

use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::PrepareError;
use crate::name::{DistinguishedName, cut_common_name, is_forbidden};
use crate::profile::{CertificateProfile, Field, SanKind};

/// More alternative names than any machine here has.
const MAX_ALTERNATIVE_NAMES: usize = 64;

/// What the registry knows of a subject. A profile takes from it what its templates name, and the kinds of alternative
/// name that it allows; the rest it leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectFields {
    /// The card holder's user id.
    pub user_id: Option<String>,
    /// The card holder's given name. Empty for those who have none.
    pub given: Option<String>,
    /// The card holder's family name. Empty for those who have none.
    pub family: Option<String>,
    /// Which lending of a pool card it is.
    pub lending_id: Option<String>,
    /// The site's organisation.
    pub organization: Option<String>,
    /// The name of a CA, a station or a service.
    pub common_name: Option<String>,
    /// dNSName alternative names.
    pub dns_names: Vec<String>,
    /// iPAddress alternative names.
    pub ip_addresses: Vec<IpAddr>,
    /// The user principal name, `name@realm`.
    pub upn: Option<String>,
}

impl SubjectFields {
    /// The value of a field.
    pub fn get(&self, field: Field) -> Option<&str> {
        match field {
            Field::UserId => self.user_id.as_deref(),
            Field::Given => self.given.as_deref(),
            Field::Family => self.family.as_deref(),
            Field::LendingId => self.lending_id.as_deref(),
            Field::Organization => self.organization.as_deref(),
            Field::CommonName => self.common_name.as_deref(),
        }
    }
}

/// The subject alternative names of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlternativeNames {
    /// dNSName, in lower case.
    pub dns: Vec<String>,
    /// iPAddress.
    pub ip: Vec<IpAddr>,
    /// User principal name (otherName 1.3.6.1.4.1.311.20.2.3).
    pub upn: Option<String>,
}

impl AlternativeNames {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.dns.is_empty() && self.ip.is_empty() && self.upn.is_none()
    }

    /// The names that a profile takes from the registry.
    ///
    /// # Errors
    /// When one cannot stand in a certificate, or there is none and the profile needs one.
    pub fn for_profile(profile: &CertificateProfile, fields: &SubjectFields) -> Result<Self, PrepareError> {
        let mut names = AlternativeNames::default();
        let takes = |kind| profile.san().contains(&kind);
        if takes(SanKind::Dns) {
            for name in &fields.dns_names {
                let name = name.to_ascii_lowercase();
                check_dns_name(&name).map_err(|rule| alternative_name(&name, rule))?;
                if names.dns.contains(&name) {
                    return Err(alternative_name(&name, "it stands twice"));
                }
                names.dns.push(name);
            }
        }
        if takes(SanKind::Ip) {
            for address in &fields.ip_addresses {
                if names.ip.contains(address) {
                    return Err(alternative_name(&address.to_string(), "it stands twice"));
                }
                names.ip.push(*address);
            }
        }
        if takes(SanKind::Upn)
            && let Some(upn) = &fields.upn
        {
            let upn: String = upn.nfc().collect();
            check_upn(&upn).map_err(|rule| alternative_name(&upn, rule))?;
            names.upn = Some(upn);
        }
        if names.dns.len() + names.ip.len() > MAX_ALTERNATIVE_NAMES {
            return Err(alternative_name("…", "there are more than 64 alternative names"));
        }
        if names.is_empty() && profile.san_required() {
            let kinds: Vec<_> = profile.san().iter().map(|kind| kind.name()).collect();
            let profile = profile.name().to_owned();
            return Err(PrepareError::MissingAlternativeName { profile, kinds: kinds.join(" or ") });
        }
        Ok(names)
    }
}

/// The subject that a profile makes of the registry's fields.
pub(crate) fn distinguished_name(
    profile: &CertificateProfile,
    fields: &SubjectFields,
) -> Result<DistinguishedName, PrepareError> {
    let attributes = profile.subject().iter().map(|attribute| {
        let missing = |field| PrepareError::MissingField {
            profile: profile.name().to_owned(),
            field,
            attribute: attribute.attribute,
        };
        let value = attribute.value.fill(|field| fields.get(field)).map_err(missing)?;
        let value = if attribute.cut { cut_common_name(&value) } else { value };
        Ok((attribute.attribute, value))
    });
    let attributes = attributes.collect::<Result<Vec<_>, PrepareError>>()?;
    Ok(DistinguishedName::new(attributes)?)
}

fn alternative_name(value: &str, rule: &'static str) -> PrepareError {
    PrepareError::AlternativeName { value: value.chars().take(256).collect(), rule }
}

/// A host name in the preferred syntax (RFC 1034 3.5, RFC 1123 2.1), lower case; no wildcard, and no address, which
/// has a kind of its own (RFC 5280 4.2.1.6).
pub(crate) fn check_dns_name(name: &str) -> Result<(), &'static str> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err("a host name has labels of letters, digits and hyphens, 63 octets each and 253 in all");
    }
    if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err("it looks like an IP address, which goes among the addresses");
    }
    Ok(())
}

pub(crate) fn check_upn(upn: &str) -> Result<(), &'static str> {
    let Some((user, realm)) = upn.split_once('@') else {
        return Err("a user principal name is name@realm");
    };
    if user.is_empty() || realm.is_empty() || realm.contains('@') || upn.chars().count() > 256 {
        return Err("a user principal name is name@realm, 256 characters at most");
    }
    if !is_nfc(upn) || upn.chars().any(|character| is_forbidden(character) || character.is_whitespace()) {
        return Err("a user principal name has no spaces and no control characters");
    }
    Ok(())
}

/// An address for AIA or CRLDP: `http` (RFC 5280 4.2.1.13 asks for it: over https, the path of trust would need
/// itself), ASCII, with a host.
// conformance: E7
pub(crate) fn check_http_url(url: &str) -> Result<(), &'static str> {
    let Some(rest) = url.strip_prefix("http://") else {
        return Err("it does not begin with http://");
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() || host.starts_with(':') || host.contains('@') {
        return Err("it has no host");
    }
    if url.len() > 1024 || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it is longer than 1024 octets, or not plain ASCII");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_checked() {
        for good in ["localhost", "a.example", "xn--bcher-kva.example", "station-1.ra.example", "1.a"] {
            assert_eq!(check_dns_name(good), Ok(()), "{good}");
        }
        let long = "a".repeat(64);
        for bad in ["", ".", "a..b", "-a", "a-", "*.example", "a b", "127.0.0.1", "bücher.example", "a.", &long] {
            assert!(check_dns_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_in_certificates_are_http() {
        // conformance: E7
        assert_eq!(check_http_url("http://pki.example/crl/a-1.crl"), Ok(()));
        assert_eq!(check_http_url("http://127.0.0.1:8080/ocsp"), Ok(()));
        for bad in ["https://a/", "ldap://a/", "http://", "http:///x", "http://:80/", "http://a/ b", "http://u@a/"] {
            assert!(check_http_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn user_principal_names_are_checked() {
        assert_eq!(check_upn("zoë@nhs.example"), Ok(()));
        for bad in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a\u{202e}@c"] {
            assert!(check_upn(bad).is_err(), "{bad}");
        }
    }
}
