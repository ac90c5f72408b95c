//! What keeps a service from starting, or from going on: each is told with its place and its remedy, and nothing is
//! signed or lost meanwhile.

mod aftermath;

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aftermath::{Doomed, all_agrees, command, limited, of_cards, started, stopped};
use api::cards::{IssuanceKind, IssuanceView};
use ca::certificate::CertificateState;
use config::Config;
use pki::ocsp::CertStatus;
use server::{FirstOrganisation, InitReport, initialise};
use tests::deployment::Site;
use tests::{Ask, Home, Options, PaperCard, World, eventually, isolated};

fn faulty() -> Options {
    Options { module: faulty_pkcs11::module_path(), ..Options::default() }
}

async fn refused(site: Site) -> (Site, String) {
    match site.try_start().await {
        Ok(_) => panic!("it started"),
        Err((site, error)) => (site, error.to_string()),
    }
}

fn assert_says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "{word:?} is missing: {error}");
    }
}

#[test]
fn a_data_directory_that_another_process_has_is_named() {
    isolated(async |home| {
        let site = Site::initialised(&home, &Options::default()).await;
        let mut owner = Doomed::serve(&site, None).await;
        let dir = site.config.store.path.display().to_string();
        let (site, error) = refused(site).await;
        assert_says(&error, &[&dir, "in use"]);
        // The other way round it is the same, and init keeps its hands off, too.
        let again = command("init", &site).output().unwrap();
        assert!(!again.status.success());
        assert_says(&String::from_utf8_lossy(&again.stderr), &[&dir, "in use"]);
        // A process that was killed has it no more.
        owner.kill();
        site.start().await.stop().await;
    });
}

#[test]
fn a_port_that_is_in_use_is_told_with_its_door_and_its_key() {
    isolated(async |home| {
        let mut site = Site::initialised(&home, &Options::default()).await;
        let listen = site.config.listen.clone();
        for (address, door, key) in [
            (listen.api, "the API door", "listen.api"),
            (listen.public, "the public door", "listen.public"),
            (listen.metrics, "the operations door", "listen.metrics"),
        ] {
            let taken = TcpListener::bind(address).unwrap();
            let (back, error) = refused(site).await;
            assert_says(&error, &[door, key, &address.to_string()]);
            drop(taken);
            site = back;
        }
        site.start().await.stop().await;
    });
}

#[test]
fn a_configuration_with_an_unknown_key_is_refused_with_file_line_and_remedy() {
    isolated(async |home| {
        let site = Site::configured(&home, &Options::default());
        let file = site.config.file().to_owned();
        let text = fs::read_to_string(&file).unwrap().replace("data_dir", "data_folder");
        let line = text.lines().position(|line| line.starts_with("data_folder")).unwrap() + 1;
        fs::write(&file, text).unwrap();
        let error = Config::load(&file).unwrap_err().to_string();
        assert_says(&error, &[&format!("{}:{line}", file.display()), "data_folder", "data_dir"]);
    });
}

#[test]
fn a_directory_without_a_ca_says_what_to_run_first() {
    isolated(async |home| {
        let site = Site::configured(&home, &Options::default());
        let dir = site.config.service.data_dir.display().to_string();
        let (_, error) = refused(site).await;
        assert_says(&error, &[&dir, "cardinal init"]);
    });
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    isolated(async |home| {
        let site = Site::configured(&home, &Options::default());
        // A file in its place stops root as well, which no mode does.
        let dir = site.config.service.data_dir.clone();
        fs::write(&dir, "in the way").unwrap();
        let (site, error) = refused(site).await;
        assert_says(&error, &[&dir.display().to_string()]);
        let error = init(&site).await.unwrap_err().to_string();
        assert_says(&error, &[&dir.display().to_string()]);
        assert_eq!(fs::read_to_string(&dir).unwrap(), "in the way");
    });
}

#[test]
fn a_pin_file_that_others_can_read_is_refused() {
    isolated(async |home| {
        let site = Site::initialised(&home, &faulty()).await;
        let file = site.config.hsm.ca.pin_file.clone();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let logins = home.calls("C_Login");
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        let (site, error) = refused(site).await;
        assert_says(&error, &[&file.display().to_string(), "chmod 600"]);
        assert_eq!(home.calls("C_Login"), logins);
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        site.start().await.stop().await;
    });
}

