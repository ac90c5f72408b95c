//! Rule R6 for people: the files that list known keys, and the set of compromised keys.

use std::path::Path;

use api::keys::{
    AffectedCertificate, CompromisedKeyView, CompromisedKeysReply, CompromisedKeysRequest, KnownKeyList, RemovalRequest,
};
use audit::{Actor, AuditRecord, Outcome};
use ca::compromised::{self, CompromisedKey};
use ca::reservation::KeyRecord;
use config::Config;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use pki::weak_key::given::{GivenKey, MAX_GIVEN, keys_in};
use pki::weak_key::list::{KeyList, KeyLists, MAX_LIST};

use crate::error::Error;
use crate::failure::Failure;
use crate::people::{invalid, tidy};
use crate::regular_file;
use crate::service::Service;

/// How long a reason may be, in characters.
const MAX_WORDS: usize = 200;

/// No more is read of a file of keys that are to be added, in octets.
pub const MAX_KEYS: u64 = MAX_GIVEN as u64;

/// Reads the lists that the configuration names.
///
/// # Errors
/// When one cannot be read, or is no such list.
pub(crate) fn load(config: &Config) -> Result<KeyLists, Error> {
    let lists: Result<Vec<_>, _> = config.known_key_lists.iter().map(|path| read(path)).collect();
    Ok(KeyLists::new(lists?))
}

fn read(path: &Path) -> Result<KeyList, Error> {
    let refuse = |reason: String| Error::KnownKeys { path: path.to_owned(), reason };
    let bytes = regular_file::read(path, MAX_LIST as u64).map_err(|error| refuse(error.to_string()))?;
    KeyList::parse(&path.display().to_string(), bytes).map_err(|error| refuse(error.to_string()))
}

/// The lists that are in force.
pub(crate) fn lists(service: &Service) -> Vec<KnownKeyList> {
    let authority = service.authority();
    let lists = authority.known_keys().lists();
    let view = |list: &KeyList| KnownKeyList {
        file: list.name().to_owned(),
        form: list.form().to_owned(),
        entries: list.len() as u64,
        before: None,
    };
    lists.iter().map(view).collect()
}

/// Reads the lists again. When one of them cannot be read, all stay as they were.
///
/// # Errors
/// 422 with the file, or the store's.
pub(crate) fn reload(service: &Service, actor: &Actor) -> Result<Vec<KnownKeyList>, Failure> {
    let before = lists(service);
    let read = load(&service.config).map_err(|error| {
        let detail = format!("{error}; the lists that were read before stay in force");
        Failure::new(422, "known-keys", "A list of known keys is not read", detail)
    })?;
    // Exchanged before it is recorded: what a list adds is refused no later than the record says.
    service.authority().known_keys().replace(read);
    let mut lists = lists(service);
    for list in &mut lists {
        list.before = before.iter().find(|known| known.file == list.file).map(|known| known.entries);
        tracing::info!(list = list.file, before = list.before, entries = list.entries, "a list of known keys was read");
    }
    service.commit(|now| {
        let mut act = AuditRecord::new(now, actor.clone(), "key.lists", Outcome::Done);
        for list in &lists {
            act = act.on("list", &list.file);
        }
        let mut batch = ca::batch(now);
        let all = |lists: &[KnownKeyList]| lists.iter().map(|list| list.entries).sum::<u64>();
        ca::record(&mut batch, &act.fact("entries", all(&lists)).fact("before", all(&before)))?;
        Ok((batch, ()))
    })?;
    Ok(lists)
}

fn words(field: &'static str, text: &str) -> Result<String, Failure> {
    let text = text.trim();
    let printable = text.chars().all(|character| !character.is_control());
    if text.is_empty() || !printable || text.chars().count() > MAX_WORDS {
        return Err(ra::Error::invalid(field, format!("1 to {MAX_WORDS} printable characters")).into());
    }
    Ok(text.to_owned())
}

fn people(given: &[String], least: usize) -> Result<Vec<String>, Failure> {
    let people = tidy(given)?;
    if people.len() < least {
        return Err(invalid(format!("{least} different people name themselves at least (--by NAME)")));
    }
    Ok(people)
}

