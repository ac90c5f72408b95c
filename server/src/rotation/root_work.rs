//! The work of the root's token, in a process of its own: `cardinal rotate` and `cardinal root sign-crl` run this, the
//! service never does.
//!
//! This process trusts the service for nothing but what is to be certified: it opens the root's token itself, prepares
//! each certificate again by the profiles of the configuration on this machine, and signs it only if the linter finds
//! nothing and it is, byte for byte, what the service wrote down before.

use std::sync::Arc;

use api::Base64;
use api::rotation::{CertificationView, RootWork, RootWorkDone};
use ca::authority::PublicUrls;
use ca::ceremony::Form;
use config::Config;
use hsm::{Module, Pin, PinFile, Signer, Token, TokenOptions, TokenSelector};
use pki::profile::ProfileSet;

use super::wire;
use crate::error::Error;
use crate::root_crls;
use crate::start;

/// The root's token, open in this process until it is dropped.
pub struct PresentRoot {
    token: Arc<Token>,
    pin_file: PinFile,
    profiles: Arc<ProfileSet>,
    urls: PublicUrls,
    organisation: String,
    common_names: Vec<String>,
}

impl std::fmt::Debug for PresentRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PresentRoot").field("token", &self.token).finish_non_exhaustive()
    }
}

/// What the root's token did, for people.
#[derive(Clone, Debug)]
pub struct RootCeremony {
    /// What is handed to the service.
    pub done: RootWorkDone,
    /// One line for each act.
    pub acts: Vec<String>,
}

impl PresentRoot {
    /// Opens the token with the PIN in its file.
    ///
    /// # Errors
    /// When the token or its PIN file is not there, with what to do about it; when the token refuses the PIN.
    pub fn open(config: &Config) -> Result<Self, Error> {
        let (_, profiles) = start::rules(config)?;
        let root = &config.hsm.root;
        let module = Module::load(&config.hsm.module)?;
        let present = module.slots()?.iter().any(|slot| slot.initialised && slot.label == root.label);
        if !present || !root.pin_file.exists() {
            return Err(Error::RootAway { token: root.label.clone(), pin_file: root.pin_file.clone() });
        }
        let pin_file = PinFile::new(&root.pin_file);
        let options = TokenOptions { sessions: 1, ..TokenOptions::default() };
        let (token, _) = pin_file.open_token(&module, &TokenSelector::Label(root.label.clone()), options)?;
        let mut common_names: Vec<String> = config.issuing_cas.iter().map(|ca| ca.common_name.clone()).collect();
        common_names.push(config.root_ca.common_name.clone());
        Ok(PresentRoot {
            token,
            pin_file,
            profiles,
            urls: start::public_urls(config),
            organisation: config.service.organisation.clone(),
            common_names,
        })
    }

    /// Does the work.
    ///
    /// # Errors
    /// When it is not what this configuration permits, the linter finds something, or the token does not sign.
    pub fn perform(&self, work: &RootWork) -> Result<RootCeremony, Error> {
        match work {
            RootWork::MakeKey { label, key_type } => self.make_key(label, key_type),
            RootWork::ChangePin { label } => self.change_pin(label),
            RootWork::Certify { certificates } => {
                let mut done = RootWorkDone { public_key: None, signed: Vec::new() };
                let mut acts = Vec::new();
                for view in certificates {
                    done.signed.push(Base64(self.certify(view)?));
                    acts.push(format!(
                        "{} signed a certificate of CN={} until {}, serial {}",
                        view.issuer, view.common_name, view.not_after, view.serial
                    ));
                }
                Ok(RootCeremony { done, acts })
            }
            RootWork::SignCrls { crls } => {
                let mut done = RootWorkDone { public_key: None, signed: Vec::new() };
                let mut acts = Vec::new();
                for view in crls {
                    let certificate = &view.issuer_certificate.0;
                    let issuer = ca::authority::describe_certificate(&view.issuer, true, certificate, &self.urls)?;
                    let key = self.key(&view.issuer)?;
                    done.signed.push(Base64(root_crls::sign(view, &issuer, &key)?));
                    let (number, count, until) = (view.number, view.entries.len(), &view.next_update);
                    acts.push(format!("{} signed CRL {number} with {count} entries, until {until}", view.issuer));
                }
                Ok(RootCeremony { done, acts })
            }
        }
    }

