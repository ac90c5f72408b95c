//! `cardinal profile preview`: what would be issued for this person and this key. It goes the whole way of an issuance up
//! to the signature, the linter included, and stops there: nothing is reserved, recorded or signed.

use std::fmt::Display;

use api::profiles::{PreviewReply, PreviewRequest};
use ca::authority::PublicUrls;
use config::Config;
use data_encoding::HEXUPPER;
use pki::certificate::{
    ParsedCertificate, PrepareError, PreparedCertificate, SubjectFields, Validity, prepare, prepare_root, validity,
};
use pki::profile::{CertificateProfile, ProfileSet, Purpose};
use pki::request::check_request;
use pki::weak_key::given::{GivenKeyError, MAX_GIVEN, Shape, shape};
use pki::{IssuerDescription, PublicKey, SerialNumber, SignatureAlgorithm, Timestamp, pem, usage, weak_key};
use ring::rand::{SecureRandom, SystemRandom};

use crate::clock::{Clock, SystemClock};
use crate::failure::Failure;
use crate::service::Service;
use crate::{Error, profiles};

/// No key, request or certificate that a preview is made for is longer, in octets.
pub const MAX_KEY: u64 = MAX_GIVEN as u64;

/// What a preview takes from where it is made.
struct Surroundings<'a> {
    profiles: &'a ProfileSet,
    urls: PublicUrls,
    organization: Option<String>,
    clock_tolerance: std::time::Duration,
    now: Timestamp,
    notes: Vec<String>,
}

/// A preview by the running service: its profiles, its CAs, its registry.
///
/// # Errors
/// When profile, key, person or issuer is refused: with the rule.
pub fn by_service(service: &Service, request: &PreviewRequest) -> Result<PreviewReply, Failure> {
    let authority = service.authority();
    let written = request.text.as_deref().map(|text| load(text, request.file.as_deref())).transpose()?;
    let profiles = written.as_ref().unwrap_or(authority.profiles());
    let mut surroundings = Surroundings {
        profiles,
        urls: authority.urls().clone(),
        organization: Some(authority.organization().to_owned()),
        clock_tolerance: service.config.times.clock_tolerance,
        now: service.now(),
        notes: Vec::new(),
    };
    if written.as_ref().is_some_and(|set| set.version() != authority.profiles().version()) {
        let file = request.file.as_deref().unwrap_or("the given file");
        surroundings.notes.push(format!("the service does not issue by {file}: it goes by other profiles"));
    }
    let fields = match &request.person {
        Some(user_id) => {
            let person = ra::person::load(service.store.as_ref(), &user_id.parse()?)?.record;
            ra::issuance::subject(&person)
        }
        None => SubjectFields::default(),
    };
    let profile = profile(&surroundings, &request.profile)?;
    let issuer = match (&request.issuer, profile.purpose()) {
        (Some(_), _) => given_issuer(&surroundings, request)?,
        (None, Purpose::RootCa) => None,
        (None, Purpose::IssuingCa) => {
            Some(ca::authority::describe(&ca::issuer::root(service.store.as_ref())?, authority.urls())?)
        }
        // Each CA certifies its own OCSP signers; any of them shows what they look like.
        (None, Purpose::OcspSigner) => authority
            .issuers()
            .find(|issuer| issuer.record().state == ca::issuer::IssuerState::Active)
            .map(|issuer| issuer.description().clone()),
        (None, _) => {
            let issuer = authority.issuer_for(profile.name());
            Some(
                issuer.map_err(|error| unfit(format!("{error}; or name an issuer by --issuer")))?.description().clone(),
            )
        }
    };
    make(surroundings, request, fields, issuer)
}

/// A preview without a service: the profiles of `request.text`, the issuer of `request.issuer`, and what the
/// configuration says, where there is one.
///
/// # Errors
/// As [`by_service`].
pub fn by_file(request: &PreviewRequest, config: Option<&Config>) -> Result<PreviewReply, Error> {
    let text = request.text.as_deref().unwrap_or_default();
    let set = load(text, request.file.as_deref())?;
    let mut notes = Vec::new();
    let base = match config {
        Some(config) => config.service.public_base_url.trim_end_matches('/').to_owned(),
        None => {
            notes.push("there is no configuration: addresses and organisation are examples".to_owned());
            "http://pki.example".to_owned()
        }
    };
    let organization = config.map_or("Example Organisation", |config| &config.service.organisation).to_owned();
    let surroundings = Surroundings {
        profiles: &set,
        urls: PublicUrls { base },
        organization: Some(organization),
        clock_tolerance: config.map(|config| config.times.clock_tolerance).unwrap_or_default(),
        now: SystemClock.now(),
        notes,
    };
    let issuer = given_issuer(&surroundings, request)?;
    Ok(make(surroundings, request, SubjectFields::default(), issuer)?)
}