// conformance: O24
#[test]
fn a_clock_behind_the_last_commit_signs_nothing() {
    isolated(async |home| {
        let world = World::with(&home, &faulty()).await;
        let in_use = world.card().await;
        world.advance(Duration::from_secs(600)).await;
        let person = world.person().await;
        let card = world.allocated(&person).await;
        let before = world.certificates();
        let signatures = home.calls("C_SignInit");
        assert_eq!(world.ocsp(&in_use.authentication_certificate).await, CertStatus::Good);

        // Not so far that the station's own certificate is not valid yet.
        let back = Duration::from_secs(300);
        world.clock.set_back(back);
        let problem = world.issuer.try_begin(&card, &card.request(IssuanceKind::Issue)).await.refused(503, "clock");
        assert_says(&problem.detail, &["clock", "set the clock right"]);
        assert_eq!(world.certificates(), before);
        // OCSP: tryLater (3), as an answer without responseBytes.
        let reply = ask_ocsp(&world, &in_use).await;
        assert_eq!(reply, [0x30, 3, 0x0a, 1, 3]);
        assert_eq!(home.calls("C_SignInit"), signatures);

        // The same at the start.
        let (site, desk) = stopped(world).await;
        let (site, error) = refused(site).await;
        assert_says(&error, &["clock", "set the clock right"]);
        assert_eq!(home.calls("C_SignInit"), signatures);

        site.clock.advance(back + Duration::from_secs(1));
        let world = started(site, desk).await;
        let issuance = world.issuer.begin(&card, IssuanceKind::Issue).await;
        world.station.confirm(&card, &issuance).await;
        assert_eq!(world.ocsp(&in_use.authentication_certificate).await, CertStatus::Good);
        all_agrees(&world).await;
    });
}

/// An OCSP request without a nonce, and the answer as it comes.
async fn ask_ocsp(world: &World, card: &PaperCard) -> Vec<u8> {
    use pki::certificate::ParsedCertificate;
    use pki::ocsp::{HashAlgorithm, IssuerHashes, build_request};
    let certificate = ParsedCertificate::from_der(&card.authentication_certificate).unwrap();
    let issuer = ParsedCertificate::from_der(&world.issuer("authentication-1")).unwrap();
    let hashes = IssuerHashes::new(issuer.subject_der(), issuer.public_key());
    let request = build_request(&[&hashes.cert_id(HashAlgorithm::Sha1, certificate.serial())], None).unwrap();
    let ask = Ask::post("/ocsp").header("content-type", "application/ocsp-request").body(request);
    world.public().send(ask).await.expect(200).body.to_vec()
}

async fn init(site: &Site) -> Result<InitReport, server::Error> {
    let config = site.config.clone();
    let first = FirstOrganisation { code: "RX1".to_owned(), name: "Example Trust".to_owned() };
    tokio::task::spawn_blocking(move || initialise(&config, &first, "uid 0")).await.unwrap()
}

fn ids(report: &InitReport) -> Vec<&str> {
    report.issuers.iter().map(|issuer| issuer.id.as_str()).collect()
}

const ISSUERS: [&str; 4] = ["authentication-1", "devices-1", "root-1", "signing-1"];

#[test]
fn init_a_second_time_finds_everything_and_makes_nothing() {
    isolated(async |home| {
        let site = Site::configured(&home, &faulty());
        let first = init(&site).await.unwrap();
        assert_eq!(ids(&first), ISSUERS);
        assert!(!first.pin_files.is_empty());
        let (keys, signatures) = (home.calls("C_GenerateKeyPair"), home.calls("C_SignInit"));
        assert_eq!(keys, 4);
        let second = init(&site).await.unwrap();
        assert_eq!((ids(&second), &second.root_sha256), (ids(&first), &first.root_sha256));
        assert!(second.pin_files.is_empty(), "{second:?}");
        assert_eq!((home.calls("C_GenerateKeyPair"), home.calls("C_SignInit")), (keys, signatures));
        site.start().await.stop().await;
    });
}

/// The process of `init` is killed at one call to a token, and `init` is run again: it completes what is there.
async fn init_killed_at(home: Home, function: &str, calls: std::ops::Range<usize>) {
    for passed in calls {
        let name: &'static str = ["first", "second", "third", "fourth", "fifth", "sixth"][passed];
        let site = Site::configured(&home, &Options { name, ..faulty() });
        let before = home.calls(function);
        home.plan(&format!("# {name}\n{function} PASS {passed}\n{function} BLOCK"));
        let mut doomed = Doomed::spawn(&site, command("init", &site));
        eventually("the call", async || (home.calls(function) > before + passed).then_some(())).await;
        doomed.kill();
        home.plan("");
        // In a process of its own again: a module knows only the tokens that were there when it was loaded.
        let completed = command("init", &site).output().unwrap();
        assert!(completed.status.success(), "{function} {name}: {}", String::from_utf8_lossy(&completed.stderr));

        let mut service = Doomed::serve(&site, None).await;
        let status: api::admin::StatusReply = site.admin().send(Ask::get("/status")).await.expect(200).read();
        assert!(status.ready, "{function} {name}: {status:?}");
        let mut found: Vec<&str> = status.issuers.iter().map(|issuer| issuer.id.as_str()).collect();
        found.sort_unstable();
        assert_eq!(found, ISSUERS);
        // Each key was made once, whatever became of its certificate.
        let records: api::Page<api::admin::AuditView> =
            site.admin().send(Ask::get("/audit?from=0")).await.expect(200).read();
        let issued = |outcome: &str| {
            let of_ca = |record: &&api::admin::AuditView| {
                record.operation == "certificate.issue"
                    && record.facts.get("profile").is_some_and(|is| is.ends_with("-ca"))
            };
            records.items.iter().filter(of_ca).filter(|record| record.outcome == outcome).count()
        };
        assert_eq!(issued("done"), 4, "{function} {name}: {:?}", records.items);
        assert_eq!(issued("intent"), 4 + issued("failed: void"), "{function} {name}");
        service.kill();
    }
}

