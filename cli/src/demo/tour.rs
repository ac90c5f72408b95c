//! The tour, step by step.

use std::path::Path;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use config::ResponderDeployment;
use relying::{Options, RelyingServer, system_clock};
use serde_json::Value;

use super::files::{Files, Memory, random_digits, write_secret};
use super::openssl;
use super::processes::{Commands, Service};
use super::story::{Paths, Story, TourCertificate, Urls, milliseconds};
use crate::args::DemoArgs;
use crate::error::Error;
use crate::report::Format;

const MANAGER: &str = "manager";
const CHECKER: &str = "checker";
const STATION: &str = "desk-1";
const RESPONDER: &str = "responder-2";
const ORGANISATION: &str = "RX1";
const TERMS: &str = "RA01-2026";

struct Guide {
    files: Files,
    commands: Commands,
    module: Option<String>,
    memory: Memory,
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn field<'a>(value: &'a Value, name: &str) -> Result<&'a str, Error> {
    value[name].as_str().ok_or_else(|| Error::Demo(format!("an answer without {name}: {value}")))
}

/// A card of the demo: its token's label and its serial number.
#[derive(Clone, Debug)]
struct DemoCard {
    label: String,
    serial: String,
}

/// The whole tour.
pub(super) async fn run(format: Format, args: &DemoArgs) -> Result<(), Error> {
    let mut story = Story::begin(format);
    let files = Files::open(&args.dir)?;
    let mut guide = Guide {
        commands: Commands::new(&files)?,
        module: args.module.as_deref().map(text),
        memory: files.remembered()?,
        files,
    };
    describe(&mut story, &guide.files, args);
    story.say(&format!("Everything is in {}\n", guide.files.dir.display()));

    guide.initialise(&mut story, args).await?;
    // Before anything is made: what is missing is said at once.
    guide.commands.responder()?;
    let service = guide.commands.serve().await?;
    story.done("the service is up: API, OCSP and CRLs, metrics, admin socket, each at its own door");
    let shown = tokio::select! {
        shown = guide.show(&mut story, args) => shown,
        () = told_to_stop() => Err(Error::Demo("told to stop; a later run goes on from here".to_owned())),
    };
    let up = match shown {
        Ok((relying, responder)) => Up { service, responder, relying },
        Err(error) => {
            // The error that counts is the first one.
            let _ = service.stop().await;
            return Err(error);
        }
    };
    guide.memory.tours += 1;
    guide.files.remember(&guide.memory)?;
    story.end();
    if args.once {
        return up.stop().await;
    }
    where_to_go_on(&story, &guide.files);
    up.stay().await
}

/// What goes on after the tour.
struct Up {
    service: Service,
    responder: Service,
    relying: RelyingServer,
}

impl Up {
    async fn stop(self) -> Result<(), Error> {
        self.relying.stop().await;
        let stopped = self.responder.stop().await;
        // Both are stopped, whatever becomes of the first.
        self.service.stop().await.and(stopped)
    }

    async fn stay(mut self) -> Result<(), Error> {
        let ended = tokio::select! {
            () = told_to_stop() => None,
            ended = self.service.ended() => Some(ended),
            ended = self.responder.ended() => Some(ended),
        };
        match ended {
            None => self.stop().await,
            Some(ended) => {
                // Of the one that ended there is nothing left to stop.
                let _ = self.stop().await;
                Err(Error::Demo(ended))
            }
        }
    }
}

/// Ends with SIGINT or SIGTERM.
async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => {
            // Without the one the other is left.
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}