fn load(text: &str, file: Option<&str>) -> Result<ProfileSet, Failure> {
    ProfileSet::load(text, file.unwrap_or("profiles"))
        .map_err(|error| Failure::new(422, "profiles", "The profiles break a rule", error.to_string()))
}

fn profile<'a>(surroundings: &Surroundings<'a>, name: &str) -> Result<&'a CertificateProfile, Failure> {
    surroundings.profiles.get(name).ok_or_else(|| {
        let names: Vec<_> = surroundings.profiles.iter().map(CertificateProfile::name).collect();
        let detail = format!("there is no certificate profile {name:?}; there are {}", names.join(", "));
        Failure::new(404, "not-found", "Not found", detail)
    })
}

fn unfit(detail: impl Into<String>) -> Failure {
    Failure::new(422, "not-issuable", "No such certificate can be issued", detail)
}

/// The issuer whose certificate was given; none for a root.
fn given_issuer(
    surroundings: &Surroundings<'_>,
    request: &PreviewRequest,
) -> Result<Option<IssuerDescription>, Failure> {
    if profile(surroundings, &request.profile)?.purpose() == Purpose::RootCa {
        return Ok(None);
    }
    let given = request.issuer.as_ref().ok_or_else(|| {
        unfit("without a running service the issuer is to be named: give its certificate by --issuer")
    })?;
    let refuse = |error: &dyn Display| unfit(format!("the issuer's certificate: {error}"));
    let der = if pem::is_pem(&given.0) {
        pem::decode_one(&given.0, pem::CERTIFICATE).map_err(|error| refuse(&error))?
    } else {
        given.0.clone()
    };
    let certificate = ParsedCertificate::from_der(&der).map_err(|error| refuse(&error))?;
    let id = request.issuer_id.clone().unwrap_or_else(|| "issuer-1".to_owned());
    let issued_by_root = certificate.is_self_issued();
    Ok(Some(IssuerDescription {
        subject_der: certificate.subject_der().to_vec(),
        public_key: certificate.public_key().clone(),
        key_identifier: certificate.subject_key_identifier().unwrap_or_default().to_vec(),
        not_after: certificate.not_after(),
        ca_issuers_url: surroundings.urls.ca_certificate(&id),
        ocsp_url: (!issued_by_root).then(|| surroundings.urls.ocsp()),
        crl_url: surroundings.urls.crl(&id),
        certificate_der: der,
        id,
    }))
}

fn make(
    surroundings: Surroundings<'_>,
    request: &PreviewRequest,
    registry: SubjectFields,
    issuer: Option<IssuerDescription>,
) -> Result<PreviewReply, Failure> {
    let profile = profile(&surroundings, &request.profile)?;
    let Surroundings { profiles, urls, organization, clock_tolerance, now, mut notes } = surroundings;
    let (key, ignored) = read_key(&request.key.0)?;
    weak_key::check(&key).map_err(|weak| {
        Failure::new(422, "key", "The key is refused", format!("the key: {weak}")).with_rule(weak.rule())
    })?;
    let mut fields = SubjectFields { organization, ..registry };
    for (name, values) in &request.fields {
        set_field(&mut fields, name, values)?;
    }
    if !request.fields.is_empty() {
        let names: Vec<_> = request.fields.keys().map(String::as_str).collect();
        notes.push(format!("not from the registry, but given here: {}", names.join(", ")));
    }
    let mut octets = [0; SerialNumber::RANDOM_OCTETS];
    SystemRandom::new().fill(&mut octets).map_err(|_| Failure::internal("no random numbers"))?;
    let serial = SerialNumber::from_random(octets);
    let issuer = issuer.map(|issuer| {
        if profile.crl_shards() == 0 {
            return issuer;
        }
        notes.push(format!("the partition of the CRL is drawn at random, from 1 to {}", profile.crl_shards()));
        let url = urls.crl_shard(&issuer.id, 1);
        issuer.with_crl_url(url)
    });
    let until = issuer.as_ref().map_or(Timestamp::MAX, |issuer| issuer.not_after);
    let times = validity(profile, now, clock_tolerance, std::time::Duration::ZERO, until).map_err(refused)?;
    if times.not_after == until {
        notes.push("the issuer ends before the life of the profile is over: the service would refuse".to_owned());
    } else if !profile.jitter().is_zero() {
        notes.push("the end is drawn at random, up to the jitter of the profile earlier".to_owned());
    }
    notes.push("the serial number is drawn anew for each certificate".to_owned());
    let prepared = match &issuer {
        Some(issuer) => prepare(profile, issuer, &fields, &key, serial, times),
        None => prepare_root(profile, &fields, &key, serial, times),
    };
    let prepared = prepared.map_err(refused)?;
    Ok(PreviewReply {
        profile: profile.name().to_owned(),
        profiles_version: profiles.version().to_owned(),
        issuer: issuer.map_or_else(|| "itself".to_owned(), |issuer| issuer.id),
        ignored,
        notes,
        fields: describe(profile, &prepared, times)?,
        pem: pem::encode(pem::CERTIFICATE, &prepared.unsigned_der()),
    })
}

