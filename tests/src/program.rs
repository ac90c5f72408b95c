//! The house's own programs. Cargo tells a test only the programs of its own package, so they are looked for beside it.

use std::path::PathBuf;
use std::process::Command;

/// Where a program is; its package is built where it is missing.
///
/// # Panics
/// When it cannot be built.
pub fn program(name: &str, package: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // target/PROFILE/deps/TEST, or target/PROFILE/PROGRAM
    let profile = test.ancestors().skip(1).find(|dir| dir.file_name().is_none_or(|name| name != "deps"));
    let profile = profile.expect("a directory of Cargo's");
    let program = profile.join(name);
    if !program.is_file() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--package", package, "--target-dir"]).arg(profile.parent().expect("Cargo's directory"));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo starts").success(), "{build:?}");
    }
    program
}

/// Where `cardinal` is.
pub fn cardinal() -> PathBuf {
    program("cardinal", "cli")
}

/// Where `ocsp-responder` is.
pub fn ocsp_responder() -> PathBuf {
    program("ocsp-responder", "ocsp-responder")
}
