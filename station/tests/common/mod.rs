//! What the tests share: a SoftHSM of their own, and servers that play the service.

// Each test binary uses a part of this.
#![allow(dead_code)]

pub(crate) mod service;
pub(crate) mod tls;

use std::any::type_name;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use hsm::{Module, Pin, TokenSelector};
use station::Card;

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";
const HOME: &str = "STATION_TEST_HOME";

pub(crate) const PASSCODE: &str = "482915";
pub(crate) const SO_PIN: &str = "73829104";

/// Where one test has its tokens and sockets.
#[derive(Clone)]
pub(crate) struct Home(PathBuf);

impl Home {
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Runs a test in a process of its own: SoftHSM reads its configuration from the environment, once per process.
pub(crate) fn isolated<F, R>(test: F)
where
    F: FnOnce(Home) -> R,
    R: Future<Output = ()>,
{
    if let Some(home) = std::env::var_os(HOME) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        return runtime.block_on(test(Home(home.into())));
    }
    // The closure's type is called `crate::name_of_the_test::{{closure}}`.
    let name = type_name::<F>().split("::").nth(1).expect("a closure inside a test function").to_owned();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let home = Home(directory.path().to_owned());
    fs::create_dir(home.file("tokens")).expect("a directory for tokens");
    let configuration = format!("directories.tokendir = {}\nlog.level = ERROR\n", home.file("tokens").display());
    fs::write(home.file("softhsm2.conf"), configuration).expect("a configuration file");
    let child = Command::new(std::env::current_exe().expect("a test knows its own path"))
        .args([&name, "--exact", "--nocapture"])
        .env(HOME, directory.path())
        .env("SOFTHSM2_CONF", home.file("softhsm2.conf"))
        .output()
        .expect("the test binary starts again");
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && output.contains("1 passed"),
        "{name} failed in its own process:\n{output}{}",
        String::from_utf8_lossy(&child.stderr)
    );
}

pub(crate) fn module() -> Arc<Module> {
    Module::load(Path::new(SOFTHSM)).unwrap()
}

/// A blank card, open.
pub(crate) fn blank_card(label: &str) -> Card {
    let module = module();
    let serial = station::blank::initialise(&module, label, &Pin::new(SO_PIN), &Pin::new(PASSCODE)).unwrap();
    Card::open(&module, &TokenSelector::Serial(serial), Pin::new(PASSCODE)).unwrap()
}
