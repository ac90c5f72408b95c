//! Enrolment: a responder makes its key, and gets its client certificate by a single-use code.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use api::EnrolmentCode;
use api::responders::{self, ResponderEnrolmentReply, ResponderEnrolmentRequest, SignerKeys};
use config::{ResponderConfig, ResponderDeployment, SignerPlace};
use hsm::MemoryKey;
use pki::KeyType;
use tls::files::{NewFile, sync_directory};

use super::NodeError;
use super::client::Server;
use super::identity::{Credentials, Enrolled, Identity, request};

/// What a responder is to be.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// The CA's API, `https://HOST:PORT`; `None` takes the configuration's.
    pub server: Option<String>,
    /// The name that the code was made for; `None` takes the configuration's.
    pub name: Option<String>,
    /// The single-use code.
    pub code: EnrolmentCode,
    /// Its configuration file: one that is there is used as it is, otherwise it is written.
    pub config_file: PathBuf,
    /// Where its files go, if the configuration is written here; `None` is `data` beside it.
    pub data_dir: Option<PathBuf>,
    /// Whether a responder that is there already is replaced.
    pub replace: bool,
}

/// An enrolled responder.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Its configuration file.
    pub config_file: PathBuf,
    /// What that says.
    pub config: ResponderConfig,
    /// What was settled.
    pub enrolled: Enrolled,
    /// Where the CA expects its signer keys to be.
    pub signer_keys: SignerKeys,
}

impl Joined {
    /// What does not fit between the CA's expectation and the configuration, if anything, and what to do about it.
    pub fn mismatch(&self) -> Option<&'static str> {
        match (&self.config.signer.place, self.signer_keys) {
            (SignerPlace::Token { .. }, SignerKeys::Memory) => Some(
                "the CA takes its signer keys for keys in memory, and certifies them for a day only: enrol it with \
                 `cardinal responder enrol NAME --signer-keys token` to have them certified for a week",
            ),
            (SignerPlace::Memory, SignerKeys::Token) => Some(
                "the CA takes its signer keys for keys in a token, and they are to be in memory: write keys = \"token\" \
                 under [signer], or enrol it with `--signer-keys memory`",
            ),
            _ => None,
        }
    }
}

/// Enrols a responder. The CA is known by the fingerprint of its root certificate, which is a part of the code.
///
/// # Errors
/// [`NodeError::AlreadyEnrolled`]; [`NodeError::Usage`] when arguments and configuration contradict each other;
/// [`NodeError::ServerNotTrusted`] when the code is from another CA; [`NodeError::Problem`] when the CA refuses the
/// code; when the files cannot be written.
pub async fn join(enrolment: &Enrolment) -> Result<Joined, NodeError> {
    let (text, config) = configuration(enrolment)?;
    let dir = &config.data_dir;
    if !enrolment.replace && Identity::is_enrolled(dir) {
        return Err(NodeError::AlreadyEnrolled { dir: dir.clone() });
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(NodeError::file(dir))?;
    let new_config = text.map(|text| write_config(&enrolment.config_file, &text)).transpose()?;

    let key = MemoryKey::generate(KeyType::P256)?;
    let (tls_config, pinned) = tls::pinned::config(enrolment.code.ca_fingerprint)?;
    let server = Server::new(&config.server, config.times.connect, config.times.answer)?;
    let request = ResponderEnrolmentRequest {
        name: config.name.clone(),
        secret: enrolment.code.secret.to_vec().into(),
        request: request(&key)?.into(),
    };
    let mut connection = server.connect(tls_config).await?;
    let reply: ResponderEnrolmentReply = connection.post(responders::ENROLMENTS, &request).await?;
    let root = pinned.root().ok_or_else(|| NodeError::Certificate("the CA's root is not known".to_owned()))?;
    let chain: Vec<Vec<u8>> = reply.chain.into_iter().map(|one| one.0).collect();
    if !chain.contains(&root) {
        return Err(NodeError::Certificate("its chain does not have the root that the code names".to_owned()));
    }
    let credentials = Credentials::new(key, reply.certificate.0, chain)?;
    let origin = reply.origin.parse().map_err(|error| NodeError::Feed {
        server: server.title().to_owned(),
        reason: format!("its origin {:?}: {error}", reply.origin),
    })?;
    let enrolled = Enrolled { name: config.name.clone(), deployment: reply.deployment, origin };
    Identity::create(dir, &enrolled, &credentials, &[root])?;
    if let Some(file) = new_config {
        file.put()?;
        sync_directory(parent(&enrolment.config_file))?;
    }
    tracing::info!(responder = config.name, server = config.server, deployment = enrolled.deployment, "enrolled");
    let signer_keys = reply.signer_keys;
    Ok(Joined { config_file: enrolment.config_file.clone(), config, enrolled, signer_keys })
}

fn parent(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn write_config(file: &Path, text: &str) -> Result<NewFile, NodeError> {
    let dir = parent(file);
    std::fs::create_dir_all(dir).map_err(NodeError::file(dir))?;
    Ok(NewFile::write(file, text.as_bytes(), 0o644)?)
}

/// The configuration, and its text if it is to be written.
fn configuration(enrolment: &Enrolment) -> Result<(Option<String>, ResponderConfig), NodeError> {
    let file = &enrolment.config_file;
    let server = enrolment.server.as_deref().map(|server| server.trim_end_matches('/'));
    if file.exists() {
        let config = ResponderConfig::load(file)?;
        for (key, argument, written) in
            [("--name", enrolment.name.as_deref(), config.name.as_str()), ("--server", server, config.server.as_str())]
        {
            if argument.is_some_and(|argument| argument != written) {
                return Err(NodeError::Usage(format!(
                    "{} says {written:?}, and {key} says something else: change one of the two, or leave {key} out",
                    file.display()
                )));
            }
        }
        return Ok((None, config));
    }
    let (Some(server), Some(name)) = (server, enrolment.name.as_deref()) else {
        let file = file.display();
        return Err(NodeError::Usage(format!("{file} is not there: give --server and --name, so that it is written")));
    };
    let deployment = ResponderDeployment {
        name: name.to_owned(),
        server: Some(server.to_owned()),
        data_dir: enrolment.data_dir.clone(),
        ..ResponderDeployment::default()
    };
    let absolute = std::path::absolute(file).map_err(NodeError::file(file))?;
    let (text, config) = deployment.render(&absolute)?;
    Ok((Some(text), config))
}
