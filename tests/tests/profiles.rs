//! Profiles on the command line, and the version of them that stands in each certificate's record.

#[path = "cardinal/mod.rs"]
mod cardinal;

use std::fs;
use std::path::Path;
use std::process::Output;

use api::profiles::{PreviewReply, ProfileCheck, ProfilesReply};
use pki::certificate::ParsedCertificate;
use pki::profile::ProfileSet;
use pki::{PublicKey, pem};
use serde::de::DeserializeOwned;
use tests::openssl::{openssl, write_certificate};
use tests::{Deployment, PaperCard, World, isolated};

fn json<T: DeserializeOwned>(output: &Output) -> T {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn run(deployment: &Deployment, arguments: &[&str]) -> Output {
    run_on(&deployment.scratch().join("../test/cardinal.toml"), arguments).await
}

/// The command waits for a service on this runtime, so it does not block a thread of it.
async fn run_on(config: &Path, arguments: &[&str]) -> Output {
    let config = config.to_owned();
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let command = move || cardinal::run(&config, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(command).await.unwrap()
}

#[test]
fn a_file_of_profiles_is_checked_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str, text: &str| {
        fs::write(dir.path().join(name), text).unwrap();
        let file = dir.path().join(name).display().to_string();
        cardinal::run(&dir.path().join("cardinal.toml"), &["--json", "profile", "check", &file])
    };
    let good = check("good.toml", config::SHIPPED_PROFILES_TOML);
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    let checked: ProfileCheck = json(&good);
    let set = ProfileSet::load(config::SHIPPED_PROFILES_TOML, "").unwrap();
    assert_eq!(checked.set.unwrap().version, set.version());
    assert!(checked.problems.is_empty());

    let text = config::SHIPPED_PROFILES_TOML
        .replace("life = \"72h\"", "life = \"96h\"")
        .replace("key_usage = [\"contentCommitment\"]", "key_usage = [\"contentCommitment\", \"keyCertSign\"]");
    let line = |part: &str| text.lines().position(|line| line.contains(part)).unwrap() + 1;
    let bad = check("bad.toml", &text);
    assert_eq!(bad.status.code(), Some(2), "{bad:?}");
    let checked: ProfileCheck = json(&bad);
    assert!(checked.set.is_none());
    let problems: Vec<_> = checked
        .problems
        .iter()
        .map(|one| (one.profile.as_deref().unwrap(), one.key.as_deref().unwrap(), one.line.unwrap()))
        .collect();
    let expected = [
        ("card-signing", "key_usage", line("\"contentCommitment\", \"keyCertSign\"")),
        ("temporary-card", "life", line("\"96h\"")),
    ];
    assert_eq!(problems, expected);
    assert!(checked.problems[0].rule.contains("E4") && checked.problems[0].remedy.is_some(), "{checked:?}");
    assert!(said(&bad).contains("temporary-card"), "what is wrong is said on standard error, too");

    // Beside a configuration, what its CAs issue by has to be there.
    let deployment = config::Deployment { data_dir: Some(dir.path().join("data")), ..config::Deployment::default() };
    let origin = dir.path().join("cardinal.toml");
    fs::write(&origin, deployment.render(&origin).unwrap().0).unwrap();
    let good = check("good.toml", config::SHIPPED_PROFILES_TOML);
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    assert!(json::<ProfileCheck>(&good).compared_with.is_some());
    let renamed = config::SHIPPED_PROFILES_TOML.replacen("name = \"ra-station\"", "name = \"desks\"", 1);
    let renamed = check("renamed.toml", &renamed);
    assert_eq!(renamed.status.code(), Some(2), "{renamed:?}");
    assert!(said(&renamed).contains("issues by profile \"ra-station\", which is not there"), "{renamed:?}");

    let broken = check("broken.toml", "[[profile]]\nname = ");
    assert_eq!(broken.status.code(), Some(2));
    let away = dir.path().join("away.toml").display().to_string();
    let away = cardinal::run(&dir.path().join("cardinal.toml"), &["profile", "check", &away]);
    assert!(!away.status.success() && said(&away).contains("away.toml"), "{away:?}");
}

// conformance: E10, E11
#[test]
fn a_preview_is_the_certificate_that_is_issued_but_for_number_times_and_signature() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.card().await;
        let issued = ParsedCertificate::from_der(&card.authentication_certificate).unwrap();
        let key = write_certificate(&world.scratch(), "key.pem", issued.der()).display().to_string();
        let out = world.scratch().join("preview.pem").display().to_string();
        let person = issued.user_id().unwrap();
        let preview = ["--json", "profile", "preview", "card-authentication", "--key", &key, "--person", person];
        let output = run(&world, &[&preview[..], &["--out", &out]].concat()).await;
        assert!(output.status.success(), "{output:?}");
        let reply: PreviewReply = json(&output);
        let shown = pem::decode_one(reply.pem.as_bytes(), pem::CERTIFICATE).unwrap();
        let shown = ParsedCertificate::from_der(&shown).unwrap();
        assert_eq!(shown.subject_der(), issued.subject_der());
        assert_eq!(shown.issuer_der(), issued.issuer_der());
        assert_eq!(shown.public_key(), issued.public_key());
        assert_eq!(shown.alternative_names(), issued.alternative_names());
        assert_eq!(shown.policies(), issued.policies());
        assert_eq!(shown.key_usage(), issued.key_usage());
        assert_eq!(shown.extended_key_usage(), issued.extended_key_usage());
        assert_eq!(shown.authority_key_identifier(), issued.authority_key_identifier());
        assert_eq!(shown.subject_key_identifier(), issued.subject_key_identifier());
        assert_eq!(shown.ca_issuers_urls(), issued.ca_issuers_urls());
        assert_eq!((shown.ocsp_urls(), shown.crl_urls()), (issued.ocsp_urls(), issued.crl_urls()));
        assert_ne!(shown.serial(), issued.serial());
        assert!(shown.not_after() >= issued.not_after(), "the preview is without jitter");
        assert_eq!(reply.profiles_version, world.record(issued.der()).profile_version);
        assert_eq!(reply.issuer, "authentication-1");

        // A stranger reads it, and takes it for no certificate.
        let text = openssl(&world.scratch(), &["x509", "-in", "preview.pem", "-noout", "-text"]).unwrap();
        assert!(text.contains("Lovelace"), "{text}");
        let root = write_certificate(&world.scratch(), "root.pem", &world.root());
        let issuer = write_certificate(&world.scratch(), "issuer.pem", &world.issuer("authentication-1"));
        let (root, issuer) = (root.display().to_string(), issuer.display().to_string());
        let now = server::clock::Clock::now(&*world.clock).unix_seconds().to_string();
        let verify = |leaf: &str| {
            let arguments = ["verify", "-attime", &now, "-CAfile", &root, "-untrusted", &issuer, leaf];
            openssl(&world.scratch(), &arguments)
        };
        verify(&key).unwrap();
        assert!(verify(&out).unwrap_err().contains("signature"));

        // Nothing was reserved for it.
        assert_eq!(world.card_certificates(), 6, "two operators and one person");

        // As text, with the words of the standards; and what is not in the registry, given by hand.
        let field = ["--field", "upn=ada@example.org", "--field", "family=O'Brien"];
        let output = run(&world, &[&preview[1..], &field].concat()).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for words in ["not signed, and no certificate", "Ada_O'Brien", "ada@example.org", "clientAuth", "no findings"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(text.contains("not from the registry, but given here: family, upn"), "{text}");
    });
}

