//! The commands: each reads its arguments, makes one call, and reports.

mod admin;
mod card;
mod desk;
mod init;
mod key;
mod person;
mod probe;
mod profile;
pub(crate) mod responder;
mod rotate;
mod store;

use std::future::Future;

use config::{Config, Log, LogFormat, StationConfig};
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command, DevCommand, StationCommand};
use crate::demo;
use crate::error::Error;
use crate::report::{self, Format};

/// What every command knows.
pub(crate) struct Context {
    /// How results are printed.
    pub(crate) format: Format,
    /// Where the service's configuration is.
    pub(crate) config: std::path::PathBuf,
    /// Where the station's configuration is.
    pub(crate) station: std::path::PathBuf,
}

impl Context {
    fn config(&self) -> Result<Config, Error> {
        Ok(Config::load(&self.config)?)
    }

    fn station(&self) -> Result<StationConfig, Error> {
        Ok(StationConfig::load(&self.station)?)
    }
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

/// Runs something async to its end.
pub(crate) fn wait<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::System(format!("the async runtime does not start: {error}")))?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}

/// Runs a command.
pub(crate) fn run(cli: Cli) -> Result<(), Error> {
    let format = if cli.json { Format::Json } else { Format::Text };
    let context = Context { format, config: cli.config, station: cli.station };
    match cli.command {
        Command::Demo(args) => demo::run(&context, &args),
        Command::Init(args) => init::run(&context, &args),
        Command::Serve => serve(&context),
        Command::Status => admin::status(&context),
        Command::Organisation(command) => admin::organisation(&context, command),
        Command::Operator(command) => admin::operator(&context, command),
        Command::Station(StationCommand::Enrol { name, ods }) => admin::station_code(&context, name, ods),
        Command::Station(command) => desk::station(&context, command),
        Command::Responder(command) => responder::run(&context, command),
        Command::Person(command) => person::run(&context, command),
        Command::Card(command) => card::run(&context, command),
        Command::Ca(command) => admin::ca(&context, &command),
        Command::Root(command) => rotate::root(&context, &command),
        Command::Probe(command) => probe::run(&context, command),
        Command::Rotate(command) => rotate::run(&context, command),
        Command::Profile(command) => profile::run(&context, &command),
        Command::Key(command) => key::run(&context, command),
        Command::Audit(command) => admin::audit(&context, &command),
        Command::Backup { file } => admin::backup(&context, &file),
        Command::VerifyBackup { file } => store::verify(&context, &file),
        Command::Restore { file, replace, yes } => store::restore(&context, &file, replace, yes),
        Command::Openapi => {
            report::result(Format::Json, &server::openapi(), |_| String::new());
            Ok(())
        }
        Command::Dev(DevCommand::BlankCard { label, so_pin_file, passcode_file, module }) => {
            desk::blank_card(&context, &label, &so_pin_file, &passcode_file, module)
        }
    }
}

fn serve(context: &Context) -> Result<(), Error> {
    let config = context.config()?;
    start_logs(&config.log);
    wait(async { Ok(server::serve(config, server::Edge::default()).await?) })
}
