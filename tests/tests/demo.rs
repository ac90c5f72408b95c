//! `cardinal demo`, the program itself: what it shows, what its report promises, and that nothing is left of it.

mod cardinal;

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Deserializer, Value};
use tests::openssl::openssl;

const DOORS: [&str; 6] = ["--api", "--public", "--metrics", "--relying", "--responder", "--responder-metrics"];

/// A directory and free ports.
struct Stage {
    dir: tempfile::TempDir,
    doors: [SocketAddr; DOORS.len()],
}

impl Stage {
    fn new() -> Self {
        // Beside it, where the demo looks for it.
        tests::program::ocsp_responder();
        // Below those that the system gives to whoever connects: nobody takes one between the choice and the use.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let own = 12_000 + u16::try_from(std::process::id() % 1_000).unwrap() * 16;
        let doors = DOORS.map(|_| {
            loop {
                let port = own + NEXT.fetch_add(1, Ordering::Relaxed) % 4_000;
                if let Ok(free) = TcpListener::bind(("127.0.0.1", port)) {
                    break free.local_addr().unwrap();
                }
            }
        });
        Stage { dir: tempfile::tempdir().unwrap(), doors }
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(cardinal::cardinal());
        command.args(["demo", "--dir"]).arg(self.dir.path()).args(options);
        for (option, address) in DOORS.iter().zip(self.doors) {
            command.arg(option).arg(address.to_string());
        }
        command.stdin(Stdio::null());
        command
    }

    /// No door answers, and no process has this directory in its environment.
    fn nothing_is_left(&self) {
        for door in self.doors {
            assert!(TcpStream::connect(door).is_err(), "{door} is still open");
        }
        let dir = self.dir.path().display().to_string();
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let path = process.path();
            let environment = std::fs::read(path.join("environ")).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&environment).contains(&dir), "{} is left", path.display());
        }
    }
}

fn report_of(output: &[u8]) -> Value {
    serde_json::from_slice(output).expect("one JSON value and nothing else")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// The certificates of a report are where it says, by its issuers, and as it says.
fn certificates_are_there(report: &Value) {
    let certificates = report["certificates"].as_array().unwrap();
    let expected: Vec<&str> = certificates.iter().map(|one| text(one, "expected")).collect();
    for status in ["good", "on_hold", "revoked"] {
        assert!(expected.contains(&status), "{expected:?}");
    }
    let profiles: Vec<&str> = certificates.iter().map(|one| text(one, "profile")).collect();
    assert!(profiles.contains(&"card-authentication") && profiles.contains(&"card-signing"), "{profiles:?}");
    let root = PathBuf::from(text(&report["files"], "root_certificate"));
    for certificate in certificates {
        let (path, issuer) = (text(certificate, "path"), text(certificate, "issuer_certificate"));
        assert!(Path::new(path).is_file(), "{path}");
        let dir = Path::new(path).parent().unwrap();
        let root = root.display().to_string();
        let verified = openssl(dir, &["verify", "-x509_strict", "-CAfile", &root, "-untrusted", issuer, path]).unwrap();
        assert!(verified.contains(": OK"), "{verified}");
        let serial = openssl(dir, &["x509", "-in", path, "-noout", "-serial"]).unwrap();
        assert!(serial.trim().eq_ignore_ascii_case(&format!("serial={}", text(certificate, "serial"))), "{serial}");
        let ocsp = openssl(dir, &["x509", "-in", path, "-noout", "-ocsp_uri"]).unwrap();
        assert_eq!(ocsp.trim(), text(&report["urls"], "ocsp"));
    }
    for (name, file) in report["files"].as_object().unwrap() {
        // The socket is there while the service runs.
        assert!(name == "admin_socket" || Path::new(file.as_str().unwrap()).is_file(), "{name}: {file}");
    }
    let steps = report["steps"].as_array().unwrap();
    assert!(steps.len() > 8, "{report}");
    assert!(steps.iter().any(|step| text(step, "step").contains("seen by 2 of 2 responders")), "{report}");
}

/// The commands of a report, repeated as a reader would.
fn commands_agree(report: &Value) {
    let checks = report["openssl"].as_array().unwrap();
    assert!(checks.len() > 10, "{checks:?}");
    for check in checks {
        let (command, expected) = (text(check, "command"), text(check, "expected"));
        assert!(command.starts_with("openssl "), "{command}");
        let output = Command::new("sh").arg("-c").arg(command).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains(expected), "{command}\nexpected {expected:?}:\n{said}");
    }
}

/// The demo while it stays up. It does not outlive the test.
struct Staying(Child);

impl Drop for Staying {
    fn drop(&mut self) {
        // Only a test that failed finds it alive; the service of it ends with its own parent then.
        self.signal(Signal::INT);
        let _ = self.0.wait();
    }
}

impl Staying {
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        // It may have ended already.
        let _ = kill_process(pid, signal);
    }
}

#[test]
fn the_tour_runs_once_and_again_and_stays_up_until_it_is_interrupted() {
    let stage = Stage::new();
    let began = Instant::now();
    let once = stage.command(&["--once", "--json"]).output().unwrap();
    assert!(once.status.success(), "{}", String::from_utf8_lossy(&once.stderr));
    let first = report_of(&once.stdout);
    assert!(first["milliseconds"].as_f64().unwrap() <= began.elapsed().as_secs_f64() * 1000.0);
    assert!(first["lost_to_refused_milliseconds"].as_f64().unwrap() > 0.0);
    certificates_are_there(&first);
    stage.nothing_is_left();

    let log = std::fs::File::create(stage.dir.path().join("second.err")).unwrap();
    let child = stage.command(&["--json"]).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut staying = Staying(child);
    let mut stdout = staying.0.stdout.take().unwrap();
    let second = Deserializer::from_reader(&mut stdout).into_iter::<Value>().next();
    let said = || std::fs::read_to_string(stage.dir.path().join("second.err")).unwrap();
    let second = second.unwrap_or_else(|| panic!("no report: {}", said())).unwrap();
    assert!(staying.0.try_wait().unwrap().is_none(), "it stays up");
    certificates_are_there(&second);
    assert!(Path::new(text(&second["files"], "admin_socket")).exists());
    commands_agree(&second);
    // What the first tour left is as it said, too.
    commands_agree(&first);
    assert_ne!(first["certificates"][0]["serial"], second["certificates"][0]["serial"]);

    staying.signal(Signal::INT);
    let began = Instant::now();
    let status = loop {
        match staying.0.try_wait().unwrap() {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(10)),
        }
        assert!(began.elapsed() < Duration::from_secs(30), "it does not end: {}", said());
    };
    assert!(status.success(), "{status}: {}", said());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest.trim(), "", "one JSON value and nothing else");
    stage.nothing_is_left();
}

#[test]
fn a_port_that_is_taken_ends_the_tour_with_its_name_and_leaves_nothing() {
    let stage = Stage::new();
    let taken = TcpListener::bind(stage.doors[1]).unwrap();
    let refused = stage.command(&["--once"]).output().unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains(&stage.doors[1].to_string()) && said.contains("listen.public"), "{said}");
    drop(taken);
    stage.nothing_is_left();
    // And the next run goes on from there.
    let again = stage.command(&["--once"]).output().unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    stage.nothing_is_left();
}
