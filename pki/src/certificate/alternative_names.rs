//! From the registry's fields to the alternative names of a certificate (conformance: E11).

use std::net::IpAddr;

use const_oid::ObjectIdentifier;
use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::uri::{check_dns_name, check_uri};
use super::{PrepareError, SubjectFields};
use crate::name::is_forbidden;
use crate::profile::{CertificateProfile, SanKind};

/// More alternative names than any machine here has.
const MAX_ALTERNATIVE_NAMES: usize = 64;

/// `PermanentIdentifier ::= SEQUENCE { identifierValue UTF8String OPTIONAL, assigner OBJECT IDENTIFIER OPTIONAL }`
/// (RFC 4043 section 2). The value is always there here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermanentIdentifier {
    /// What the holder is known by for good.
    pub value: String,
    /// Who assigned it; the certificate's issuer when there is none.
    pub assigner: Option<ObjectIdentifier>,
}

/// Who or what a certificate is for, beside its subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlternativeNames {
    /// dNSName, in lower case.
    pub dns: Vec<String>,
    /// iPAddress.
    pub ip: Vec<IpAddr>,
    /// rfc822Name.
    pub emails: Vec<String>,
    /// uniformResourceIdentifier.
    pub uris: Vec<String>,
    /// User principal name (otherName 1.3.6.1.4.1.311.20.2.3).
    pub upn: Option<String>,
    /// Permanent identifier (otherName 1.3.6.1.5.5.7.8.3).
    pub permanent_identifier: Option<PermanentIdentifier>,
    /// Security identifier: stands in an extension of its own (1.3.6.1.4.1.311.25.2), not among the others.
    pub sid: Option<String>,
}

impl AlternativeNames {
    /// Whether there is none for the subjectAltName extension.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    fn count(&self) -> usize {
        let one = |there: bool| usize::from(there);
        self.dns.len()
            + self.ip.len()
            + self.emails.len()
            + self.uris.len()
            + one(self.upn.is_some())
            + one(self.permanent_identifier.is_some())
    }

    fn has(&self, kind: SanKind) -> bool {
        match kind {
            SanKind::Dns => !self.dns.is_empty(),
            SanKind::Ip => !self.ip.is_empty(),
            SanKind::Email => !self.emails.is_empty(),
            SanKind::Uri => !self.uris.is_empty(),
            SanKind::Upn => self.upn.is_some(),
            SanKind::Sid => self.sid.is_some(),
            SanKind::PermanentIdentifier => self.permanent_identifier.is_some(),
        }
    }

    /// The names that a profile takes from the registry.
    ///
    /// # Errors
    /// When one cannot stand in a certificate, or one is missing that the profile needs.
    pub fn for_profile(profile: &CertificateProfile, fields: &SubjectFields) -> Result<Self, PrepareError> {
        let mut names = AlternativeNames::default();
        for kind in profile.san() {
            match kind {
                SanKind::Dns => {
                    let lower: Vec<_> = fields.dns_names.iter().map(|name| name.to_ascii_lowercase()).collect();
                    take(&mut names.dns, &lower, check_dns_name)?;
                }
                SanKind::Ip => {
                    for address in &fields.ip_addresses {
                        if names.ip.contains(address) {
                            return Err(alternative_name(&address.to_string(), "it stands twice"));
                        }
                        names.ip.push(*address);
                    }
                }
                SanKind::Email => take(&mut names.emails, &fields.emails, check_email)?,
                SanKind::Uri => take(&mut names.uris, &fields.uris, check_uri)?,
                SanKind::Upn => names.upn = checked(fields.upn.as_deref(), check_upn)?,
                SanKind::Sid => names.sid = checked(fields.sid.as_deref(), check_sid)?,
                SanKind::PermanentIdentifier => {
                    let value = checked(fields.permanent_identifier.as_deref(), check_permanent_identifier)?;
                    let assigner = profile.permanent_identifier_assigner();
                    names.permanent_identifier = value.map(|value| PermanentIdentifier { value, assigner });
                }
            }
        }
        if names.count() > MAX_ALTERNATIVE_NAMES {
            return Err(alternative_name("…", "there are more than 64 alternative names"));
        }
        let missing = |kinds: Vec<&str>, joint| PrepareError::MissingAlternativeName {
            profile: profile.name().to_owned(),
            kinds: kinds.join(joint),
        };
        let lacking: Vec<_> = profile.required_san().iter().filter(|kind| !names.has(**kind)).collect();
        if !lacking.is_empty() {
            return Err(missing(lacking.iter().map(|kind| kind.name()).collect(), " and "));
        }
        if names.is_empty() && profile.san_required() && profile.required_san().is_empty() {
            return Err(missing(profile.san().iter().map(|kind| kind.name()).collect(), " or "));
        }
        Ok(names)
    }
}

