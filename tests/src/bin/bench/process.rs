//! The other processes: the service, and the server of a static answer.

use std::convert::Infallible;
use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use config::Config;
use http::Response;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use server::{Edge, prepare};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What a process says when its doors are open.
const READY: &str = "ready";

/// This program.
pub(crate) fn own_path() -> PathBuf {
    env::current_exe().expect("a program knows its own path")
}

/// A process that serves until this is dropped.
pub(crate) struct Helper(Child);

impl Helper {
    async fn start(arguments: Vec<String>) -> Self {
        let started = tokio::task::spawn_blocking(move || {
            let mut command = Command::new(own_path());
            let mut helper = Helper(command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
            let mut line = String::new();
            BufReader::new(helper.0.stdout.take().expect("its output")).read_line(&mut line)?;
            assert_eq!(line.trim(), READY, "the other process does not serve");
            std::io::Result::Ok(helper)
        });
        started.await.expect("a thread").expect("the other process starts")
    }

    /// The service.
    pub(crate) async fn serving(config: &Path) -> Self {
        Helper::start(vec!["serve".to_owned(), config.display().to_string()]).await
    }

    /// A server that has one answer of this size for everything.
    pub(crate) async fn serving_static(address: &str, octets: usize) -> Self {
        Helper::start(vec!["static".to_owned(), address.to_owned(), octets.to_string()]).await
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ends it in order.
    pub(crate) async fn stop(mut self) {
        drop(self.0.stdin.take());
        let ended = tokio::task::spawn_blocking(move || self.0.wait().map(|status| status.success()));
        assert!(ended.await.expect("a thread").expect("its status"), "the other process failed");
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
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
    let filter = tracing_subscriber::EnvFilter::new("warn");
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
    let answer = move || {
        let response = Response::builder().header("content-type", "application/ocsp-response");
        response.header("cache-control", "no-store").body(Full::new(body.clone())).expect("a response")
    };
    let runtime = runtime();
    let listener = runtime.block_on(TcpListener::bind(address)).expect("the address is free");
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            let answer = answer.clone();
            let service = service_fn(move |_| std::future::ready(Ok::<_, Infallible>(answer())));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    say_ready();
    let_go();
    runtime.shutdown_background();
}
