//! The making of the hierarchy: a root in a token of its own, and issuing CAs that it certifies.
//!
//! Every step looks for what is there already, so a run that was interrupted is completed by running it again.

use std::collections::BTreeSet;
use std::sync::Arc;

use audit::{Actor, AuditRecord, Outcome};
use hsm::{MadeKey, Signer, Token};
use pki::certificate::SubjectFields;
use pki::{IssuerDescription, KeyType, PublicKey, SerialNumber, Timestamp};
use ring::rand::SecureRandom;
use store::{Batch, Store};

use crate::authority::{Authority, describe};
use crate::certificate::{CertificateId, CertificateRecord, CertificateState, Holder};
use crate::issuer::{IssuerRecord, IssuerState, KeyLocation};
use crate::reservation::{KeyRecord, Order};
use crate::{Error, batch, certificate, compromised, record};

/// A CA that is to be.
#[derive(Clone, Debug)]
pub struct CaPlan<'a> {
    /// The CA's name, such as `authentication`.
    pub name: &'a str,
    /// The profile's name.
    pub profile: &'a str,
    /// The common name in its certificate.
    pub common_name: &'a str,
    /// The kind of its key.
    pub key_type: KeyType,
    /// The label of the token that the key is made in.
    pub token_label: &'a str,
}

impl CaPlan<'_> {
    /// The id of its first key.
    pub fn first_id(&self) -> String {
        format!("{}-1", self.name)
    }

    fn subject(&self, authority: &Authority) -> SubjectFields {
        SubjectFields {
            common_name: Some(self.common_name.to_owned()),
            organization: Some(authority.organization().to_owned()),
            ..SubjectFields::default()
        }
    }

    fn issuer(&self, certificate_der: Vec<u8>, state: IssuerState, now: Timestamp) -> IssuerRecord {
        IssuerRecord {
            id: self.first_id(),
            name: self.name.to_owned(),
            generation: 1,
            state,
            certificate_der,
            key: KeyLocation { token: self.token_label.to_owned(), label: self.first_id() },
            created: now,
            crl_number: 0,
            last_crl: None,
            crl_history: Default::default(),
            state_since: None,
            retire_from: None,
            links: Vec::new(),
        }
    }

    fn holder(&self) -> Holder {
        ca_holder(&self.first_id())
    }
}

fn key(
    store: &dyn Store,
    token: &Arc<Token>,
    plan: &CaPlan<'_>,
    actor: &Actor,
    now: Timestamp,
) -> Result<hsm::Key, Error> {
    ca_key(store, token, &plan.first_id(), plan.key_type, actor, now)
}

/// What is in the token of a CA's key that is to be made: a whole key of this label, kind and protection is one whose
/// making was interrupted after it was done (conformance: K1).
///
/// # Errors
/// [`Error::KeyTaken`] when something else is in its place; the token's.
pub fn made_ca_key(token: &Arc<Token>, label: &str, key_type: KeyType) -> Result<Option<hsm::Key>, Error> {
    match token.made_key(label, label.as_bytes(), key_type).map_err(|error| taken(token, label, error))? {
        MadeKey::Whole(key) => Ok(Some(key)),
        MadeKey::None | MadeKey::Half => Ok(None),
    }
}

/// Makes a CA's key, in the place of a half that an interrupted making left. The intent must have been recorded.
///
/// # Errors
/// As [`made_ca_key`].
pub fn make_ca_key(token: &Arc<Token>, label: &str, key_type: KeyType) -> Result<hsm::Key, Error> {
    let refused = |error| taken(token, label, error);
    token.destroy_half_key(label, label.as_bytes()).map_err(refused)?;
    token.generate_key_pair(label, label.as_bytes(), key_type).map_err(refused)
}

fn taken(token: &Token, label: &str, error: hsm::Error) -> Error {
    match error {
        hsm::Error::KeyIdInUse { .. } | hsm::Error::KeyUnusable { .. } | hsm::Error::KeyAmbiguous { .. } => {
            Error::KeyTaken { label: label.to_owned(), token: token.label().to_owned(), source: Box::new(error) }
        }
        other => other.into(),
    }
}

/// The key of a CA: the one in the token, or a new one, made there and never extractable (conformance: K1).
///
/// # Errors
/// As [`made_ca_key`]; the store's.
pub fn ca_key(
    store: &dyn Store,
    token: &Arc<Token>,
    label: &str,
    key_type: KeyType,
    actor: &Actor,
    now: Timestamp,
) -> Result<hsm::Key, Error> {
    if let Some(key) = made_ca_key(token, label, key_type)? {
        return Ok(key);
    }
    let mut intent = batch(now);
    let described = |outcome| {
        AuditRecord::new(now, actor.clone(), "key.generate", outcome)
            .on("key", label)
            .fact("token", token.label())
            .fact("type", key_type)
    };
    record(&mut intent, &described(Outcome::Intent))?;
    store.commit(intent)?;
    let key = make_ca_key(token, label, key_type)?;
    let mut done = batch(now);
    record(&mut done, &described(Outcome::Done))?;
    store.commit(done)?;
    Ok(key)
}

/// A CA's key is written once as a CA's own, so that nobody else gets a certificate for it (rule R8).
fn add_ca_key(store: &dyn Store, batch: &mut Batch, plan: &CaPlan<'_>, key: &PublicKey) -> Result<(), Error> {
    claim_ca_key(store, batch, &plan.holder(), key)
}

/// Who holds the certificates of a CA's key.
pub fn ca_holder(id: &str) -> Holder {
    Holder::Service { name: format!("ca:{id}") }
}

