//! The rules that every profile keeps, whatever a site writes into it.

use std::time::Duration;

use const_oid::ObjectIdentifier;

use toml::Spanned;

use super::raw::RawProfile;
use super::{CertificateProfile, Field, ProfileError, Purpose, SanKind, line_at, parts};
use crate::name::AttributeType;
use crate::usage::{self, KeyUsage};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_CA_LIFE: Duration = DAY.saturating_mul(365 * 30);
const MAX_LEAF_LIFE: Duration = DAY.saturating_mul(365 * 5);
const MAX_TEMPORARY_LIFE: Duration = DAY.saturating_mul(3);
/// Each partition is a signature, a file and perhaps a delta at each publication.
const MAX_CRL_SHARDS: u16 = 1024;
const MAX_OCSP_SIGNER_LIFE: Duration = DAY.saturating_mul(7);

/// A shorter life ends before its certificate is of use, the more so where clocks differ.
const MIN_LIFE: Duration = Duration::from_secs(60 * 60);

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
        // A key may be written in quotes.
        let is_key = |line: &str| {
            line.split_once('=').is_some_and(|(left, _)| {
                let left = left.trim();
                let quoted = |quote| left.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
                quoted('"').or(quoted('\'')).unwrap_or(left) == key
            })
        };
        let inside = self.text.lines().enumerate().skip(own - 1).skip_while(|(_, line)| line.trim().starts_with("[["));
        inside
            .take_while(|(_, line)| !line.trim_start().starts_with("[["))
            .find(|(_, line)| is_key(line))
            .map_or(own, |(index, _)| index + 1)
    }
}

/// Makes the errors about one profile.
pub(super) struct Checker<'a> {
    place: &'a Place<'a>,
    name: String,
    /// The line of an element of a list; the line of its key when it is none.
    line: Option<usize>,
}

impl<'a> Checker<'a> {
    /// The same for what stands in one element of a list.
    pub(super) fn at<T>(&self, element: &Spanned<T>) -> Checker<'a> {
        let line = Some(line_at(self.place.text, element.span().start));
        Checker { place: self.place, name: self.name.clone(), line }
    }

    pub(super) fn fail(&self, key: &'static str, rule: impl Into<String>, remedy: impl Into<String>) -> ProfileError {
        ProfileError::Rule {
            origin: self.place.origin.to_owned(),
            line: self.line.unwrap_or_else(|| self.place.line(key)),
            profile: self.name.clone(),
            key,
            rule: rule.into().into_boxed_str(),
            remedy: remedy.into().into_boxed_str(),
        }
    }

    pub(super) fn require(&self, holds: bool, key: &'static str, rule: &str, remedy: &str) -> Result<(), ProfileError> {
        if holds { Ok(()) } else { Err(self.fail(key, rule, remedy)) }
    }
}

/// Checks one profile by itself.
pub(super) fn profile(place: &Place<'_>, raw: RawProfile) -> Result<CertificateProfile, ProfileError> {
    let checker = Checker { place, name: raw.name.chars().take(64).collect(), line: None };
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
    let jitter = raw.jitter.as_deref().map(|text| parts::duration(&checker, "jitter", text)).transpose()?;
    let san = parts::alternative_names(&checker, &raw)?;
    let (san_required, required_san) = parts::required_names(&checker, &raw, &san)?;
    let (policies, practice_statements) = parts::policies(&checker, &raw)?;
    let profile = CertificateProfile {
        purpose,
        subject: parts::subject(&checker, &raw)?,
        permanent_identifier_assigner: parts::assigner(&checker, &raw, &san)?,
        san,
        san_required,
        required_san,
        key_types: parts::key_types(&checker, &raw)?,
        key_usage: parts::key_usage(&checker, &raw)?,
        extended_key_usage: parts::extended_key_usage(&checker, &raw)?,
        policies,
        practice_statements,
        extensions: parts::extensions(&checker, &raw)?,
        life: parts::duration(&checker, "life", &raw.life)?,
        jitter: jitter.unwrap_or_default(),
        path_length: raw.path_length,
        ocsp_no_check: raw.ocsp_no_check,
        aia: raw.aia,
        crldp: raw.crldp,
        crl_shards: raw.crl_shards,
        name: raw.name,
    };
    common(&checker, &profile)?;
    known_fields(&checker, &profile)?;
    match purpose {
        Purpose::RootCa | Purpose::IssuingCa => ca(&checker, &profile)?,
        _ => leaf(&checker, &profile)?,
    }
    extended_fits(&checker, &profile)?;
    Ok(profile)
}

