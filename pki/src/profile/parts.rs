//! The parts of a profile, each read by itself: words to types. What the parts mean together is for [`super::check`].

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5280, rfc6960};
use toml::Spanned;

use super::check::Checker;
use super::raw::{RawExtension, RawPolicy, RawProfile, RawRequirement};
use super::{ExtraExtension, Field, ProfileError, SanKind, SubjectAttribute, Template, standard};
use crate::KeyType;
use crate::certificate::check_web_address;
use crate::certificate::extensions::SECURITY_IDENTIFIER;
use crate::name::{AttributeType, DistinguishedName, cut_common_name};
use crate::usage::{self, KeyUsage};
use crate::{oid, strict};

/// More extensions than a site adds to one profile.
const MAX_EXTENSIONS: usize = 16;

/// More policies, or extended key usages, than a certificate has any use for.
const MAX_IDENTIFIERS: usize = 16;

/// No extra extension is longer, in octets: certificates go over networks and onto cards.
const MAX_EXTENSION: usize = 4096;

/// What Cardinal writes itself, and the key of a profile that decides about it.
const OWN_EXTENSIONS: [(ObjectIdentifier, &str); 11] = [
    (rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER, "it follows from the key; remove it"),
    (rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER, "it follows from the issuer; remove it"),
    (rfc5280::ID_CE_BASIC_CONSTRAINTS, "it follows from `purpose` and `path_length`; remove it"),
    (rfc5280::ID_CE_KEY_USAGE, "use `key_usage`"),
    (rfc5280::ID_CE_EXT_KEY_USAGE, "use `extended_key_usage`"),
    (rfc5280::ID_CE_CERTIFICATE_POLICIES, "use `policies`"),
    (rfc5280::ID_CE_SUBJECT_ALT_NAME, "use `san`"),
    (rfc5280::ID_PE_AUTHORITY_INFO_ACCESS, "use `aia`"),
    (rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS, "use `crldp`"),
    (rfc6960::ID_PKIX_OCSP_NOCHECK, "use `ocsp_no_check`"),
    (SECURITY_IDENTIFIER, "use `san` with \"sid\""),
];

/// What constrains the paths below a CA. RFC 5280 demands most of them critical, and Cardinal would have to keep to them.
const PATH_EXTENSIONS: [ObjectIdentifier; 4] = [
    rfc5280::ID_CE_NAME_CONSTRAINTS,
    rfc5280::ID_CE_POLICY_MAPPINGS,
    rfc5280::ID_CE_POLICY_CONSTRAINTS,
    rfc5280::ID_CE_INHIBIT_ANY_POLICY,
];

/// What belongs to one certificate, and cannot be the same in each (RFC 6962 3.1, 3.3): the poison of a precertificate, and
/// what logs have signed about it.
const OF_ONE_CERTIFICATE: [ObjectIdentifier; 2] =
    [ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2"), ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.3")];

/// `a, b or c`.
pub(super) fn list<T: Display>(items: &[T]) -> String {
    let words: Vec<_> = items.iter().map(ToString::to_string).collect();
    match &words[..] {
        [most @ .., last] if !most.is_empty() => format!("{} or {last}", most.join(", ")),
        _ => words.concat(),
    }
}

