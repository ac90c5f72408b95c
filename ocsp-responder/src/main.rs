//! `ocsp-responder`: an OCSP responder on a machine of its own, on the command line.
//!
//! Thin: parse, one call, report. Results go to standard output, as text or with `--json`; logs go to standard error.

use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use api::EnrolmentCode;
use clap::{Args, Parser, Subcommand};
use config::{Log, LogFormat, ResponderConfig};
use ocsp_responder::node::enrol::{Enrolment, join};
use ocsp_responder::node::replica_dir::Unwatched;
use ocsp_responder::node::{NodeError, check, run};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

/// An OCSP responder that follows a CA's status feed, and holds neither a database nor a CA key.
///
/// At the CA: `cardinal responder enrol NAME` prints a code. Here: `ocsp-responder enrol`, then `ocsp-responder run`.
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

    /// Print one JSON value instead of text.
    #[arg(long, global = true)]
    json: bool,

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
    /// Get a client certificate from the CA by a single-use code, and write the configuration if there is none.
    Enrol(EnrolArgs),
    /// Answer, and follow the CA's status feed, until SIGTERM.
    Run,
    /// Look at configuration, identity, keys and replica, without the network; a responder may run meanwhile.
    ///
    /// Exit code 0 when it can start, also with warnings: those are of what `run` fetches anew by itself. 1 with a PROBLEM.
    Check,
}

#[derive(Debug, Args)]
struct EnrolArgs {
    /// The CA's API, https://HOST:PORT; the configuration's when left out.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The name that the code was made for; the configuration's when left out.
    #[arg(long)]
    name: Option<String>,
    /// The code that `cardinal responder enrol NAME` printed; `-` reads it from standard input.
    #[arg(long)]
    code: String,
    /// Where its files go, when the configuration is written; `data` beside it when left out.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Enrol anew where a responder is enrolled already.
    #[arg(long)]
    replace: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Enrol(args) => enrol(&cli.config, args, cli.json),
        Command::Run => answer(&cli.config),
        Command::Check => look(&cli.config, cli.json),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "ocsp-responder: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints a result. Whoever closed the pipe does not want to read on.
fn print<T: Serialize>(json: bool, value: &T, text: impl FnOnce(&T) -> String) {
    let text = if json { serde_json::to_string_pretty(value).unwrap_or_default() } else { text(value) };
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// Logs on standard error, as the configuration says; `RUST_LOG` overrides the level.
fn start_logs(log: &Log) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(log.level.name()));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Json => builder.json().init(),
        _ => builder.with_target(false).with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
    }
}

fn wait<T>(work: impl Future<Output = Result<T, NodeError>>) -> Result<T, NodeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| NodeError::System(format!("the async runtime does not start: {error}")))?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}

#[derive(Serialize)]
struct Enrolled {
    name: String,
    server: String,
    deployment: String,
    config: PathBuf,
    data_dir: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
}

fn enrol(config: &Path, args: EnrolArgs, json: bool) -> Result<ExitCode, NodeError> {
    let text = if args.code == "-" {
        std::io::read_to_string(std::io::stdin())
            .map_err(|error| NodeError::Usage(format!("the code cannot be read from standard input: {error}")))?
    } else {
        args.code
    };
    let code: EnrolmentCode =
        text.parse().map_err(|error: api::code::InvalidCode| NodeError::Usage(error.to_string()))?;
    let EnrolArgs { server, name, data_dir, replace, .. } = args;
    let enrolment = Enrolment { server, name, code, config_file: config.to_owned(), data_dir, replace };
    let joined = wait(join(&enrolment))?;
    let enrolled = Enrolled {
        warning: joined.mismatch(),
        name: joined.config.name,
        server: joined.config.server,
        deployment: joined.enrolled.deployment,
        config: joined.config_file,
        data_dir: joined.config.data_dir,
    };
    print(json, &enrolled, |enrolled| {
        let Enrolled { name, server, deployment, config, .. } = enrolled;
        let warning = enrolled.warning.map_or_else(String::new, |warning| format!("\nMind: {warning}."));
        let config = config.display();
        format!(
            "{name} is enrolled: it follows {deployment} at {server}.{warning}\nNext: ocsp-responder run --config {config}"
        )
    });
    Ok(ExitCode::SUCCESS)
}

fn answer(path: &Path) -> Result<ExitCode, NodeError> {
    let config = ResponderConfig::load(path)?;
    start_logs(&config.log);
    wait(run::serve(config, run::system_clock(), Arc::new(Unwatched)))?;
    Ok(ExitCode::SUCCESS)
}

fn look(path: &Path, json: bool) -> Result<ExitCode, NodeError> {
    let config = ResponderConfig::load(path)?;
    let found = check::check(&config, run::system_clock()())?;
    print(json, &found, ToString::to_string);
    Ok(if found.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
