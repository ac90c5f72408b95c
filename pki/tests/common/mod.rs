//! Keys, a small hierarchy, and the `openssl` command, for the tests of this crate.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use pki::certificate::{
    ParsedCertificate, PreparedCertificate, SignedCertificate, SubjectFields, Validity, prepare, prepare_root, validity,
};
use pki::profile::{CertificateProfile, ProfileSet, Purpose};
use pki::{IssuerDescription, KeyType, PublicKey, SerialNumber, Timestamp, pem};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{self, EcdsaKeyPair, KeyPair, RsaKeyPair};

/// 2026-11-22T15:30:00Z.
pub(crate) const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_361_400);

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn profiles() -> &'static ProfileSet {
    static PROFILES: OnceLock<ProfileSet> = OnceLock::new();
    PROFILES.get_or_init(|| {
        let text = include_str!("../../../config/profiles/profiles.toml");
        ProfileSet::load(text, "profiles.toml").unwrap()
    })
}

pub(crate) fn profile(name: &str) -> &'static CertificateProfile {
    profiles().get(name).unwrap()
}

/// A site's profile for cards that uses all that a profile can say.
pub(crate) fn rich_profile() -> &'static CertificateProfile {
    static PROFILES: OnceLock<ProfileSet> = OnceLock::new();
    let text = r#"
        [[profile]]
        name = "site-card"
        purpose = "card-authentication"
        subject = [
            { type = "C", value = "GB" },
            { type = "O", value = "{organization}" },
            { type = "CN", value = "{user_id}_{given}_{family}", cut = true },
            { type = "serialNumber", value = "{user_id}" },
        ]
        san = ["upn", "sid", "email", "uri", "permanent-identifier"]
        san_required = ["upn", "sid", "permanent-identifier"]
        permanent_identifier_assigner = "1.3.6.1.4.1.99999.3"
        key_types = ["P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096"]
        key_usage = ["digitalSignature"]
        extended_key_usage = ["clientAuth", "smartcardLogon", "pkinitClientAuth", "1.3.6.1.4.1.99999.4"]
        policies = [{ oid = "1.3.6.1.4.1.99999.1.1", cps = "https://pki.example/cps" }, "1.3.6.1.4.1.99999.1.11"]
        extensions = [
            { oid = "1.3.6.1.4.1.99999.2.1", hex = "0C06 73697465 2041" },
            { oid = "1.3.6.1.4.1.99999.2.2", base64 = "BQA=" },
        ]
        life = "730d"
        jitter = "30d"
        aia = true
        crldp = true
    "#;
    PROFILES.get_or_init(|| ProfileSet::load(text, "site.toml").unwrap()).get("site-card").unwrap()
}

pub(crate) fn serial() -> SerialNumber {
    let mut random = [0; SerialNumber::RANDOM_OCTETS];
    SystemRandom::new().fill(&mut random).unwrap();
    SerialNumber::from_random(random)
}

/// The output of `openssl` with these arguments; its words on failure.
pub(crate) fn openssl(dir: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let output = Command::new("openssl").current_dir(dir).args(arguments).output().expect("openssl is installed");
    if output.status.success() {
        Ok(output.stdout)
    } else {
        let words = [output.stdout, output.stderr].concat();
        Err(format!("openssl {}: {}", arguments.join(" "), String::from_utf8_lossy(&words)))
    }
}

pub(crate) enum TestKey {
    Ec(EcdsaKeyPair, PublicKey),
    Rsa(RsaKeyPair, PublicKey),
}

impl TestKey {
    pub(crate) fn ec(key_type: KeyType) -> TestKey {
        let algorithm = match key_type {
            KeyType::P256 => &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
            _ => &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
        };
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        let public_key = PublicKey::from_ec_point(key_type, pair.public_key().as_ref()).unwrap();
        TestKey::Ec(pair, public_key)
    }

    /// One key of each kind and process: RSA takes its time.
    pub(crate) fn of(key_type: KeyType) -> &'static TestKey {
        static KEYS: [OnceLock<TestKey>; 5] = [const { OnceLock::new() }; 5];
        let index = KeyType::ALL.iter().position(|known| *known == key_type).unwrap();
        KEYS[index].get_or_init(|| match key_type {
            KeyType::P256 | KeyType::P384 => TestKey::ec(key_type),
            KeyType::Rsa2048 => TestKey::rsa("rsa_keygen_bits:2048"),
            KeyType::Rsa3072 => TestKey::rsa("rsa_keygen_bits:3072"),
            KeyType::Rsa4096 => TestKey::rsa("rsa_keygen_bits:4096"),
        })
    }

    fn rsa(bits: &str) -> TestKey {
        let dir = tempfile::tempdir().unwrap();
        let text = openssl(dir.path(), &["genpkey", "-algorithm", "RSA", "-pkeyopt", bits]).unwrap();
        let pair = RsaKeyPair::from_pkcs8(&pem::decode_one(&text, "PRIVATE KEY").unwrap()).unwrap();
        let components = signature::RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
        let public_key = PublicKey::from_rsa(&components.n, &components.e).unwrap();
        TestKey::Rsa(pair, public_key)
    }

    pub(crate) fn public(&self) -> &PublicKey {
        match self {
            TestKey::Ec(_, public_key) | TestKey::Rsa(_, public_key) => public_key,
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            TestKey::Ec(pair, _) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            TestKey::Rsa(pair, _) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }
}

