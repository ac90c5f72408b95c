//! What a responder's directory holds, looked at without the network: for `ocsp-responder check`. Nothing is changed, and
//! the responder may run meanwhile.

use std::fmt;
use std::path::PathBuf;

use api::feed::IssuersDocument;
use config::{ResponderConfig, SignerPlace};
use pki::Timestamp;
use serde::Serialize;

use super::identity::Identity;
use super::keys::pin_is_there;
use super::replica_dir::{self, Reading};
use super::{NodeError, REPLICA, issuers};

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// The responder's name.
    pub name: String,
    /// The CA that it follows.
    pub server: String,
    /// The deployment whose feed it follows.
    pub deployment: String,
    /// When its client certificate ends.
    pub certificate_until: Timestamp,
    /// Where its signers' keys are.
    pub signer_keys: &'static str,
    /// Where its files are.
    pub data_dir: PathBuf,
    /// Whom it answers for, as far as it knows.
    pub issuers: Vec<String>,
    /// The replica on disk, in words.
    pub replica: String,
    /// What `run` mends by itself: it starts all the same.
    pub warnings: Vec<String>,
    /// What keeps it from its work.
    pub problems: Vec<String>,
}

/// Looks at a responder's directory.
///
/// # Errors
/// When nobody is enrolled there, or its identity cannot be read.
pub fn check(config: &ResponderConfig, now: Timestamp) -> Result<Found, NodeError> {
    let identity = Identity::open(&config.data_dir)?;
    identity.config()?;
    let enrolled = identity.enrolled();
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    if enrolled.name != config.name {
        problems.push(format!("`responder.name` is {:?}, and {:?} is enrolled", config.name, enrolled.name));
    }
    let (_, certificate_until) = identity.validity();
    if certificate_until <= now {
        problems.push("the client certificate has ended: enrol this responder again".to_owned());
    }
    if let SignerPlace::Token { module, token, .. } = &config.signer.place {
        if !module.exists() {
            problems.push(format!("{}: there is no such PKCS#11 module: correct `signer.module`", module.display()));
        }
        problems.extend(pin_is_there(&token.pin_file).err().map(|error| error.to_string()));
    }
    let replica = config.data_dir.join(REPLICA);
    let trusted = match std::fs::read(replica.join(replica_dir::ISSUERS)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            warnings.push(format!(
                "the kept list of issuers cannot be read ({}: {error}): `run` asks the CA for it",
                replica.join(replica_dir::ISSUERS).display()
            ));
            None
        }
        Ok(bytes) => {
            let document: Result<IssuersDocument, _> = serde_json::from_slice(&bytes);
            let document = document.map_err(|error| NodeError::Issuers(error.to_string()));
            match document.and_then(|document| issuers::verify(&document, enrolled.origin, &identity.roots(), now)) {
                Ok(trusted) => Some(trusted),
                Err(error) => {
                    warnings.push(format!("{error}. `run` asks the CA for it anew"));
                    None
                }
            }
        }
    };
    let (reading, seen) = replica_dir::inspect(&replica, enrolled.origin);
    let replica = match reading {
        Reading::Nothing => "none yet: it is fetched from the CA".to_owned(),
        Reading::Refused(refusal) => {
            warnings.push(format!("{refusal}. `run` removes it and fetches a new one from the CA"));
            "not used: it is fetched from the CA".to_owned()
        }
        Reading::Whole(loaded) => {
            let position = loaded.place().position;
            let heartbeat =
                seen.as_of.map_or_else(|| "without a heartbeat".to_owned(), |as_of| format!("as of {as_of}"));
            format!("entry {} of epoch {}, {heartbeat}", position.sequence, position.epoch)
        }
    };
    let issuers = trusted.map(|trusted| trusted.issuers.into_iter().map(|issuer| issuer.description.id).collect());
    Ok(Found {
        name: config.name.clone(),
        server: config.server.clone(),
        deployment: enrolled.deployment.clone(),
        certificate_until,
        signer_keys: match config.signer.place {
            SignerPlace::Token { .. } => "token",
            _ => "memory",
        },
        data_dir: config.data_dir.clone(),
        issuers: issuers.unwrap_or_default(),
        replica,
        warnings,
        problems,
    })
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers = if self.issuers.is_empty() { "not known yet".to_owned() } else { self.issuers.join(" ") };
        for (what, value) in [
            ("responder", format!("{} follows {} at {}", self.name, self.deployment, self.server)),
            ("certificate", format!("until {}", self.certificate_until)),
            ("signer keys", self.signer_keys.to_owned()),
            ("issuers", issuers),
            ("replica", self.replica.clone()),
            ("files", self.data_dir.display().to_string()),
        ] {
            writeln!(f, "{what:12} {value}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "{:12} {warning}", "warning")?;
        }
        for problem in &self.problems {
            writeln!(f, "{:12} {problem}", "PROBLEM")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use pki::feed::Origin;

    use super::super::identity::Enrolled;
    use super::*;

    #[test]
    fn what_is_missing_of_an_identity_or_a_token_is_said_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let said = |error: NodeError| error.to_string();
        let enrolled = Enrolled {
            name: "r1".to_owned(),
            deployment: "Example".to_owned(),
            origin: Origin::of("Example", b"the root's key"),
        };
        fs::write(dir.path().join("enrolled.json"), serde_json::to_vec(&enrolled).unwrap()).unwrap();
        for (missing, written) in [("client.pem", "ca.pem"), ("ca.pem", "client.pem")] {
            fs::write(dir.path().join(written), "").unwrap();
            let error = said(Identity::open(dir.path()).unwrap_err());
            assert!(error.contains(missing) && error.contains("with --replace"), "{error}");
            fs::remove_file(dir.path().join(written)).unwrap();
        }
        let error = said(pin_is_there(&dir.path().join("ocsp.pin")).unwrap_err());
        assert!(error.contains("ocsp.pin") && error.contains("`signer.pin_file`"), "{error}");
    }
}
