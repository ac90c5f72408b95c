//! OCSP responders as they run: processes of the program `ocsp-responder`, each with a directory and doors of its own,
//! that follow a deployment of the test.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use api::admin::CodeReply;
use api::responders::{
    ResponderCodeRequest, ResponderExpulsionReply, ResponderExpulsionRequest, ResponderView, SignerKeys,
};
use config::ResponderDeployment;
use pki::ocsp::CertStatus;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::deployment::Site;
use crate::{Ask, Deployment, Door, PATIENCE, eventually, program};

/// A responder that is enrolled. Its process does not outlive it.
#[derive(Debug)]
pub struct RemoteResponder {
    /// Its name.
    pub name: String,
    /// Its configuration file.
    pub config: PathBuf,
    /// Its data directory.
    pub data: PathBuf,
    public: SocketAddr,
    metrics: SocketAddr,
    process: Option<Child>,
    /// What it writes to standard error, of all its runs.
    log: PathBuf,
}

impl Drop for RemoteResponder {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Deployment {
    /// Enrols the responder of this number, with signer keys in memory.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn enrol_responder(&self, number: u16) -> RemoteResponder {
        self.enrol_responder_with(number, SignerKeys::Memory, &[]).await
    }

    /// Enrols the responder of this number, with these replacements in its configuration.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn enrol_responder_with(
        &self,
        number: u16,
        signer_keys: SignerKeys,
        changes: &[(&str, &str)],
    ) -> RemoteResponder {
        let responder = self.configured_responder(number, changes);
        let enrolled = responder.enrol(&self.responder_code(&responder.name, signer_keys).await);
        assert!(enrolled.is_ok(), "{enrolled:?}");
        responder
    }

    /// A code for a responder.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn responder_code(&self, name: &str, signer_keys: SignerKeys) -> String {
        let request = ResponderCodeRequest { name: name.to_owned(), signer_keys };
        let reply = self.admin().send(Ask::post("/responder-codes").json(&request)).await.expect(201);
        reply.read::<CodeReply>().code
    }

    /// The responders as the service knows them, its own one too.
    ///
    /// # Panics
    /// When it does not say.
    pub async fn responders(&self) -> Vec<ResponderView> {
        self.admin().send(Ask::get("/responders")).await.expect(200).read::<api::Page<ResponderView>>().items
    }

    /// Expels a responder, for good.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn expel(&self, name: &str) -> ResponderExpulsionReply {
        let request = ResponderExpulsionRequest { name: name.to_owned(), compromised: false, really: true };
        self.admin().send(Ask::post("/responders/expulsions").json(&request)).await.expect(200).read()
    }

    /// Waits until so many responders follow the feed and have seen all of it, the own one among them.
    pub async fn followed_by(&self, count: usize) {
        eventually("responders that follow the feed", async || {
            let all = self.responders().await;
            let with_all = all.iter().filter(|one| one.connected && one.lag_entries == Some(0));
            (with_all.count() == count).then_some(())
        })
        .await;
    }
}

impl Site {
    /// A responder that has a configuration, and is not enrolled.
    ///
    /// # Panics
    /// When the configuration cannot be written.
    pub fn configured_responder(&self, number: u16, changes: &[(&str, &str)]) -> RemoteResponder {
        let name = format!("responder-{number}");
        let dir = self.home.file(&name);
        fs::create_dir_all(&dir).expect("a directory");
        let door = |port: u16| SocketAddr::new(self.home.address(), port + number);
        let (config, data, public, metrics) =
            (dir.join("ocsp-responder.toml"), dir.join("data"), door(18080), door(19090));
        let responder = ResponderDeployment {
            name: name.clone(),
            server: Some(format!("https://{}", self.config.listen.api)),
            data_dir: Some(data.clone()),
            public: Some(public),
            metrics: Some(metrics),
        };
        let (text, _) = responder.render(&config).expect("a configuration");
        let text = crate::deployment::replaced(&text, changes);
        fs::write(&config, text).expect("a file");
        RemoteResponder { name, config, data, public, metrics, process: None, log: dir.join("log") }
    }
}

