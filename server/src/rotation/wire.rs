//! What goes to the process that holds the root's token, in the form of the admin socket.

use api::Base64;
use api::rotation::CertificationView;
use ca::ceremony::{Certification, Form};
use data_encoding::HEXLOWER;
use pki::certificate::Validity;
use pki::{PublicKey, Timestamp};

use crate::failure::Failure;

fn form_name(form: Form) -> &'static str {
    match form {
        Form::IssuingCa => "issuing-ca",
        Form::Root => "root",
        Form::Link => "link",
    }
}

/// For the wire.
pub(crate) fn certification(certification: &Certification) -> CertificationView {
    CertificationView {
        form: form_name(certification.form).to_owned(),
        issuer: certification.issuer.clone(),
        issuer_certificate: Base64(certification.issuer_certificate.clone()),
        profile: certification.profile.clone(),
        profile_version: certification.profile_version.clone(),
        serial: certification.serial.to_string(),
        not_before: certification.validity.not_before.to_string(),
        not_after: certification.validity.not_after.to_string(),
        organization: certification.organization.clone(),
        common_name: certification.common_name.clone(),
        public_key: Base64(certification.key.spki_der().to_vec()),
        tbs_sha256: HEXLOWER.encode(&certification.tbs_digest),
    }
}

/// What cannot be read of what came over the wire.
pub(crate) fn unreadable(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new(422, "invalid", "Fields break a rule", format!("{what}: {error}"))
}

/// A time.
pub(crate) fn time(what: &str, text: &str) -> Result<Timestamp, Failure> {
    text.parse().map_err(|error| unreadable(what, error))
}

/// From the wire.
///
/// # Errors
/// When a field cannot be read.
pub(crate) fn read_certification(view: &CertificationView) -> Result<Certification, Failure> {
    let form = [Form::IssuingCa, Form::Root, Form::Link].into_iter().find(|form| form_name(*form) == view.form);
    Ok(Certification {
        form: form.ok_or_else(|| unreadable("form", &view.form))?,
        issuer: view.issuer.clone(),
        issuer_certificate: view.issuer_certificate.0.clone(),
        profile: view.profile.clone(),
        profile_version: view.profile_version.clone(),
        serial: view.serial.parse().map_err(|error| unreadable("serial", error))?,
        validity: Validity {
            not_before: time("not_before", &view.not_before)?,
            not_after: time("not_after", &view.not_after)?,
        },
        organization: view.organization.clone(),
        common_name: view.common_name.clone(),
        key: PublicKey::from_spki_der(&view.public_key.0).map_err(|error| unreadable("public_key", error))?,
        tbs_digest: HEXLOWER.decode(view.tbs_sha256.as_bytes()).map_err(|error| unreadable("tbs_sha256", error))?,
    })
}