/// Checks one profile against those before it.
pub(super) fn against_others<'a>(
    place: &Place<'_>,
    profile: &CertificateProfile,
    mut others: impl Iterator<Item = &'a CertificateProfile>,
) -> Result<(), ProfileError> {
    let checker = Checker { place, name: profile.name.clone(), line: None };
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

fn common(checker: &Checker<'_>, profile: &CertificateProfile) -> Result<(), ProfileError> {
    checker.require(!profile.life.is_zero(), "life", "a life of nothing", "write it as 730d or 72h")?;
    for (key, length) in [("life", profile.life), ("jitter", profile.jitter)] {
        checker.require(
            length.subsec_nanos() == 0,
            key,
            "certificates count in whole seconds (RFC 5280 4.1.2.5)",
            "write whole seconds",
        )?;
    }
    checker.require(profile.life >= MIN_LIFE, "life", "a certificate lives an hour at least", "lengthen it")?;
    checker.require(profile.jitter < profile.life, "jitter", "the jitter is not less than the life", "shorten it")?;
    checker.require(
        profile.life - profile.jitter >= MIN_LIFE,
        "jitter",
        "the jitter leaves less than an hour of the life",
        "shorten it",
    )?;
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

/// Whether each extended key usage goes with the key usage. Comes after the rules of the purposes, which say more.
fn extended_fits(checker: &Checker<'_>, profile: &CertificateProfile) -> Result<(), ProfileError> {
    for oid in &profile.extended_key_usage {
        let fit = usage::fit_for(*oid);
        if !fit.is_empty() && !profile.key_usage.intersects(fit) {
            let name = usage::extended_key_usage_name(*oid);
            let rule = format!("RFC 5280 4.2.1.12: {name} goes with {fit}, and the key usage is {}", profile.key_usage);
            return Err(checker.fail(
                "extended_key_usage",
                rule,
                "remove it, or put it into a profile that has the usage",
            ));
        }
    }
    checker.require(
        !profile.extended_key_usage.contains(&usage::TIME_STAMPING),
        "extended_key_usage",
        "RFC 3161 2.3: a time stamper's certificate has a critical extension with nothing else, and none is made here",
        "remove timeStamping",
    )
}

/// A subject names fields that the registry has for its kind of holder: of a profile with others nothing can be issued.
// conformance: E11
fn known_fields(checker: &Checker<'_>, profile: &CertificateProfile) -> Result<(), ProfileError> {
    let known: &[Field] = match profile.purpose {
        Purpose::CardAuthentication | Purpose::CardSigning => {
            &[Field::UserId, Field::Given, Field::Family, Field::Organization]
        }
        Purpose::TemporaryCard => &[Field::LendingId, Field::UserId, Field::Given, Field::Family, Field::Organization],
        _ => &[Field::CommonName, Field::Organization],
    };
    let mut fields = profile.subject.iter().flat_map(|attribute| attribute.value.fields());
    let Some(unknown) = fields.find(|field| !known.contains(field)) else { return Ok(()) };
    let rule = format!("rule E11: the registry has no {unknown} for a {}", profile.purpose);
    let known: Vec<_> = known.iter().map(|field| format!("{{{field}}}")).collect();
    Err(checker.fail("subject", rule, format!("use {}", parts::list(&known))))
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
        Purpose::CardAuthentication | Purpose::TemporaryCard => {
            &[SanKind::Upn, SanKind::Sid, SanKind::Email, SanKind::Uri, SanKind::PermanentIdentifier]
        }
        // No UPN and no SID: a signing key logs nobody in.
        Purpose::CardSigning => &[SanKind::Email, SanKind::Uri, SanKind::PermanentIdentifier],
        Purpose::OcspSigner => &[],
        Purpose::ServiceTls => &[SanKind::Dns, SanKind::Ip, SanKind::Uri],
        _ => &[SanKind::Dns, SanKind::Uri],
    };
    if let Some(kind) = profile.san.iter().find(|kind| !allowed.contains(kind)) {
        let rule = format!("a {} has no alternative name of kind {kind}", profile.purpose);
        let remedy = match allowed {
            [] => "leave `san` out".to_owned(),
            _ => format!("remove it; {} may stand there", parts::list(allowed)),
        };
        return Err(checker.fail("san", rule, remedy));
    }
    let needs_name = matches!(
        profile.purpose,
        Purpose::RaStation | Purpose::ServiceTls | Purpose::ResponderClient | Purpose::RelyingClient
    );
    checker.require(
        !needs_name || profile.san.iter().any(|kind| matches!(kind, SanKind::Dns | SanKind::Ip)),
        "san",
        "a machine is known by its host name",
        "add \"dns\"",
    )?;
    checker.require(
        !needs_name || profile.san_required,
        "san_required",
        "machines are known by their alternative names",
        "write san_required = true and name the kinds in `san`",
    )?;
    let is_host = |kind: &SanKind| matches!(kind, SanKind::Dns | SanKind::Ip);
    let has_host = match &profile.required_san[..] {
        [] => profile.san.iter().all(is_host),
        kinds => kinds.iter().any(is_host),
    };
    checker.require(
        !needs_name || has_host,
        "san_required",
        "a machine's host name or address must be there: another kind alone names no host",
        "write san_required = [\"dns\"]",
    )
}
