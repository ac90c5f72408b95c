//! The program itself. Cargo tells a test only the programs of its own package, so it is looked for beside the test.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where `cardinal` is; it is built where it is missing.
pub(crate) fn cardinal() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // target/PROFILE/deps/TEST
    let profile = test.ancestors().nth(2).unwrap();
    let program = profile.join("cardinal");
    if !program.is_file() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--package", "cli", "--target-dir"]).arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "{build:?}");
    }
    program
}

/// Runs a command of it on this configuration, and waits for its end.
pub(crate) fn run(config: &Path, arguments: &[&str]) -> Output {
    Command::new(cardinal()).arg("--config").arg(config).args(arguments).output().unwrap()
}
