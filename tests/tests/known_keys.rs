//! Keys that are weak or that others know: refused wherever they come from, found where they are certified already, and
//! never missed in between.

mod cardinal;

use api::cards::{IssuanceKind, IssuanceView};
use api::keys::{
    AffectedCertificate, CompromisedKeyView, CompromisedKeysReply, CompromisedKeysRequest, KnownKeyList, RemovalRequest,
};
use api::{Base64, Page};
use ca::certificate::CertificateState;
use data_encoding::HEXLOWER;
use hsm::{MemoryKey, Signer};
use pki::ocsp::CertStatus;
use pki::weak_key::WeakKey;
use pki::weak_key::list::badkeys_digest;
use ring::rand::SystemRandom;
use server::steps::Step;
use tests::card::new_key;
use tests::{Ask, Options, PaperCard, Reply, World, isolated, request};

const REASON: &str = "found in a public repository";

/// Adds what is in a file to the set of compromised keys.
async fn try_add(world: &World, content: &[u8]) -> Reply {
    let request = CompromisedKeysRequest {
        content: Base64(content.to_vec()),
        reason: REASON.to_owned(),
        people: vec!["Ada Okafor".to_owned()],
        check_only: false,
    };
    world.admin().send(Ask::post("/compromised-keys").json(&request)).await
}

async fn add(world: &World, content: &[u8]) -> CompromisedKeysReply {
    try_add(world, content).await.expect(201).read()
}

fn digest(key: &MemoryKey) -> String {
    HEXLOWER.encode(&key.public_key().digest())
}

/// Tries to begin an issuance with this key as the authentication key.
async fn begin_with(world: &World, card: &PaperCard, key: &MemoryKey) -> Reply {
    let mut asked = card.request(IssuanceKind::Issue);
    asked.authentication = request::plain(key).into();
    world.issuer.try_begin(card, &asked).await
}

async fn affected(world: &World) -> Vec<AffectedCertificate> {
    let page: Page<AffectedCertificate> =
        world.admin().send(Ask::get("/compromised-keys/certificates")).await.expect(200).read();
    page.items
}

// conformance: R6
#[test]
fn a_key_that_is_added_lists_its_certificates_and_is_refused_until_two_people_remove_it() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let issued = world.card().await;
        let reply = add(&world, &issued.authentication_certificate).await;
        assert_eq!((reply.added, reply.known, &reply.keys), (1, 0, &vec![digest(&issued.authentication)]));
        let [found] = &reply.certificates[..] else { panic!("{reply:?}") };
        assert_eq!((found.state.as_str(), found.needs_revocation), ("good", true));
        assert_eq!((found.profile.as_str(), found.card.as_ref()), ("card-authentication", Some(&issued.serial)));
        assert!(found.holder.starts_with("person:"), "{found:?}");
        assert_eq!(affected(&world).await, reply.certificates);
        // It revokes nothing by itself.
        assert_eq!(world.ocsp(&issued.authentication_certificate).await, CertStatus::Good);
        let again = add(&world, &issued.authentication_certificate).await;
        assert_eq!((again.added, again.known, again.certificates), (0, 1, reply.certificates));

        // A key that nobody has seen yet, by its request.
        let key = new_key();
        let reply = add(&world, &request::plain(&key)).await;
        assert_eq!((reply.added, reply.certificates), (1, Vec::new()));
        let card = world.allocated(&world.person().await).await;
        let before = world.card_certificates();
        let refused = begin_with(&world, &card, &key).await;
        assert!(refused.refused(422, "request-refused").detail.contains("make a new key pair"));
        refused.refused_by("R6");
        assert_eq!(world.card_certificates(), before);
        let act = world.last_audit("key.compromised").await;
        assert_eq!(act.targets, [format!("key {}", digest(&key))]);
        assert_eq!(act.facts["reason"], REASON);

        let removal = |people: &[&str]| RemovalRequest {
            key: digest(&key),
            reason: "it was another key".to_owned(),
            people: people.iter().map(|name| (*name).to_owned()).collect(),
        };
        let send = async |removal| world.admin().send(Ask::post("/compromised-keys/removal").json(&removal)).await;
        send(removal(&["Ada Okafor"])).await.refused(422, "invalid");
        send(removal(&["Ada Okafor", "ada okafor"])).await.refused(422, "invalid");
        send(removal(&["Ada Okafor", " ada \t OKAFOR"])).await.refused(422, "invalid");
        let removed: CompromisedKeyView = send(removal(&["Ada Okafor", "Tom Byrne"])).await.expect(200).read();
        assert_eq!((removed.key, removed.people), (digest(&key), vec!["Ada Okafor".to_owned()]));
        send(removal(&["Ada Okafor", "Tom Byrne"])).await.refused(404, "not-found");
        // Who did it is kept, though the key is gone from the set.
        let store = world.service.store.as_ref();
        let kept = store::load_range::<ca::compromised::RemovedKey>(store, b"", None, 10).unwrap();
        let kept: Vec<_> = kept.iter().map(|row| (row.record.key.name(), row.record.people.join(", "))).collect();
        assert_eq!(kept, [(digest(&key), "Ada Okafor, Tom Byrne".to_owned())]);
        begin_with(&world, &card, &key).await.expect(201);
        let left: Page<CompromisedKeyView> = world.admin().send(Ask::get("/compromised-keys")).await.expect(200).read();
        assert_eq!(left.items.iter().map(|key| &key.key).collect::<Vec<_>>(), [&digest(&issued.authentication)]);
    });
}

