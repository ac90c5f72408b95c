//! Enrolment: a station makes its key, and gets its certificate by a single-use code.

use std::fs;
use std::path::PathBuf;

use ::tls::files::{NewFile, sync_directory};
use api::EnrolmentCode;
use api::stations::{EnrolmentReply, EnrolmentRequest};
use config::{StationConfig, StationDeployment};
use pki::certificate::ParsedCertificate;
use pki::pem::encode_certificates;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use zeroize::Zeroizing;

use crate::http::{Call, Client, Times, path};
use crate::{Error, tls};

/// The name of a station's configuration file in its directory.
pub const STATION_TOML: &str = "station.toml";

/// What a station is to be.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// The service's API, `https://HOST:PORT`.
    pub server: String,
    /// The single-use code.
    pub code: EnrolmentCode,
    /// The name that the code was made for.
    pub name: String,
    /// Where its files go.
    pub directory: PathBuf,
    /// Whether a station that is there already is replaced.
    pub replace: bool,
    /// The PKCS#11 module by which it reaches cards, where that is not the shipped one.
    pub module: Option<PathBuf>,
}

/// An enrolled station.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// Its configuration file.
    pub config_file: PathBuf,
    /// What that says.
    pub config: StationConfig,
    /// The deployment's name.
    pub deployment: String,
}

/// Enrols a station. The server is known by the fingerprint of its root certificate, which is a part of the code.
///
/// The files are prepared before the code is used, and `station.toml` comes last: where it is, the station is whole.
///
/// # Errors
/// [`Error::AlreadyEnrolled`]; [`Error::ServerNotTrusted`] when the code is from another service;
/// [`Error::Problem`] when the service refuses the code; when the files cannot be written.
pub async fn join(enrolment: &Enrolment) -> Result<Enrolled, Error> {
    let directory = &enrolment.directory;
    let config_file = directory.join(STATION_TOML);
    if !enrolment.replace && config_file.exists() {
        return Err(Error::AlreadyEnrolled { path: config_file });
    }
    let deployment = StationDeployment {
        name: enrolment.name.clone(),
        server: Some(enrolment.server.trim_end_matches('/').to_owned()),
        module: enrolment.module.clone(),
        ..StationDeployment::default()
    };
    let (text, config) = deployment.render(&config_file)?;
    fs::create_dir_all(directory).map_err(|source| Error::File { path: directory.clone(), source })?;

    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| Error::Random)?;
    let key_pem = Zeroizing::new(key.serialize_pem());
    let prepared_key = NewFile::write(&config.key_file, key_pem.as_bytes(), 0o600)?;

    let (tls_config, pinned) = tls::enrolment_config(enrolment.code.ca_fingerprint)?;
    let client = Client::https(&config.server, tls_config, Times { connect: config.connect, answer: config.answer })?;
    let request = EnrolmentRequest {
        secret: enrolment.code.secret.to_vec().into(),
        name: enrolment.name.clone(),
        request: request(&key)?.into(),
    };
    let reply: EnrolmentReply = client.send(Call::post(path("/enrolments", &[]), &request)?).await?;
    let root = pinned.root().ok_or_else(|| Error::Enrolment("the server's root is not known".into()))?;
    let chain = check(&reply, &key, &root)?;

    let prepared = [
        prepared_key,
        NewFile::write(&config.certificate_file, encode_certificates(&chain).as_bytes(), 0o644)?,
        NewFile::write(&config.ca_file, encode_certificates([&root]).as_bytes(), 0o644)?,
    ];
    let prepared_config = NewFile::write(&config_file, text.as_bytes(), 0o644)?;
    if config_file.exists() {
        // While key and certificate are exchanged, there is no station.
        fs::remove_file(&config_file).map_err(|source| Error::File { path: config_file.clone(), source })?;
        sync_directory(directory)?;
    }
    for file in prepared {
        file.put()?;
    }
    sync_directory(directory)?;
    prepared_config.put()?;
    sync_directory(directory)?;
    tracing::info!(station = enrolment.name, server = config.server, "station enrolled");
    Ok(Enrolled { config_file, config, deployment: reply.deployment })
}

/// The certification request of the station; its name is bound to the code.
fn request(key: &KeyPair) -> Result<Vec<u8>, Error> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    let request = parameters.serialize_request(key).map_err(|error| Error::Request(error.to_string()))?;
    Ok(request.der().to_vec())
}

/// The chain that the station will send: its certificate and the issuers', without the root.
fn check(reply: &EnrolmentReply, key: &KeyPair, root: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let unusable = |reason: &str| Error::Enrolment(reason.to_owned());
    let certificate = ParsedCertificate::from_der(&reply.certificate.0)
        .map_err(|error| Error::Enrolment(format!("the certificate: {error}")))?;
    if certificate.public_key().key_bits() != key.der_bytes() {
        return Err(unusable("the certificate is for another key"));
    }
    let mut chain = vec![reply.certificate.0.clone()];
    chain.extend(reply.chain.iter().map(|issuer| issuer.0.clone()).filter(|issuer| issuer != root));
    if chain.len() == reply.chain.len() + 1 {
        return Err(unusable("its chain does not end with the root that the code names"));
    }
    Ok(chain)
}
