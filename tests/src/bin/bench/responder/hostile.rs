//! How long good clients wait while somebody attacks: connections that say nothing, or a letter now and then, heads and
//! paths without end, thousands of questions in one body, rubbish.
//!
//! Attackers run on the client's processor with a lower priority than those who ask, and as fast as they are let. A good
//! client keeps its connection, or comes with a new one for each request; all have a clock of their own, so that an
//! attack cannot make them ask less.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pki::ocsp::{HashAlgorithm, IssuerHashes, build_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout_at};

use super::load::{self, Load, Pace, mixed};
use super::register;
use super::subject::{InTurn, Kind, Registered, Subject, some_people};
use crate::cost::memory;
use crate::report::Report;
use crate::tell;
use crate::wire;

/// How long each attack lasts; good clients begin and end inside of it.
const LENGTH: Duration = Duration::from_secs(6);
const GOOD: Duration = Duration::from_secs(4);
/// Until an attack is in full swing.
const LEAD: Duration = Duration::from_secs(1);
/// Requests per second of good clients: on connections that they keep, and on new ones.
const KEPT: f64 = 300.0;
const ANEW: f64 = 100.0;
/// Between two tries of one attacker, so that the machine does not run out of ports.
const PAUSE: Duration = Duration::from_millis(5);

/// What attackers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    Nothing,
    /// Connections that never say anything.
    Silent,
    /// A letter of the head at a time.
    Slow,
    /// A body that never comes to its end, a letter at a time.
    SlowBody,
    /// Requests without end on one connection, and no answer is ever read.
    Deaf,
    /// Header fields without end.
    Headers,
    /// A path without end.
    Path,
    /// 10,000 requests in one body.
    Many,
    /// Octets that are no HTTP, and bodies that are no request.
    Rubbish,
}

/// An attack, by how many connections, from how many addresses.
struct Wave {
    id: &'static str,
    attack: Attack,
    connections: usize,
    addresses: usize,
    what: &'static str,
}

const fn wave(id: &'static str, attack: Attack, connections: usize, addresses: usize, what: &'static str) -> Wave {
    Wave { id, attack, connections, addresses, what }
}

const WAVES: [Wave; 10] = [
    wave("hostile.none", Attack::Nothing, 0, 1, "nobody attacks"),
    wave("hostile.silent", Attack::Silent, 3000, 1, "connections that say nothing"),
    wave("hostile.silent.many", Attack::Silent, 3000, 250, "connections that say nothing"),
    wave("hostile.slow", Attack::Slow, 3000, 250, "heads that come a letter at a time"),
    wave("hostile.slow.body", Attack::SlowBody, 3000, 250, "bodies that come a letter at a time"),
    wave("hostile.deaf", Attack::Deaf, 500, 250, "clients that ask without end and read no answer"),
    wave("hostile.headers", Attack::Headers, 64, 16, "header fields without end"),
    wave("hostile.path", Attack::Path, 64, 16, "GETs of a megabyte"),
    wave("hostile.10000", Attack::Many, 64, 16, "10,000 requests in one body"),
    wave("hostile.rubbish", Attack::Rubbish, 64, 16, "rubbish, as HTTP and as a request"),
];

/// What attackers send, made once.
struct Ammunition {
    question: Vec<u8>,
    with_nonce: Vec<u8>,
    many: Vec<u8>,
    path: Vec<u8>,
    fields: Vec<u8>,
    rubbish: Vec<u8>,
}

impl Ammunition {
    fn new(registered: &Registered) -> Self {
        let hashes = IssuerHashes::new(registered.issuer.subject_der(), registered.issuer.public_key());
        let cert_id = |person| hashes.cert_id(HashAlgorithm::Sha1, register::serial(person % registered.people, 0));
        let many: Vec<Vec<u8>> = (0..10_000).map(cert_id).collect();
        let many: Vec<&[u8]> = many.iter().map(Vec::as_slice).collect();
        let many = build_request(&many, None).expect("a large request");
        let question = registered.question(1);
        let head = b"GET /ocsp/";
        let octets = (0..128_u64).flat_map(|number| mixed(number).to_be_bytes());
        Ammunition {
            with_nonce: question.with_nonce().to_vec(),
            many: wire::post(&many),
            path: [head.as_slice(), &vec![b'M'; 1 << 20], b" HTTP/1.1\r\nhost: bench\r\n\r\n"].concat(),
            fields: (0..1000).flat_map(|number| format!("x-{number}: {}\r\n", "y".repeat(50)).into_bytes()).collect(),
            rubbish: octets.collect(),
            question: question.post,
        }
    }
}

/// What they did.
#[derive(Default)]
struct Deeds {
    connected: AtomicUsize,
    refused: AtomicUsize,
}

async fn connect(from: IpAddr, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(address).await
}

