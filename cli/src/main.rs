//! `cardinal`: the service, its operation, the station and the demo, on the command line.
//!
//! Thin: parse, one call, report. Results go to standard output, as text or with `--json`; logs go to standard error.

mod args;
mod commands;
mod demo;
mod error;
mod report;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::failure(&error);
            error.exit_code()
        }
    }
}
