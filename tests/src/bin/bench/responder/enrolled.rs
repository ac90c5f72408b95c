//! Responders of their own: the program `ocsp-responder`, enrolled at the service, with a directory and doors of its own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use api::admin::CodeReply;
use api::responders::{ResponderCodeRequest, SignerKeys};
use config::ResponderDeployment;
use tests::deployment::Site;
use tests::{Ask, Door, eventually};

use crate::pin::Place;
use crate::process::{Helper, own_path};

/// An enrolled responder.
pub(crate) struct Enrolled {
    config: PathBuf,
    data: PathBuf,
    log: PathBuf,
    /// Where it answers.
    pub(crate) address: SocketAddr,
    /// Where it tells how it is.
    pub(crate) operations: SocketAddr,
}

/// A code for a responder of this name.
pub(crate) async fn code(site: &Site, name: &str) -> String {
    let request = ResponderCodeRequest { name: name.to_owned(), signer_keys: SignerKeys::Memory };
    let reply = site.admin().send(Ask::post("/responder-codes").json(&request)).await.expect(201);
    reply.read::<CodeReply>().code
}

impl Enrolled {
    /// Enrols the responder of this number; the service runs.
    pub(crate) async fn enrol(site: &Site, number: u16) -> Self {
        let name = format!("responder-{number}");
        let dir = site.home.file(&name);
        fs::create_dir_all(&dir).expect("a directory");
        let door = |port: u16| SocketAddr::new(site.home.address(), port + number);
        let (address, operations) = (door(18_080), door(19_090));
        let (config, data) = (dir.join("ocsp-responder.toml"), dir.join("data"));
        let deployment = ResponderDeployment {
            name: name.clone(),
            server: Some(format!("https://{}", site.config.listen.api)),
            data_dir: Some(data.clone()),
            public: Some(address),
            metrics: Some(operations),
        };
        let (text, _) = deployment.render(&config).expect("a configuration");
        fs::write(&config, text).expect("a file");
        let enrolled = Enrolled { config, data, log: dir.join("log"), address, operations };
        let mut command = enrolled.command();
        command.args(["enrol", "--code", &code(site, &name).await]);
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("a thread");
        let output = output.expect("`ocsp-responder` is built beside this program");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        enrolled
    }

    fn command(&self) -> Command {
        let mut command = Command::new(own_path().with_file_name("ocsp-responder"));
        command.arg("--config").arg(&self.config).stdin(Stdio::null()).env("RUST_LOG", "error");
        command
    }

    /// Starts it there.
    pub(crate) async fn start(&self, place: Place) -> Helper {
        let log = File::options().create(true).append(true).open(&self.log).expect("a log file");
        let mut command = self.command();
        command.arg("run").stdout(Stdio::null()).stderr(log);
        Helper::program(command, place).await
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn is_ready(&self) {
        eventually("a responder that is ready", async || {
            let reply = Door::Plain(self.operations).try_send(Ask::get("/readyz")).await.ok()?;
            (reply.status == 200).then_some(())
        })
        .await;
    }

    /// Takes its replica away; it does not run.
    pub(crate) fn forget(&self) {
        fs::remove_dir_all(self.data.join("replica")).expect("the replica of a responder that is stopped");
    }
}
