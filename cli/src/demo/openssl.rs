//! The checks by `openssl` itself: a stranger's word, and commands that a reader can repeat.

use std::path::Path;

use tokio::process::Command;

use super::files::Files;
use super::story::{Check, TourCertificate, Urls};
use crate::error::Error;

/// Runs a shell command, and looks for `expected` in what it says.
async fn confirm(check: Check) -> Result<Check, Error> {
    let output = Command::new("sh").arg("-c").arg(&check.command).output().await;
    let output = output.map_err(|error| Error::System(format!("{}: {error}", check.command)))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    if said.contains(&check.expected) {
        return Ok(check);
    }
    Err(Error::Demo(format!(
        "{}: expected {:?} of\n  {}\nbut it said:\n{said}",
        check.what, check.expected, check.command
    )))
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// Checks chain, OCSP and CRL of each certificate; OCSP at the second responder as well, where they are for logins.
pub(crate) async fn check(files: &Files, urls: &Urls, certificates: &[TourCertificate]) -> Result<Vec<Check>, Error> {
    let root = quoted(&files.ca("root-1"));
    let mut checks = Vec::new();
    for certificate in certificates {
        let path = quoted(Path::new(&certificate.path));
        let issuer = quoted(Path::new(&certificate.issuer_certificate));
        let name = Path::new(&certificate.path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        checks.push(Check {
            what: format!("{name}: chain"),
            command: format!("openssl verify -x509_strict -CAfile {root} -untrusted {issuer} {path}"),
            expected: ": OK".to_owned(),
        });
        let expected = match certificate.expected.as_str() {
            "good" => ": good",
            "on_hold" => "Reason: certificateHold",
            _ => ": revoked",
        };
        let second =
            Some(("the second responder", &urls.responder)).filter(|_| certificate.issuer == "authentication-1");
        for (who, url) in [("OCSP", &urls.ocsp)].into_iter().chain(second) {
            checks.push(Check {
                what: format!("{name}: {who} says {}", certificate.expected),
                command: format!(
                    "openssl ocsp -issuer {issuer} -cert {path} -url {url} -CAfile {root} 2>&1 | grep -v '^WARNING'"
                ),
                expected: expected.to_owned(),
            });
        }
    }
    for issuer in ["authentication-1", "signing-1", "devices-1"] {
        let (crl, ca) = (quoted(&files.crl(issuer)), quoted(&files.ca(issuer)));
        checks.push(Check {
            what: format!("CRL of {issuer}"),
            command: format!("openssl crl -inform DER -in {crl} -CAfile {ca} -noout"),
            expected: "verify OK".to_owned(),
        });
    }
    for certificate in certificates.iter().filter(|one| one.issuer == "authentication-1") {
        let name = Path::new(&certificate.path).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let crl = quoted(&files.crl(&certificate.issuer));
        let serial = certificate.serial.to_uppercase();
        let (command, expected) = match certificate.expected.as_str() {
            "good" => {
                (format!("openssl crl -inform DER -in {crl} -noout -text | grep -c {serial} || true"), "0".to_owned())
            }
            _ => (
                format!("openssl crl -inform DER -in {crl} -noout -text | grep {serial}"),
                format!("Serial Number: {serial}"),
            ),
        };
        checks.push(Check { what: format!("{name}: on the CRL when it should be"), command, expected });
    }
    let mut confirmed = Vec::new();
    for check in checks {
        confirmed.push(confirm(check).await?);
    }
    Ok(confirmed)
}

/// Makes the relying service's own TLS key and certificate: they have nothing to do with ours.
pub(crate) async fn self_signed(key: &Path, certificate: &Path) -> Result<(), Error> {
    let config = key.with_extension("cnf");
    let text = "[req]\ndistinguished_name = dn\nx509_extensions = ext\nprompt = no\n[dn]\nCN = Relying Service\n[ext]\n\
                basicConstraints = critical,CA:FALSE\nkeyUsage = critical,digitalSignature\nextendedKeyUsage = \
                serverAuth\nsubjectAltName = DNS:localhost,IP:127.0.0.1\n";
    std::fs::write(&config, text).map_err(Error::file(&config))?;
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "90"])
        .arg("-config")
        .arg(&config)
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(certificate)
        .output()
        .await;
    let output = output.map_err(|error| {
        Error::Demo(format!("openssl is needed for the demo: {error}; on Debian: apt-get install openssl"))
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Demo(String::from_utf8_lossy(&output.stderr).into_owned()))
}
