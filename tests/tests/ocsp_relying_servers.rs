//! nginx and Apache as relying systems: web servers that ask for a client's certificate and look its status up by OCSP.
//! A card that is good comes in, one on hold or cancelled does not, and while nobody answers nobody comes in.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tests::openssl::openssl;
use tests::strangers::{Stranger, run};
use tests::{Deployment, Home, Options, PaperCard, World, isolated};

/// A directory with what a web server needs: a key and certificate of its own, and the CAs whose cards come in.
fn server_files(deployment: &Deployment, home: &Home, name: &str) -> PathBuf {
    let dir = home.file(name);
    std::fs::create_dir_all(&dir).unwrap();
    let alternative_name = format!("subjectAltName=IP:{}", home.address());
    let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=relying -keyout \
                     server.key -out server.pem -addext";
    let arguments: Vec<_> = arguments.split_whitespace().chain([alternative_name.as_str()]).collect();
    openssl(&dir, &arguments).unwrap();
    let cas = [deployment.root(), deployment.issuer("authentication-1")];
    std::fs::write(dir.join("cas.pem"), pki::pem::encode_certificates(&cas)).unwrap();
    dir
}

/// A web server, and how a card knocks at it.
struct Door {
    dir: PathBuf,
    address: SocketAddr,
    server: Stranger,
}

impl Door {
    async fn nginx(deployment: &Deployment, home: &Home) -> Self {
        let (dir, address) = (server_files(deployment, home, "nginx"), SocketAddr::new(home.address(), 9443));
        let place = |name: &str| dir.join(name).display().to_string();
        let http = format!(
            "    server {{
                listen {address} ssl;
                ssl_certificate {};
                ssl_certificate_key {};
                ssl_client_certificate {};
                ssl_verify_client on;
                ssl_verify_depth 2;
                ssl_ocsp leaf;
                ssl_ocsp_responder http://{}/ocsp;
                location / {{ return 200 \"in: $ssl_client_s_dn\"; }}
            }}",
            place("server.pem"),
            place("server.key"),
            place("cas.pem"),
            deployment.config.listen.public,
        );
        let server = Stranger::nginx(&dir, &http, address).await;
        Door { dir, address, server }
    }

    async fn apache(deployment: &Deployment, home: &Home, nonce: &str) -> Self {
        let (dir, address) = (server_files(deployment, home, "apache"), SocketAddr::new(home.address(), 9444));
        let place = |name: &str| dir.join(name).display().to_string();
        let server = format!(
            "SSLEngine on\nSSLCertificateFile \"{}\"\nSSLCertificateKeyFile \"{}\"\nSSLCACertificateFile \"{}\"\n\
             SSLVerifyClient require\nSSLVerifyDepth 2\nSSLOCSPEnable leaf\nSSLOCSPDefaultResponder http://{}/ocsp\n\
             SSLOCSPOverrideResponder on\nSSLOCSPUseRequestNonce {nonce}\n<Location \"/\">\nSetHandler server-status\n\
             </Location>",
            place("server.pem"),
            place("server.key"),
            place("cas.pem"),
            deployment.config.listen.public,
        );
        let server = Stranger::apache(&dir, &server, address).await;
        Door { dir, address, server }
    }

    /// Whether a card comes in; each time by a connection of its own.
    fn lets_in(&self, card: &PaperCard) -> bool {
        let certificate = pki::pem::encode_certificates([&card.authentication_certificate]);
        std::fs::write(self.dir.join("card.pem"), certificate).unwrap();
        let key = pki::pem::encode("PRIVATE KEY", &card.authentication.to_pkcs8());
        std::fs::write(self.dir.join("card.key"), key).unwrap();
        let (succeeded, said) = knock(&self.dir, self.address, &["--cert", "card.pem", "--key", "card.key"]);
        assert!(!succeeded || said.ends_with("200"), "{said}");
        succeeded
    }

    /// That nobody comes in without a certificate: otherwise the rest would show nothing.
    fn assert_closed(&self) {
        assert!(!knock(&self.dir, self.address, &[]).0, "{}", self.server.log());
    }
}

fn knock(dir: &Path, address: SocketAddr, more: &[&str]) -> (bool, String) {
    let url = format!("https://{address}/");
    let common = ["-sS", "--fail", "--cacert", "server.pem", "-o", "page", "-w", "%{http_code}", &url];
    run(dir, "curl", &[&common[..], more].concat())
}

/// The whole story at one door.
async fn a_card_in_its_states(world: World, door: &Door) {
    let (card, other) = (world.card().await, world.card().await);
    door.assert_closed();
    assert!(door.lets_in(&card), "a good card: {}", door.server.log());
    world.issuer.suspend(&card, "investigation").await;
    assert!(!door.lets_in(&card), "a card on hold");
    assert!(door.lets_in(&other), "another's card: {}", door.server.log());
    world.issuer.resume(&card, "investigation").await;
    assert!(door.lets_in(&card), "a card off hold again: {}", door.server.log());
    world.issuer.cancel(&card, "lost").await;
    assert!(!door.lets_in(&card), "a cancelled card");

    let site = world.deployment.stop().await;
    assert!(!door.lets_in(&other), "a good card while nobody answers");
    let deployment = site.start().await;
    assert!(door.lets_in(&other), "a good card when somebody answers again: {}", door.server.log());
    assert!(!door.lets_in(&card), "a cancelled card after the restart");
    deployment.stop().await;
}

// conformance: O1, O2, O3, O6, O7, O12, H2, H9
#[test]
fn nginx_lets_good_cards_in_and_no_others() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let door = Door::nginx(&world, &home).await;
        a_card_in_its_states(world, &door).await;
    });
}

// conformance: O1, O2, O3, O6, O7, O12, O17
#[test]
fn apache_lets_good_cards_in_and_no_others() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let door = Door::apache(&world, &home, "on").await;
        a_card_in_its_states(world, &door).await;
    });
}

// conformance: O1, O2, O12
#[test]
fn both_take_answers_that_are_signed_with_rsa() {
    isolated(async |home| {
        let config = vec![("signer_key_types = [\"P-256\"]", "signer_key_types = [\"RSA-2048\"]")];
        let world = World::with(&home, &Options { config, ..Options::default() }).await;
        let (card, cancelled) = (world.card().await, world.card().await);
        world.issuer.cancel(&cancelled, "lost").await;
        for door in [Door::nginx(&world, &home).await, Door::apache(&world, &home, "off").await] {
            assert!(door.lets_in(&card), "{}", door.server.log());
            assert!(!door.lets_in(&cancelled));
        }
    });
}