fn refused(error: PrepareError) -> Failure {
    let hint = match error {
        PrepareError::MissingField { .. } | PrepareError::MissingAlternativeName { .. } => {
            ". To see it all the same, give it by --field NAME=VALUE"
        }
        _ => "",
    };
    unfit(format!("{error}{hint}"))
}

/// The key of a SubjectPublicKeyInfo, a request or a certificate, and what a request asks for and does not get.
fn read_key(bytes: &[u8]) -> Result<(PublicKey, Vec<String>), Failure> {
    let refuse = |error: &dyn Display| Failure::new(422, "key", "The key is refused", format!("the key: {error}"));
    if pem::holds_private_key(bytes) {
        return Err(refuse(&GivenKeyError::Private));
    }
    let block = if pem::is_pem(bytes) {
        let mut blocks = pem::decode_all(bytes).map_err(|error| refuse(&error))?;
        if blocks.len() != 1 {
            return Err(refuse(&"give a file with one public key, request or certificate, and nothing else"));
        }
        Some(blocks.remove(0))
    } else {
        None
    };
    let of_certificate = |der: &[u8]| ParsedCertificate::from_der(der).map(|read| (read.public_key().clone(), vec![]));
    let of_request =
        |bytes: &[u8]| check_request(bytes).map(|read| (read.public_key().clone(), read.ignored().to_vec()));
    match block {
        Some(block) if block.label == pem::PUBLIC_KEY => {
            PublicKey::from_spki_der(&block.der).map(|key| (key, vec![])).map_err(|error| refuse(&error))
        }
        Some(block) if block.label == pem::CERTIFICATE => of_certificate(&block.der).map_err(|error| refuse(&error)),
        Some(block) if block.label.ends_with("CERTIFICATE REQUEST") => {
            of_request(bytes).map_err(|error| refuse(&error).with_rule(error.rule()))
        }
        Some(block) => Err(refuse(&format!(
            "{} is neither a public key (PUBLIC KEY), a request (CERTIFICATE REQUEST) nor a certificate (CERTIFICATE)",
            block.label
        ))),
        // By its shape it is one of these, and is judged as that.
        None => match shape(bytes) {
            Some(Shape::PublicKey) => {
                PublicKey::from_spki_der(bytes).map(|key| (key, vec![])).map_err(|error| refuse(&error))
            }
            Some(Shape::Certificate) => of_certificate(bytes).map_err(|error| refuse(&error)),
            Some(Shape::PrivateKey) => Err(refuse(&GivenKeyError::Private)),
            Some(Shape::Request) | None => of_request(bytes).map_err(|error| refuse(&error).with_rule(error.rule())),
        },
    }
}

