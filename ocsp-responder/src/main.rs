//! `ocsp-responder`: an OCSP responder on a machine of its own, on the command line.
//!
//! Thin: parse, one call, report. Results go to standard output; logs go to standard error.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use config::ResponderConfig;

/// An OCSP responder that follows a CA's status feed, and holds neither a database nor a CA key.
#[derive(Debug, Parser)]
#[command(
    name = "ocsp-responder",
    version,
    propagate_version = true,
    after_help = "Exit codes: 0 done; 1 failed; 2 wrong arguments or configuration; 3 refused by the CA, or not possible \
                  in this state; 4 not reachable or busy: try again; 5 a token refused its PIN: do not try again, \
                  it may lock."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// The responder's configuration.
    #[arg(
        long,
        global = true,
        env = "CARDINAL_OCSP_RESPONDER",
        default_value = "ocsp-responder.toml",
        value_name = "FILE"
    )]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look at the configuration, without the network.
    Check,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Check => check(&cli.config),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "ocsp-responder: {error}");
            ExitCode::from(2)
        }
    }
}

fn check(path: &std::path::Path) -> Result<(), config::Error> {
    let config = ResponderConfig::load(path)?;
    // Whoever closed the pipe does not want to read on.
    let _ = writeln!(std::io::stdout(), "{} follows {}", config.name, config.server);
    Ok(())
}