fn describe(story: &mut Story, files: &Files, args: &DemoArgs) {
    let tour = &mut story.tour;
    tour.dir = text(&files.dir);
    tour.urls = Urls {
        api: format!("https://{}/api/v1", args.api),
        openapi: format!("https://{}/api/v1/openapi.json", args.api),
        ocsp: format!("http://{}/ocsp", args.public),
        crl: format!("http://{}/crl/authentication-1.crl", args.public),
        ca: format!("http://{}/ca/authentication-1.cer", args.public),
        health: format!("http://{}/healthz", args.metrics),
        ready: format!("http://{}/readyz", args.metrics),
        metrics: format!("http://{}/metrics", args.metrics),
        relying: format!("https://{}/", args.relying),
        responder: format!("http://{}/ocsp", args.responder),
        responder_ready: format!("http://{}/readyz", args.responder_metrics),
    };
    tour.files = Paths {
        config: text(&files.config()),
        station: text(&files.station()),
        softhsm_conf: text(&files.softhsm()),
        admin_socket: text(&files.dir.join("data").join("admin.sock")),
        root_certificate: text(&files.ca("root-1")),
        server_log: text(&files.dir.join("server.log")),
        responder: text(&files.responder()),
        responder_log: text(&files.dir.join("responder.log")),
    };
}

fn where_to_go_on(story: &Story, files: &Files) {
    let urls = &story.tour.urls;
    story.say("\nThe openssl commands, to be repeated:");
    for check in &story.tour.openssl {
        story.say(&format!("  {}", check.command));
    }
    story.say(&format!(
        "\nIt stays up until Ctrl-C. In another shell, from here:\n  export SOFTHSM2_CONF={} CARDINAL_CONFIG={} \
         CARDINAL_STATION={}\n  cardinal status\n  cardinal audit list\n  cardinal person list --operator {MANAGER} \
         --operator-passcode-file {}\n  curl {}\n  curl {}",
        files.softhsm().display(),
        files.config().display(),
        files.station().display(),
        files.passcode(MANAGER).display(),
        urls.ready,
        urls.metrics,
    ));
}

impl Guide {
    /// 1. Tokens, root, issuing CAs.
    async fn initialise(&self, story: &mut Story, args: &DemoArgs) -> Result<(), Error> {
        let (dir, api) = (text(&self.files.dir), args.api.to_string());
        let (public, metrics) = (args.public.to_string(), args.metrics.to_string());
        let fresh = !self.files.config().exists();
        let mut init = vec!["init", "--dir", &dir, "--ods", ORGANISATION, "--api", &api, "--public", &public];
        init.extend(["--metrics", &metrics]);
        if let Some(module) = &self.module {
            init.extend(["--module", module]);
        }
        self.commands.run(&init).await?;
        if fresh {
            // A card lives two years and is renewed in its last 90 days: the tour cannot wait for that.
            let path = self.files.config();
            let config = std::fs::read_to_string(&path).map_err(Error::file(&path))?;
            let config = config.replace(
                "renewal_window = \"90d\"",
                "# Opened wide by the demo, which shows a renewal at once; the default is 90d.\nrenewal_window = \"730d\"",
            );
            std::fs::write(&path, config).map_err(Error::file(&path))?;
            story.done(
                "two PKCS#11 tokens, a root CA (P-384) and three issuing CAs (P-256); the root's is closed again",
            );
        } else {
            story.done("the tokens and CAs of the last tour are here");
        }
        Ok(())
    }

    async fn show(&mut self, story: &mut Story, args: &DemoArgs) -> Result<(RelyingServer, Service), Error> {
        self.enrol(story, args).await?;
        let responder = self.responder(story, args).await?;
        match self.show_cards(story, args).await {
            Ok(relying) => Ok((relying, responder)),
            Err(error) => {
                // The error that counts is the first one.
                let _ = responder.stop().await;
                Err(error)
            }
        }
    }

    async fn show_cards(&mut self, story: &mut Story, args: &DemoArgs) -> Result<RelyingServer, Error> {
        let tour = self.memory.tours + 1;
        let (first, second) = self.issue(story, tour).await?;
        let relying = self.relying_service(args).await?;
        let url = story.tour.urls.relying.clone();

        self.login(&url, &first, true).await?;
        story.done("the first card logs in to a relying service: TLS with a key that never leaves the card, OCSP good");
        self.lose(story, &url, &first).await?;
        self.renew(story, &second).await?;
        let third = self.third(story, tour, &second).await?;

        self.commands.run(&["ca", "publish-crl"]).await?;
        story.done("new CRLs of all issuing CAs");
        for (name, card) in [("first", &first), ("second", &second), ("third", &third)] {
            let certificates = self.certificates(card).await?;
            self.keep(story, &format!("{tour}-{name}"), card, &certificates)?;
        }
        let checks = openssl::check(&self.files, &story.tour.urls, &story.tour.certificates).await?;
        let count = checks.len();
        story.tour.openssl = checks;
        story.done(&format!("openssl agrees: {count} checks of chains, OCSP (good, on hold, revoked) and CRLs"));
        Ok(relying)
    }