/// The attributes of the subject.
pub(super) fn subject(checker: &Checker<'_>, raw: &RawProfile) -> Result<Vec<SubjectAttribute>, ProfileError> {
    let mut subject: Vec<SubjectAttribute> = Vec::new();
    for spanned in &raw.subject {
        let (checker, attribute) = (&checker.at(spanned), spanned.get_ref());
        let kind = AttributeType::from_short_name(&attribute.r#type).ok_or_else(|| {
            let known: Vec<_> = AttributeType::ALL.iter().map(|kind| kind.short_name()).collect();
            let rule = format!("{:?} is no attribute type", attribute.r#type);
            checker.fail("subject", rule, format!("use one of {}", known.join(", ")))
        })?;
        let value = Template::parse(&attribute.value).map_err(|rule| {
            let known: Vec<_> = Field::ALL.iter().map(|field| format!("{{{field}}}")).collect();
            checker.fail("subject", format!("{kind}: {rule}"), format!("the fields are {}", known.join(", ")))
        })?;
        if subject.iter().any(|known| known.attribute == kind) {
            let rule = format!("rule E6: {kind} stands twice");
            return Err(checker.fail("subject", rule, "keep one"));
        }
        checker.require(
            !attribute.cut || kind == AttributeType::CommonName,
            "subject",
            "only a CN may be cut",
            "remove `cut` from the other attribute",
        )?;
        // conformance: E8
        let shortest = value.fill(|_| Some("0")).unwrap_or_default();
        let shortest = if attribute.cut { cut_common_name(&shortest) } else { shortest };
        checker.require(
            shortest.trim() == shortest,
            "subject",
            "rule E8: an attribute has white space at its end, by which one name passes for another",
            "remove the white space",
        )?;
        DistinguishedName::new([(kind, shortest)]).map_err(|error| {
            let rule = format!("rule E8: no certificate can have this {kind}: {error}");
            checker.fail("subject", rule, "correct the text around the fields")
        })?;
        subject.push(SubjectAttribute { attribute: kind, value, cut: attribute.cut });
    }
    checker.require(
        subject.iter().any(|attribute| attribute.attribute == AttributeType::CommonName),
        "subject",
        "a subject has a CN",
        "add { type = \"CN\", value = \"…\" }",
    )?;
    Ok(subject)
}

/// The kinds of alternative name.
pub(super) fn alternative_names(checker: &Checker<'_>, raw: &RawProfile) -> Result<Vec<SanKind>, ProfileError> {
    let mut kinds = Vec::new();
    for name in &raw.san {
        let checker = checker.at(name);
        let kind = san_kind(&checker, "san", name.get_ref())?;
        checker.require(!kinds.contains(&kind), "san", "a kind stands twice", "keep one")?;
        kinds.push(kind);
    }
    Ok(kinds)
}

fn san_kind(checker: &Checker<'_>, key: &'static str, name: &str) -> Result<SanKind, ProfileError> {
    SanKind::from_name(name).ok_or_else(|| {
        let remedy = format!("use {}", list(&SanKind::ALL));
        checker.fail(key, format!("{name:?} is no kind of alternative name"), remedy)
    })
}

/// Whether there must be alternative names, and of which kinds there must be one each.
pub(super) fn required_names(
    checker: &Checker<'_>,
    raw: &RawProfile,
    san: &[SanKind],
) -> Result<(bool, Vec<SanKind>), ProfileError> {
    const KEY: &str = "san_required";
    let names = match &raw.san_required {
        RawRequirement::Any(required) => {
            checker.require(
                !required || san.iter().any(|kind| *kind != SanKind::Sid),
                KEY,
                "an alternative name is required, but none is allowed",
                "name the kinds in `san`",
            )?;
            return Ok((*required, Vec::new()));
        }
        RawRequirement::Kinds(names) => names,
    };
    let mut kinds = Vec::new();
    for name in names {
        let kind = san_kind(checker, KEY, name)?;
        if !san.contains(&kind) {
            let rule = format!("{kind} is required, but not allowed");
            return Err(checker.fail(KEY, rule, "add it to `san`"));
        }
        checker.require(!kinds.contains(&kind), KEY, "a kind stands twice", "keep one")?;
        kinds.push(kind);
    }
    checker.require(!kinds.is_empty(), KEY, "the list is empty", "write false, or name a kind")?;
    Ok((true, kinds))
}

/// Who assigns permanent identifiers.
pub(super) fn assigner(
    checker: &Checker<'_>,
    raw: &RawProfile,
    san: &[SanKind],
) -> Result<Option<ObjectIdentifier>, ProfileError> {
    const KEY: &str = "permanent_identifier_assigner";
    let Some(text) = &raw.permanent_identifier_assigner else { return Ok(None) };
    checker.require(
        san.contains(&SanKind::PermanentIdentifier),
        KEY,
        "it is about permanent identifiers, and the profile takes none",
        "add \"permanent-identifier\" to `san`, or remove it",
    )?;
    object_identifier(checker, KEY, text).map(Some)
}

fn object_identifier(checker: &Checker<'_>, key: &'static str, text: &str) -> Result<ObjectIdentifier, ProfileError> {
    oid::parse(text).map_err(|rule| {
        let shown: String = text.chars().take(256).collect();
        checker.fail(
            key,
            format!("{shown:?} is no object identifier for certificates: {rule}"),
            "write it as 1.3.6.1.4.1.…",
        )
    })
}

