//! A service in a process of its own, for tests that kill it. Only tests run it.
//!
//! - `doomed-server serve CONFIG`: as `cardinal serve`. With a step's name in `DOOMED_AT`, the process kills itself when
//!   an issuance or a rotation has done that step: at once, as `kill -9` does it.
//! - `doomed-server init CONFIG`: as the part of `cardinal init` that makes tokens and hierarchy.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use config::Config;
use rustix::process::{Signal, getpid, kill_process};
use server::steps::{Step, Steps};
use server::{Edge, FirstOrganisation};

/// Ends the process at a step.
struct Doom(Option<String>);

impl Steps for Doom {
    fn done(&self, step: Step) {
        if self.0.as_deref() == Some(&step.name()) {
            kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
            // Nothing more is done on this thread until the signal is there.
            loop {
                std::thread::park();
            }
        }
    }
}

fn run() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [command, path] = arguments.as_slice() else { return Err("doomed-server serve|init CONFIG".to_owned()) };
    let config = Config::load(Path::new(path)).map_err(|error| error.to_string())?;
    match command.as_str() {
        "serve" => {
            let edge = Edge { steps: Arc::new(Doom(std::env::var("DOOMED_AT").ok())), ..Edge::default() };
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            runtime.block_on(server::serve(config, edge)).map_err(|error| error.to_string())
        }
        "init" => {
            let first = FirstOrganisation { code: "RX1".to_owned(), name: "Example Trust".to_owned() };
            server::initialise(&config, &first, "uid 0").map(|_| ()).map_err(|error| error.to_string())
        }
        other => Err(format!("there is no command {other:?}")),
    }
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the test reads it")]
            {
                eprintln!("{error}");
            }
            ExitCode::FAILURE
        }
    }
}
