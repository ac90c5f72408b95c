//! Every rotation while people work: cards are issued, OCSP is asked, and cards log in to a relying service by TLS. Each
//! request is counted, and none may fail.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hsm::{MemoryKey, Signer};
use pki::ocsp::CertStatus;
use relying::{Options, RelyingServer};
use server::clock::Clock;
use tests::{Ask, Door, Home, PaperCard, World, eventually, isolated};

/// How many requests of each kind are answered after each rotation, and before the next.
const ENOUGH: usize = 3;
/// The kinds of request.
const KINDS: [&str; 4] = ["issuances", "OCSP answers", "logins", "CRLs"];

/// What goes on all the time.
struct Load {
    stop: AtomicBool,
    answered: [AtomicUsize; KINDS.len()],
    failed: Mutex<Vec<String>>,
}

/// A system that takes cards for logins, and a card's way to it.
struct Relying {
    _server: RelyingServer,
    door: Door,
}

/// Trusts the root and this key of the CA for authentication, and asks the service's OCSP.
async fn relying_service(world: &World, issuer: &str, card: &PaperCard) -> Relying {
    let address = world.home.address();
    let (certificate, key) = relying::self_signed(&[&address.to_string()]).unwrap();
    let clock = Arc::clone(&world.clock);
    let options = Options {
        listen: (address, 0).into(),
        chain: vec![certificate.clone()],
        key,
        roots: vec![world.root()],
        issuers: vec![world.issuer(issuer)],
        ocsp_url: None,
        clock: Arc::new(move || clock.now()),
    };
    let server = RelyingServer::start(options).await.unwrap();
    let key: Arc<MemoryKey> = card.in_use.clone().unwrap_or_else(|| Arc::clone(&card.authentication));
    let key: Arc<dyn Signer> = key;
    let config = station::tls::card_config(&[certificate], &card.authentication_certificate, key).unwrap();
    let door = Door::Tls(server.address(), config);
    Relying { _server: server, door }
}

async fn one_request(kind: usize, world: &World, person: &str, card: &PaperCard, relying: &Relying) {
    match kind {
        0 => {
            let card = world.issuer.personalise(PaperCard::new(), person).await;
            assert_eq!(world.ocsp(&card.authentication_certificate).await, CertStatus::Good);
        }
        1 => {
            assert_eq!(world.ocsp(&card.authentication_certificate).await, CertStatus::Good);
            assert_eq!(world.ocsp_without_nonce(&card.signing_certificate).await, CertStatus::Good);
        }
        2 => drop(relying.door.send(Ask::get("/")).await.expect(200)),
        _ => drop(world.read_crl("authentication-1").await),
    }
}

impl Load {
    /// Makes one request of a kind after the other; a failure is written down, and the next is made.
    async fn go_on(self: Arc<Self>, kind: usize, work: Arc<(World, String, PaperCard, Relying)>) {
        while !self.stop.load(Ordering::SeqCst) {
            let shared = Arc::clone(&work);
            let request = tokio::spawn(async move {
                let (world, person, card, relying) = shared.as_ref();
                one_request(kind, world, person, card, relying).await;
            });
            match request.await {
                Ok(()) => drop(self.answered[kind].fetch_add(1, Ordering::SeqCst)),
                Err(panic) => {
                    let panic = panic.into_panic();
                    let text = panic.downcast_ref::<String>().cloned();
                    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                    self.failed.lock().unwrap().push(format!("{}: {}", KINDS[kind], text.unwrap_or_default()));
                }
            }
        }
    }

    fn answered(&self) -> [usize; KINDS.len()] {
        std::array::from_fn(|kind| self.answered[kind].load(Ordering::SeqCst))
    }

    /// Waits until enough requests of each kind were answered, or any failed.
    async fn goes_on(&self) {
        let before = self.answered();
        eventually("requests that are answered", async || {
            let now = self.answered();
            let enough = now.iter().zip(before).all(|(now, before)| now - before >= ENOUGH);
            (enough || !self.failed.lock().unwrap().is_empty()).then_some(())
        })
        .await;
    }
}

/// Does a rotation while the load goes on, to its end or, where old certificates have to expire first, to the new key's
/// being in use.
async fn rotated(world: &World, kind: &str, target: Option<&str>, overlap: Option<&str>) {
    let begun = world.rotate(kind, target, overlap).await;
    eventually("a rotation that is whole", async || {
        let rotations = world.rotations().await;
        let found = rotations.into_iter().find(|one| one.id == begun.id).expect("the rotation");
        let failure = found.steps.iter().find_map(|step| step.failure.clone());
        assert_eq!(failure, None, "{found:?}");
        (found.state == "done").then_some(())
    })
    .await;
}

/// No request fails while each of these is rotated.
async fn fails_nothing(home: Home, rotations: &[(&str, Option<&str>, Option<&str>)]) {
    let world = World::new(&home).await;
    let person = world.person().await;
    let card = world.card().await;
    let relying = relying_service(&world, "authentication-1", &card).await;
    let load = Arc::new(Load { stop: AtomicBool::new(false), answered: Default::default(), failed: Mutex::default() });
    let work = Arc::new((world, person, card, relying));
    let clients: Vec<_> =
        (0..KINDS.len()).map(|kind| tokio::spawn(Arc::clone(&load).go_on(kind, Arc::clone(&work)))).collect();
    load.goes_on().await;
    for (kind, target, overlap) in rotations {
        let before = load.answered();
        rotated(&work.0, kind, *target, *overlap).await;
        load.goes_on().await;
        let counts: Vec<String> = load
            .answered()
            .iter()
            .zip(before)
            .zip(KINDS)
            .map(|((now, before), name)| format!("{} {name}", now - before))
            .collect();
        let failed = load.failed.lock().unwrap().clone();
        assert!(failed.is_empty(), "{kind} {target:?} ({}): {} failed: {failed:#?}", counts.join(", "), failed.len());
        tracing::warn!(kind, ?target, counts = counts.join(", "), "rotated, and none failed");
    }
    load.stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(*load.failed.lock().unwrap(), Vec::<String>::new());
}

// conformance: K3, K4
#[test]
fn no_request_fails_while_signers_tls_key_pin_and_data_key_are_rotated() {
    isolated(async |home| {
        let rotations = [
            ("ocsp-signer", None, None),
            ("tls", None, None),
            ("token-pin", None, None),
            ("token-pin", Some("root"), None),
            ("data-key", None, None),
        ];
        fails_nothing(home, &rotations).await;
    });
}

// conformance: C16, O10
#[test]
fn no_request_fails_while_the_keys_of_issuing_cas_are_rotated() {
    isolated(async |home| {
        let short = Some("1s");
        let rotations = ["authentication", "signing", "devices"].map(|name| ("issuing-ca", Some(name), short));
        fails_nothing(home, &rotations).await;
    });
}

// conformance: K2
#[test]
fn no_request_fails_while_the_roots_key_is_rotated_and_the_cas_after_it() {
    isolated(async |home| {
        let short = Some("1s");
        // Stations and the relying system have the old anchor to the end, the API door's new chain leads to the new one.
        let rotations = [
            ("root", None, short),
            ("issuing-ca", Some("devices"), short),
            ("tls", None, None),
            ("issuing-ca", Some("authentication"), short),
        ];
        fails_nothing(home, &rotations).await;
    });
}