    /// 3. A station by a single-use code; two operators with real cards.
    async fn enrol(&mut self, story: &mut Story, args: &DemoArgs) -> Result<(), Error> {
        if !self.files.station().exists() {
            let reply = self.commands.run(&["station", "enrol", STATION, "--ods", ORGANISATION]).await?;
            let code = self.files.dir.join("station.code");
            write_secret(&code, field(&reply, "code")?)?;
            let (server, code, dir) = (format!("https://{}", args.api), text(&code), text(&self.files.station_dir()));
            let mut join = vec!["station", "join", "--server", &server, "--name", STATION, "--code-file", &code];
            join.extend(["--dir", &dir]);
            if let Some(module) = &self.module {
                join.extend(["--module", module]);
            }
            self.commands.run(&join).await?;
            story.done("an RA station is enrolled by a single-use code");
        }
        if self.memory.manager.is_none() {
            self.memory.manager = Some(self.operator(MANAGER, "Ada", "Okafor", "ra_manager").await?);
            self.files.remember(&self.memory)?;
            story.done("the first RA manager has a card, two witnesses named");
        }
        if self.memory.checker.is_none() {
            self.memory.checker = Some(self.operator(CHECKER, "Ben", "Hughes", "id_checker").await?);
            self.files.remember(&self.memory)?;
            story.done("an ID checker has a card: whoever checks an identity does not issue the card");
        }
        Ok(())
    }

    /// 4. A second OCSP responder, in a process of its own and without a CA key: it follows the feed by mutual TLS.
    async fn responder(&self, story: &mut Story, args: &DemoArgs) -> Result<Service, Error> {
        let config = self.files.responder();
        if !config.exists() {
            let dir = self.files.responder_dir();
            std::fs::create_dir_all(&dir).map_err(Error::file(&dir))?;
            let deployment = ResponderDeployment {
                name: RESPONDER.to_owned(),
                server: Some(format!("https://{}", args.api)),
                data_dir: None,
                public: Some(args.responder),
                metrics: Some(args.responder_metrics),
            };
            let (written, _) = deployment.render(&config)?;
            let reply = self.commands.run(&["responder", "enrol", RESPONDER]).await?;
            // It is enrolled when the file has its name.
            let new = dir.join("new.toml");
            std::fs::write(&new, written).map_err(Error::file(&new))?;
            self.commands.enrol_responder(&new, field(&reply, "code")?).await?;
            std::fs::rename(&new, &config).map_err(Error::file(&config))?;
        }
        let responder = self.commands.follow(&config, args.responder_metrics).await?;
        story.done("a second OCSP responder follows the service, as a process of its own with keys of its own");
        Ok(responder)
    }

    async fn operator(&self, label: &str, given: &str, family: &str, role: &str) -> Result<String, Error> {
        self.blank(label).await?;
        let enrol = [
            "operator",
            "enrol",
            "--given",
            given,
            "--family",
            family,
            "--ods",
            ORGANISATION,
            "--role",
            role,
            "--witness",
            "Grace Mbeki",
            "--witness",
            "Tom Byrne",
            "--terms",
            TERMS,
        ];
        let reply = self.commands.run(&enrol).await?;
        let code = self.files.dir.join(format!("{label}.code"));
        write_secret(&code, field(&reply, "code")?)?;
        let (code, passcode) = (text(&code), text(&self.files.passcode(label)));
        let issue = ["card", "issue", "--code-file", &code, "--card", label, "--passcode-file", &passcode];
        self.commands.run(&issue).await?;
        Ok(field(&reply, "user_id")?.to_owned())
    }