/// Adds the keys in a file to the set of compromised keys, and lists the certificates that hold one of them.
///
/// # Errors
/// 422 when the file holds something else than keys; the store's.
// conformance: R6
pub(crate) fn add(
    service: &Service,
    request: &CompromisedKeysRequest,
    actor: &Actor,
) -> Result<CompromisedKeysReply, Failure> {
    let reason = words("reason", &request.reason)?;
    let people = people(&request.people, 1)?;
    let given = keys_in(&request.content.0).map_err(|error| {
        let detail = format!("{error}. Nothing of it was added");
        Failure::new(422, "no-keys", "These are no keys", detail)
    })?;
    let mut reply = CompromisedKeysReply::default();
    let mut keys: Vec<CompromisedKey> = Vec::new();
    let added = service.now();
    for key in given {
        let (digest, key_type) = match key {
            GivenKey::Key { digest, key_type } => (digest, Some(key_type)),
            GivenKey::Digest(digest) => (digest, None),
            GivenKey::NotCertifiable(error) => {
                reply.not_certifiable.push(error.to_string());
                continue;
            }
        };
        let (reason, people) = (reason.clone(), people.clone());
        keys.push(CompromisedKey { digest: digest.to_vec(), key_type, reason, people, added });
    }
    keys.sort_by(|one, other| one.digest.cmp(&other.digest));
    keys.dedup_by(|one, other| one.digest == other.digest);
    let store = service.store.as_ref();
    for key in &keys {
        if let Some(own) = store::load::<KeyRecord>(store, &key.digest)?.filter(|known| known.record.is_ca) {
            let (key, holder) = (key.name(), own.record.holder);
            reply.warnings.push(format!(
                "{key} is the service's own: the key of {holder}. If it is out, everything that it signed is in doubt: \
                 rotate that CA"
            ));
        }
    }
    if request.check_only {
        reply.keys = keys.iter().map(CompromisedKey::name).collect();
        return Ok(reply);
    }
    for portion in keys.chunks(compromised::PORTION) {
        let (_, new) = service.commit(|now| Ok(compromised::add(store, portion, actor, now)?))?;
        reply.added += new as u64;
        reply.known += (portion.len() - new) as u64;
    }
    reply.keys = keys.iter().map(CompromisedKey::name).collect();
    // Read after the keys are in the set: what was reserved before is found, and nothing is reserved any more.
    for key in &keys {
        reply.certificates.extend(affected(service, key)?);
    }
    Ok(reply)
}

fn affected(service: &Service, key: &CompromisedKey) -> Result<Vec<AffectedCertificate>, Failure> {
    let now = service.now();
    let records = compromised::certificates(service.store.as_ref(), &key.digest)?;
    let view = |record: ca::CertificateRecord| AffectedCertificate {
        key: key.name(),
        certificate: record.id.to_string(),
        holder: record.holder.term(),
        card: record.holder.card().map(str::to_owned),
        profile: record.profile.clone(),
        state: record.state.name().to_owned(),
        not_after: record.not_after.to_string(),
        needs_revocation: !matches!(
            record.state,
            ca::CertificateState::Revoked { .. } | ca::CertificateState::Void { .. }
        ) && record.not_after >= now,
    };
    Ok(records.into_iter().map(view).collect())
}

/// A digest as people write it.
fn digest(text: &str) -> Result<Vec<u8>, Failure> {
    let digits: String = text.chars().filter(|character| *character != ':').collect();
    match HEXLOWER_PERMISSIVE.decode(digits.as_bytes()) {
        Ok(digest) if digest.len() == 32 => Ok(digest),
        _ => Err(ra::Error::invalid("key", "must be a SHA-256 in 64 hexadecimal digits").into()),
    }
}

/// Takes a key out of the set: two people, since it lowers what protects everybody.
///
/// # Errors
/// 404 when it is not in the set; the store's.
pub(crate) fn remove(
    service: &Service,
    request: &RemovalRequest,
    actor: &Actor,
) -> Result<CompromisedKeyView, Failure> {
    let digest = digest(&request.key)?;
    let reason = words("reason", &request.reason)?;
    let people = people(&request.people, 2)?;
    let store = service.store.as_ref();
    let (_, removed) = service.commit(|now| Ok(compromised::remove(store, &digest, &reason, &people, actor, now)?))?;
    Ok(view(&removed))
}

/// A page of the set.
///
/// # Errors
/// The store's, or when `after` is no digest.
pub(crate) fn list(
    service: &Service,
    after: Option<&str>,
    limit: usize,
) -> Result<api::Page<CompromisedKeyView>, Failure> {
    let (keys, next) = page(service, after, limit)?;
    Ok(api::Page { items: keys.iter().map(view).collect(), next })
}

/// The certificates with a key of a page of the set.
///
/// # Errors
/// The store's, or when `after` is no digest.
pub(crate) fn certificates(
    service: &Service,
    after: Option<&str>,
    limit: usize,
) -> Result<api::Page<AffectedCertificate>, Failure> {
    let (keys, next) = page(service, after, limit)?;
    let mut items = Vec::new();
    for key in &keys {
        items.extend(affected(service, key)?);
    }
    Ok(api::Page { items, next })
}

fn page(
    service: &Service,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<CompromisedKey>, Option<String>), Failure> {
    let after = after.map(digest).transpose()?;
    let mut keys = compromised::list(service.store.as_ref(), after.as_deref(), limit + 1)?;
    let more = keys.len() > limit;
    keys.truncate(limit);
    let next = keys.last().filter(|_| more).map(CompromisedKey::name);
    Ok((keys, next))
}

fn view(key: &CompromisedKey) -> CompromisedKeyView {
    CompromisedKeyView {
        key: HEXLOWER.encode(&key.digest),
        key_type: key.key_type.map(|key_type| key_type.to_string()),
        reason: key.reason.clone(),
        people: key.people.clone(),
        added: key.added.to_string(),
    }
}
