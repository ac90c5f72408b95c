//! `cardinal init`: tokens, root, issuing CAs, the root's first CRL, the first organisation. The root's token is closed
//! again at its end, and `serve` never opens it.
//!
//! Every step looks for what is there already, so a run that was interrupted is completed by running it again.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use audit::Actor;
use ca::Authority;
use ca::crl::CrlSchedule;
use ca::hierarchy::{self, CaPlan};
use config::Config;
use hsm::{Module, Pin, PinFile, Token, TokenOptions, TokenSelector};
use pki::Timestamp;
use ra::organisation::{self, Organisation};
use ring::rand::SystemRandom;
use serde::Serialize;
use store::{SledStore, Store};

use crate::clock::{Clock, SystemClock};
use crate::crls::{Crls, write_atomically};
use crate::error::Error;
use crate::start;

/// The first organisation.
#[derive(Clone, Debug)]
pub struct FirstOrganisation {
    /// Its ODS code.
    pub code: String,
    /// Its name.
    pub name: String,
}

/// What was made, or was there already.
#[derive(Clone, Debug, Serialize)]
pub struct InitReport {
    /// The data directory.
    pub data_dir: String,
    /// The root and the issuing CAs.
    pub issuers: Vec<InitialisedIssuer>,
    /// SHA-256 of the root certificate, in hex: to be compared by whoever trusts it.
    pub root_sha256: String,
    /// PIN files that were made. The root's belongs off this machine.
    pub pin_files: Vec<String>,
}

/// A CA that was made, or was there already.
#[derive(Clone, Debug, Serialize)]
pub struct InitialisedIssuer {
    /// Name and key generation.
    pub id: String,
    /// The token that its key was made in.
    pub token: String,
    /// The file of its certificate, PEM.
    pub certificate: String,
}

fn private_dir(path: &Path) -> Result<(), Error> {
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(source) => Err(Error::File { what: "make directory", path: path.to_owned(), source }),
    }
}

/// The PIN in this file; a new random one where there is none.
fn pin(path: &Path, made: &mut Vec<String>) -> Result<Pin, Error> {
    if !path.exists() {
        if let Some(dir) = path.parent() {
            private_dir(dir)?;
        }
        PinFile::new(path).create(&Pin::random()?)?;
        made.push(path.display().to_string());
    }
    Ok(Pin::from_file(path)?)
}

fn token(
    module: &Arc<Module>,
    token: &config::Token,
    made: &mut Vec<String>,
    may_make: bool,
) -> Result<Arc<Token>, Error> {
    // One without a user PIN was left by a run that was interrupted, and is completed.
    let is_whole = |slot: &hsm::SlotDescription| slot.initialised && slot.user_pin_initialised;
    let there = module.slots()?.iter().any(|slot| is_whole(slot) && slot.label == token.label);
    if !there && !may_make {
        return Err(Error::TokenAway(token.label.clone()));
    }
    let user_pin = pin(&token.pin_file, made)?;
    if !there {
        let so_pin = pin(&token.pin_file.with_extension("so-pin"), made)?;
        module.init_token(&token.label, &so_pin, &user_pin)?;
    }
    let options = TokenOptions { sessions: 1, ..TokenOptions::default() };
    Ok(PinFile::new(&token.pin_file).open_token(module, &TokenSelector::Label(token.label.clone()), options)?.0)
}