// conformance: R6
#[test]
fn a_key_that_is_added_while_its_request_is_under_way_is_refused_or_listed() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let person = world.person().await;
        for (step, listed) in
            [(Step::Begun, None), (Step::Reserved, Some("reserved")), (Step::Signed, Some("reserved"))]
        {
            let card = world.allocated(&person).await;
            let before = world.card_certificates();
            world.gate.close_at(step);
            let begin = tokio::spawn({
                let (session, card) = (world.issuer.session.clone(), card.clone());
                async move { session.try_begin(&card, &card.request(IssuanceKind::Issue)).await }
            });
            world.gate.reached().await;
            let added = add(&world, digest(&card.signing).as_bytes()).await;
            let states: Vec<&str> = added.certificates.iter().map(|one| one.state.as_str()).collect();
            assert_eq!(states, listed.into_iter().collect::<Vec<_>>(), "{step:?}");
            world.gate.open();
            let reply = begin.await.unwrap();
            match listed {
                // It had passed the check, and was committed after the key came into the set.
                None => {
                    reply.refused_by("R6");
                    assert_eq!(world.card_certificates(), before);
                }
                Some(_) => {
                    let issued: IssuanceView = reply.expect(201).read();
                    let found = affected(&world).await;
                    let signing = found.iter().find(|one| one.key == digest(&card.signing)).unwrap();
                    assert_eq!((signing.state.as_str(), signing.needs_revocation), ("pending", true));
                    world.station.abort(&issued).await.expect(200);
                    let found = affected(&world).await;
                    let signing = found.iter().find(|one| one.key == digest(&card.signing)).unwrap();
                    assert_eq!((signing.state.as_str(), signing.needs_revocation), ("revoked", false));
                }
            }
        }
    });
}