#[test]
fn each_shipped_profile_is_shown_and_previewed_by_the_service() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let scratch = deployment.scratch();
        openssl(&scratch, &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", "key.pem"])
            .unwrap();
        openssl(&scratch, &["pkey", "-in", "key.pem", "-pubout", "-out", "public.pem"]).unwrap();
        let ask = "req -new -key key.pem -subj /CN=me -addext basicConstraints=CA:TRUE -out request.pem";
        openssl(&scratch, &ask.split(' ').collect::<Vec<_>>()).unwrap();
        let (public, request) = (scratch.join("public.pem"), scratch.join("request.pem"));
        let (public, request) = (public.display().to_string(), request.display().to_string());

        let set: ProfilesReply = json(&run(&deployment, &["--json", "profile", "show"]).await);
        assert_eq!(set.profiles.len(), 10);
        let station = set.profiles.iter().find(|one| one.name == "ra-station").unwrap();
        assert_eq!((station.issuer.as_deref(), station.life.as_str()), (Some("devices-1"), "90d"));
        let shown = run(&deployment, &["profile", "show", "card-signing"]).await;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains("CN={user_id}_{given}_{family} (cut to fit)"), "{shown}");
        assert!(shown.contains("contentCommitment"), "{shown}");
        assert_eq!(run(&deployment, &["profile", "show", "nothing"]).await.status.code(), Some(2));

        let fields = "user_id=555000000017 given=Ann family=Lee lending_id=TAC-1 common_name=desk-1 dns=desk-1.example";
        let fields: Vec<_> = fields.split(' ').flat_map(|field| ["--field", field]).collect();
        for profile in &set.profiles {
            let preview = ["--json", "profile", "preview", &profile.name, "--key", &public];
            let output = run(&deployment, &[&preview[..], &fields].concat()).await;
            assert!(output.status.success(), "{}: {output:?}", profile.name);
            let reply: PreviewReply = json(&output);
            assert_eq!(reply.profiles_version, set.version);
            pem::decode_one(reply.pem.as_bytes(), pem::CERTIFICATE).unwrap();
        }
        // What a request asks for is shown as what it does not get.
        let preview = ["--json", "profile", "preview", "ra-station", "--key", &request];
        let reply: PreviewReply = json(&run(&deployment, &[&preview[..], &fields].concat()).await);
        assert!(reply.ignored.iter().any(|one| one.contains("basicConstraints")), "{:?}", reply.ignored);
        // conformance: R10
        let der = pem::decode_one(reply.pem.as_bytes(), pem::CERTIFICATE).unwrap();
        assert!(!ParsedCertificate::from_der(&der).unwrap().is_ca());

        // The same without a service: its profiles from a file, its issuer from a file.
        let issuer = deployment.config.service.data_dir.join("ca/devices-1.pem").display().to_string();
        let site = deployment.stop().await;
        let file = site.config.profiles_file.display().to_string();
        let origin = home.file("test").join("cardinal.toml");
        let offline = ["--file", &file, "--issuer", &issuer];
        let output = run_on(&origin, &[&preview[..], &fields, &offline].concat()).await;
        assert!(output.status.success(), "{output:?}");
        let again: PreviewReply = json(&output);
        assert_eq!((again.issuer.as_str(), &again.profiles_version), ("devices-1", &set.version));
        let lines = |reply: &PreviewReply, name: &str| {
            reply.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
        };
        for name in ["subject", "issuer", "CRL", "OCSP", "CA certificate", "DNS names", "policies"] {
            assert_eq!(lines(&again, name), lines(&reply, name), "{name}");
        }
        // Only a file is no issuer.
        let output = run_on(&origin, &[&preview[..], &fields, &["--file", &file]].concat()).await;
        assert_eq!(output.status.code(), Some(4), "{output:?}");
    });
}