fn set_field(fields: &mut SubjectFields, name: &str, values: &[String]) -> Result<(), Failure> {
    let invalid = |rule: String| Failure::new(422, "invalid", "Fields break a rule", rule);
    let one = || match values {
        [one] => Ok(Some(one.clone())),
        _ => Err(invalid(format!("the field {name} has one value"))),
    };
    match name {
        "user_id" => fields.user_id = one()?,
        "given" => fields.given = one()?,
        "family" => fields.family = one()?,
        "lending_id" => fields.lending_id = one()?,
        "organization" => fields.organization = one()?,
        "common_name" => fields.common_name = one()?,
        "upn" => fields.upn = one()?,
        "sid" => fields.sid = one()?,
        "permanent_identifier" => fields.permanent_identifier = one()?,
        "dns" => fields.dns_names = values.to_vec(),
        "email" => fields.emails = values.to_vec(),
        "uri" => fields.uris = values.to_vec(),
        "ip" => {
            let parse = |text: &String| text.parse().map_err(|_| invalid(format!("{text:?} is no IP address")));
            fields.ip_addresses = values.iter().map(parse).collect::<Result<_, _>>()?;
        }
        _ => {
            return Err(invalid(format!(
                "{name:?} is no field: there are user_id, given, family, lending_id, organization, common_name, upn, sid, \
                 permanent_identifier, and dns, email, uri, ip, which may be given several times"
            )));
        }
    }
    Ok(())
}

/// The certificate in words, as a reader of it sees it.
fn describe(
    profile: &CertificateProfile,
    prepared: &PreparedCertificate,
    times: Validity,
) -> Result<Vec<(String, String)>, Failure> {
    let certificate = ParsedCertificate::from_der(&prepared.unsigned_der()).map_err(Failure::internal)?;
    let name = |name: Result<String, pki::name::NameError>| name.unwrap_or_else(|error| error.to_string());
    let identifier = |octets: Option<&[u8]>| octets.map(|octets| HEXUPPER.encode(octets)).unwrap_or_default();
    let names = certificate.alternative_names();
    let mut rows = Vec::new();
    let mut row = |key: &str, value: String| {
        if !value.is_empty() {
            rows.push((key.to_owned(), value));
        }
    };
    row("subject", name(certificate.subject().map(ToString::to_string)));
    row("issuer", name(certificate.issuer().map(|name| name.to_string())));
    row("valid from", times.not_before.to_string());
    row("valid until", times.not_after.to_string());
    row("key", certificate.public_key().key_type().to_string());
    row("key id (SKI)", identifier(certificate.subject_key_identifier()));
    row("issuer's key id (AKI)", identifier(certificate.authority_key_identifier()));
    if certificate.is_ca() {
        let path = profile.path_length().map_or_else(|| "any number of".to_owned(), |length| length.to_string());
        row("CA", format!("yes, with {path} CAs below it"));
    }
    row("key usage", profile.key_usage().to_string());
    let extended = certificate.extended_key_usage().iter().map(|oid| usage::extended_key_usage_name(*oid));
    row("extended key usage", extended.collect::<Vec<_>>().join(", "));
    row("policies", profiles::policies(profile).join(", "));
    row("DNS names", names.dns.join(", "));
    row("IP addresses", names.ip.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    row("e-mail", names.emails.join(", "));
    row("URIs", names.uris.join(", "));
    row("UPN", names.upn.clone().unwrap_or_default());
    row("SID", names.sid.clone().unwrap_or_default());
    if let Some(permanent) = &names.permanent_identifier {
        let assigner = permanent.assigner.map(|oid| format!(" assigned by {oid}")).unwrap_or_default();
        row("permanent identifier", format!("{}{assigner}", permanent.value));
    }
    row("CA certificate", certificate.ca_issuers_urls().join(", "));
    row("OCSP", certificate.ocsp_urls().join(", "));
    row("CRL", certificate.crl_urls().join(", "));
    if certificate.has_ocsp_no_check() {
        row("ocsp-nocheck", "yes".to_owned());
    }
    row("added by the site", profiles::extensions(profile).join(", "));
    let algorithm = match prepared.signature_algorithm() {
        SignatureAlgorithm::EcdsaP256Sha256 => "ECDSA on P-256 with SHA-256",
        SignatureAlgorithm::EcdsaP384Sha384 => "ECDSA on P-384 with SHA-384",
        SignatureAlgorithm::RsaPkcs1Sha256 => "RSA (PKCS#1 v1.5) with SHA-256",
    };
    row("to be signed with", algorithm.to_owned());
    row("lint", "no findings".to_owned());
    Ok(rows)
}