/// Writes a key down as a CA's own, so that nobody else gets a certificate for it (rule R8).
///
/// # Errors
/// When it was seen for somebody else, or is in the set of compromised keys (rule R6).
pub fn claim_ca_key(store: &dyn Store, batch: &mut Batch, holder: &Holder, key: &PublicKey) -> Result<(), Error> {
    compromised::refuse(store, key)?;
    let wanted = KeyRecord { digest: key.digest().to_vec(), holder: holder.term(), is_ca: true };
    match store::load::<KeyRecord>(store, &key.digest())? {
        None => Ok(batch.create(&wanted)?),
        Some(known) if known.record == wanted => Ok(()),
        Some(_) => Err(Error::KeyReuse("the key was seen for somebody else")),
    }
}

/// Makes the root, or finds it: key in the root's token, self-signed certificate, record.
///
/// # Errors
/// The token's, the store's, or when the profile does not permit it.
pub fn create_root(
    authority: &Authority,
    store: &dyn Store,
    token: &Arc<Token>,
    plan: &CaPlan<'_>,
    actor: &Actor,
    now: Timestamp,
    random: &dyn SecureRandom,
) -> Result<(IssuerRecord, hsm::Key), Error> {
    let id = plan.first_id();
    if let Some(known) = store::load::<IssuerRecord>(store, id.as_bytes())? {
        let (issuer, token_label, label) = (id.clone(), plan.token_label.to_owned(), id.clone());
        let key = token.find_key(&id)?.ok_or(Error::KeyMissing { issuer, token: token_label, label })?;
        return Ok((known.record, key));
    }
    let key = key(store, token, plan, actor, now)?;
    authority.check_strength(store, key.public_key(), &plan.holder())?;
    let profile = authority.profile(plan.profile)?;
    let mut octets = [0; SerialNumber::RANDOM_OCTETS];
    random.fill(&mut octets).map_err(|_| Error::Random)?;
    let serial = SerialNumber::from_random(octets);
    let not_before = now.whole_seconds();
    let not_after = not_before.plus(profile.life());
    let validity = pki::certificate::Validity { not_before, not_after };
    let prepared =
        pki::certificate::prepare_root(profile, &plan.subject(authority), key.public_key(), serial, validity)?;

    let reserved = CertificateRecord {
        id: CertificateId { issuer: id.clone(), serial },
        profile: plan.profile.to_owned(),
        profile_version: authority.profiles().version().to_owned(),
        holder: plan.holder(),
        not_before,
        not_after,
        reserved_at: now,
        tbs_digest: prepared.tbs_digest().to_vec(),
        key_digest: key.public_key().digest().to_vec(),
        ignored: BTreeSet::new(),
        crl_shard: None,
        der: None,
        state: CertificateState::Reserved {
            owner: authority.owner().to_owned(),
            lease_until: now.plus(authority.lease()),
        },
    };
    let mut first = batch(now);
    first.create(&reserved)?;
    add_ca_key(store, &mut first, plan, key.public_key())?;
    compromised::expect_none(&mut first, &reserved.key_digest);
    record(&mut first, &reserved.audit(now, actor, Outcome::Intent, None))?;
    store.commit(first)?;

    let signature = key.sign(prepared.tbs_der())?;
    let signed = prepared.assemble(&signature, key.public_key())?;

    let mut second = batch(now);
    let stored = certificate::load(store, &reserved.id)?;
    let good = stored.record.clone().good(signed.der().to_vec(), now)?;
    certificate::change(&mut second, &stored, &good, actor, None)?;
    let issuer = plan.issuer(signed.der().to_vec(), IssuerState::Offline, now);
    second.create(&issuer)?;
    store.commit(second)?;
    Ok((issuer, key))
}

/// Makes an issuing CA, or finds it: key in the token of the issuing CAs, certified by the root.
///
/// # Errors
/// The tokens', the store's, or when a profile does not permit it.
#[expect(clippy::too_many_arguments, reason = "two CAs, two tokens, and what every decision takes")]
pub fn create_issuing_ca(
    authority: &Authority,
    store: &dyn Store,
    root: &IssuerRecord,
    root_key: &dyn Signer,
    token: &Arc<Token>,
    plan: &CaPlan<'_>,
    actor: &Actor,
    now: Timestamp,
    random: &dyn SecureRandom,
) -> Result<IssuerRecord, Error> {
    let id = plan.first_id();
    if let Some(known) = store::load::<IssuerRecord>(store, id.as_bytes())? {
        return Ok(known.record);
    }
    let key = key(store, token, plan, actor, now)?;
    let root: IssuerDescription = describe(root, authority.urls())?;
    let profile = authority.profile(plan.profile)?;
    let subject = plan.subject(authority);
    let order = Order {
        profile: plan.profile,
        subject: &subject,
        key: key.public_key(),
        ignored: BTreeSet::new(),
        holder: plan.holder(),
        jitter: 0.0,
        life: None,
    };
    let reservation = authority.reserve_by(store, &root, profile, order, None, now, random)?;
    let mut first = batch(now);
    add_ca_key(store, &mut first, plan, key.public_key())?;
    reservation.add_to(&mut first, actor, None)?;
    let committed = store.commit(first)?;
    let signed = reservation.committed(&committed).sign(root_key).map_err(|failure| *failure.error)?;
    let mut second = batch(now);
    let good = signed.add_good(store, &mut second, actor, None)?;
    let issuer = plan.issuer(good.der.unwrap_or_default(), IssuerState::Active, now);
    second.create(&issuer)?;
    store.commit(second)?;
    Ok(issuer)
}
