//! The program itself.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::Path;
use std::process::{Command, Output};

pub(crate) use tests::program::cardinal;

/// Runs a command of it on this configuration, and waits for its end.
pub(crate) fn run(config: &Path, arguments: &[&str]) -> Output {
    Command::new(cardinal()).arg("--config").arg(config).args(arguments).output().unwrap()
}
