//! A backup, restored beside a copy of the CA token: the same public keys, signatures that verify, and people's records
//! that can be read. Without the copy neither.

mod aftermath;

use std::fs;
use std::path::Path;
use std::process::Command;

use aftermath::{Doomed, command, stopped};
use pki::certificate::ParsedCertificate;
use tests::desk::path;
use tests::{Ask, PaperCard, World, isolated};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A SoftHSM that has its tokens in this directory.
fn with_tokens(command: &mut Command, directory: &Path) {
    let configuration = directory.join("softhsm2.conf");
    let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", directory.join("tokens").display());
    fs::write(&configuration, text).unwrap();
    command.env("SOFTHSM2_CONF", configuration);
}

// conformance: K5
#[test]
fn a_backup_restores_to_a_second_token() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let person = world.checker.active_person("Quillan", "Featherstonehaugh", tests::deployment::TOP).await;
        let backup = home.file("cardinal.backup");
        let request = api::admin::BackupRequest { path: backup.display().to_string() };
        world.admin().send(Ask::post("/backup").json(&request)).await.expect(201);
        let (site, desk) = stopped(world).await;

        let second = home.file("second");
        copy(&home.file("tokens"), &second.join("tokens"));
        let empty = home.file("third");
        fs::create_dir_all(empty.join("tokens")).unwrap();
        // The first machine is gone: its store, its tokens, its TLS key, its CRLs.
        fs::rename(home.file("tokens"), home.file("lost")).unwrap();
        for directory in ["store", "tls", "crl"] {
            fs::remove_dir_all(site.config.service.data_dir.join(directory)).unwrap();
        }
        server::backup::restore(&site.config, &backup, false).unwrap();

        // Without the copy of the token the service does not start, and says what is missing.
        let mut without = command("serve", &site);
        with_tokens(&mut without, &empty);
        let mut without = Doomed::spawn(&site, without);
        assert!(!without.ended().await.success());
        assert!(without.words().contains(&site.config.hsm.ca.label), "{}", without.words());

        let mut with = command("serve", &site);
        with_tokens(&mut with, &second);
        let mut with = Doomed::spawn(&site, with);
        with.ready(&site).await;
        // The data key opens people's records.
        let session = desk.station.login(&desk.issuer.card).await;
        let ask = Ask::get(path(&format!("/people/{person}")));
        let found: api::people::PersonView = session.send(ask).await.expect(200).read();
        assert_eq!(found.family_name, "Featherstonehaugh");
        // The CA keys are the same: what they sign now verifies with the certificates of before.
        let card = session.personalise(PaperCard::new(), &person).await;
        for (certificate, issuer) in
            [(&card.authentication_certificate, "authentication-1"), (&card.signing_certificate, "signing-1")]
        {
            let issuer = ParsedCertificate::from_der(&site.issuer(issuer)).unwrap();
            ParsedCertificate::from_der(certificate).unwrap().verify_signed_by(issuer.public_key()).unwrap();
        }
        desk.station.login(&card).await;
    });
}