// conformance: R4, R6
#[test]
fn keys_that_the_service_makes_for_itself_are_checked_like_all_others() {
    isolated(async |home| {
        let world = World::new(&home).await;
        // A CA's own key: its certificate is found, whoever signs with it.
        let reply = add(&world, &world.deployment.issuer("authentication-1")).await;
        let [warning] = &reply.warnings[..] else { panic!("{reply:?}") };
        assert!(warning.contains("ca:authentication-1"), "{warning}");
        let found = reply.certificates;
        let [of_ca] = &found[..] else { panic!("{found:?}") };
        assert_eq!((of_ca.holder.as_str(), of_ca.profile.as_str()), ("service:ca:authentication-1", "issuing-ca"));

        let key = new_key();
        add(&world, digest(&key).as_bytes()).await;
        let (authority, store) = (world.service.authority(), world.service.store.as_ref());
        let names = ["localhost".to_owned()];
        let (now, random) = (world.service.now(), SystemRandom::new());
        let before = world.certificates().len();
        let tls = |key: &pki::PublicKey| {
            ca::service_certificate::issue_service_tls(&authority, store, key, &names, &[], now, &random).unwrap_err()
        };
        assert!(matches!(tls(key.public_key()), ca::Error::WeakKey(WeakKey::Compromised)));
        let life = std::time::Duration::from_secs(3600);
        let signer = ca::service_certificate::issue_ocsp_signer(
            &authority,
            store,
            "signing-1",
            key.public_key(),
            life,
            now,
            &random,
        );
        assert!(matches!(signer.unwrap_err(), ca::Error::WeakKey(WeakKey::Compromised)));
        let vector = concat!(env!("CARGO_MANIFEST_DIR"), "/../pki/tests/vectors/weak-keys/rsa-roca.pem");
        let roca = tests::openssl::openssl(&world.scratch(), &["pkey", "-pubin", "-in", vector, "-pubout"]).unwrap();
        let roca = pki::pem::decode_one(roca.as_bytes(), pki::pem::PUBLIC_KEY).unwrap();
        let roca = pki::PublicKey::from_spki_der(&roca).unwrap();
        assert!(matches!(tls(&roca), ca::Error::WeakKey(WeakKey::Roca)));
        assert_eq!(world.certificates().len(), before);
    });
}

// conformance: R5
#[test]
fn a_published_request_with_close_primes_is_refused_at_the_desk() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.allocated(&world.person().await).await;
        let vector = include_str!("../../pki/tests/vectors/weak-keys/rsa-fermat.csr");
        let mut asked = card.request(IssuanceKind::Issue);
        asked.signing = vector.as_bytes()[vector.find("-----BEGIN").unwrap()..].to_vec().into();
        let before = world.card_certificates();
        let reply = world.issuer.try_begin(&card, &asked).await;
        reply.refused(422, "request-refused");
        reply.refused_by("R5");
        assert_eq!(world.card_certificates(), before);
    });
}

/// A list of badkeys' form with these keys, and one of somebody else.
fn list(keys: &[&MemoryKey]) -> Vec<u8> {
    let mut entries: Vec<[u8; 16]> = vec![[0x5a; 16]];
    for key in keys {
        let mut entry = [1; 16];
        entry[..15].copy_from_slice(&badkeys_digest(key.public_key()));
        entries.push(entry);
    }
    entries.sort_unstable();
    entries.concat()
}

// conformance: R6
#[test]
fn lists_of_known_keys_are_read_again_while_running_and_a_broken_one_changes_nothing() {
    isolated(async |home| {
        let (known, fresh) = (new_key(), new_key());
        let file = home.file("test").join("known.dat");
        std::fs::create_dir_all(home.file("test")).unwrap();
        std::fs::write(&file, list(&[&known])).unwrap();
        let options = Options { config: vec![("lists = []", "lists = [\"known.dat\"]")], ..Options::default() };
        let world = World::with(&home, &options).await;
        let card = world.allocated(&world.person().await).await;
        let refused = begin_with(&world, &card, &known).await;
        assert!(refused.refused(422, "request-refused").detail.contains("known.dat"));
        refused.refused_by("R6");

        std::fs::write(&file, list(&[&known, &fresh])).unwrap();
        let reload = async || world.admin().send(Ask::post("/known-key-lists/reload")).await;
        let lists: Page<KnownKeyList> = reload().await.expect(200).read();
        assert_eq!((lists.items[0].entries, lists.items[0].form.as_str()), (3, "badkeys blocklist"));
        assert_eq!(lists.items[0].before, Some(2));
        begin_with(&world, &card, &fresh).await.refused_by("R6");
        assert_eq!(world.last_audit("key.lists").await.facts["entries"], "3");

        for broken in [&[0xff; 20][..], b"0123456789abcdef0123\nrubbish\n", b""] {
            std::fs::write(&file, broken).unwrap();
            let reply = reload().await;
            assert!(reply.refused(422, "known-keys").detail.contains("stay in force"));
            begin_with(&world, &card, &known).await.refused_by("R6");
        }
        std::fs::remove_file(&file).unwrap();
        reload().await.refused(422, "known-keys");
        begin_with(&world, &card, &fresh).await.refused_by("R6");

        // At the start there is nothing to fall back on.
        let World { deployment, .. } = world;
        let (_, error) = deployment.stop().await.try_start().await.err().expect("it does not start");
        assert!(error.is_configuration() && error.to_string().contains("known.dat"), "{error}");
    });
}

