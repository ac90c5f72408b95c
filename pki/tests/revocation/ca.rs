//! A CA for tests, by another implementation than the one under test.

use std::path::Path;
use std::process::{Command, Output};

use der::{Decode, Encode};
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::pkcs8::DecodePrivateKey;
use pki::{IssuerDescription, PublicKey, SerialNumber, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SigningKey,
};

/// The time in these tests: 2026-11-22T15:30:00Z.
pub(crate) const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_361_400);

/// A CA.
pub(crate) struct Ca {
    pub(crate) key: KeyPair,
    pub(crate) description: IssuerDescription,
    issuer: Issuer<'static, KeyPair>,
}

/// What a delegate's certificate may lack or have too much.
#[derive(Clone, Copy, Default)]
pub(crate) struct DelegateFlaws {
    pub(crate) no_purpose: bool,
    pub(crate) no_nocheck: bool,
    pub(crate) crl_distribution_point: bool,
    pub(crate) no_digital_signature: bool,
    pub(crate) expired: bool,
}

pub(crate) fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

pub(crate) fn public_key(key: &KeyPair) -> PublicKey {
    PublicKey::from_spki_der(&key.subject_public_key_info()).unwrap()
}

fn params(common_name: &str, serial: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "Cardinal Test");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(vec![0x41, serial].into());
    params.not_before = NOW.minus(std::time::Duration::from_secs(3600)).to_offset_date_time();
    params.not_after = NOW.plus(std::time::Duration::from_secs(86_400)).to_offset_date_time();
    params
}

impl Ca {
    pub(crate) fn new(name: &str) -> Ca {
        let mut params = params(name, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = key();
        let certificate_der = params.self_signed(&key).unwrap().der().to_vec();
        let parsed = x509_cert::Certificate::from_der(&certificate_der).unwrap();
        let description = IssuerDescription {
            id: "authentication-1".into(),
            subject_der: parsed.tbs_certificate.subject.to_der().unwrap(),
            certificate_der,
            key_identifier: params.key_identifier(&key),
            public_key: public_key(&key),
            not_after: Timestamp::from(params.not_after),
            ca_issuers_url: "http://ca.example.test/ca/authentication-1.cer".into(),
            ocsp_url: Some("http://ca.example.test/ocsp".into()),
            crl_url: "http://ca.example.test/crl/authentication-1.crl".into(),
        };
        let issuer = Issuer::new(params, KeyPair::try_from(key.serialize_der()).unwrap());
        Ca { key, description, issuer }
    }

    /// A delegate's certificate for `key`.
    pub(crate) fn delegate(&self, key: &KeyPair, flaws: DelegateFlaws) -> Vec<u8> {
        let mut params = params("OCSP signer", 9);
        if !flaws.no_purpose {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        }
        if !flaws.no_digital_signature {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        } else {
            params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
        }
        if !flaws.no_nocheck {
            let nocheck = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 48, 1, 5], vec![5, 0]);
            params.custom_extensions = vec![nocheck];
        }
        if flaws.crl_distribution_point {
            let uris = vec!["http://ca.example.test/crl".to_owned()];
            params.crl_distribution_points = vec![rcgen::CrlDistributionPoint { uris }];
        }
        if flaws.expired {
            params.not_after = NOW.minus(std::time::Duration::from_secs(60)).to_offset_date_time();
        }
        params.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }

    /// A certificate whose CRL is at `crl_url`.
    pub(crate) fn leaf(&self, serial: u8, crl_url: &str) -> Vec<u8> {
        let mut params = params("Leaf", serial);
        params.crl_distribution_points = vec![rcgen::CrlDistributionPoint { uris: vec![crl_url.to_owned()] }];
        params.use_authority_key_identifier_extension = true;
        params.signed_by(&key(), &self.issuer).unwrap().der().to_vec()
    }

    /// Signs what was hashed already.
    pub(crate) fn sign_digest(&self, digest: &[u8]) -> Vec<u8> {
        let key = p256::ecdsa::SigningKey::from_pkcs8_der(&self.key.serialize_der()).unwrap();
        let signature: p256::ecdsa::Signature = key.sign_prehash(digest).unwrap();
        signature.to_der().as_bytes().to_vec()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        SigningKey::sign(&self.key, message).unwrap()
    }
}

pub(crate) fn serial(last: u8) -> SerialNumber {
    SerialNumber::from_der_content(&[0x41, last]).unwrap()
}

pub(crate) fn openssl(arguments: &[&str], directory: &Path) -> Output {
    Command::new("openssl").args(arguments).current_dir(directory).output().expect("openssl is installed")
}

pub(crate) fn text_of(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
