//! A process and a SoftHSM of its own for each test.
//!
//! SoftHSM reads SOFTHSM2_CONF from the environment, and a module is initialised once per process. So [`isolated`] starts
//! the test binary again for the one test, with an environment that leads to a temporary directory.

use std::any::type_name;
use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

/// The module that stands for the card readers and the CA's token.
pub const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

const HOME: &str = "CARDINAL_TEST_HOME";

/// No test takes longer.
const LONGEST: Duration = Duration::from_secs(180);

/// Where one test has everything.
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

impl Home {
    /// A file or directory in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// An address of this machine that no other test has: a process's own part of 127.0.0.0/8. So the ports can be the
    /// usual ones, and nobody takes them between the choice and the use.
    pub fn address(&self) -> IpAddr {
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        Ipv4Addr::new(127, 100 + high % 100, middle, low).into()
    }

    /// Sets what the faulty module does wrong from now on (see the crate `faulty-pkcs11`).
    pub fn plan(&self, text: &str) {
        let next = self.file("plan.next");
        fs::write(&next, text).expect("the plan is written");
        fs::rename(next, self.file("plan")).expect("the plan is put in place");
    }

    /// How often a function of the faulty module was called.
    pub fn calls(&self, function: &str) -> usize {
        let log = fs::read_to_string(self.file("log")).unwrap_or_default();
        log.lines().filter(|line| line.split(' ').next() == Some(function)).count()
    }
}

/// Runs something, for as long as it takes, in a process that was given its directory and its SoftHSM in the environment.
///
/// # Panics
/// When it was not.
pub fn at_home<F: AsyncFnOnce(Home)>(work: F) {
    let home = env::var_os(HOME).expect("a directory in the environment");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(work(Home(home.into())));
}

/// Runs a test in a process of its own.
///
/// # Panics
/// When the test fails there.
pub fn isolated<F: AsyncFnOnce(Home)>(test: F) {
    if env::var_os(HOME).is_some() {
        return at_home(async |home| {
            tokio::time::timeout(LONGEST, test(home)).await.expect("the test ends in time");
        });
    }
    // The closure's type is called `crate::module::name_of_the_test::{{closure}}`.
    let name = type_name::<F>().split("::").skip(1).take_while(|part| !part.starts_with('{')).collect::<Vec<_>>();
    let name = name.join("::");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let home = Home(directory.path().to_owned());
    fs::create_dir(home.file("tokens")).expect("a directory for tokens");
    let configuration = format!("directories.tokendir = {}\nlog.level = ERROR\n", home.file("tokens").display());
    fs::write(home.file("softhsm2.conf"), configuration).expect("a configuration file");
    let child = Command::new(env::current_exe().expect("a test knows its own path"))
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
