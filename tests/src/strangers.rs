//! Programs of others that stand around the service: clients that run and end, and servers on addresses of the test.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;

use crate::PATIENCE;

/// What a program printed on both streams together, and whether it says that all went well.
///
/// # Panics
/// When there is no such program.
pub fn run(dir: &Path, program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).current_dir(dir).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: `make setup` installs it"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// A server that runs until this is dropped.
#[derive(Debug)]
pub struct Stranger {
    child: Child,
    log: PathBuf,
}

impl Stranger {
    /// nginx with this configuration for its `http` block; `dir` is where it has everything.
    ///
    /// # Panics
    /// When it is not installed, or does not listen at `address`.
    pub async fn nginx(dir: &Path, http: &str, address: SocketAddr) -> Self {
        fs::create_dir_all(dir).expect("a directory");
        let place = |name: &str| dir.join(name).display().to_string();
        // A worker of root's master becomes nobody, who cannot enter a test's directory.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("    {kind}_temp_path {};\n", place(&format!("{kind}.tmp"))))
            .concat();
        let text = format!(
            "daemon off;\n{user}\nworker_processes 1;\npid {};\nerror_log {} info;\nevents {{ worker_connections 128; \
             }}\nhttp {{\n    access_log off;\n{temporary}{http}\n}}\n",
            place("nginx.pid"),
            place("log"),
        );
        fs::write(dir.join("nginx.conf"), text).expect("a file");
        let mut command = Command::new(program("nginx", &["/usr/sbin/nginx"]));
        command.args(["-p", &place(""), "-e", &place("log"), "-c", &place("nginx.conf")]);
        Stranger::start(command, dir.join("log"), address).await
    }

    /// Apache's httpd with this configuration; `dir` is where it has everything. Its pages come from no files.
    ///
    /// # Panics
    /// When it is not installed, or does not listen at `address`.
    pub async fn apache(dir: &Path, server: &str, address: SocketAddr) -> Self {
        fs::create_dir_all(dir).expect("a directory");
        let place = |name: &str| dir.join(name).display().to_string();
        let modules = ["/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/lib/httpd/modules"];
        let modules = modules.into_iter().find(|path| Path::new(path).is_dir()).expect("Apache's modules");
        // One that is built in may be loaded as well; one that is missing may be built in.
        let load: String = ["mpm_event", "unixd", "authz_core", "ssl", "status"]
            .into_iter()
            .filter(|name| Path::new(modules).join(format!("mod_{name}.so")).exists())
            .map(|name| format!("LoadModule {name}_module {modules}/mod_{name}.so\n"))
            .collect();
        let text = format!(
            "ServerRoot \"{root}\"\nServerName localhost\nPidFile \"{pid}\"\nErrorLog \"{log}\"\nLogLevel warn ssl:info\n\
             {load}User #65534\nGroup #65534\nMutex sem\nDocumentRoot \"/\"\nListen {address}\n{server}\n",
            root = place(""),
            pid = place("httpd.pid"),
            log = place("log"),
        );
        fs::write(dir.join("httpd.conf"), text).expect("a file");
        let mut command = Command::new(program("apache2", &["/usr/sbin/apache2", "/usr/sbin/httpd"]));
        command.args(["-D", "FOREGROUND", "-f", &place("httpd.conf")]);
        Stranger::start(command, dir.join("log"), address).await
    }

    async fn start(mut command: Command, log: PathBuf, address: SocketAddr) -> Self {
        let output = fs::File::create(log.with_extension("output")).expect("a file");
        let errors = output.try_clone().expect("a file");
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut stranger = Stranger { child, log };
        let began = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            let ended = stranger.child.try_wait().expect("a process");
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "{ended:?}: {}", stranger.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stranger
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        let read =
            |path: &Path| fs::read(path).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
        read(&self.log) + &read(&self.log.with_extension("output"))
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        // Killed at once, it would leave its workers behind.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if pid.is_none_or(|pid| kill_process(pid, Signal::TERM).is_err()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The program, where it is; `setup.sh tests` unpacks what would come with a service under `target/strangers`.
fn program(name: &str, places: &[&str]) -> PathBuf {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/strangers/usr/sbin").join(name);
    let found = places.iter().map(PathBuf::from).chain([unpacked]).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("there is no {name}: run `make setup`"))
}
