//! A test that runs itself again as a child process: the child is the test binary with the name of one test, which does
//! the child's part when the environment tells it the directory.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use store::{Batch, Put, Table};

const CHILD: &str = "CARDINAL_STORE_CHILD";

pub(crate) const ROWS: Table = Table::new("row");

/// The directory that this process is to work on as a child, if it is one.
pub(crate) fn child_dir() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// A command that runs `test` of this binary as a child on `dir`. `wrapper` is a shell command line that ends with
/// `exec "$0" "$@"`, or empty.
pub(crate) fn child(test: &str, dir: &Path, wrapper: &str) -> Command {
    let binary = std::env::current_exe().unwrap();
    let mut command = if wrapper.is_empty() {
        Command::new(binary)
    } else {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(wrapper).arg(binary);
        shell
    };
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, dir);
    command
}

/// Tells the parent something; lines that do not begin with `> ` are the test harness's.
pub(crate) fn tell(line: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    // The harness leaves its own line open.
    writeln!(out, "\n> {line}").unwrap();
    out.flush().unwrap();
}

pub(crate) fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Put {
    Put { table: ROWS, key: key.into(), value: Some(value.into()), terms: Vec::new() }
}

pub(crate) fn batch(put: impl IntoIterator<Item = Put>) -> Batch {
    Batch { at: 1, put: put.into_iter().collect(), ..Batch::default() }
}

/// A number below `end` that nobody can foresee.
pub(crate) fn random(end: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() % end
}

/// A copy of a directory with all below it.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
