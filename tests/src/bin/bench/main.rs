//! `make bench`: what the service does per second, beside what its token, its disk and a bare HTTP server do in the same
//! run.
//!
//! Every figure is of this machine at this moment, and client and service share its processors: read the ratios and the
//! processor time per operation rather than the rates. Nothing is asserted about time; wrong answers end the run.
//!
//! Parts can be named (`bench felt start`), to be measured alone; `bench responder` measures the OCSP responder, all of it or
//! its own parts ([`responder`]). `BENCH_CERTIFICATES` is how many certificates the start is
//! measured with; 1,000,000 by default, which take some 8 GB in the temporary directory.
//!
//! The program starts itself several times more: with a SoftHSM of its own in a temporary directory, as the service, and as
//! servers of one answer for everything, so that the processor time of each can be told apart.

mod ceiling;
mod commits;
mod cost;
mod crl;
mod felt;
mod issuance;
mod ocsp;
mod pin;
mod process;
mod report;
mod responder;
mod revocation;
mod site;
mod start;
mod token;
mod wire;

use std::env;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};

use pki::KeyType;
use rustix::process::{Resource, getrlimit, setrlimit};
use tests::{Home, Options, at_home};

use crate::cost::Watch;
use crate::issuance::Baseline;
use crate::process::Helper;
use crate::report::Report;
use crate::site::Desks;

/// Where the harness expects the path of the directory that the run has for itself.
const HOME: &str = "CARDINAL_TEST_HOME";

/// What can be measured alone, in the order of the whole run.
const PARTS: [&str; 6] = ["felt", "issue", "ocsp", "rsa", "crl", "start"];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", config] => process::serve(Path::new(config)),
        ["static", address, octets] => process::serve_static(address, octets),
        ["replay", address, file] => process::serve_again(address, Path::new(file)),
        ["responder", ref rest @ ..] => return measure(&arguments, rest, true, &responder::PARTS),
        ref all => return measure(&arguments, all, false, &PARTS),
    }
    ExitCode::SUCCESS
}

/// Measures what is named, of the parts that there are.
fn measure(arguments: &[&str], named: &[&str], responder: bool, there_are: &[&str]) -> ExitCode {
    let known = |argument: &str| {
        argument == "--json" || there_are.contains(&argument) || (responder && argument == responder::EMBEDDED)
    };
    if !named.iter().all(|argument| known(argument)) {
        let which = if responder { "responder [embedded] " } else { "" };
        tell(&format!("usage: bench {which}[--json] [{}]", there_are.join("] [")));
        return ExitCode::from(2);
    }
    if env::var_os(HOME).is_none() {
        return in_own_directory(arguments);
    }
    let (json, embedded) = (named.contains(&"--json"), named.contains(&responder::EMBEDDED));
    let parts = Parts(named.iter().filter(|part| there_are.contains(part)).map(|part| (*part).to_owned()).collect());
    if responder {
        pin::take_places();
        more_files();
    }
    at_home(async move |home| {
        let report = match responder {
            true => responder::run(&home, embedded, &|part: &str| parts.has(part)).await,
            false => run(&home, &parts).await,
        };
        say(&if json { report.json() } else { report.text() });
    });
    ExitCode::SUCCESS
}

/// Attackers have thousands of connections, and so has who is attacked: as many open files as the system permits.
fn more_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

/// What is to be measured; nothing named is everything.
struct Parts(Vec<String>);

impl Parts {
    fn has(&self, part: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|named| named == part)
    }
}

/// Writes to standard output; whoever closed the pipe does not want to read on.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Says on standard error what is going on.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "bench: {text}");
}

/// SoftHSM reads its configuration from the environment when it is loaded, so the environment comes first.
fn in_own_directory(arguments: &[&str]) -> ExitCode {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (tokens, configuration) = (directory.path().join("tokens"), directory.path().join("softhsm2.conf"));
    fs::create_dir(&tokens).expect("a directory for tokens");
    let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
    fs::write(&configuration, text).expect("a configuration file");
    let status = Command::new(process::own_path())
        .args(arguments)
        .env(HOME, directory.path())
        .env("SOFTHSM2_CONF", configuration)
        .status()
        .expect("this program starts again");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(home: &Home, parts: &Parts) -> Report {
    let mut report = Report::begin();
    let own = Watch::own();
    let signing = token::Bench::open().await;
    let store = commits::Bench::open(home).await;
    tell("a deployment, its stations and their cards");
    let site = site::initialise(home, &Options { name: site::NAME, ..Options::default() }).await;
    if parts.has("felt") || parts.has("issue") || parts.has("ocsp") {
        let service = Helper::serving(&site::config_file(home, site::NAME)).await;
        let watch = Watch::of(&service);
        let desks = Desks::open(&site).await;
        let first = issuance::in_use(&desks, &watch).await;
        if parts.has("felt") {
            tell("a busy hour");
            felt::run(&site, &desks, &first, &watch, &mut report).await;
        }
        let mut cards = first;
        if parts.has("issue") {
            tell("keys in the token and in memory");
            signing.run(&own, &mut report).await;
            tell("the store");
            store.run(&own, &mut report).await;
            tell("issuance");
            let beside = Baseline { token: &signing, store: &store, ca: KeyType::P256 };
            cards = issuance::run(&desks, &beside, &issuance::P256, &watch, &mut report).await;
        }
        if parts.has("ocsp") {
            tell("OCSP");
            let asked = ocsp::run(&site, &cards, &watch, &mut report).await;
            tell("revocation");
            revocation::run(&site, &desks, &cards[asked.min(cards.len() / 2)..], &watch, &mut report).await;
        }
        service.stop().await;
    }
    if parts.has("rsa") {
        tell("issuance by CAs with RSA keys of 2048 bits");
        let config = vec![
            (
                "name = \"authentication\"\ncommon_name = \"Example Authentication CA\"\nkey_type = \"P-256\"",
                "name = \"authentication\"\ncommon_name = \"Example Authentication CA\"\nkey_type = \"RSA-2048\"",
            ),
            (
                "name = \"signing\"\ncommon_name = \"Example Signing CA\"\nkey_type = \"P-256\"",
                "name = \"signing\"\ncommon_name = \"Example Signing CA\"\nkey_type = \"RSA-2048\"",
            ),
        ];
        // As they ship, CA keys of this size are not certified; the issue asks how fast one would be.
        let key_types = r#"key_types = ["P-256", "P-384", "RSA-3072", "RSA-4096"]"#;
        let profiles = vec![(key_types, r#"key_types = ["P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096"]"#)];
        let options = Options { name: "rsa", ports: 200, config, profiles, ..Options::default() };
        let site = site::initialise(home, &options).await;
        let service = Helper::serving(&site::config_file(home, "rsa")).await;
        let watch = Watch::of(&service);
        let desks = Desks::open(&site).await;
        let beside = Baseline { token: &signing, store: &store, ca: KeyType::Rsa2048 };
        issuance::run(&desks, &beside, &issuance::RSA2048, &watch, &mut report).await;
        service.stop().await;
    }
    if parts.has("crl") {
        tell("a CRL of a million entries");
        crl::run(home, &site, &signing, &mut report).await;
    }
    if parts.has("start") {
        start::run(home, &mut report).await;
    }
    report.end()
}