/// Makes a deployment, or completes one.
///
/// # Errors
/// When a token, the store or a file cannot be made.
pub fn initialise(config: &Config, first: &FirstOrganisation, local: &str) -> Result<InitReport, Error> {
    let random = SystemRandom::new();
    let actor = Actor { local: Some(local.to_owned()), ..Actor::default() };
    let data_dir = &config.service.data_dir;
    private_dir(data_dir)?;
    let (policy, profiles) = start::rules(config)?;
    drop(policy);
    let store = start::open_store(config)?;
    let store: &SledStore = &store;

    let now = now();
    let code = first.code.parse()?;
    let organisation = Organisation { code, name: first.name.clone(), parent: None };
    commit_if_any(store, organisation::add(store, &organisation, &actor, now)?)?;

    let mut pin_files = Vec::new();
    let module = Module::load(&config.hsm.module)?;
    // A token whose keys are certified already is looked for, and never made anew.
    let has_issuers = ca::issuer::all(store)?.iter().any(|issuer| !issuer.is_root());
    let has_root = ca::issuer::all(store)?.iter().any(ca::IssuerRecord::is_root);
    let ca_token = token(&module, &config.hsm.ca, &mut pin_files, !has_issuers)?;
    let authority = Authority::without_keys(start::settings(config)?, profiles);
    recover(store, authority.owner(), now)?;

    let missing = config.issuing_cas.iter().any(|ca| {
        let id = format!("{}-1", ca.name);
        !matches!(store::load::<ca::IssuerRecord>(store, id.as_bytes()), Ok(Some(_)))
    });
    let keys = start::issuer_keys(store)?;
    let crls = Crls::open(data_dir.join("crl"), &keys).map_err(Error::file("open directory", data_dir.join("crl")))?;
    if missing || crls.get("root-1").is_none() {
        let root_token = token(&module, &config.hsm.root, &mut pin_files, !has_root)?;
        let root_plan = CaPlan {
            name: "root",
            profile: "root-ca",
            common_name: &config.root_ca.common_name,
            key_type: config.root_ca.key_type,
            token_label: &config.hsm.root.label,
        };
        let (root, root_key) =
            hierarchy::create_root(&authority, store, &root_token, &root_plan, &actor, now, &random)?;
        for ca in &config.issuing_cas {
            let plan = CaPlan {
                name: &ca.name,
                profile: "issuing-ca",
                common_name: &ca.common_name,
                key_type: ca.key_type,
                token_label: &config.hsm.ca.label,
            };
            hierarchy::create_issuing_ca(&authority, store, &root, &root_key, &ca_token, &plan, &actor, now, &random)?;
        }
        if crls.get("root-1").is_none() {
            sign_root_crl(config, &authority, store, &crls, &root_key, &actor)?;
        }
        root_token.close();
    }
    ca_token.close();

    let mut issuers = Vec::new();
    let mut root_sha256 = String::new();
    let dir = data_dir.join("ca");
    std::fs::create_dir_all(&dir).map_err(Error::file("make directory", &dir))?;
    for record in ca::issuer::all(store)? {
        let path = dir.join(format!("{}.pem", record.id));
        let text = pki::pem::encode_certificates([&record.certificate_der]);
        write_atomically(&path, text.as_bytes(), 0o644).map_err(Error::file("write", &path))?;
        if record.state == ca::IssuerState::Offline {
            let parsed =
                pki::certificate::ParsedCertificate::from_der(&record.certificate_der).map_err(ca::Error::from)?;
            root_sha256 = data_encoding::HEXLOWER.encode(&parsed.fingerprint());
        }
        issuers.push(InitialisedIssuer {
            id: record.id,
            token: record.key.token,
            certificate: path.display().to_string(),
        });
    }
    Ok(InitReport { data_dir: data_dir.display().to_string(), issuers, root_sha256, pin_files })
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn commit_if_any(store: &SledStore, batch: store::Batch) -> Result<(), Error> {
    if !batch.put.is_empty() || !batch.audit.is_empty() {
        store.commit(batch)?;
    }
    Ok(())
}

/// What an interrupted run reserved becomes void.
fn recover(store: &SledStore, owner: &str, now: Timestamp) -> Result<(), Error> {
    for id in ca::recovery::abandoned(store, owner, true, now)? {
        let mut batch = ca::batch(now);
        ca::recovery::void(store, &mut batch, &id, &Actor::service(), None)?;
        store.commit(batch)?;
    }
    Ok(())
}

fn sign_root_crl(
    config: &Config,
    authority: &Authority,
    store: &SledStore,
    crls: &Crls,
    root_key: &hsm::Key,
    actor: &Actor,
) -> Result<(), Error> {
    let now = now();
    let record = store::load::<ca::IssuerRecord>(store, b"root-1")?
        .ok_or_else(|| ca::Error::NoSuchIssuer("root-1".to_owned()))?
        .record;
    let description = ca::authority::describe(&record, authority.urls())?;
    let schedule = CrlSchedule { interval: config.times.root_crl_next_update, overlap: std::time::Duration::ZERO };
    let (batch, numbered) = ca::crl::begin(store, &description, schedule, actor, now)?;
    store.commit(batch)?;
    let signed = numbered.sign(root_key)?;
    crls.publish(&signed)?;
    store.commit(signed.published(store, actor, now)?)?;
    Ok(())
}
