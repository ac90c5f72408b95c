//! The rules that every profile keeps, whatever a site writes into it.

use std::time::Duration;

use const_oid::ObjectIdentifier;

use super::raw::RawProfile;
use super::{CertificateProfile, Field, ProfileError, Purpose, SanKind, SubjectAttribute, Template, line_at};
use crate::KeyType;
use crate::name::AttributeType;
use crate::usage::{self, KeyUsage};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_CA_LIFE: Duration = DAY.saturating_mul(365 * 30);
const MAX_LEAF_LIFE: Duration = DAY.saturating_mul(365 * 5);
const MAX_TEMPORARY_LIFE: Duration = DAY.saturating_mul(3);
/// Each partition is a signature, a file and perhaps a delta at each publication.
const MAX_CRL_SHARDS: u16 = 1024;
const MAX_OCSP_SIGNER_LIFE: Duration = DAY.saturating_mul(7);

const ANY_POLICY: ObjectIdentifier = const_oid::db::rfc5280::ANY_POLICY;

/// Where a profile stands in its text.
pub(super) struct Place<'a> {
    pub(super) text: &'a str,
    pub(super) origin: &'a str,
    pub(super) start: usize,
}

impl Place<'_> {
    /// The line of `key` in this profile, or else the profile's own.
    fn line(&self, key: &str) -> usize {
        let own = line_at(self.text, self.start);
        let is_key =
            |line: &str| line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
        let inside = self.text.lines().enumerate().skip(own - 1).skip_while(|(_, line)| line.trim().starts_with("[["));
        inside
            .take_while(|(_, line)| !line.trim_start().starts_with("[["))
            .find(|(_, line)| is_key(line))
            .map_or(own, |(index, _)| index + 1)
    }
}

struct Checker<'a> {
    place: &'a Place<'a>,
    name: String,
}

impl Checker<'_> {
    fn fail(&self, key: &'static str, rule: impl Into<String>, remedy: impl Into<String>) -> ProfileError {
        ProfileError::Rule {
            origin: self.place.origin.to_owned(),
            line: self.place.line(key),
            profile: self.name.clone(),
            key,
            rule: rule.into().into_boxed_str(),
            remedy: remedy.into().into_boxed_str(),
        }
    }

    fn require(&self, holds: bool, key: &'static str, rule: &str, remedy: &str) -> Result<(), ProfileError> {
        if holds { Ok(()) } else { Err(self.fail(key, rule, remedy)) }
    }
}

/// Checks one profile by itself.
pub(super) fn profile(place: &Place<'_>, raw: RawProfile) -> Result<CertificateProfile, ProfileError> {
    let checker = Checker { place, name: raw.name.chars().take(64).collect() };
    let is_name = |name: &str| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    checker.require(
        is_name(&raw.name),
        "name",
        "a name has 1 to 64 lower-case letters, digits and hyphens",
        "choose such a name",
    )?;
    let purpose = Purpose::from_name(&raw.purpose).ok_or_else(|| {
        let known: Vec<_> = Purpose::ALL.iter().map(|purpose| purpose.name()).collect();
        checker.fail("purpose", format!("{:?} is no purpose", raw.purpose), format!("use one of {}", known.join(", ")))
    })?;
    let jitter = raw.jitter.as_deref().map(|text| duration(&checker, "jitter", text)).transpose()?;
    let profile = CertificateProfile {
        purpose,
        subject: subject(&checker, &raw)?,
        san: alternative_names(&checker, &raw)?,
        san_required: raw.san_required,
        key_types: key_types(&checker, &raw)?,
        key_usage: key_usage(&checker, &raw)?,
        extended_key_usage: extended_key_usage(&checker, &raw)?,
        policies: policies(&checker, &raw)?,
        life: duration(&checker, "life", &raw.life)?,
        jitter: jitter.unwrap_or_default(),
        path_length: raw.path_length,
        ocsp_no_check: raw.ocsp_no_check,
        aia: raw.aia,
        crldp: raw.crldp,
        crl_shards: raw.crl_shards,
        name: raw.name,
    };
    common(&checker, &profile)?;
    match purpose {
        Purpose::RootCa | Purpose::IssuingCa => ca(&checker, &profile)?,
        _ => leaf(&checker, &profile)?,
    }
    Ok(profile)
}