pub(crate) struct Ca {
    pub(crate) key: TestKey,
    pub(crate) description: IssuerDescription,
}

impl Ca {
    pub(crate) fn sign(&self, prepared: PreparedCertificate) -> SignedCertificate {
        let signature = self.key.sign(prepared.tbs_der());
        prepared.assemble(&signature, self.key.public()).unwrap()
    }

    pub(crate) fn issue(&self, profile_name: &str, fields: &SubjectFields, key: &PublicKey) -> SignedCertificate {
        let profile = profile(profile_name);
        let validity = validity_of(profile, &self.description);
        self.sign(prepare(profile, &self.description, fields, key, serial(), validity).unwrap())
    }
}

pub(crate) struct Hierarchy {
    pub(crate) root: Ca,
    pub(crate) issuing: Ca,
}

pub(crate) fn validity_of(profile: &CertificateProfile, issuer: &IssuerDescription) -> Validity {
    validity(profile, NOW, Duration::ZERO, Duration::ZERO, issuer.not_after).unwrap()
}

pub(crate) fn ca_fields(common_name: &str) -> SubjectFields {
    SubjectFields {
        organization: Some("Example Health".into()),
        common_name: Some(common_name.into()),
        ..SubjectFields::default()
    }
}

/// All that a registry could know.
pub(crate) fn fields() -> SubjectFields {
    SubjectFields {
        user_id: Some("555000000017".into()),
        given: Some("Zoë".into()),
        family: Some("O'Brien-Ćwikła".into()),
        lending_id: Some("TAC-000042".into()),
        organization: Some("Example Health".into()),
        common_name: Some("station 1".into()),
        dns_names: vec!["station-1.example".into(), "localhost".into()],
        ip_addresses: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        upn: Some("zoe@health.example".into()),
        sid: Some("S-1-5-21-1004336348-1177238915-682003330-512".into()),
        emails: vec!["zoe@health.example".into()],
        uris: vec!["urn:example:555000000017".into()],
        permanent_identifier: Some("555000000017".into()),
    }
}

pub(crate) fn describe(id: &str, certificate: &ParsedCertificate, ocsp: bool) -> IssuerDescription {
    IssuerDescription {
        id: id.to_owned(),
        certificate_der: certificate.der().to_vec(),
        subject_der: certificate.subject_der().to_vec(),
        public_key: certificate.public_key().clone(),
        key_identifier: certificate.subject_key_identifier().unwrap().to_vec(),
        not_after: certificate.not_after(),
        ca_issuers_url: format!("http://pki.example/ca/{id}.cer"),
        ocsp_url: ocsp.then(|| "http://pki.example/ocsp".to_owned()),
        crl_url: format!("http://pki.example/crl/{id}.crl"),
    }
}

/// A root with a P-384 key, and below it an issuing CA with a P-256 key.
pub(crate) fn hierarchy() -> &'static Hierarchy {
    static HIERARCHY: OnceLock<Hierarchy> = OnceLock::new();
    HIERARCHY.get_or_init(|| {
        let root_key = TestKey::ec(KeyType::P384);
        let root_profile = profile("root-ca");
        let until = validity(root_profile, NOW, Duration::ZERO, Duration::ZERO, Timestamp::MAX).unwrap();
        let prepared =
            prepare_root(root_profile, &ca_fields("Example Root CA"), root_key.public(), serial(), until).unwrap();
        let signature = root_key.sign(prepared.tbs_der());
        let signed = prepared.assemble(&signature, root_key.public()).unwrap();
        let root = Ca { description: describe("root-1", signed.parsed(), false), key: root_key };
        let key = TestKey::ec(KeyType::P256);
        let signed = root.issue("issuing-ca", &ca_fields("Example Authentication CA"), key.public());
        let issuing = Ca { description: describe("authentication-1", signed.parsed(), true), key };
        Hierarchy { root, issuing }
    })
}

/// Writes `root.pem` and `issuing.pem` for `openssl verify`.
pub(crate) fn write_chain(dir: &Path) {
    let hierarchy = hierarchy();
    let write = |name: &str, der: &[u8]| std::fs::write(dir.join(name), pem::encode(pem::CERTIFICATE, der)).unwrap();
    write("root.pem", &hierarchy.root.description.certificate_der);
    write("issuing.pem", &hierarchy.issuing.description.certificate_der);
}

/// Asks `openssl verify -x509_strict`, at [`NOW`].
pub(crate) fn openssl_verify(dir: &Path, certificate: &[u8], more: &[&str]) -> Result<Vec<u8>, String> {
    std::fs::write(dir.join("leaf.pem"), pem::encode(pem::CERTIFICATE, certificate)).unwrap();
    let time = NOW.unix_seconds().to_string();
    let mut arguments =
        vec!["verify", "-x509_strict", "-attime", &time, "-CAfile", "root.pem", "-untrusted", "issuing.pem"];
    arguments.extend(more);
    arguments.push("leaf.pem");
    openssl(dir, &arguments)
}

/// The profiles of leaves, by their names.
pub(crate) fn leaf_profiles() -> impl Iterator<Item = &'static CertificateProfile> {
    profiles().iter().filter(|profile| !matches!(profile.purpose(), Purpose::RootCa | Purpose::IssuingCa))
}

/// One DER element.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match content.len() {
        length @ 0..=0x7f => der.push(length as u8),
        length @ 0x80..=0xff => der.extend([0x81, length as u8]),
        length => der.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    der.extend_from_slice(content);
    der
}