#[test]
fn kill_while_init_sets_up_a_token_and_init_again_completes_it() {
    isolated(async |home| init_killed_at(home, "C_InitPIN", 0..2).await);
}

#[test]
fn kill_while_init_makes_a_key_and_init_again_completes_it() {
    isolated(async |home| init_killed_at(home, "C_GenerateKeyPair", 0..4).await);
}

// conformance: A5
#[test]
fn kill_while_init_signs_and_init_again_completes_it() {
    isolated(async |home| init_killed_at(home, "C_SignInit", 0..5).await);
}

/// Issues until something is refused, or there is no answer. Gives the cards that were confirmed, and the refusal.
async fn issue_until_refused(
    desk: &aftermath::Desk,
    person: &str,
    count: &AtomicUsize,
) -> (Vec<PaperCard>, Vec<PaperCard>, Option<tests::Reply>) {
    let (mut pending, mut confirmed) = (Vec::new(), Vec::new());
    loop {
        let card = PaperCard::new();
        let reply = desk.issuer.try_allocate(&card, person).await;
        if reply.status != 201 {
            return (pending, confirmed, Some(reply));
        }
        let reply = desk.issuer.try_begin(&card, &card.request(IssuanceKind::Issue)).await;
        if reply.status != 201 {
            return (pending, confirmed, Some(reply));
        }
        let issuance: IssuanceView = reply.read();
        let card = card.with_certificates(&issuance);
        pending.push(card.clone());
        let reply = desk.station.try_confirm(&card, &issuance).await;
        if reply.status != 200 {
            return (pending, confirmed, Some(reply));
        }
        confirmed.push(card);
        assert!(count.fetch_add(1, Ordering::SeqCst) < 5000, "the disk is not full");
    }
}

// conformance: A3, A5
#[test]
fn a_full_disk_is_told_and_loses_nothing_that_was_acknowledged() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let person = world.person().await;
        let (site, desk) = stopped(world).await;
        // The full disk is a limit on the size of files: what the store's log has now, and a little more.
        let log = site.config.store.path.join("sled").join("db");
        let blocks = fs::metadata(&log).unwrap().len() / 512 + 600;
        let limited = limited(&format!("trap '' XFSZ; ulimit -f {blocks}"), "serve", &site);
        let mut service = Doomed::spawn(&site, limited);
        service.ready(&site).await;
        let (pending, confirmed, refusal) = issue_until_refused(&desk, &person, &AtomicUsize::new(0)).await;
        let refusal = refusal.unwrap();
        let problem = refusal.refused(503, "store");
        assert_says(&problem.detail, &["the store failed", "whether it was done shows when you look again"]);
        assert!(!confirmed.is_empty(), "it worked for a while");
        // From now on the answer is at once and the same, reading goes on, and the operators are told.
        let card = &confirmed[0];
        desk.issuer.try_allocate(&PaperCard::new(), &person).await.refused(503, "store");
        let ready = site.operations().send(Ask::get("/readyz")).await;
        assert_eq!(ready.status, 503, "{}", String::from_utf8_lossy(&ready.body));
        assert_says(&service.words(), &["File too large"]);
        service.kill();

        // With room again, all that was acknowledged is there, and it goes on.
        let world = started(site, desk).await;
        assert_eq!(world.ocsp(&card.authentication_certificate).await, CertStatus::Good);
        for card in &pending {
            let is_confirmed = confirmed.iter().any(|one| one.serial == card.serial);
            for certificate in [&card.authentication_certificate, &card.signing_certificate] {
                let record = world.record(certificate);
                assert_eq!(record.der.as_ref(), Some(certificate));
                // A confirmation that was refused may have been written all the same.
                let is_good = matches!(record.state, CertificateState::Good { .. });
                assert!(is_good || !is_confirmed, "{record:?}");
            }
        }
        assert!(of_cards(&world).len() >= 2 * pending.len());
        all_agrees(&world).await;
        let person = world.person().await;
        world.issuer.personalise(PaperCard::new(), &person).await;
    });
}