/// The kinds of key.
pub(super) fn key_types(checker: &Checker<'_>, raw: &RawProfile) -> Result<Vec<KeyType>, ProfileError> {
    let mut key_types = Vec::new();
    for name in &raw.key_types {
        let (checker, name) = (&checker.at(name), name.get_ref());
        let key_type = KeyType::ALL.into_iter().find(|key_type| key_type.to_string() == *name).ok_or_else(|| {
            let known: Vec<_> = KeyType::ALL.iter().map(KeyType::to_string).collect();
            let remedy = format!("use one of {}", known.join(", "));
            checker.fail("key_types", format!("{name:?} is no key type that is certified here"), remedy)
        })?;
        checker.require(!key_types.contains(&key_type), "key_types", "a key type stands twice", "keep one")?;
        key_types.push(key_type);
    }
    checker.require(!key_types.is_empty(), "key_types", "no key type is allowed", "name at least one")?;
    Ok(key_types)
}

/// The key usage.
pub(super) fn key_usage(checker: &Checker<'_>, raw: &RawProfile) -> Result<KeyUsage, ProfileError> {
    let mut key_usage = KeyUsage::default();
    for name in &raw.key_usage {
        let (checker, name) = (&checker.at(name), name.get_ref());
        let usage = KeyUsage::from_name(name).ok_or_else(|| {
            checker.fail("key_usage", format!("{name:?} is no key usage"), "use the names of RFC 5280 4.2.1.3")
        })?;
        checker.require(!key_usage.intersects(usage), "key_usage", "a usage stands twice", "keep one")?;
        key_usage = key_usage.union(usage);
    }
    checker.require(!key_usage.is_empty(), "key_usage", "there is no key usage", "name at least one")?;
    Ok(key_usage)
}

/// The extended key usages, by name or number.
pub(super) fn extended_key_usage(
    checker: &Checker<'_>,
    raw: &RawProfile,
) -> Result<Vec<ObjectIdentifier>, ProfileError> {
    const KEY: &str = "extended_key_usage";
    let mut usages = Vec::new();
    for name in &raw.extended_key_usage {
        let (checker, name) = (&checker.at(name), name.get_ref());
        let oid = match usage::extended_key_usage_from_name(name) {
            Some(oid) => oid,
            None if name.starts_with(|first: char| first.is_ascii_digit()) => object_identifier(checker, KEY, name)?,
            None => {
                let rule = format!("{name:?} is neither the name nor the number of an extended key usage");
                let remedy = "use a name such as clientAuth, or an OID such as 1.3.6.1.5.5.7.3.2";
                return Err(checker.fail(KEY, rule, remedy));
            }
        };
        checker.require(oid != usage::ANY_EXTENDED_KEY_USAGE, KEY, "any use is no use", "name the uses")?;
        checker.require(!usages.contains(&oid), KEY, "a usage stands twice", "keep one")?;
        usages.push(oid);
    }
    checker.require(usages.len() <= MAX_IDENTIFIERS, KEY, "there are more than 16 usages", "remove some")?;
    Ok(usages)
}

/// The policies, and where the practice statements of some are to be had.
pub(super) fn policies(
    checker: &Checker<'_>,
    raw: &RawProfile,
) -> Result<(Vec<ObjectIdentifier>, BTreeMap<ObjectIdentifier, String>), ProfileError> {
    const KEY: &str = "policies";
    let (mut policies, mut statements) = (Vec::new(), BTreeMap::new());
    for policy in &raw.policies {
        let checker = checker.at(policy);
        let (text, statement) = match policy.get_ref() {
            RawPolicy::Oid(text) => (text, None),
            RawPolicy::WithStatement(stated) => (&stated.oid, Some(&stated.cps)),
        };
        let oid = object_identifier(&checker, KEY, text)?;
        // conformance: E6
        checker.require(!policies.contains(&oid), KEY, "rule E6: a policy stands twice", "keep one")?;
        policies.push(oid);
        let Some(statement) = statement else { continue };
        let checked = if statement.len() > 200 { Err("it is too long") } else { check_web_address(statement) };
        checked.map_err(|rule| {
            let rule = format!("RFC 5280 4.2.1.4: {statement:?} cannot be the address of a practice statement: {rule}");
            checker.fail(KEY, rule, "write cps = \"https://…\", in ASCII, 200 characters at most")
        })?;
        statements.insert(oid, statement.clone());
    }
    checker.require(policies.len() <= MAX_IDENTIFIERS, KEY, "there are more than 16 policies", "remove some")?;
    Ok((policies, statements))
}

