//! The other processes: the service, and the server of a static answer.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use config::Config;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use server::{Edge, prepare};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::pin::{self, Place};

/// What a process says when its doors are open.
const READY: &str = "ready";

/// This program.
pub(crate) fn own_path() -> PathBuf {
    env::current_exe().expect("a program knows its own path")
}

/// A process that serves until this is dropped.
pub(crate) struct Helper {
    child: Child,
    end: End,
}

/// How a process is told to end in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Its standard input ends.
    LetGo,
    /// By SIGTERM.
    Terminate,
}

impl Helper {
    async fn start(arguments: Vec<String>, place: Place) -> Self {
        let started = tokio::task::spawn_blocking(move || {
            let mut command = Command::new(own_path());
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut helper = Helper { child: pin::start(&mut command, place)?, end: End::LetGo };
            let mut line = String::new();
            BufReader::new(helper.child.stdout.take().expect("its output")).read_line(&mut line)?;
            assert_eq!(line.trim(), READY, "the other process does not serve");
            std::io::Result::Ok(helper)
        });
        started.await.expect("a thread").expect("the other process starts")
    }

    /// Any program that ends at SIGTERM; it need not serve yet.
    pub(crate) async fn program(mut command: Command, place: Place) -> Self {
        let started = tokio::task::spawn_blocking(move || pin::start(command.stdin(Stdio::null()), place));
        let child = started.await.expect("a thread").expect("the program starts");
        Helper { child, end: End::Terminate }
    }

    /// The service, there.
    pub(crate) async fn serving_at(config: &Path, place: Place) -> Self {
        Helper::start(vec!["serve".to_owned(), config.display().to_string()], place).await
    }

    /// The service.
    pub(crate) async fn serving(config: &Path) -> Self {
        Helper::serving_at(config, Place::Service).await
    }

    /// A server that has one answer of this size for everything.
    pub(crate) async fn serving_static(address: &str, octets: usize) -> Self {
        Helper::start(vec!["static".to_owned(), address.to_owned(), octets.to_string()], Place::Service).await
    }

    /// A server that has one answer for everything: the one in this file, head and body.
    pub(crate) async fn replaying(address: &str, file: &Path) -> Self {
        Helper::start(vec!["replay".to_owned(), address.to_owned(), file.display().to_string()], Place::Service).await
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) {
        match self.end {
            End::LetGo => drop(self.child.stdin.take()),
            End::Terminate => {
                let id = rustix::process::Pid::from_child(&self.child);
                rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it is running");
            }
        }
        let ended = tokio::task::spawn_blocking(move || {
            let status = self.child.wait();
            status.map(|status| status.success() || (self.end == End::Terminate && status.code().is_none()))
        });
        assert!(ended.await.expect("a thread").expect("its status"), "the other process failed");
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As many threads as `cardinal serve` has.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

fn say_ready() {
    let mut out = std::io::stdout();
    writeln!(out, "{READY}").and_then(|()| out.flush()).expect("somebody listens");
}

/// Waits until whoever started this process lets go of it.
fn let_go() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// The service, until standard input ends.
pub(crate) fn serve(config: &Path) {
    // Under attack there is a lot to be warned of.
    let filter = tracing_subscriber::EnvFilter::new("error");
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let config = Config::load(config).expect("the configuration");
    let (stop, stopped) = watch::channel(false);
    runtime().block_on(async {
        let prepared = prepare(config, Edge::default()).await.expect("the service starts");
        say_ready();
        std::thread::spawn(move || {
            let_go();
            let _ = stop.send(true);
        });
        prepared.run(stopped).await.expect("an orderly end");
    });
}

/// One answer for everything, as fast as hyper sends it, until standard input ends.
pub(crate) fn serve_static(address: &str, octets: &str) {
    let body = Bytes::from(vec![0x30; octets.parse().expect("a size")]);
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/ocsp-response"));
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    serve_one(address, headers, body);
}

/// The same, with the answer that a file holds as it came: the same header fields in the same order, the same body.
pub(crate) fn serve_again(address: &str, file: &Path) {
    let octets = std::fs::read(file).expect("a file");
    let end = octets.windows(4).position(|octets| octets == b"\r\n\r\n").expect("a head");
    let head = std::str::from_utf8(&octets[..end]).expect("a readable head");
    let mut headers = HeaderMap::new();
    for (name, value) in head.split("\r\n").skip(1).filter_map(|line| line.split_once(':')) {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a field's name");
        headers.append(name, HeaderValue::from_str(value.trim()).expect("a field's value"));
    }
    serve_one(address, headers, Bytes::copy_from_slice(&octets[end + 4..]));
}

fn serve_one(address: &str, headers: HeaderMap, body: Bytes) {
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind(address)).expect("the address is free");
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            let (headers, body) = (headers.clone(), body.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let mut response = Response::new(Full::new(body.clone()));
                *response.headers_mut() = headers.clone();
                async move {
                    // A body is read to its end, as whoever answers it has to.
                    let mut asked = request.into_body();
                    while let Some(frame) = asked.frame().await {
                        drop(frame?);
                    }
                    Ok::<_, hyper::Error>(response)
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    say_ready();
    let_go();
    runtime.shutdown_background();
}
