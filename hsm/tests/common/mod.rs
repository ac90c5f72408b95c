//! A SoftHSM of its own for each test.
//!
//! SoftHSM reads SOFTHSM2_CONF from the environment, and a module is initialised once per process. So each test runs in
//! a process of its own: [`isolated`] starts this test binary again for the one test, with an environment that leads to
//! a temporary directory.

// Each test binary uses a part of this.
#![allow(dead_code)]

use std::any::type_name;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use hsm::{Module, Pin, Token, TokenOptions, TokenSelector};

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";
const HOME: &str = "HSM_TEST_HOME";

pub(crate) const USER_PIN: &str = "482915";
pub(crate) const SO_PIN: &str = "73829104";
/// Few threads: each test is a process already.
pub(crate) const OPTIONS: TokenOptions = TokenOptions { sessions: 2, queue: 16 };

/// Where one test has its tokens.
pub(crate) struct Home(PathBuf);

/// Runs a test in a process of its own.
pub(crate) fn isolated<F: FnOnce(&Home)>(test: F) {
    if let Some(home) = std::env::var_os(HOME) {
        return test(&Home(home.into()));
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
        .env("FAULTY_PKCS11_REAL", SOFTHSM)
        .env("FAULTY_PKCS11_PLAN", home.file("plan"))
        .env("FAULTY_PKCS11_LOG", home.file("log"))
        .output()
        .expect("the test binary starts again");
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && output.contains("1 passed"),
        "{name} failed in its own process:\n{output}{}",
        String::from_utf8_lossy(&child.stderr)
    );
}

impl Home {
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Sets what goes wrong from now on (see the crate `faulty-pkcs11`).
    pub(crate) fn plan(&self, text: &str) {
        let next = self.file("plan.next");
        fs::write(&next, text).expect("the plan is written");
        fs::rename(next, self.file("plan")).expect("the plan is put in place");
    }

    /// How often a function was called.
    pub(crate) fn calls(&self, function: &str) -> usize {
        let log = fs::read_to_string(self.file("log")).unwrap_or_default();
        log.lines().filter(|line| line.split(' ').next() == Some(function)).count()
    }
}

pub(crate) fn softhsm() -> Arc<Module> {
    Module::load(Path::new(SOFTHSM)).unwrap()
}

pub(crate) fn faulty() -> Arc<Module> {
    Module::load(faulty_pkcs11::module_path()).unwrap()
}

pub(crate) fn new_token(module: &Arc<Module>, label: &str) -> TokenSelector {
    module.init_token(label, &Pin::new(SO_PIN), &Pin::new(USER_PIN)).unwrap()
}

pub(crate) fn open(module: &Arc<Module>, selector: &TokenSelector) -> Arc<Token> {
    Token::open(module, selector, Pin::new(USER_PIN), OPTIONS).unwrap()
}

/// A new token, open.
pub(crate) fn open_new(module: &Arc<Module>) -> Arc<Token> {
    open(module, &new_token(module, "test"))
}
