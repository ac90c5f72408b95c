//! `openssl ocsp -port` on the same requests, for context: it takes one connection after the other, and each has one
//! request. The responder is asked in the same way beside it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXUPPER;
use pki::certificate::ParsedCertificate;
use pki::ocsp::CertStatus;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tests::{Home, eventually};

use super::load::{self, Load, Pace};
use super::register;
use super::subject::{InTurn, Kind, Registered, Subject, some_people};
use crate::cost::{Sample, Watch};
use crate::ocsp::Question;
use crate::pin::Place;
use crate::process::Helper;
use crate::report::Report;
use crate::wire::Connection;

const CERTIFICATES: u32 = 1000;
const CONNECTIONS: usize = 4;
const LENGTH: Duration = Duration::from_secs(3);

/// A CA that signs its answers itself, with an index of certificates for `openssl ocsp`.
async fn start(home: &Home, address: SocketAddr) -> (Helper, Arc<Vec<Question>>) {
    let key = KeyPair::generate().expect("a key");
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "Bench CA");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let dir = home.file("openssl");
    std::fs::create_dir(&dir).expect("a directory");
    let mut index = String::new();
    for person in 0..CERTIFICATES {
        let serial = HEXUPPER.encode(register::serial(person, 0).as_bytes());
        let _ = writeln!(index, "V\t491231235959Z\t\t{serial}\tunknown\t/CN=Person {person}");
    }
    for (name, text) in [("ca.pem", certificate.pem()), ("ca.key", key.serialize_pem()), ("index.txt", index)] {
        std::fs::write(dir.join(name), text).expect("a file");
    }
    let mut command = Command::new("openssl");
    command
        .current_dir(&dir)
        .args(["ocsp", "-index", "index.txt", "-CA", "ca.pem", "-rsigner", "ca.pem", "-rkey", "ca.key", "-nmin", "10"])
        .args(["-ignore_err", "-port", &address.port().to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let process = Helper::program(command, Place::Service).await;
    let issuer = Arc::new(ParsedCertificate::from_der(certificate.der()).expect("a CA certificate"));
    let question = |person| Question::of(Arc::clone(&issuer), register::serial(person, 0));
    let questions: Vec<Question> = (0..CERTIFICATES).map(question).collect();
    eventually("openssl's first answer", async || {
        let mut connection = Connection::try_open(None, address).await.ok()?;
        let answer = connection.try_exchange(&questions[0].post).await.ok()?;
        (questions[0].judge(answer.body, None) == CertStatus::Good).then_some(())
    })
    .await;
    (process, Arc::new(questions))
}

/// Measures both.
pub(crate) async fn run(registered: &Registered, subject: &Subject, report: &mut Report) {
    let address = SocketAddr::from(([127, 0, 0, 1], 28_080));
    let (openssl, of_openssl) = start(&registered.site.home, address).await;
    let of_ours = some_people(registered, CERTIFICATES as usize);
    for (id, kind, what) in [("openssl", Kind::Post, "without a nonce"), ("openssl.nonce", Kind::Nonce, "with a nonce")]
    {
        let load = |address, questions| {
            let load = Load::new(address, Arc::new(InTurn { kind, questions }), Pace::Closed(LENGTH));
            Load { connections: CONNECTIONS, each_anew: true, ..load }
        };
        let (its, sample) = load::measure(&Watch::of(&openssl), load(address, Arc::clone(&of_openssl))).await;
        let (asked, ours) = load::measure(&subject.watch(), load(subject.address, Arc::clone(&of_ours))).await;
        assert_eq!((its.wrong, asked.wrong), (0, 0), "answers on new connections");
        let name = if kind == Kind::Post { "anew" } else { "anew.nonce" };
        let what = format!("POST {what}, a new connection for each, {CONNECTIONS} at a time");
        report.rate(id, "requests/s", &sample, format!("`openssl ocsp -port`: {what}"));
        report.rate(name, "requests/s", &ours, format!("the responder: {what}"));
        let cpu = |sample: &Sample| sample.service().unwrap_or_default().as_secs_f64();
        report.is_part_of(cpu(&ours) / cpu(&sample), "the processor time that openssl takes for one");
    }
    openssl.stop().await;
}