#[test]
fn what_cannot_be_issued_is_refused_with_rule_and_remedy() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let scratch = deployment.scratch();
        let path = |name: &str| scratch.join(name).display().to_string();
        openssl(&scratch, &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024", "-out", "rsa.pem"])
            .unwrap();
        openssl(&scratch, &["pkey", "-in", "rsa.pem", "-pubout", "-out", "small.pem"]).unwrap();
        openssl(
            &scratch,
            &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "private.pem"],
        )
        .unwrap();
        openssl(&scratch, &["pkey", "-in", "private.pem", "-pubout", "-out", "good.pem"]).unwrap();
        openssl(&scratch, &["pkey", "-in", "rsa.pem", "-pubout", "-outform", "DER", "-out", "small.der"]).unwrap();
        fs::write(scratch.join("garbage"), b"garbage").unwrap();
        fs::write(scratch.join("huge"), vec![0x30; (1 << 20) + 1]).unwrap();
        fs::write(scratch.join("latin.toml"), b"# one\n# caf\xe9\n").unwrap();
        assert!(std::process::Command::new("mkfifo").arg(scratch.join("pipe")).status().unwrap().success());
        let even = PublicKey::from_rsa(&[&[0xc0; 255][..], &[0x02]].concat(), &[1, 0, 1]).unwrap();
        fs::write(scratch.join("even.pem"), pem::encode(pem::PUBLIC_KEY, even.spki_der())).unwrap();
        let bad = config::SHIPPED_PROFILES_TOML.replace("life = \"72h\"", "life = \"96h\"");
        fs::write(scratch.join("bad.toml"), bad).unwrap();
        let strict = config::SHIPPED_PROFILES_TOML
            .replace("san = [\"upn\"]", "san = [\"upn\", \"sid\"]\nsan_required = [\"sid\"]");
        fs::write(scratch.join("strict.toml"), strict).unwrap();
        let card = ["--field", "user_id=1", "--field", "given=a", "--field", "family=b"];
        for (arguments, code, words) in [
            (vec!["nothing", "--key", &path("good.pem")], 3, "there is no certificate profile \"nothing\""),
            (vec!["card-signing", "--key", &path("small.pem")], 3, "R2"),
            (vec!["card-signing", "--key", &path("even.pem")], 3, "R3"),
            (vec!["card-signing", "--key", &path("private.pem")], 3, "this is a private key"),
            (vec!["card-signing", "--key", &path("small.der")], 3, "rule R2: an RSA modulus"),
            (vec!["card-signing", "--key", &path("huge")], 1, "1048576 at most"),
            (vec!["card-signing", "--key", &path("pipe")], 1, "no regular file"),
            (vec!["card-signing", "--key", &path("good.pem"), "--file", &path("latin.toml")], 2, "line 2 is not UTF-8"),
            (vec!["card-signing", "--key", &path("good.pem"), "--file", &path("away.toml")], 2, "away.toml"),
            (vec!["card-signing", "--key", &path("garbage")], 3, "R1"),
            (vec!["card-signing", "--key", &path("away.pem")], 1, "away.pem"),
            (vec!["card-signing", "--key", &path("good.pem")], 3, "needs the field user_id"),
            (vec!["root-ca", "--key", &path("good.pem")], 3, "allows no P-256 key"),
            (vec!["card-signing", "--key", &path("good.pem"), "--person", "999999999999"], 3, "999999999999"),
            (vec!["card-signing", "--key", &path("good.pem"), "--field", "shoe=41"], 3, "\"shoe\" is no field"),
            (vec!["card-signing", "--key", &path("good.pem"), "--field", "shoe"], 2, "NAME=VALUE"),
            (vec!["card-signing", "--key", &path("good.pem"), "--file", &path("bad.toml")], 3, "temporary-card"),
            (
                [
                    vec!["card-authentication", "--key", &path("good.pem"), "--file", &path("strict.toml")],
                    card.to_vec(),
                ]
                .concat(),
                3,
                "needs alternative names of kind sid",
            ),
            (
                [vec!["card-signing", "--key", &path("good.pem"), "--issuer", &path("good.pem")], card.to_vec()]
                    .concat(),
                3,
                "the issuer's certificate",
            ),
        ] {
            let output = run(&deployment, &[&["profile", "preview"][..], &arguments].concat()).await;
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
            assert!(said(&output).contains(words), "{words}: {}", said(&output));
        }
    });
}

// conformance: E10
#[test]
fn the_version_of_the_profiles_stands_in_the_record_of_each_certificate() {
    isolated(async |home| {
        let mut world = World::new(&home).await;
        let shipped = ProfileSet::load(config::SHIPPED_PROFILES_TOML, "").unwrap();
        let before = world.card().await;
        assert_eq!(world.record(&before.authentication_certificate).profile_version, shipped.version());

        let file = world.config.profiles_file.clone();
        let text = config::SHIPPED_PROFILES_TOML.replacen("life = \"730d\"", "life = \"700d\"", 1);
        let changed = ProfileSet::load(&text, "").unwrap();
        fs::write(&file, &text).unwrap();
        let person = world.person().await;
        let unaware = world.issuer.personalise(PaperCard::new(), &person).await;
        assert_eq!(world.record(&unaware.authentication_certificate).profile_version, shipped.version());

        world = world.restart().await;
        let after = world.card().await;
        for certificate in [&after.authentication_certificate, &after.signing_certificate] {
            assert_eq!(world.record(certificate).profile_version, changed.version());
        }
        assert_eq!(world.record(&before.authentication_certificate).profile_version, shipped.version());
        assert_eq!(world.status().await.profiles_version, changed.version());
    });
}