fn take(
    into: &mut Vec<String>,
    from: &[String],
    check: impl Fn(&str) -> Result<(), &'static str>,
) -> Result<(), PrepareError> {
    for name in from {
        check(name).map_err(|rule| alternative_name(name, rule))?;
        if into.contains(name) {
            return Err(alternative_name(name, "it stands twice"));
        }
        into.push(name.clone());
    }
    Ok(())
}

fn checked(
    value: Option<&str>,
    check: impl Fn(&str) -> Result<(), &'static str>,
) -> Result<Option<String>, PrepareError> {
    let Some(value) = value else { return Ok(None) };
    let value: String = value.nfc().collect();
    check(&value).map_err(|rule| alternative_name(&value, rule))?;
    Ok(Some(value))
}

fn alternative_name(value: &str, rule: &'static str) -> PrepareError {
    PrepareError::AlternativeName { value: value.chars().take(256).collect(), rule }
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

/// A mailbox as an rfc822Name holds it (RFC 5280 4.2.1.6): `local@host`, ASCII, no quoting, no comments.
pub(crate) fn check_email(email: &str) -> Result<(), &'static str> {
    const FORM: &str = "an rfc822Name is local@host in ASCII, without quotes or comments";
    let (local, host) = email.rsplit_once('@').ok_or(FORM)?;
    let is_atom = |atom: &str| {
        !atom.is_empty()
            && atom.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte))
    };
    if local.len() > 64 || !local.split('.').all(is_atom) {
        return Err(FORM);
    }
    check_dns_name(&host.to_ascii_lowercase()).map_err(|_| "the host of an rfc822Name is a host name")
}

/// A security identifier in its text form ([MS-DTYP] 2.4.2.1): `S-1-` authority, then 1 to 15 parts of 32 bits.
pub(crate) fn check_sid(sid: &str) -> Result<(), &'static str> {
    const FORM: &str = "a security identifier is S-1- and numbers, as S-1-5-21-1004336348-1177238915-682003330-512";
    let is_number = |part: &str| {
        !part.is_empty() && (part == "0" || !part.starts_with('0')) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let mut parts = sid.strip_prefix("S-1-").ok_or(FORM)?.split('-');
    let authority = parts.next().filter(|part| is_number(part)).and_then(|part| part.parse::<u64>().ok());
    if authority.is_none_or(|authority| authority >= 1 << 48) {
        return Err(FORM);
    }
    let rest: Vec<_> = parts.collect();
    if !(1..=15).contains(&rest.len()) || !rest.iter().all(|part| is_number(part) && part.parse::<u32>().is_ok()) {
        return Err(FORM);
    }
    Ok(())
}

pub(crate) fn check_permanent_identifier(value: &str) -> Result<(), &'static str> {
    if value.is_empty() || value.chars().count() > 128 {
        return Err("a permanent identifier has 1 to 128 characters");
    }
    if value.trim() != value || value.chars().any(is_forbidden) {
        return Err("a permanent identifier has no control characters, and no space at its ends");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_principal_names_are_checked() {
        assert_eq!(check_upn("zoë@nhs.example"), Ok(()));
        for bad in ["", "a", "@b", "a@", "a@b@c", "a b@c", "a\u{202e}@c"] {
            assert!(check_upn(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mail_addresses_are_checked() {
        for good in ["zoe@nhs.example", "z.o'brien+ra@mail.nhs.example", "a@B.example"] {
            assert_eq!(check_email(good), Ok(()), "{good}");
        }
        let long = format!("{}@a.example", "x".repeat(65));
        for bad in [
            "",
            "a",
            "@a.example",
            "a@",
            "a b@c.example",
            "\"a\"@c.example",
            "zoë@c.example",
            ".a@c.example",
            "a@c..example",
            "a@127.0.0.1",
            "A <a@c.example>",
            &long,
        ] {
            assert!(check_email(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn security_identifiers_are_checked() {
        for good in ["S-1-5-21-1004336348-1177238915-682003330-512", "S-1-1-0", "S-1-281474976710655-4294967295"] {
            assert_eq!(check_sid(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "S-1-5",
            "S-2-5-1",
            "s-1-5-1",
            "S-1-5-01",
            "S-1-5-4294967296",
            "S-1-5--1",
            "S-1-281474976710656-1",
            "S-1-5-1-",
            "S-1-5-+1",
            "S-1-1-1-2-3-4-5-6-7-8-9-10-11-12-13-14-15-16",
        ] {
            assert!(check_sid(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn permanent_identifiers_are_checked() {
        assert_eq!(check_permanent_identifier("555000000017"), Ok(()));
        for bad in ["", " a", "a ", "a\nb", &"x".repeat(129)] {
            assert!(check_permanent_identifier(bad).is_err(), "{bad}");
        }
    }
}