/// One connection's attack, until the other side has had enough.
async fn strike(mut stream: TcpStream, attack: Attack, ammunition: &Ammunition) -> std::io::Result<()> {
    let mut answer = [0; 4096];
    match attack {
        Attack::Nothing => Ok(()),
        Attack::Silent => stream.read(&mut answer).await.map(drop),
        Attack::Slow | Attack::SlowBody => {
            let head: &[u8] = match attack {
                Attack::Slow => b"POST /ocsp HTTP/1.1\r\nx-slow: ",
                _ => b"POST /ocsp HTTP/1.1\r\nhost: bench\r\ncontent-length: 4000\r\n\r\n",
            };
            stream.write_all(head).await?;
            loop {
                sleep(Duration::from_millis(500)).await;
                stream.write_all(b"0").await?;
            }
        }
        Attack::Deaf => loop {
            stream.write_all(&ammunition.question).await?;
        },
        Attack::Headers => {
            stream.write_all(b"POST /ocsp HTTP/1.1\r\n").await?;
            loop {
                stream.write_all(&ammunition.fields).await?;
            }
        }
        Attack::Path | Attack::Many => {
            let request = if attack == Attack::Path { &ammunition.path } else { &ammunition.many };
            stream.write_all(request).await?;
            stream.read(&mut answer).await.map(drop)
        }
        Attack::Rubbish => {
            let body = &ammunition.rubbish[..ammunition.with_nonce.len().min(100)];
            for _ in 0..20 {
                stream.write_all(&wire::post(body)).await?;
                if stream.read(&mut answer).await? == 0 {
                    return Ok(());
                }
            }
            stream.write_all(&ammunition.rubbish).await?;
            stream.read(&mut answer).await.map(drop)
        }
    }
}

/// Attacks until then, on a thread of its own.
fn begin(
    wave: &'static Wave,
    address: SocketAddr,
    ammunition: &Arc<Ammunition>,
    deeds: &Arc<Deeds>,
) -> std::thread::JoinHandle<()> {
    let (ammunition, deeds, until) = (Arc::clone(ammunition), Arc::clone(deeds), Instant::now() + LENGTH);
    std::thread::spawn(move || {
        // Only this thread's, on Linux; those who ask come first.
        let _ = rustix::process::nice(10);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let attackers = (0..wave.connections).map(|number| {
                let (ammunition, deeds) = (Arc::clone(&ammunition), Arc::clone(&deeds));
                let from = Ipv4Addr::new(127, 200, 0, 1 + (number % wave.addresses) as u8).into();
                tokio::spawn(async move {
                    while Instant::now() < until {
                        let struck = timeout_at(until.into(), async {
                            let Ok(stream) = connect(from, address).await else {
                                deeds.refused.fetch_add(1, Ordering::Relaxed);
                                return;
                            };
                            deeds.connected.fetch_add(1, Ordering::Relaxed);
                            let _ = strike(stream, wave.attack, &ammunition).await;
                        });
                        let _ = struck.await;
                        sleep(PAUSE).await;
                    }
                })
            });
            for attacker in attackers.collect::<Vec<_>>() {
                attacker.await.expect("no attacker panics");
            }
        });
    })
}

/// Measures.
pub(crate) async fn run(registered: &Registered, subject: &Subject, report: &mut Report) {
    let questions = some_people(registered, 200);
    let ammunition = Arc::new(Ammunition::new(registered));
    let good = |kind: Kind, rate: f64, each_anew: bool, address: u8| {
        let asks = Arc::new(InTurn { kind, questions: Arc::clone(&questions) });
        Load {
            from: Some(Ipv4Addr::new(127, 201, 0, address).into()),
            connections: if each_anew { 64 } else { 8 },
            each_anew,
            ..Load::new(subject.address, asks, Pace::even(rate, GOOD))
        }
    };
    for wave in &WAVES {
        tell(&format!("good clients, while {} attack: {}", wave.connections, wave.what));
        let (deeds, before) = (Arc::new(Deeds::default()), memory(&subject.process));
        let attack = begin(wave, subject.address, &ammunition, &deeds);
        sleep(LEAD).await;
        let loads = [good(Kind::Post, KEPT, false, 1), good(Kind::Nonce, ANEW, true, 2)];
        let (asked, sample) = subject.watch().all(loads.map(load::run)).await;
        let during = memory(&subject.process);
        tokio::task::spawn_blocking(move || attack.join().expect("no attacker panics")).await.expect("a thread");
        let unanswered: usize = asked.iter().map(|asked| asked.unanswered + asked.wrong).sum();
        let mebi = |octets: u64| octets as f64 / f64::from(1 << 20);
        let what = format!(
            "good clients ({KEPT}/s on kept connections, {ANEW}/s on new ones) while: {}; {} attackers from {} addresses \
             connected {} times; {unanswered} of {} good requests unanswered; memory {:.0} MiB before, {:.0} MiB meanwhile",
            wave.what,
            wave.connections,
            wave.addresses,
            deeds.connected.load(Ordering::Relaxed),
            sample.count(),
            mebi(before),
            mebi(during),
        );
        report.nearly_all(wave.id, &sample, what);
        report.wanted("every good request answered", unanswered == 0);
    }
}