#[test]
fn what_is_no_key_is_refused_whole_and_a_private_key_with_a_word_of_advice() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let dir = world.scratch();
        let request = request::by_openssl(&dir, &request::curve("P-256"), &[]);
        let private = std::fs::read(dir.join("key.pem")).unwrap();
        let detail = try_add(&world, &[request, private].concat()).await.refused(422, "no-keys").detail;
        assert!(detail.contains("openssl pkey -in FILE -pubout") && detail.contains("Nothing"), "{detail}");
        try_add(&world, b"").await.refused(422, "no-keys");
        let anonymous = CompromisedKeysRequest {
            check_only: false,
            content: Base64(digest(&new_key()).into_bytes()),
            reason: REASON.to_owned(),
            people: Vec::new(),
        };
        world.admin().send(Ask::post("/compromised-keys").json(&anonymous)).await.refused(422, "invalid");
        let empty: Page<CompromisedKeyView> =
            world.admin().send(Ask::get("/compromised-keys")).await.expect(200).read();
        assert_eq!(empty.items, []);
    });
}

// conformance: R6
#[test]
fn a_thousand_keys_are_added_at_once_and_shown_page_by_page() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let issued = world.card().await;
        let mut lines: Vec<String> = (0u32..1_000).map(|number| format!("{number:064x}")).collect();
        lines.push(digest(&issued.signing));
        let reply = add(&world, lines.join("\n").as_bytes()).await;
        assert_eq!((reply.added, reply.certificates.len()), (1_001, 1));
        let mut seen = 0;
        let mut after = String::new();
        loop {
            let path = format!("/compromised-keys?limit=150{after}");
            let page: Page<CompromisedKeyView> = world.admin().send(Ask::get(path)).await.expect(200).read();
            seen += page.items.len();
            assert!(page.items.len() <= 150);
            match page.next {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(seen, 1_001);
    });
}

// conformance: R8
#[test]
fn a_key_whose_certificate_came_to_nothing_is_certified_once_however_many_ask_for_it() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let person = world.person().await;
        let (first, second) = (world.allocated(&person).await, world.allocated(&person).await);
        let key = new_key();
        // Reserved, and then given up while it was signed: its certificate is void.
        world.gate.close_at(Step::Signed);
        let begin = tokio::spawn({
            let (session, card, key) = (world.issuer.session.clone(), first.clone(), key.clone());
            async move {
                let mut asked = card.request(IssuanceKind::Issue);
                asked.authentication = request::plain(&key).into();
                session.try_begin(&card, &asked).await
            }
        });
        world.gate.reached().await;
        world.issuer.cancel(&first, "lost").await;
        world.gate.open();
        begin.await.unwrap().refused(409, "issuance-ended");

        let third = world.allocated(&person).await;
        let (one, other) = tokio::join!(begin_with(&world, &second, &key), begin_with(&world, &third, &key));
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 422]);
        let live = world.certificates();
        let with_key = live.iter().filter(|record| record.key_digest == key.public_key().digest());
        let pending = with_key.filter(|record| matches!(record.state, CertificateState::Pending { .. })).count();
        assert_eq!(pending, 1);
    });
}

