//! The demo's processes: the service, and one for each command at the station.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::files::Files;
use crate::error::Error;

/// How long the service may take to be ready, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `cardinal` commands in the demo's directory.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    binary: PathBuf,
    files: Files,
}

/// What a command said.
pub(crate) struct Said {
    /// Whether it succeeded.
    pub(crate) success: bool,
    /// Its JSON, if it printed any.
    pub(crate) value: Value,
    /// Its words on standard error.
    pub(crate) words: String,
}

impl Commands {
    pub(crate) fn new(files: &Files) -> Result<Self, Error> {
        let binary =
            std::env::current_exe().map_err(|error| Error::System(format!("where is this program? {error}")))?;
        Ok(Commands { binary, files: files.clone() })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env("SOFTHSM2_CONF", self.files.softhsm())
            .env("CARDINAL_CONFIG", self.files.config())
            .env("CARDINAL_STATION", self.files.station())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end, whatever it says.
    pub(crate) async fn try_run(&self, arguments: &[&str]) -> Result<Said, Error> {
        let output = self.command().arg("--json").args(arguments).output().await;
        let output = output.map_err(|error| Error::System(format!("{arguments:?} does not start: {error}")))?;
        let value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Ok(Said { success: output.status.success(), value, words })
    }

    /// Runs a command that must succeed, and gives its JSON.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<Value, Error> {
        let said = self.try_run(arguments).await?;
        if said.success {
            return Ok(said.value);
        }
        Err(Error::Demo(format!("`cardinal {}` failed: {}", arguments.join(" "), said.words)))
    }

    /// Starts the service, and waits until it is ready.
    pub(crate) async fn serve(&self) -> Result<Service, Error> {
        let log = self.files.dir.join("server.log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).map_err(Error::file(&log))?;
        let child = self.command().arg("serve").stdout(Stdio::null()).stderr(file).kill_on_drop(true).spawn();
        let child = child.map_err(|error| Error::System(format!("the service does not start: {error}")))?;
        let mut service = Service { child, log };
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(status)) = service.child.try_wait() {
                return Err(Error::Demo(format!("the service ended with {status}: {}", service.last_words())));
            }
            // The socket is there before the service is ready, so it is asked; a refusal means that it starts up.
            if let Ok(said) = self.try_run(&["status"]).await
                && said.value.get("ready") == Some(&Value::Bool(true))
            {
                return Ok(service);
            }
            if tokio::time::Instant::now() > until {
                return Err(Error::Demo(format!("the service did not become ready: {}", service.last_words())));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The running service.
pub(crate) struct Service {
    child: Child,
    log: PathBuf,
}

impl Service {
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => format!("the service ended with {status}"),
            Err(error) => error.to_string(),
        }
    }

    /// Stops it in order.
    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        let pid = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            // An error would mean that it has ended already.
            let _ = kill_process(pid, Signal::TERM);
        }
        match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(Error::Demo(format!("the service ended with {status}: {}", self.last_words()))),
            Ok(Err(error)) => Err(Error::System(error.to_string())),
            Err(_) => Err(Error::Demo("the service did not stop".to_owned())),
        }
    }
}
