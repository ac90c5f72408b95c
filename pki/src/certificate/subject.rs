//! From the registry's fields to the subject of a certificate (conformance: E11).

use std::net::IpAddr;

use super::PrepareError;
use super::uri::check_web_address;
use crate::name::{DistinguishedName, cut_common_name};
use crate::profile::{CertificateProfile, Field};

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
    /// The security identifier of the directory account: `S-1-5-21-…`.
    pub sid: Option<String>,
    /// rfc822Name alternative names.
    pub emails: Vec<String>,
    /// uniformResourceIdentifier alternative names.
    pub uris: Vec<String>,
    /// What the registry knows the holder by for good (RFC 4043 section 2): never changed, never given to another.
    pub permanent_identifier: Option<String>,
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

/// An address for AIA or CRLDP: `http` (RFC 5280 4.2.1.13 asks for it: over https, the path of trust would need
/// itself), ASCII, with a host.
// conformance: E7
pub(crate) fn check_http_url(url: &str) -> Result<(), &'static str> {
    if !url.starts_with("http://") {
        return Err("it does not begin with http://");
    }
    check_web_address(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_certificates_are_http() {
        // conformance: E7
        assert_eq!(check_http_url("http://pki.example/crl/a-1.crl"), Ok(()));
        assert_eq!(check_http_url("http://127.0.0.1:8080/ocsp"), Ok(()));
        for bad in [
            "https://a/",
            "ldap://a/",
            "http://",
            "http:///x",
            "http://:80/",
            "http://a/ b",
            "http://u@a/",
            "http://a/%",
        ] {
            assert!(check_http_url(bad).is_err(), "{bad}");
        }
    }
}