/// Checks one profile against those before it.
pub(super) fn against_others<'a>(
    place: &Place<'_>,
    profile: &CertificateProfile,
    mut others: impl Iterator<Item = &'a CertificateProfile>,
) -> Result<(), ProfileError> {
    let checker = Checker { place, name: profile.name.clone() };
    let clash = others.find_map(|other| {
        if other.name == profile.name {
            return Some(checker.fail("name", "there are two profiles of this name", "rename or remove one"));
        }
        // Between two purposes of leaves: what a policy says would be in doubt.
        if other.purpose == profile.purpose || other.purpose.is_ca() || profile.purpose.is_ca() {
            return None;
        }
        let policy = profile.policies.iter().find(|policy| other.policies.contains(policy))?;
        let rule = format!("policy {policy} belongs to profile {:?}, which has another purpose", other.name);
        Some(checker.fail("policies", rule, "give each purpose a policy of its own"))
    });
    clash.map_or(Ok(()), Err)
}

fn subject(checker: &Checker<'_>, raw: &RawProfile) -> Result<Vec<SubjectAttribute>, ProfileError> {
    let mut subject: Vec<SubjectAttribute> = Vec::new();
    for attribute in &raw.subject {
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

fn alternative_names(checker: &Checker<'_>, raw: &RawProfile) -> Result<Vec<SanKind>, ProfileError> {
    let mut kinds = Vec::new();
    for name in &raw.san {
        let kind = SanKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            checker.fail("san", format!("{name:?} is no kind of alternative name"), "use dns, ip or upn")
        })?;
        checker.require(!kinds.contains(&kind), "san", "a kind stands twice", "keep one")?;
        kinds.push(kind);
    }
    checker.require(
        !raw.san_required || !kinds.is_empty(),
        "san_required",
        "an alternative name is required, but none is allowed",
        "name the kinds in `san`",
    )?;
    Ok(kinds)
}

