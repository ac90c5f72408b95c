//! `cardinal demo`: the whole way, from nothing to a revoked card, on real components.
//!
//! The tour runs the same commands that an operator would, each as a process of its own: PKCS#11 modules keep one
//! context per process, and a station is no part of the server.

mod files;
mod openssl;
mod processes;
mod story;
mod tour;

use crate::args::DemoArgs;
use crate::commands::{Context, wait};
use crate::error::Error;

/// Runs the tour; then stays up, or ends with `--once`.
pub(crate) fn run(context: &Context, args: &DemoArgs) -> Result<(), Error> {
    wait(tour::run(context.format, args))
}
