//! A PKCS#11 module (v2.40) that passes its calls on to a real one and spoils those that a plan names: for faults that
//! SoftHSM never has, such as a locked PIN, a removed token or a full card. For tests only.
//!
//! It is steered by its environment, which is read at each call:
//!
//! - `FAULTY_PKCS11_REAL`: the real module; `/usr/lib/softhsm/libsofthsm2.so` when unset.
//! - `FAULTY_PKCS11_PLAN`: the plan file, see [`plan`]; without one every call is passed on.
//! - `FAULTY_PKCS11_LOG`: a file to which each call of the functions below adds a line, `FUNCTION DECISION`, before it is
//!   carried out: `C_Login pass`, `C_Sign CKR_DEVICE_REMOVED`.
//!
//! It can spoil the functions that work on slots, tokens, logins, objects and signatures: those named in `module.rs`.
//! Mind that a caller that asks for a signature's length first calls C_Sign twice for one signature.

mod module;
mod names;
pub mod plan;

use std::path::PathBuf;

/// The module's file name.
const FILE_NAME: &str = if cfg!(target_os = "macos") { "libfaulty_pkcs11.dylib" } else { "libfaulty_pkcs11.so" };

/// Where the module is, as a shared library: cargo builds it with this crate, beside the test that depends on it.
///
/// # Panics
/// When it is not there: the test cannot go on.
pub fn module_path() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // The test lies in target/PROFILE/deps with it, or is a program in target/PROFILE.
    let directories = test.ancestors().skip(1).take(2).flat_map(|directory| [directory.into(), directory.join("deps")]);
    directories
        .map(|directory: PathBuf| directory.join(FILE_NAME))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{FILE_NAME} is not beside {}: depend on faulty-pkcs11", test.display()))
}
