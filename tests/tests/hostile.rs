//! The public door under attack from many addresses at once: good clients are answered while it goes on, each row of HTTP
//! as ever, and no more connections are open than may be.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use ocsp_responder::door::DoorCounts;
use pki::certificate::ParsedCertificate;
use pki::ocsp::{HashAlgorithm, IssuerHashes, build_request};
use tests::{Options, World, eventually, isolated};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// Connections that the door has here, one address may have, and attackers try to have.
const CONNECTIONS: usize = 128;
const SHARE: usize = 16;
const ATTACKERS: usize = 192;
const ADDRESSES: usize = 32;

/// What attackers do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    /// Nothing at all.
    Silent,
    /// A head that never ends, a letter at a time.
    SlowHead,
    /// A body that never ends, a letter at a time.
    SlowBody,
    /// Requests without end, and no answer is read.
    Deaf,
    /// Header fields without end.
    Headers,
    /// A path without end.
    Path,
    /// 10,000 requests in one body.
    Many,
    /// Octets that are no HTTP, or no request.
    Rubbish,
}

/// What is shot with.
struct Ammunition {
    question: Vec<u8>,
    many: Vec<u8>,
}

async fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

fn post(body: &[u8]) -> Vec<u8> {
    let head = format!("POST /ocsp HTTP/1.1\r\nhost: ocsp\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Attacks on one connection until the other side has had enough.
async fn strike(mut stream: TcpStream, attack: Attack, ammunition: &Ammunition) -> std::io::Result<()> {
    let mut drop_by_drop = async |begin: &str| {
        stream.write_all(begin.as_bytes()).await?;
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stream.write_all(b"0").await?;
        }
    };
    match attack {
        Attack::SlowHead => return drop_by_drop("POST /ocsp HTTP/1.1\r\nx-slow: ").await,
        Attack::SlowBody => {
            return drop_by_drop("POST /ocsp HTTP/1.1\r\nhost: o\r\ncontent-length: 4000\r\n\r\n").await;
        }
        Attack::Silent => {}
        Attack::Deaf => loop {
            stream.write_all(&post(&ammunition.question)).await?;
        },
        Attack::Headers => {
            stream.write_all(b"GET /ocsp/M HTTP/1.1\r\n").await?;
            loop {
                stream.write_all(format!("x: {}\r\n", "y".repeat(50)).repeat(100).as_bytes()).await?;
            }
        }
        Attack::Path => {
            stream.write_all(b"GET /ocsp/").await?;
            loop {
                stream.write_all(&[b'M'; 4096]).await?;
            }
        }
        Attack::Many => stream.write_all(&post(&ammunition.many)).await?,
        Attack::Rubbish => {
            stream.write_all(&post(&[0x30, 0x80, 0xff, 0x00, 0x13])).await?;
            stream.write_all(&(0..=255).collect::<Vec<u8>>()).await?;
        }
    }
    // Whatever is answered, this one stays.
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
}

/// Begins an attack from many addresses, which goes on until `over`.
fn begin(attack: Attack, to: SocketAddr, ammunition: &Arc<Ammunition>, over: &Arc<AtomicBool>) -> JoinSet<()> {
    let mut attackers = JoinSet::new();
    for number in 0..ATTACKERS {
        let (ammunition, over) = (Arc::clone(ammunition), Arc::clone(over));
        let from = Ipv4Addr::new(127, 66, 0, 1 + (number % ADDRESSES) as u8);
        attackers.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                if let Ok(stream) = connect(from, to).await {
                    let _ = strike(stream, attack, &ammunition).await;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
    }
    attackers
}

/// Whether an attack is in full swing.
fn is_felt(attack: Attack, counts: &DoorCounts, before: u64) -> bool {
    match attack {
        // Whoever gets an answer at once is gone at once.
        Attack::Headers | Attack::Path | Attack::Many | Attack::Rubbish => {
            counts.accepted.get() > before + ATTACKERS as u64
        }
        _ => counts.open.get() + 2 >= CONNECTIONS && counts.accepted.get() > before + ATTACKERS as u64,
    }
}

/// A good client's request on a connection of its own; its status, head and body. `None` if the connection ended before
/// there was an answer.
async fn ask(to: SocketAddr, request: &[u8]) -> Option<(u16, String, Vec<u8>)> {
    let mut stream = TcpStream::connect(to).await.ok()?;
    stream.write_all(request).await.ok()?;
    let mut answer = Vec::new();
    let mut octets = [0; 4096];
    let ends = loop {
        match stream.read(&mut octets).await {
            Ok(read) if read > 0 => answer.extend_from_slice(&octets[..read]),
            _ => return None,
        }
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8(answer[..ends].to_vec()).expect("a head of text").to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.trim().parse().expect("a length"));
    let has_body = !request.starts_with(b"HEAD");
    while has_body && answer.len() < ends + length {
        match stream.read(&mut octets).await {
            Ok(read) if read > 0 => answer.extend_from_slice(&octets[..read]),
            _ => return None,
        }
    }
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    Some((status, head, answer.split_off(ends)))
}

/// The same, as often as a client tries.
async fn good(to: SocketAddr, attack: Attack, request: &[u8]) -> (u16, String, Vec<u8>) {
    for _ in 0..5 {
        if let Some(answer) = ask(to, request).await {
            return answer;
        }
    }
    panic!("no answer during {attack:?} to {:?}", String::from_utf8_lossy(&request[..request.len().min(80)]));
}

// conformance: H4, H5, H6, H7, H8, O16, O26
#[test]
fn good_clients_are_answered_during_each_attack_as_ever() {
    isolated(async |home| {
        let config = vec![
            ("connections = 1024", "connections = 128"),
            ("connections_per_address = 256", "connections_per_address = 16"),
        ];
        assert_eq!((CONNECTIONS, SHARE), (128, 16));
        let world = World::with(&home, &Options { config, ..Options::default() }).await;
        let card = world.card().await;
        let certificate = ParsedCertificate::from_der(&card.authentication_certificate).unwrap();
        let issuer = ParsedCertificate::from_der(&world.issuer("authentication-1")).unwrap();
        let hashes = IssuerHashes::new(issuer.subject_der(), issuer.public_key());
        let id = hashes.cert_id(HashAlgorithm::Sha1, certificate.serial());
        let long = hashes.cert_id(HashAlgorithm::Sha512, certificate.serial());
        let question = build_request(&[&id], None).unwrap();
        let many = build_request(&vec![id.as_slice(); 10_000], None).unwrap();
        let get = |path: &str| format!("GET /ocsp/{path} HTTP/1.1\r\nhost: ocsp\r\n\r\n").into_bytes();
        let over_255 = BASE64.encode(&build_request(&[&long], Some(&[7; 32])).unwrap());
        assert!(over_255.len() > 255);
        let malformed = HEXLOWER.decode(b"30030a0101").unwrap();

        let to = world.config.listen.public;
        let counts = Arc::clone(&world.service.metrics.doors.public);
        let ammunition = Arc::new(Ammunition { question: question.clone(), many: post(&many) });
        for attack in [
            Attack::Silent,
            Attack::SlowHead,
            Attack::SlowBody,
            Attack::Deaf,
            Attack::Headers,
            Attack::Path,
            Attack::Many,
            Attack::Rubbish,
        ] {
            let over = Arc::new(AtomicBool::new(false));
            let before = counts.accepted.get();
            let mut attackers = begin(attack, to, &ammunition, &over);
            eventually(&format!("{attack:?} in full swing"), async || is_felt(attack, &counts, before).then_some(()))
                .await;

            for _ in 0..5 {
                let (status, _, body) = good(to, attack, &post(&question)).await;
                assert!(status == 200 && body.len() > 100, "{attack:?}: {status}");
            }
            let (status, head, body) = good(to, attack, &get(&over_255)).await;
            assert!(status == 200 && body.len() > 100 && head.contains("cache-control"), "{attack:?}: {head}");
            let (status, _, body) = good(to, attack, &[b"HEAD".as_slice(), &get(&over_255)[3..]].concat()).await;
            assert_eq!((status, body.len()), (200, 0), "{attack:?}");
            for (wanted, request) in [
                (414, get(&"M".repeat(10_000))),
                (414, get(&"M".repeat(100_000))),
                (413, post(&[0x30; 5000])),
                (413, post(&many)),
                (405, b"PUT /ocsp HTTP/1.1\r\nhost: ocsp\r\ncontent-length: 0\r\n\r\n".to_vec()),
                (405, b"DELETE /ocsp HTTP/1.1\r\nhost: ocsp\r\n\r\n".to_vec()),
            ] {
                assert_eq!(good(to, attack, &request).await.0, wanted, "{attack:?}");
            }
            let plain = post(&question).starts_with(b"POST").then(|| {
                let head = format!(
                    "POST /ocsp HTTP/1.1\r\nhost: ocsp\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
                    question.len()
                );
                [head.as_bytes(), &question].concat()
            });
            assert_eq!(good(to, attack, &plain.unwrap()).await.0, 200, "{attack:?}");
            for rubbish in [&b""[..], b"\x30", b"no request", &question[1..], &[&question[..], &[0]].concat()] {
                let (status, _, body) = good(to, attack, &post(rubbish)).await;
                assert_eq!((status, body), (200, malformed.clone()), "{attack:?} {rubbish:?}");
            }

            assert!(counts.open.get() <= CONNECTIONS, "{attack:?}: {counts:?}");
            over.store(true, Ordering::Relaxed);
            attackers.abort_all();
            while attackers.join_next().await.is_some() {}
            eventually("the end of an attack", async || (counts.open.get() == 0).then_some(())).await;
        }
        assert!(counts.made_room.get() > 0, "{counts:?}");
        // Nothing of it is left: who comes now finds all as it was.
        let status = world.ocsp(&card.authentication_certificate).await;
        assert_eq!(status, pki::ocsp::CertStatus::Good);
    });
}

#[test]
fn one_address_cannot_shut_out_the_others() {
    isolated(async |home| {
        let config = vec![
            ("connections = 1024", "connections = 128"),
            ("connections_per_address = 256", "connections_per_address = 16"),
        ];
        let world = World::with(&home, &Options { config, ..Options::default() }).await;
        let to = world.config.listen.public;
        let mut greedy = Vec::new();
        for _ in 0..200 {
            greedy.push(connect(Ipv4Addr::new(127, 66, 0, 1), to).await.unwrap());
        }
        let counts = Arc::clone(&world.service.metrics.doors.public);
        eventually("all of them", async || (counts.accepted.get() >= 200).then_some(())).await;
        assert!(counts.open.get() <= SHARE, "{counts:?}");
        assert_eq!((counts.made_room.get(), counts.turned_away.get()), (200 - SHARE as u64, 0));
        let text = world.operations().send(tests::Ask::get("/metrics")).await.expect(200).body;
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(text.contains("cardinal_connections_total{door=\"public\",kind=\"made_room\"} 184"), "{text}");
    });
}