/// The extensions that the site adds.
pub(super) fn extensions(checker: &Checker<'_>, raw: &RawProfile) -> Result<Vec<ExtraExtension>, ProfileError> {
    const KEY: &str = "extensions";
    let mut extensions: Vec<ExtraExtension> = Vec::new();
    for spanned in &raw.extensions {
        let checker = checker.at(spanned);
        let extension = extra_extension(&checker, spanned)?;
        // conformance: E6
        checker.require(
            extensions.iter().all(|other| other.oid != extension.oid),
            KEY,
            "rule E6: an extension stands twice",
            "keep one",
        )?;
        extensions.push(extension);
    }
    checker.require(extensions.len() <= MAX_EXTENSIONS, KEY, "there are more than 16 extensions", "remove some")?;
    Ok(extensions)
}

fn extra_extension(checker: &Checker<'_>, raw: &Spanned<RawExtension>) -> Result<ExtraExtension, ProfileError> {
    const KEY: &str = "extensions";
    let raw = raw.get_ref();
    let oid = object_identifier(checker, KEY, &raw.oid)?;
    if let Some((_, remedy)) = OWN_EXTENSIONS.iter().find(|(own, _)| *own == oid) {
        return Err(checker.fail(KEY, format!("rule E6: Cardinal writes the extension {oid} itself"), *remedy));
    }
    if PATH_EXTENSIONS.contains(&oid) {
        let rule =
            format!("the extension {oid} constrains paths (RFC 5280 4.2.1), and no CA here has such constraints");
        return Err(checker.fail(KEY, rule, "remove it"));
    }
    checker.require(
        !OF_ONE_CERTIFICATE.contains(&oid),
        KEY,
        "RFC 6962 3.3: it belongs to one certificate, and what stands in a profile is the same in each",
        "remove it",
    )?;
    checker.require(
        !raw.critical,
        KEY,
        "RFC 5280 4.2: who does not know a critical extension must refuse the certificate, and the service does not know it",
        "write critical = false",
    )?;
    let wrong = |what: &str| checker.fail(KEY, format!("the content of {oid} {what}"), "check how it was copied");
    let der = match (&raw.hex, &raw.base64) {
        (Some(hex), None) => {
            let digits: String = hex.chars().filter(|character| !matches!(character, ' ' | ':' | '\n')).collect();
            data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map_err(|_| wrong("is not hexadecimal"))?
        }
        (None, Some(base64)) => {
            data_encoding::BASE64.decode(base64.trim().as_bytes()).map_err(|_| wrong("is not base64"))?
        }
        _ => {
            let rule = format!("the content of {oid} is to be given once");
            return Err(checker.fail(KEY, rule, "write hex = \"0500\" or base64 = \"BQA=\", the DER of its value"));
        }
    };
    if der.len() > MAX_EXTENSION {
        return Err(wrong("is longer than 4096 octets"));
    }
    strict::check(&der).map_err(|rule| {
        let remedy = "give the DER of the value, without the OCTET STRING around it";
        checker.fail(KEY, format!("rule E9: the content of {oid} is not one element of DER: {rule}"), remedy)
    })?;
    standard::check(oid, &der).map_err(|rule| {
        let remedy = "take another extension, or give the content that RFC 5280 4.2 has for it";
        checker.fail(KEY, format!("the extension {oid}: {rule}"), remedy)
    })?;
    Ok(ExtraExtension { oid, der })
}

/// A length of time such as 730d or 72h.
pub(super) fn duration(checker: &Checker<'_>, key: &'static str, text: &str) -> Result<Duration, ProfileError> {
    humantime::parse_duration(text)
        .map_err(|_| checker.fail(key, format!("{text:?} is no length of time"), "write it as 730d or 72h"))
}
