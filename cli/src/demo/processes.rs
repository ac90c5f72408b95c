//! The demo's processes: the service, a responder beside it, and one for each command at the station.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
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

    /// Where `ocsp-responder` is: beside this program.
    pub(crate) fn responder(&self) -> Result<PathBuf, Error> {
        let program = self.binary.with_file_name("ocsp-responder");
        if program.is_file() {
            return Ok(program);
        }
        let (program, dir) = (program.display(), self.binary.parent().unwrap_or(Path::new(".")).display());
        Err(Error::Demo(format!(
            "{program} is not there: build it by `cargo build --release --bin ocsp-responder`, or put it into {dir}"
        )))
    }

    /// A command of `ocsp-responder`.
    fn responder_command(&self, config: &Path) -> Result<Command, Error> {
        let mut command = Command::new(self.responder()?);
        command.env("SOFTHSM2_CONF", self.files.softhsm()).arg("--config").arg(config).stdin(Stdio::null());
        Ok(command)
    }

    /// Enrols a responder by a code.
    pub(crate) async fn enrol_responder(&self, config: &Path, code: &str) -> Result<(), Error> {
        let failed = |error: std::io::Error| Error::System(format!("ocsp-responder does not start: {error}"));
        let mut command = self.responder_command(config)?;
        // Not as an argument: every user of the machine sees those.
        command.args(["enrol", "--code", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = process.stdin.take() {
            stdin.write_all(code.as_bytes()).await.map_err(failed)?;
        }
        let output = process.wait_with_output().await.map_err(failed)?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr);
        Err(Error::Demo(format!("`ocsp-responder enrol` failed: {}", words.trim())))
    }

    /// Starts a responder, and waits until it is ready.
    pub(crate) async fn follow(&self, config: &Path, operations: SocketAddr) -> Result<Service, Error> {
        let mut command = self.responder_command(config)?;
        command.arg("run");
        let mut responder = Service::start("the responder", command, self.files.dir.join("responder.log"))?;
        responder.wait(async || is_ready(operations).await).await?;
        Ok(responder)
    }

    /// Starts the service, and waits until it is ready.
    pub(crate) async fn serve(&self) -> Result<Service, Error> {
        let mut command = self.command();
        command.arg("serve");
        let mut service = Service::start("the service", command, self.files.dir.join("server.log"))?;
        // The socket is there before the service is ready, so it is asked; a refusal means that it starts up.
        let ready = async || {
            let said = self.try_run(&["status"]).await;
            said.is_ok_and(|said| said.value.get("ready") == Some(&Value::Bool(true)))
        };
        service.wait(ready).await?;
        Ok(service)
    }
}

/// Whether `/readyz` at this door says yes.
async fn is_ready(operations: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(operations).await?;
        stream
            .write_all(format!("GET /readyz HTTP/1.1\r\nHost: {operations}\r\nConnection: close\r\n\r\n").as_bytes())
            .await?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await?;
        Ok::<bool, std::io::Error>(reply.starts_with(b"HTTP/1.1 200"))
    };
    ask.await.unwrap_or(false)
}

/// A process that goes on beside the tour.
pub(crate) struct Service {
    what: &'static str,
    child: Child,
    log: PathBuf,
}

impl Service {
    fn start(what: &'static str, mut command: Command, log: PathBuf) -> Result<Self, Error> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).map_err(Error::file(&log))?;
        let child = command.stdout(Stdio::null()).stderr(file).kill_on_drop(true).spawn();
        let child = child.map_err(|error| Error::System(format!("{what} does not start: {error}")))?;
        Ok(Service { what, child, log })
    }

    /// Waits until it is ready.
    async fn wait(&mut self, ready: impl AsyncFn() -> bool) -> Result<(), Error> {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(Error::Demo(format!("{} ended with {status}: {}", self.what, self.last_words())));
            }
            if ready().await {
                return Ok(());
            }
            if tokio::time::Instant::now() > until {
                return Err(Error::Demo(format!("{} did not become ready: {}", self.what, self.last_words())));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => format!("{} ended with {status}: {}", self.what, self.last_words()),
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
            Ok(Ok(status)) => Err(Error::Demo(format!("{} ended with {status}: {}", self.what, self.last_words()))),
            Ok(Err(error)) => Err(Error::System(error.to_string())),
            Err(_) => Err(Error::Demo(format!("{} did not stop", self.what))),
        }
    }
}
