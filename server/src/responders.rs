//! How the responders stand, for the commands on this machine, for `/readyz` and for the metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use api::responders::{ResponderView, SignerKeys};
use ca::certificate::{self, CertificateState};
use ra::responder::{self, OWN, Responder};

use crate::failure::Failure;
use crate::followers::FollowerView;
use crate::service::Service;
use crate::views;

/// How long a responder that is connected may be behind before a person should look at it.
const BEHIND: Duration = Duration::from_secs(10);

/// All responders: the one inside the service first, then those that are enrolled, by name; those that were expelled last.
///
/// # Errors
/// When the store fails.
pub(crate) fn list(service: &Service) -> Result<Vec<ResponderView>, Failure> {
    let followers = service.followers.list(service.now());
    let followers: BTreeMap<String, FollowerView> = followers.into_iter().map(|one| (one.name.clone(), one)).collect();
    let mut list = vec![view(OWN, SignerKeys::Memory, followers.get(OWN))];
    for responder in responder::all(service.store.as_ref())? {
        list.push(enrolled(service, &responder, followers.get(&responder.name))?);
    }
    list.sort_by_key(|one| one.expelled_at.is_some());
    Ok(list)
}

fn view(name: &str, signer_keys: SignerKeys, follower: Option<&FollowerView>) -> ResponderView {
    ResponderView {
        name: name.to_owned(),
        signer_keys,
        enrolled_at: None,
        expelled_at: None,
        certificate_until: None,
        connected: follower.is_some_and(|one| one.connected),
        acknowledged: follower.and_then(|one| one.acknowledged),
        lag_entries: follower.and_then(|one| one.lag_entries),
        lag_ms: follower.and_then(|one| one.lag).map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
        signers: Vec::new(),
    }
}

fn enrolled(
    service: &Service,
    responder: &Responder,
    follower: Option<&FollowerView>,
) -> Result<ResponderView, Failure> {
    let store = service.store.as_ref();
    let mut signers = Vec::new();
    for of_issuer in responder::signers(store, &responder.name)? {
        for signer in of_issuer.record.signers.iter().filter(|signer| signer.not_after > service.now()) {
            let record = certificate::load(store, &signer.certificate)?.record;
            if matches!(record.state, CertificateState::Good { .. }) {
                signers.push(format!("{} until {}", of_issuer.record.issuer, signer.not_after));
            }
        }
    }
    let newest = responder.next.as_ref().unwrap_or(&responder.certificate);
    let until = certificate::load(store, newest)?.record.not_after;
    Ok(ResponderView {
        enrolled_at: Some(responder.enrolled_at.to_string()),
        expelled_at: responder.expelled.map(|at| at.to_string()),
        certificate_until: responder.expelled.is_none().then(|| until.to_string()),
        signers,
        ..view(&responder.name, views::signer_keys(responder.signer_keys), follower)
    })
}

/// What a person should know of the responders elsewhere, in words: none of it keeps the service from its own work.
pub(crate) fn warnings(service: &Service) -> Vec<String> {
    let followers = service.followers.list(service.now()).into_iter().filter(|one| one.name != OWN);
    let warning = |one: FollowerView| match one {
        FollowerView { name, connected: false, .. } => {
            Some(format!("responder {name} does not follow the status feed: look at its log and at the way between"))
        }
        FollowerView { name, lag: Some(lag), lag_entries: Some(entries), .. } if lag > BEHIND => {
            Some(format!("responder {name} is {entries} entries and {} seconds behind", lag.as_secs()))
        }
        _ => None,
    };
    followers.filter_map(warning).collect()
}
