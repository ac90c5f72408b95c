//! What keeps a service from starting: each says what is wrong and what to do, and leaves everything as it was. What
//! tokens have to do with it is in `token_faults.rs`.

use std::fs;

use server::FirstOrganisation;
use tests::deployment::{Site, TOP};
use tests::{Home, Options, World, isolated};
use tokio::net::TcpListener;

/// The error of a start that fails, with the words that have to be in it.
async fn does_not_start(site: Site, words: &[&str]) -> Site {
    let Err((site, error)) = site.try_start().await else { panic!("it started") };
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    site
}

async fn initialised(home: &Home) -> Site {
    Site::initialised(home, &Options::default()).await
}

fn initialise(site: &Site) -> Result<server::InitReport, server::Error> {
    let first = FirstOrganisation { code: TOP.to_owned(), name: "Example Trust".to_owned() };
    server::initialise(&site.config, &first, "uid 0")
}

#[test]
fn a_directory_without_a_ca_is_told_to_be_initialised() {
    isolated(async |home| {
        let site = Site::configured(&home, &Options::default());
        fs::create_dir_all(&site.config.service.data_dir).unwrap();
        does_not_start(site, &["cardinal init"]).await;
    });
}

#[test]
fn a_data_directory_belongs_to_one_process() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.card().await;
        // The same directory, other ports: it is the directory that counts.
        let mut second = Site::configured(&home, &Options { ports: 100, ..Options::default() });
        second.config.listen.admin_socket = home.file("second.sock");
        does_not_start(second, &[world.config.store.path.to_str().unwrap()]).await;
        assert_eq!(world.issuer.card(&card).await.state, "active", "the first goes on");
    });
}

#[test]
fn a_port_in_use_is_named_with_its_key() {
    isolated(async |home| {
        let mut site = initialised(&home).await;
        for key in ["listen.api", "listen.public", "listen.metrics"] {
            let address = match key {
                "listen.api" => site.config.listen.api,
                "listen.public" => site.config.listen.public,
                _ => site.config.listen.metrics,
            };
            let taken = TcpListener::bind(address).await.unwrap();
            site = does_not_start(site, &[&address.to_string(), key]).await;
            drop(taken);
        }
        site.start().await.stop().await;
    });
}

#[test]
fn a_module_that_is_not_there_is_named() {
    isolated(async |home| {
        let mut site = initialised(&home).await;
        let right = std::mem::replace(&mut site.config.hsm.module, home.file("nothing.so"));
        let mut site = does_not_start(site, &["nothing.so"]).await;
        fs::write(home.file("rubbish.so"), "no library").unwrap();
        site.config.hsm.module = home.file("rubbish.so");
        let mut site = does_not_start(site, &["rubbish.so"]).await;
        site.config.hsm.module = right;
        site.start().await.stop().await;
    });
}

#[test]
fn a_pin_file_that_others_may_read_is_refused() {
    isolated(async |home| {
        use std::os::unix::fs::PermissionsExt;
        let site = initialised(&home).await;
        let pin_file = site.config.hsm.ca.pin_file.clone();
        fs::set_permissions(&pin_file, fs::Permissions::from_mode(0o644)).unwrap();
        let site = does_not_start(site, &[pin_file.to_str().unwrap()]).await;
        fs::set_permissions(&pin_file, fs::Permissions::from_mode(0o600)).unwrap();
        site.start().await.stop().await;
    });
}

#[test]
fn a_clock_behind_the_last_commit_is_refused() {
    isolated(async |home| {
        let site = initialised(&home).await;
        site.clock.set_back(tests::clock::minutes(60));
        let site = does_not_start(site, &["clock"]).await;
        site.clock.advance(tests::clock::minutes(60));
        site.start().await.stop().await;
    });
}

#[test]
fn initialising_twice_finds_what_is_there() {
    isolated(async |home| {
        let site = initialised(&home).await;
        let (before, first) = (site.root(), site.issuer("signing-1"));
        let report = tokio::task::block_in_place(|| initialise(&site)).unwrap();
        assert!(report.pin_files.is_empty(), "{report:?}");
        assert_eq!(report.issuers.len(), 4);
        assert_eq!((site.root(), site.issuer("signing-1")), (before, first));
    });
}

// conformance: K1
#[test]
fn serving_does_not_open_the_roots_token() {
    isolated(async |home| {
        let options = Options { module: faulty_pkcs11::module_path(), ..Options::default() };
        let site = Site::initialised(&home, &options).await;
        // Its PIN is off the machine, as it should be.
        fs::remove_file(&site.config.hsm.root.pin_file).unwrap();
        let deployment = site.start().await;
        deployment.publish_crls().await;
        deployment.enrol("desk-1.example").await;
        let deployment = deployment.restart().await;
        deployment.stop().await;
    });
}

#[test]
fn two_deployments_live_side_by_side() {
    isolated(async |home| {
        let one = World::new(&home).await;
        let other = World::with(&home, &Options { name: "other", ports: 100, ..Options::default() }).await;
        let (card, elsewhere) = (one.card().await, other.card().await);
        assert_ne!(one.root(), other.root());
        one.station.try_login(&elsewhere).await.refused(401, "login-refused");
        other.station.try_login(&card).await.refused(401, "login-refused");
    });
}