    /// A new random PIN for the root's token, in the way that survives a crash (conformance: K4).
    fn change_pin(&self, label: &str) -> Result<RootCeremony, Error> {
        if label != self.token.label() {
            return Err(Error::RootWork(format!(
                "the service asks for the PIN of token {label:?}, which is not the root's"
            )));
        }
        let next = self.pin_file.write_next(&Pin::random()?)?;
        match self.token.change_pin(&self.token.pin(), &next) {
            Ok(()) => self.pin_file.take_next()?,
            Err(error @ hsm::Error::Pkcs11 { .. }) => {
                // The token said no to the new PIN, so that it is certain to have the old one.
                self.pin_file.drop_next()?;
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        }
        let acts = vec![format!("token {label:?} has a new PIN, in {}", self.pin_file.path().display())];
        Ok(RootCeremony { done: RootWorkDone { public_key: None, signed: Vec::new() }, acts })
    }

    fn key(&self, label: &str) -> Result<hsm::Key, Error> {
        let missing = || ca::Error::KeyMissing {
            issuer: label.to_owned(),
            token: self.token.label().to_owned(),
            label: label.to_owned(),
        };
        Ok(self.token.find_key(label)?.ok_or_else(missing)?)
    }

    /// A key of the root: the one that is there already, or a new one, made in the token and never extractable
    /// (conformance: K1).
    fn make_key(&self, label: &str, key_type: &str) -> Result<RootCeremony, Error> {
        let refuse = |what: &str| Error::RootWork(format!("the service asks for {what}"));
        let key_type = pki::KeyType::ALL.into_iter().find(|known| known.to_string() == key_type);
        let key_type = key_type.ok_or_else(|| refuse("a kind of key that is not known here"))?;
        if label.strip_prefix("root-").is_none_or(|number| number.parse::<u32>().is_err()) {
            return Err(refuse("a key in the root's token that is not the root's"));
        }
        let (key, act) = match ca::hierarchy::made_ca_key(&self.token, label, key_type)? {
            Some(key) => (key, "found"),
            None => (ca::hierarchy::make_ca_key(&self.token, label, key_type)?, "made"),
        };
        let public_key = Some(Base64(key.public_key().spki_der().to_vec()));
        let acts = vec![format!("{act} the {} key {label} in token {:?}", key.key_type(), self.token.label())];
        Ok(RootCeremony { done: RootWorkDone { public_key, signed: Vec::new() }, acts })
    }

    fn certify(&self, view: &CertificationView) -> Result<Vec<u8>, Error> {
        let certification = wire::read_certification(view)?;
        let refuse = |what: String| Err(Error::RootWork(what));
        if certification.organization != self.organisation || !self.common_names.contains(&certification.common_name) {
            return refuse(format!(
                "O={}, CN={} is no CA of this configuration",
                certification.organization, certification.common_name
            ));
        }
        let purpose = self.profiles.get(&certification.profile).map(pki::profile::CertificateProfile::purpose);
        let fits = match certification.form {
            Form::IssuingCa => purpose == Some(pki::profile::Purpose::IssuingCa),
            Form::Root | Form::Link => purpose == Some(pki::profile::Purpose::RootCa),
        };
        if !fits {
            return refuse(format!("the root signs CAs only, and not by profile {:?}", certification.profile));
        }
        // A link makes a key as good as the root's: only one that is in this token gets it.
        let is_own = || -> Result<bool, Error> {
            Ok(self.token.keys()?.iter().any(|known| *known.public_key() == certification.key))
        };
        if certification.form != Form::IssuingCa && !is_own()? {
            return refuse("a root's certificate is asked for a key that is not in the root's token".to_owned());
        }
        let key = self.key(&certification.issuer)?;
        Ok(certification.sign(&self.profiles, &self.urls, &key)?)
    }
}

impl Drop for PresentRoot {
    fn drop(&mut self) {
        self.token.close();
    }
}
