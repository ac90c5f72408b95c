//! The HTTP client against servers that behave badly.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use station::{Call, Client, Error, Times};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// What a server does with one connection: for each request an answer, and whether it hangs up after it.
#[derive(Clone)]
enum Act {
    Answer(String),
    AnswerAndHangUp(String),
    HangUp,
    Nothing,
}

struct Server {
    _directory: tempfile::TempDir,
    socket: PathBuf,
    requests: Arc<Mutex<Vec<String>>>,
}

/// One list of acts for each connection.
fn server(connections: Vec<Vec<Act>>) -> Server {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("server.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let requests = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&requests);
    tokio::spawn(async move {
        for acts in connections {
            let (mut stream, _) = listener.accept().await.unwrap();
            for act in acts {
                let request = read_request(&mut stream).await;
                log.lock().unwrap().push(request);
                match act {
                    Act::Answer(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                    Act::AnswerAndHangUp(answer) => {
                        stream.write_all(answer.as_bytes()).await.unwrap();
                        break;
                    }
                    Act::HangUp => break,
                    Act::Nothing => std::future::pending().await,
                }
            }
        }
    });
    Server { _directory: directory, socket, requests }
}

async fn read_request(stream: &mut UnixStream) -> String {
    let (mut text, mut octet) = (Vec::new(), [0; 1]);
    while !text.ends_with(b"\r\n\r\n") {
        if stream.read(&mut octet).await.unwrap() == 0 {
            return String::new();
        }
        text.push(octet[0]);
    }
    let head = String::from_utf8(text).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |l| l.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    head + &String::from_utf8(body).unwrap()
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn client(server: &Server) -> Client {
    let times = Times { connect: Duration::from_secs(5), answer: Duration::from_millis(300) };
    Client::unix(Path::new(&server.socket), times)
}

fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test]
async fn calls_share_a_connection() {
    let server = server(vec![vec![Act::Answer(ok("1")), Act::Answer(ok("2"))]]);
    let client = client(&server);
    assert_eq!(client.send::<u8>(Call::get("/a")).await.unwrap(), 1);
    assert_eq!(client.send::<u8>(Call::post("/b", &"body").unwrap()).await.unwrap(), 2);
    assert_eq!(client.requests(), 2);
    let requests = server.requests.lock().unwrap();
    assert!(requests[0].starts_with("GET /a HTTP/1.1\r\n"));
    assert_eq!(header(&requests[0], "idempotency-key"), None);
    assert!(requests[1].ends_with("\"body\""));
    assert_eq!(header(&requests[1], "content-type"), Some("application/json"));
    assert!(header(&requests[1], "idempotency-key").is_some());
}

#[tokio::test]
async fn a_connection_that_was_closed_between_two_calls_is_opened_again() {
    let server = server(vec![vec![Act::AnswerAndHangUp(ok("1"))], vec![Act::Answer(ok("2"))]]);
    let client = client(&server);
    assert_eq!(client.send::<u8>(Call::get("/a")).await.unwrap(), 1);
    assert_eq!(client.send::<u8>(Call::post_empty("/b").unwrap()).await.unwrap(), 2);
}

#[tokio::test]
async fn a_call_that_may_have_arrived_is_repeated_once_with_the_same_key() {
    let server = server(vec![vec![Act::HangUp], vec![Act::Answer(ok("7"))]]);
    assert_eq!(client(&server).send::<u8>(Call::post("/a", &1).unwrap()).await.unwrap(), 7);
    let requests = server.requests.lock().unwrap();
    let keys: Vec<_> = requests.iter().map(|request| header(request, "idempotency-key").unwrap()).collect();
    assert_eq!((keys.len(), keys[0]), (2, keys[1]));
}

#[tokio::test]
async fn a_repeated_call_whose_first_sending_is_under_way_gets_its_answer() {
    let body = r#"{"type":"urn:cardinal:problem:in-flight","title":"Still under way","status":409,"detail":""}"#;
    let under_way = format!(
        "HTTP/1.1 409 Conflict\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let server = server(vec![vec![Act::HangUp], vec![Act::Answer(under_way), Act::Answer(ok("7"))]]);
    let client = Client::unix(&server.socket, Times::default());
    assert_eq!(client.send::<u8>(Call::post("/a", &1).unwrap()).await.unwrap(), 7);
}

#[tokio::test]
async fn a_server_that_always_hangs_up_is_not_asked_for_ever() {
    let server = server(vec![vec![Act::HangUp], vec![Act::HangUp], vec![Act::Answer(ok("7"))]]);
    let error = client(&server).send::<u8>(Call::get("/a")).await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error}");
    assert_eq!(server.requests.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_not_asked_for_again() {
    let server = server(vec![vec![Act::Nothing], vec![Act::Answer(ok("7"))]]);
    let error = client(&server).send::<u8>(Call::get("/a")).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert_eq!(server.requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_refusal_says_why() {
    let body = r#"{"type":"urn:cardinal:problem:refused","title":"Refused","status":403,"detail":"no right",
        "rule":"P1","errors":[{"field":"name","rule":"not empty"}]}"#;
    let answer = format!(
        "HTTP/1.1 403 Forbidden\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let server = server(vec![vec![Act::Answer(answer), Act::Answer(ok("1"))]]);
    let client = client(&server);
    let error = client.send::<u8>(Call::get("/a")).await.unwrap_err();
    assert_eq!(error.problem().unwrap().name(), "refused");
    assert_eq!(error.to_string(), "Refused (403): no right [rule P1]");
    assert_eq!(client.send::<u8>(Call::get("/a")).await.unwrap(), 1);
}

#[tokio::test]
async fn what_is_no_answer_of_the_api_is_told() {
    let page = "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\noops".to_owned();
    let server = server(vec![vec![Act::Answer(page), Act::Answer(ok("\"text\"")), Act::Answer(ok(""))]]);
    let client = client(&server);
    let error = client.send::<u8>(Call::get("/a")).await.unwrap_err();
    assert!(matches!(&error, Error::Answer { status: 502, reason, .. } if reason.contains("oops")), "{error}");
    let error = client.send::<u8>(Call::get("/a")).await.unwrap_err();
    assert!(matches!(error, Error::Answer { status: 200, .. }), "{error}");
    client.send::<()>(Call::get("/a")).await.unwrap();
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_not_read() {
    let length = 5 << 20;
    let huge = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{}", " ".repeat(length));
    let server = server(vec![vec![Act::Answer(huge)]]);
    let client = Client::unix(&server.socket, Times::default());
    let error = client.exchange(Call::get("/a")).await.unwrap_err();
    assert!(matches!(error, Error::AnswerTooLong { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let client = Client::unix(Path::new("/nonexistent/admin.sock"), Times::default());
    let error = client.send::<u8>(Call::get("/a")).await.unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/admin.sock cannot be reached"), "{error}");
}