impl RemoteResponder {
    /// A command of the program on its configuration.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program::ocsp_responder());
        command.arg("--config").arg(&self.config).args(arguments).stdin(Stdio::null());
        command
    }

    /// Enrols it by a code.
    ///
    /// # Errors
    /// What the program says when it fails.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn enrol(&self, code: &str) -> Result<String, String> {
        self.enrol_with(code, &[])
    }

    /// Enrols it by a code, with these options.
    ///
    /// # Errors
    /// What the program says when it fails.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn enrol_with(&self, code: &str, options: &[&str]) -> Result<String, String> {
        let mut command = self.command(&[&["enrol", "--code", "-"], options].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("the program starts");
        let mut stdin = process.stdin.take().expect("its standard input");
        stdin.write_all(code.as_bytes()).expect("it reads");
        drop(stdin);
        let output = process.wait_with_output().expect("its end");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        if output.status.success() { Ok(said) } else { Err(said) }
    }

    /// Starts it, and waits until it is ready.
    ///
    /// # Panics
    /// When it ends, or does not become ready.
    pub async fn start(&mut self) {
        self.spawn(self.command(&["run"]));
        self.ready().await;
    }

    /// Starts a process for it, whatever becomes of that.
    ///
    /// # Panics
    /// When it cannot be started, or runs already.
    pub fn spawn(&mut self, mut command: Command) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(&self.log).expect("a log file");
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.process = Some(process.expect("the program starts"));
    }

    /// What it said on standard error so far.
    pub fn words(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its door for relying systems.
    pub fn public(&self) -> Door {
        Door::Plain(self.public)
    }

    /// Its door for operations.
    pub fn operations(&self) -> Door {
        Door::Plain(self.metrics)
    }

    /// What `/readyz` says, with the status; `None` while it does not answer.
    ///
    /// # Panics
    /// When what it says is no JSON.
    pub async fn readiness(&self) -> Option<(u16, Value)> {
        let reply = self.operations().try_send(Ask::get("/readyz")).await.ok()?;
        Some((reply.status, reply.read()))
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// When it ends, or does not become ready.
    pub async fn ready(&mut self) {
        let began = Instant::now();
        loop {
            let said = self.readiness().await;
            if matches!(said, Some((200, _))) {
                return;
            }
            let ended = self.process.as_mut().and_then(|process| process.try_wait().expect("a process"));
            assert_eq!(ended, None, "{} ended: {}", self.name, self.words());
            assert!(began.elapsed() < PATIENCE, "{} is not ready: {said:?}\n{}", self.name, self.words());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until it is ready, and nothing needs to be said.
    pub async fn is_well(&self) {
        eventually(&format!("{} to be well", self.name), async || {
            let (is, said) = self.readiness().await?;
            (is == 200 && said["warnings"] == Value::Array(Vec::new())).then_some(())
        })
        .await;
    }

    /// Waits until `/readyz` answers with this status and a text that has this in it.
    pub async fn says(&self, status: u16, word: &str) {
        eventually(&format!("{} to say {word:?}", self.name), async || {
            let (is, said) = self.readiness().await?;
            (is == status && said.to_string().contains(word)).then_some(())
        })
        .await;
    }

    /// Kills it, as `kill -9` does it.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("a process that runs");
        process.kill().expect("a process");
        process.wait().expect("a process");
    }

    /// Stops it in order.
    ///
    /// # Panics
    /// When it does not run, or ends with an error.
    pub async fn stop(&mut self) {
        let process = self.process.as_ref().expect("a process that runs");
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, Signal::TERM).expect("a process");
        let status = self.ended().await;
        assert!(status.success(), "{status}: {}", self.words());
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it does not.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("a process that runs");
        let began = Instant::now();
        loop {
            if let Some(status) = process.try_wait().expect("a process") {
                return status;
            }
            if began.elapsed() > PATIENCE {
                let _ = process.kill();
                panic!("{} does not end: {}", self.name, self.words());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until it has killed itself.
    ///
    /// # Panics
    /// When it ends otherwise, or does not.
    pub async fn killed_itself(&mut self) {
        let status = self.ended().await;
        assert_eq!(status.signal(), Some(9), "{status}: {}", self.words());
    }

    /// A number of its `/metrics`: the sum over all lines that begin so.
    ///
    /// # Panics
    /// When it does not answer, or there is no such line.
    pub async fn metric(&self, begins: &str) -> f64 {
        let reply = self.operations().send(Ask::get("/metrics")).await.expect(200);
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        let lines = text.lines().filter(|line| line.starts_with(begins));
        let numbers: Vec<f64> = lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        assert!(!numbers.is_empty(), "no {begins} in\n{text}");
        numbers.iter().sum()
    }

    /// What it says of a certificate, asked with a nonce and without one, and verified.
    ///
    /// # Panics
    /// When there is no answer that can be relied upon, or the two differ.
    pub async fn ocsp(&self, site: &Site, certificate: &[u8]) -> CertStatus {
        let with = site.ocsp_at(&self.public(), certificate).await;
        let without = site.ask_ocsp_at(&self.public(), certificate, None).await.map(|answer| answer.status);
        assert_eq!(without.as_ref(), Ok(&with), "{}: without a nonce, and with one", self.name);
        with
    }
}

/// Makes a SoftHSM token, as an operator would, and writes its PIN down.
///
/// # Panics
/// When `softhsm2-util` does not make it.
pub fn make_token(label: &str, pin: &str, pin_file: &Path) {
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", "0987654321"])
        .output()
        .expect("softhsm2-util is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let file = File::options().write(true).create_new(true).mode(0o600).open(pin_file);
    file.and_then(|mut file| file.write_all(pin.as_bytes())).expect("a PIN file");
}