// conformance: R6
#[test]
fn the_command_line_adds_lists_and_removes() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let issued = world.card().await;
        let dir = world.scratch();
        let (certificate, digests) = (dir.join("leaked.cer"), dir.join("digests.txt"));
        std::fs::write(&certificate, &issued.authentication_certificate).unwrap();
        std::fs::write(&digests, format!("# by hand\n{}  a file\n", digest(&issued.signing))).unwrap();
        let config = world.config.file().to_owned();
        let run = async |arguments: &[&str]| {
            let (config, arguments) =
                (config.clone(), arguments.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
            let run = move || cardinal::run(&config, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
            let output = tokio::task::spawn_blocking(run).await.unwrap();
            let words = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            (output.status.code(), words)
        };
        let files = [certificate.to_str().unwrap(), digests.to_str().unwrap()];
        let common = ["--reason", REASON, "--by", "Ada Okafor"];
        let arguments = [&["--json", "key", "compromised", "add"][..], &files, &common].concat();
        let (code, words) = run(&arguments).await;
        assert_eq!(code, Some(0), "{words}");
        let reply: CompromisedKeysReply = serde_json::from_str(&words).unwrap();
        assert_eq!((reply.added, reply.certificates.len()), (2, 2));

        let (code, words) = run(&["key", "compromised", "certificates"]).await;
        assert!(code == Some(0) && words.contains(&issued.serial) && words.contains("card-signing"), "{words}");
        let (code, words) = run(&["key", "compromised", "list"]).await;
        assert!(code == Some(0) && words.contains(REASON) && words.contains("Ada Okafor"), "{words}");

        let key = digest(&issued.signing);
        let remove = ["key", "compromised", "remove", &key, "--reason", "a mistake", "--by", "Ada", "--by", "Tom"];
        let (code, words) = run(&remove).await;
        assert!(code == Some(0) && words.contains("--yes"), "{words}");
        assert_eq!(affected(&world).await.len(), 2);
        let (code, words) = run(&[&remove[..], &["--yes"]].concat()).await;
        assert!(code == Some(0) && words.contains("not in the set any more"), "{words}");
        assert_eq!(affected(&world).await.len(), 1);
        let (code, words) = run(&[&remove[..], &["--yes"]].concat()).await;
        assert!(code == Some(3) && words.contains("not in the set"), "{words}");

        let (code, words) = run(&[&["key", "compromised", "add", "missing.pem"][..], &common].concat()).await;
        assert!(code == Some(1) && words.contains("missing.pem"), "{words}");
        std::fs::write(&digests, "rubbish").unwrap();
        let (code, words) = run(&[&["key", "compromised", "add", files[1]][..], &common].concat()).await;
        assert!(code == Some(3) && words.contains("line 1") && words.contains("digests.txt"), "{words}");
        // One that is bad keeps the good one before it out of the set, too.
        let (fresh, good) = (new_key(), dir.join("good.txt"));
        std::fs::write(&good, digest(&fresh)).unwrap();
        let both = [&["key", "compromised", "add", good.to_str().unwrap(), files[1]][..], &common].concat();
        let (code, words) = run(&both).await;
        assert!(code == Some(3) && words.contains("digests.txt"), "{words}");
        let (_, words) = run(&["key", "compromised", "list"]).await;
        assert!(!words.contains(&digest(&fresh)), "{words}");
        std::fs::write(&digests, vec![b'#'; (1 << 20) + 1]).unwrap();
        let (code, words) = run(&both).await;
        assert!(code == Some(1) && words.contains("1048576 at most"), "{words}");
        let (code, words) = run(&["key", "lists"]).await;
        assert!(code == Some(0) && words.contains("known_keys"), "{words}");
    });
}