fn key_types(checker: &Checker<'_>, raw: &RawProfile) -> Result<Vec<KeyType>, ProfileError> {
    let mut key_types = Vec::new();
    for name in &raw.key_types {
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

fn key_usage(checker: &Checker<'_>, raw: &RawProfile) -> Result<KeyUsage, ProfileError> {
    let mut key_usage = KeyUsage::default();
    for name in &raw.key_usage {
        let usage = KeyUsage::from_name(name).ok_or_else(|| {
            checker.fail("key_usage", format!("{name:?} is no key usage"), "use the names of RFC 5280 4.2.1.3")
        })?;
        checker.require(!key_usage.intersects(usage), "key_usage", "a usage stands twice", "keep one")?;
        key_usage = key_usage.union(usage);
    }
    checker.require(!key_usage.is_empty(), "key_usage", "there is no key usage", "name at least one")?;
    Ok(key_usage)
}

fn extended_key_usage(checker: &Checker<'_>, raw: &RawProfile) -> Result<Vec<ObjectIdentifier>, ProfileError> {
    const KEY: &str = "extended_key_usage";
    let mut usages = Vec::new();
    for name in &raw.extended_key_usage {
        let oid = usage::extended_key_usage_from_name(name).ok_or_else(|| {
            let rule = format!("{name:?} is neither the name nor the number of an extended key usage");
            checker.fail(KEY, rule, "use a name such as clientAuth, or an OID such as 1.3.6.1.5.5.7.3.2")
        })?;
        checker.require(oid != usage::ANY_EXTENDED_KEY_USAGE, KEY, "any use is no use", "name the uses")?;
        checker.require(!usages.contains(&oid), KEY, "a usage stands twice", "keep one")?;
        usages.push(oid);
    }
    Ok(usages)
}

fn policies(checker: &Checker<'_>, raw: &RawProfile) -> Result<Vec<ObjectIdentifier>, ProfileError> {
    let mut policies = Vec::new();
    for text in &raw.policies {
        let oid = ObjectIdentifier::new(text).map_err(|_| {
            checker.fail("policies", format!("{text:?} is no object identifier"), "write it as 1.3.6.1.4.1.…")
        })?;
        checker.require(!policies.contains(&oid), "policies", "rule E6: a policy stands twice", "keep one")?;
        policies.push(oid);
    }
    Ok(policies)
}

fn duration(checker: &Checker<'_>, key: &'static str, text: &str) -> Result<Duration, ProfileError> {
    humantime::parse_duration(text)
        .map_err(|_| checker.fail(key, format!("{text:?} is no length of time"), "write it as 730d or 72h"))
}

fn common(checker: &Checker<'_>, profile: &CertificateProfile) -> Result<(), ProfileError> {
    checker.require(!profile.life.is_zero(), "life", "a life of nothing", "write it as 730d or 72h")?;
    checker.require(
        profile.life.subsec_nanos() == 0,
        "life",
        "certificates count in whole seconds (RFC 5280 4.1.2.5)",
        "write whole seconds",
    )?;
    checker.require(profile.jitter < profile.life, "jitter", "the jitter is not less than the life", "shorten it")?;
    // conformance: E5
    for key_type in &profile.key_types {
        let unfit = profile.key_usage.unfit_for(*key_type);
        if !unfit.is_empty() {
            let rule = format!("rule E5: a {key_type} key cannot be used for {unfit}");
            return Err(checker.fail("key_usage", rule, "remove the usage, or the key type"));
        }
    }
    checker.require(
        profile.crl_shards == 0 || (profile.crldp && !profile.purpose.is_ca()),
        "crl_shards",
        "rule C11: a leaf that says where its CRL is to be had names the partition that it is in",
        "remove it, or write crldp = true in a leaf's profile",
    )?;
    checker.require(
        profile.crl_shards != 1 && profile.crl_shards <= MAX_CRL_SHARDS,
        "crl_shards",
        "a CRL is cut into 2 to 1024 partitions, or not at all",
        "write a number from 2 to 1024, or 0",
    )?;
    let is_ocsp = profile.purpose == Purpose::OcspSigner;
    checker.require(
        is_ocsp || (!profile.ocsp_no_check && !profile.extended_key_usage.contains(&usage::OCSP_SIGNING)),
        "purpose",
        "rule O12: only an OCSP signer has OCSPSigning or ocsp-nocheck",
        "remove them, or make the purpose ocsp-signer",
    )
}

fn ca(checker: &Checker<'_>, profile: &CertificateProfile) -> Result<(), ProfileError> {
    checker.require(
        profile.key_usage == KeyUsage::CA,
        "key_usage",
        "a CA has keyCertSign and cRLSign, and nothing else",
        "write key_usage = [\"keyCertSign\", \"cRLSign\"]",
    )?;
    checker.require(
        profile.extended_key_usage.is_empty() && profile.san.is_empty() && profile.jitter.is_zero(),
        "purpose",
        "a CA has no extended key usage, no alternative names and no jitter",
        "remove them",
    )?;
    checker.require(profile.life <= MAX_CA_LIFE, "life", "a CA lives 30 years at most", "shorten it")?;
    if profile.purpose == Purpose::RootCa {
        return checker.require(
            !profile.aia && !profile.crldp && profile.path_length != Some(0),
            "purpose",
            "a root has no AIA, no CRLDP, and a path length that leaves room for issuing CAs",
            "write aia = false and crldp = false, and path_length = 1 or none",
        );
    }
    checker.require(
        profile.path_length == Some(0),
        "path_length",
        "an issuing CA certifies no other CA",
        "write path_length = 0",
    )?;
    checker.require(
        profile.aia && profile.crldp && !profile.policies.is_empty(),
        "purpose",
        "rule E7: an issuing CA has a policy, AIA and CRLDP",
        "write aia = true and crldp = true, and policies",
    )
}

fn leaf(checker: &Checker<'_>, profile: &CertificateProfile) -> Result<(), ProfileError> {
    // conformance: E4
    checker.require(
        !profile.key_usage.intersects(KeyUsage::CA),
        "key_usage",
        "rule E4: no leaf has keyCertSign or cRLSign",
        "remove it",
    )?;
    checker.require(
        profile.path_length.is_none(),
        "path_length",
        "rule E4: a leaf has no basic constraints",
        "remove it",
    )?;
    // conformance: E7
    checker.require(
        !profile.policies.is_empty() && !profile.policies.contains(&ANY_POLICY),
        "policies",
        "rule E7: a leaf has a policy of its own",
        "add one under the site's own arc",
    )?;
    let is_ocsp = profile.purpose == Purpose::OcspSigner;
    checker.require(
        is_ocsp || (profile.aia && profile.crldp),
        "purpose",
        "rule E7: a leaf says where its CA, its status and its CRL are to be had",
        "write aia = true and crldp = true",
    )?;
    let longest = match profile.purpose {
        Purpose::TemporaryCard => MAX_TEMPORARY_LIFE,
        Purpose::OcspSigner => MAX_OCSP_SIGNER_LIFE,
        _ => MAX_LEAF_LIFE,
    };
    if profile.life > longest {
        let rule = format!("a {} lives {} days at most", profile.purpose, longest.as_secs() / DAY.as_secs());
        return Err(checker.fail("life", rule, "shorten it"));
    }
    usages(checker, profile)?;
    names(checker, profile)?;
    if is_ocsp {
        // conformance: O12
        return checker.require(
            profile.ocsp_no_check && !profile.aia && !profile.crldp,
            "purpose",
            "rule O12: an OCSP signer has ocsp-nocheck, no AIA and no CRLDP",
            "write ocsp_no_check = true, aia = false and crldp = false",
        );
    }
    Ok(())
}

/// Which usages each purpose must have, and must not.
fn usages(checker: &Checker<'_>, profile: &CertificateProfile) -> Result<(), ProfileError> {
    const KEY: &str = "extended_key_usage";
    let has = |oid| profile.extended_key_usage.contains(&oid);
    let (usage, remedy) = match profile.purpose {
        Purpose::CardSigning => (KeyUsage::CONTENT_COMMITMENT, "write key_usage = [\"contentCommitment\"]"),
        _ => (KeyUsage::DIGITAL_SIGNATURE, "write key_usage = [\"digitalSignature\"]"),
    };
    if profile.key_usage != usage {
        let rule = format!("a {} has {usage} only", profile.purpose);
        return Err(checker.fail("key_usage", rule, remedy));
    }
    match profile.purpose {
        Purpose::CardSigning => checker.require(
            !has(usage::CLIENT_AUTH)
                && !has(usage::SERVER_AUTH)
                && !has(usage::SMARTCARD_LOGON)
                && !has(usage::PKINIT_CLIENT_AUTH),
            KEY,
            "a card's signing key logs nobody in",
            "leave it empty, or write [\"documentSigning\"]",
        ),
        Purpose::ServiceTls => checker.require(
            has(usage::SERVER_AUTH) && !has(usage::CLIENT_AUTH),
            KEY,
            "a service has serverAuth, and not clientAuth",
            "write [\"serverAuth\"]",
        ),
        Purpose::OcspSigner => checker.require(
            profile.extended_key_usage == [usage::OCSP_SIGNING],
            KEY,
            "rule O12: an OCSP signer has OCSPSigning and nothing else",
            "write [\"OCSPSigning\"]",
        ),
        _ => checker.require(
            has(usage::CLIENT_AUTH) && !has(usage::SERVER_AUTH),
            KEY,
            "a client has clientAuth, and not serverAuth",
            "write [\"clientAuth\"]",
        ),
    }
}

/// Which names each purpose must have, and must not.
fn names(checker: &Checker<'_>, profile: &CertificateProfile) -> Result<(), ProfileError> {
    let required = match profile.purpose {
        Purpose::CardAuthentication | Purpose::CardSigning => Some(Field::UserId),
        Purpose::TemporaryCard => Some(Field::LendingId),
        _ => None,
    };
    let serial_number = profile.subject.iter().find(|one| one.attribute == AttributeType::SerialNumber);
    if let Some(field) = required
        && serial_number.and_then(|attribute| attribute.value.only_field()) != Some(field)
    {
        let remedy = format!("write {{ type = \"serialNumber\", value = \"{{{field}}}\" }}");
        return Err(checker.fail("subject", format!("a {}'s serialNumber is the {field}", profile.purpose), remedy));
    }
    checker.require(
        required.is_some() || serial_number.is_none(),
        "subject",
        "a serialNumber is taken for a user id, and only cards have one",
        "remove the serialNumber",
    )?;
    let allowed: &[SanKind] = match profile.purpose {
        Purpose::CardAuthentication | Purpose::TemporaryCard => &[SanKind::Upn],
        Purpose::CardSigning | Purpose::OcspSigner => &[],
        Purpose::ServiceTls => &[SanKind::Dns, SanKind::Ip],
        _ => &[SanKind::Dns],
    };
    if let Some(kind) = profile.san.iter().find(|kind| !allowed.contains(kind)) {
        let rule = format!("a {} has no alternative name of kind {}", profile.purpose, kind.name());
        return Err(checker.fail("san", rule, "remove it"));
    }
    let needs_name = matches!(
        profile.purpose,
        Purpose::RaStation | Purpose::ServiceTls | Purpose::ResponderClient | Purpose::RelyingClient
    );
    checker.require(
        !needs_name || profile.san_required,
        "san_required",
        "machines are known by their alternative names",
        "write san_required = true and name the kinds in `san`",
    )
}