    /// Initialises a token as a blank card; one that an interrupted tour left is taken.
    async fn blank(&self, label: &str) -> Result<(), Error> {
        let (passcode, so_pin) = (self.files.passcode(label), self.files.so_pin(label));
        if passcode.exists() {
            return Ok(());
        }
        let new = passcode.with_extension("new");
        write_secret(&new, &random_digits()?)?;
        write_secret(&so_pin, &random_digits()?)?;
        let (so_pin, file) = (text(&so_pin), text(&new));
        self.commands.run(&["dev", "blank-card", label, "--so-pin-file", &so_pin, "--passcode-file", &file]).await?;
        std::fs::rename(&new, &passcode).map_err(Error::file(&passcode))
    }

    async fn as_operator(&self, operator: &str, arguments: &[&str]) -> Result<Value, Error> {
        let passcode = text(&self.files.passcode(operator));
        let mut all = arguments.to_vec();
        all.extend(["--operator", operator, "--operator-passcode-file", &passcode]);
        self.commands.run(&all).await
    }

    async fn register(&self, given: &str, family: &str) -> Result<String, Error> {
        let register = ["person", "register", "--given", given, "--family", family, "--ods", ORGANISATION];
        let person = self.as_operator(MANAGER, &register).await?;
        let id = field(&person, "user_id")?.to_owned();
        let verify = ["person", "verify", &id, "--document", "passport", "--document", "utility_bill"];
        self.as_operator(CHECKER, &verify).await?;
        self.as_operator(MANAGER, &["person", "accept-terms", &id, "--terms", TERMS]).await?;
        Ok(id)
    }

    async fn personalise(&self, label: String, person: &str) -> Result<DemoCard, Error> {
        self.blank(&label).await?;
        let passcode = text(&self.files.passcode(&label));
        let issue = ["card", "issue", "--person", person, "--card", &label, "--passcode-file", &passcode];
        let report = self.as_operator(MANAGER, &issue).await?;
        Ok(DemoCard { serial: field(&report, "card")?.to_owned(), label })
    }

    /// 5. Two people and their cards.
    async fn issue(&self, story: &mut Story, tour: u32) -> Result<(DemoCard, DemoCard), Error> {
        let first = self.register("Zoë", "Müller").await?;
        story.done("a person is registered, her identity checked by another than the one who issues, terms accepted");
        let first = self.personalise(format!("card-{tour}-first"), &first).await?;
        story.done("her card makes two key pairs, gets two pending certificates, is read back and confirms: good");
        let second = self.register("Seán", "Ó Briain").await?;
        let second = self.personalise(format!("card-{tour}-second"), &second).await?;
        story.done("a second person and card");
        Ok((first, second))
    }

    /// 6. A small relying service, with a TLS certificate of its own.
    async fn relying_service(&self, args: &DemoArgs) -> Result<RelyingServer, Error> {
        let (key, certificate) = (self.files.dir.join("relying.key"), self.files.dir.join("relying.pem"));
        if !certificate.exists() {
            openssl::self_signed(&key, &certificate).await?;
        }
        let pem = std::fs::read(&key).map_err(Error::file(&key))?;
        let options = Options {
            listen: args.relying,
            chain: station::tls::certificates(&certificate)?,
            key: Options::key_from_pem(&pem)?,
            roots: station::tls::certificates(&self.files.ca("root-1"))?,
            issuers: station::tls::certificates(&self.files.ca("authentication-1"))?,
            ocsp_url: None,
            clock: system_clock(),
        };
        Ok(RelyingServer::start(options).await?)
    }

    async fn login(&self, url: &str, card: &DemoCard, welcome: bool) -> Result<(), Error> {
        let (passcode, ca) = (text(&self.files.passcode(&card.label)), text(&self.files.dir.join("relying.pem")));
        let login = ["card", "login", url, "--ca", &ca, "--card", &card.label, "--passcode-file", &passcode];
        let said = self.commands.try_run(&login).await?;
        let status = said.value["status"].as_u64();
        match (welcome, status) {
            (true, Some(200)) | (false, Some(403)) => Ok(()),
            _ => Err(Error::Demo(format!(
                "the relying service should have {} the card, but said {status:?}: {}",
                if welcome { "let in" } else { "refused" },
                said.words
            ))),
        }
    }

