//! The stranger who judges what comes out: the `openssl` command.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs openssl in `dir`: what it prints on both streams together, as an error when it fails.
///
/// # Errors
/// What it prints, when it fails.
///
/// # Panics
/// When there is no openssl.
pub fn openssl(dir: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("openssl").current_dir(dir).args(arguments).output().expect("openssl is installed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        let printed = text(&output.stdout);
        // What `ocsp` has to say about an answer's signature stands on the other stream.
        return Ok(if printed.contains("-----BEGIN") { printed } else { printed + &text(&output.stderr) });
    }
    Err(format!("openssl {arguments:?}\n{}{}", text(&output.stdout), text(&output.stderr)))
}

/// Writes a certificate as PEM.
///
/// # Panics
/// When it cannot be written.
pub fn write_certificate(dir: &Path, name: &str, der: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, pki::pem::encode_certificates([der])).expect("a file");
    path
}

/// Writes a CRL as PEM.
///
/// # Panics
/// When it cannot be written.
pub fn write_crl(dir: &Path, name: &str, der: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, pki::pem::encode("X509 CRL", der)).expect("a file");
    path
}
