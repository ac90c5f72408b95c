//! An OCSP responder in a process of its own, for tests that kill it. Only tests run it.
//!
//! `doomed-responder CONFIG`: as `ocsp-responder run`. With the name of a step of writing the replica in `DOOMED_AT`, the
//! process kills itself when it has done that step: at once, as `kill -9` does it. With a path in `DOOMED_WHEN`, only from
//! the time on that there is such a file.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use config::ResponderConfig;
use ocsp_responder::node::replica_dir::{ReplicaStep, ReplicaSteps};
use ocsp_responder::node::run::{serve, system_clock};
use rustix::process::{Signal, getpid, kill_process};

/// Ends the process at a step.
struct Doom {
    at: Option<String>,
    when: Option<PathBuf>,
}

impl ReplicaSteps for Doom {
    fn done(&self, step: ReplicaStep) -> io::Result<()> {
        let armed = self.when.as_ref().is_none_or(|path| path.exists());
        if armed && self.at.as_deref() == Some(step.name()) {
            kill_process(getpid(), Signal::KILL)?;
            // Nothing more is done on this thread until the signal is there.
            loop {
                std::thread::park();
            }
        }
        Ok(())
    }
}

fn run() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path] = arguments.as_slice() else { return Err("doomed-responder CONFIG".to_owned()) };
    let config = ResponderConfig::load(Path::new(path)).map_err(|error| error.to_string())?;
    let when = std::env::var_os("DOOMED_WHEN").map(PathBuf::from);
    let doom = Arc::new(Doom { at: std::env::var("DOOMED_AT").ok(), when });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(serve(config, system_clock(), doom)).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
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