    /// 7. Lost, refused, found, resumed, cancelled for good.
    async fn lose(&self, story: &mut Story, url: &str, card: &DemoCard) -> Result<(), Error> {
        let reported = Instant::now();
        let reply = self.as_operator(MANAGER, &["card", "report-lost", &card.serial]).await?;
        story.tour.report_lost_milliseconds = milliseconds(reported);
        self.login(url, card, false).await?;
        story.tour.lost_to_refused_milliseconds = milliseconds(reported);
        let published = &reply["published"];
        story.done(&format!(
            "the card is reported lost: on hold, seen by {} of {} responders when the reply comes; the relying service \
             refuses it {:.0} ms after the report began",
            published["seen_by"], published["responders"], story.tour.lost_to_refused_milliseconds
        ));
        self.as_operator(MANAGER, &["card", "resume", &card.serial, "--reason", "reported_lost"]).await?;
        self.login(url, card, true).await?;
        story.done("it is found, and resumed: it logs in again");
        self.as_operator(MANAGER, &["card", "cancel", &card.serial, "--cause", "stolen", "--yes"]).await?;
        self.login(url, card, false).await?;
        story.done("it is stolen: cancelled for good, and refused");
        Ok(())
    }

    /// 8. New keys on the second card.
    async fn renew(&self, story: &mut Story, card: &DemoCard) -> Result<(), Error> {
        let passcode = text(&self.files.passcode(&card.label));
        let renew = ["card", "renew", "--card", &card.label, "--passcode-file", &passcode];
        let report = self.as_operator(MANAGER, &renew).await?;
        story.done(&format!(
            "the second card is renewed: new keys, the old certificates superseded with the confirmation ({} HTTP \
             requests)",
            report["http_requests"]
        ));
        Ok(())
    }

    /// A third card stays on hold, so that a reader can look at that too.
    async fn third(&self, story: &mut Story, tour: u32, second: &DemoCard) -> Result<DemoCard, Error> {
        let holder = self.as_operator(MANAGER, &["card", "show", &second.serial]).await?;
        let third = self.personalise(format!("card-{tour}-third"), field(&holder, "holder")?).await?;
        let suspend = ["card", "suspend", &third.serial, "--reason", "investigation"];
        self.as_operator(MANAGER, &suspend).await?;
        story.done("a third card is put on hold, and stays so");
        Ok(third)
    }

    async fn certificates(&self, card: &DemoCard) -> Result<Vec<Value>, Error> {
        let shown = self.as_operator(MANAGER, &["card", "show", &card.serial]).await?;
        Ok(shown["certificates"].as_array().cloned().unwrap_or_default())
    }

    fn keep(&self, story: &mut Story, name: &str, card: &DemoCard, certificates: &[Value]) -> Result<(), Error> {
        for (number, certificate) in certificates.iter().enumerate() {
            let (profile, state) = (field(certificate, "profile")?, field(certificate, "state")?);
            let age = if number < 2 { "" } else { "-old" };
            let path = self.files.certificate(&format!("{name}-{profile}{age}"));
            let der = STANDARD.decode(field(certificate, "certificate")?);
            let der = der.map_err(|error| Error::Demo(error.to_string()))?;
            let lines: Vec<String> = STANDARD
                .encode(&der)
                .as_bytes()
                .chunks(64)
                .map(|line| String::from_utf8_lossy(line).into_owned())
                .collect();
            let pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
            std::fs::write(&path, pem).map_err(Error::file(&path))?;
            let issuer = field(certificate, "issuer")?;
            story.tour.certificates.push(TourCertificate {
                path: text(&path),
                card: card.serial.clone(),
                profile: profile.to_owned(),
                issuer: issuer.to_owned(),
                issuer_certificate: text(&self.files.ca(issuer)),
                serial: field(certificate, "serial")?.to_owned(),
                expected: state.to_owned(),
            });
        }
        Ok(())
    }
}
