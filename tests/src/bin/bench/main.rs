//! `make bench`: what the service does per second, beside what its token, its disk and a bare HTTP server do in the same
//! run.
//!
//! Every figure is of this machine at this moment, and client and service share its processors: read the ratios and the
//! processor time per operation rather than the rates. Nothing is asserted about time; wrong answers end the run.
//!
//! The program starts itself three times more: with a SoftHSM of its own in a temporary directory, as the service, and as
//! the server of a static answer, so that the processor time of each can be told apart.

mod commits;
mod cost;
mod issuance;
mod ocsp;
mod process;
mod report;
mod revocation;
mod site;
mod token;
mod wire;

use std::env;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};

use tests::{Home, isolated};

use crate::cost::Watch;
use crate::issuance::Baseline;
use crate::process::Helper;
use crate::report::Report;
use crate::site::Desks;

/// Where the harness expects the path of the directory that the run has for itself.
const HOME: &str = "CARDINAL_TEST_HOME";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", config] => process::serve(Path::new(config)),
        ["static", address, octets] => process::serve_static(address, octets),
        [] | ["--json"] if env::var_os(HOME).is_none() => return in_own_directory(&arguments),
        [] => isolated(async |home| say(&run(&home).await.text())),
        ["--json"] => isolated(async |home| say(&run(&home).await.json())),
        _ => {
            tell("usage: bench [--json]");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
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

async fn run(home: &Home) -> Report {
    let mut report = Report::begin();
    let own = Watch::own();
    tell("keys in the token and in memory");
    let signing = token::Bench::open().await;
    signing.run(&own, &mut report).await;
    tell("the store");
    let store = commits::Bench::open(home).await;
    store.run(&own, &mut report).await;

    tell("a deployment, its stations and their cards");
    let site = site::initialise(home).await;
    let service = Helper::serving(&site::config_file(home)).await;
    let watch = Watch::of(&service);
    let desks = Desks::open(&site).await;
    tell("issuance");
    let cards = issuance::run(&desks, &Baseline { token: &signing, store: &store }, &watch, &mut report).await;
    tell("OCSP");
    let asked = ocsp::run(&site, &cards, &watch, &mut report).await;
    tell("revocation");
    revocation::run(&site, &desks, &cards[asked..], &watch, &mut report).await;
    service.stop().await;
    report.end()
}
