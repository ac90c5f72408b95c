//! The service's configuration, `cardinal.toml`: what is written, and what is made of it.
//!
//! Relative paths are taken from the folder that holds the file; the store's folder and the admin socket are taken from
//! the data directory.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::authorities::{IssuingCa, RawIssuingCa, RawRootCa, RootCa, issuing_cas};
use crate::check::split_port;
use crate::document::Document;
use crate::error::Error;
use crate::limits::{Limits, RawLimits};
use crate::log::{Log, RawLog};
use crate::schema::{Tables, section};
use crate::signer_keys::{Ocsp, RawOcsp};
use crate::times::{RawReminders, RawTimes, Reminders, Times};

/// Room for the terminating zero is needed in `sockaddr_un.sun_path`.
const LONGEST_SOCKET_PATH: usize = 107;

section! {
    RawConfig {
        service: RawService = RawService::default(),
        listen: RawListen = RawListen::default(),
        hsm: RawHsm = RawHsm::default(),
        store: RawStore = RawStore::default(),
        root_ca: RawRootCa = RawRootCa::default(),
        issuing_ca: Tables<RawIssuingCa> = Tables(RawIssuingCa::shipped()),
        ocsp: RawOcsp = RawOcsp::default(),
        times: RawTimes = RawTimes::default(),
        reminders: RawReminders = RawReminders::default(),
        limits: RawLimits = RawLimits::default(),
        policy: RawPolicyFile = RawPolicyFile::default(),
        profiles: RawProfilesFile = RawProfilesFile::default(),
        known_keys: RawKnownKeys = RawKnownKeys::default(),
        log: RawLog = RawLog::default(),
    }
}

section! {
    RawService {
        name: String = "cardinal".to_owned(),
        organisation: String = "Example Registration Authority".to_owned(),
        data_dir: String = "data".to_owned(),
        public_base_url: String = "http://127.0.0.1:8080".to_owned(),
        host_names: Vec<String> = vec!["localhost".to_owned()],
        addresses: Vec<String> = vec!["127.0.0.1".to_owned(), "::1".to_owned()],
    }
}

section! {
    RawListen {
        api: String = "127.0.0.1:8443".to_owned(),
        public: String = "127.0.0.1:8080".to_owned(),
        metrics: String = "127.0.0.1:9090".to_owned(),
        admin_socket: String = "admin.sock".to_owned(),
    }
}

section! {
    RawHsm {
        module: String = "/usr/lib/softhsm/libsofthsm2.so".to_owned(),
        sessions: i64 = 2,
        queue: i64 = 64,
        ca: RawCaToken = RawCaToken::default(),
        root: RawRootToken = RawRootToken::default(),
    }
}

section! {
    RawCaToken {
        token: String = "cardinal-ca".to_owned(),
        pin_file: String = "secrets/ca.pin".to_owned(),
    }
}

section! {
    RawRootToken {
        token: String = "cardinal-root".to_owned(),
        pin_file: String = "secrets/root.pin".to_owned(),
    }
}

section! {
    RawStore {
        backend: String = "sled".to_owned(),
        path: String = "store".to_owned(),
        cache_megabytes: i64 = 64,
    }
}

section! {
    RawPolicyFile { file: String = "policy.toml".to_owned(), }
}

section! {
    RawProfilesFile { file: String = "profiles.toml".to_owned(), }
}

section! {
    RawKnownKeys { lists: Vec<String> = Vec::new(), }
}

/// The service's checked configuration.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Who the service is, and where its data is.
    pub service: Service,
    /// The doors.
    pub listen: Listen,
    /// The PKCS#11 module and its tokens.
    pub hsm: Hsm,
    /// The store.
    pub store: Store,
    /// The root CA.
    pub root_ca: RootCa,
    /// The issuing CAs, in the order of the file; at least one.
    pub issuing_cas: Vec<IssuingCa>,
    /// How OCSP answers are signed.
    pub ocsp: Ocsp,
    /// How long things live and how fresh answers are.
    pub times: Times,
    /// When expiry is announced.
    pub reminders: Reminders,
    /// How much an outsider can make the service do.
    pub limits: Limits,
    /// The file with the matrix of roles and operations.
    pub policy_file: PathBuf,
    /// The file with the certificate profiles.
    pub profiles_file: PathBuf,
    /// Files that list keys which others know (rule R6).
    pub known_key_lists: Vec<PathBuf>,
    /// What is logged, and how.
    pub log: Log,
    document: Document,
}

/// Who the service is, and where its data is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Service {
    /// The deployment's name: small letters, digits and hyphens. It stands in every context that a card signs.
    pub name: String,
    /// The organisation (O) in the subject of every certificate, at most 64 characters.
    pub organisation: String,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where relying parties reach the public door: `http://…`, no slash at the end. It stands in every certificate.
    pub public_base_url: String,
    /// dNSNames of the service's TLS certificate, in small letters.
    pub host_names: Vec<String>,
    /// iPAddresses of the service's TLS certificate.
    pub addresses: Vec<IpAddr>,
}

/// The doors.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listen {
    /// API and console over mTLS.
    pub api: SocketAddr,
    /// OCSP, CRLs and CA certificates over HTTP.
    pub public: SocketAddr,
    /// Metrics and health.
    pub metrics: SocketAddr,
    /// The socket for what is done on the server's own machine.
    pub admin_socket: PathBuf,
}

/// The PKCS#11 module and its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hsm {
    /// The module's shared library.
    pub module: PathBuf,
    /// Sessions per token, each with a worker thread.
    pub sessions: usize,
    /// Signatures that may wait for a session; one more is told "busy".
    pub queue: usize,
    /// The token of the issuing CAs.
    pub ca: Token,
    /// The root's token, opened only by `init` and by what the root itself has to sign.
    pub root: Token,
}

/// One PKCS#11 token.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Token {
    /// The token's label, at most 32 octets.
    pub label: String,
    /// The file that holds the user PIN.
    pub pin_file: PathBuf,
}

/// The store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Store {
    /// Which backend keeps the records.
    pub backend: StoreBackend,
    /// Its folder.
    pub path: PathBuf,
    /// Memory for its cache, in megabytes.
    pub cache_megabytes: usize,
}

/// A backend of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreBackend {
    /// The embedded store.
    Sled,
}

impl Config {
    /// Reads a configuration file; the folder that holds it is where relative paths start.
    ///
    /// # Errors
    /// [`Error`], with file, line, key and remedy.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let (path, text) =
            crate::read(path, "give the path of an existing file, or make a deployment with `cardinal init`")?;
        Self::parse(&text, &path)
    }

    /// Checks a configuration text as if it had been read from `origin`.
    ///
    /// # Errors
    /// [`Error`], with file, line, key and remedy.
    pub fn parse(text: &str, origin: &Path) -> Result<Self, Error> {
        let document = Document::parse(text, origin)?;
        let raw: RawConfig = document.read()?;
        let base = origin.parent().unwrap_or(Path::new(""));
        let times = Times::check(&raw.times, &document)?;
        let service = Service::check(&raw.service, base, &document)?;
        let listen = Listen::check(&raw.listen, &service, &document)?;
        Ok(Self {
            hsm: Hsm::check(&raw.hsm, base, &document)?,
            store: Store::check(&raw.store, &service, &document)?,
            root_ca: RootCa::check(&raw.root_ca, &document)?,
            issuing_cas: issuing_cas(&raw.issuing_ca.0, &raw.root_ca, &times, &document)?,
            reminders: Reminders::check(&raw.reminders, &times, &document)?,
            ocsp: Ocsp::check(&raw.ocsp, &document)?,
            limits: Limits::check(&raw.limits, &document)?,
            policy_file: document.path("policy.file", &raw.policy.file, base)?,
            profiles_file: document.path("profiles.file", &raw.profiles.file, base)?,
            known_key_lists: known_key_lists(&raw.known_keys, base, &document)?,
            log: Log::check(&raw.log, &document)?,
            times,
            service,
            listen,
            document,
        })
    }

    /// The file that this was read from.
    pub fn file(&self) -> &Path {
        self.document.file()
    }

    /// The issuing CA of this name.
    pub fn issuing_ca(&self, name: &str) -> Option<&IssuingCa> {
        self.issuing_cas.iter().find(|ca| ca.name == name)
    }

    /// Which issuing CA, by name, issues by which profile, by name.
    pub fn routes(&self) -> BTreeMap<String, String> {
        let route = |ca: &IssuingCa, profile: &String| (profile.clone(), ca.name.clone());
        self.issuing_cas.iter().flat_map(|ca| ca.profiles.iter().map(move |profile| route(ca, profile))).collect()
    }

    /// Refuses an issuing CA that is to issue by a profile that the profile file does not have.
    ///
    /// # Errors
    /// [`Error::Value`], with the place of the profile's name.
    pub fn check_profiles<'a>(&self, known: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
        let known: Vec<&str> = known.into_iter().collect();
        for (number, ca) in self.issuing_cas.iter().enumerate() {
            for (position, profile) in ca.profiles.iter().enumerate() {
                if !known.contains(&profile.as_str()) {
                    let file = self.profiles_file.display();
                    return Err(self.document.value_error(
                        &format!("issuing_ca[{number}].profiles[{position}]"),
                        format!("there is no profile \"{profile}\" in {file}"),
                        format!("write one of {}, or add the profile there", known.join(", ")),
                    ));
                }
            }
        }
        Ok(())
    }

    /// The text of the policy file.
    ///
    /// # Errors
    /// [`Error::Read`], naming the key that gives its path.
    pub fn policy_text(&self) -> Result<String, Error> {
        crate::read(&self.policy_file, &self.pointer("policy.file")).map(|(_, text)| text)
    }

    /// The text of the profile file.
    ///
    /// # Errors
    /// [`Error::Read`], naming the key that gives its path.
    pub fn profiles_text(&self) -> Result<String, Error> {
        crate::read(&self.profiles_file, &self.pointer("profiles.file")).map(|(_, text)| text)
    }

    fn pointer(&self, key: &str) -> String {
        format!("correct `{key}` at {}, or put the file there", self.document.place_of(key))
    }
}

fn known_key_lists(raw: &RawKnownKeys, base: &Path, document: &Document) -> Result<Vec<PathBuf>, Error> {
    let mut lists: Vec<PathBuf> = Vec::with_capacity(raw.lists.len());
    for (position, path) in raw.lists.iter().enumerate() {
        let key = format!("known_keys.lists[{position}]");
        let path = document.path(&key, path, base)?;
        if lists.contains(&path) {
            return Err(document.rule_error(&key, "a list stands here once", "remove one of the two"));
        }
        lists.push(path);
    }
    Ok(lists)
}

impl Service {
    fn check(raw: &RawService, base: &Path, document: &Document) -> Result<Self, Error> {
        let mut host_names = Vec::new();
        for (number, name) in raw.host_names.iter().enumerate() {
            host_names.push(document.host_name(&format!("service.host_names[{number}]"), name)?);
        }
        let mut addresses = Vec::new();
        for (number, address) in raw.addresses.iter().enumerate() {
            addresses.push(document.address(&format!("service.addresses[{number}]"), address)?);
        }
        if host_names.is_empty() && addresses.is_empty() {
            return Err(document.rule_error(
                "service.host_names",
                "the service's certificate names at least one host name or address",
                "write the name by which stations reach the service, such as [\"ra.example.org\"]",
            ));
        }
        Ok(Self {
            name: document.identifier("service.name", &raw.name)?,
            organisation: document.line("service.organisation", &raw.organisation, 64)?,
            data_dir: document.path("service.data_dir", &raw.data_dir, base)?,
            public_base_url: document.url("service.public_base_url", &raw.public_base_url, "http")?,
            host_names,
            addresses,
        })
    }
}

impl Listen {
    fn check(raw: &RawListen, service: &Service, document: &Document) -> Result<Self, Error> {
        let doors = [("listen.api", &raw.api), ("listen.public", &raw.public), ("listen.metrics", &raw.metrics)];
        let mut addresses: Vec<(&str, SocketAddr)> = Vec::new();
        for (key, text) in doors {
            let address = document.listener(key, text)?;
            if let Some((other, _)) = addresses.iter().find(|(_, other)| same_door(*other, address)) {
                return Err(document.rule_error(
                    key,
                    format!("every door has an address of its own, and `{other}` listens at {address} already"),
                    "give it another port",
                ));
            }
            addresses.push((key, address));
        }
        let admin_socket = document.path("listen.admin_socket", &raw.admin_socket, &service.data_dir)?;
        let length = admin_socket.as_os_str().len();
        if length > LONGEST_SOCKET_PATH {
            return Err(document.rule_error(
                "listen.admin_socket",
                format!("the path of a socket has at most {LONGEST_SOCKET_PATH} octets, and this one has {length}"),
                "shorten `service.data_dir`, or write a short absolute path here",
            ));
        }
        let listen = Self { api: addresses[0].1, public: addresses[1].1, metrics: addresses[2].1, admin_socket };
        listen.check_base_url(service, document)?;
        Ok(listen)
    }

    /// On a loopback address nothing can stand between the URL and the door, so the two must agree; elsewhere a proxy
    /// may.
    fn check_base_url(&self, service: &Service, document: &Document) -> Result<(), Error> {
        let authority = service.public_base_url.strip_prefix("http://").unwrap_or_default();
        let (host, port) = split_port(authority.split('/').next().unwrap_or_default());
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let loopback = address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let port = port.and_then(|port| port.parse().ok()).unwrap_or(80);
        if loopback && self.public.port() != 0 && port != self.public.port() {
            return Err(document.rule_error(
                "service.public_base_url",
                format!("a loopback URL leads straight to `listen.public`, which is at {}", self.public),
                format!("write \"http://{host}:{}\", or the URL that relying systems use", self.public.port()),
            ));
        }
        Ok(())
    }
}

/// Whether two listeners would get in each other's way. Port 0 is a port of the system's choice, another each time.
pub(crate) fn same_door(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip(), other.ip());
    one.port() != 0 && one.port() == other.port() && (a == b || a.is_unspecified() || b.is_unspecified())
}

impl Hsm {
    fn check(raw: &RawHsm, base: &Path, document: &Document) -> Result<Self, Error> {
        let hsm = Self {
            module: document.path("hsm.module", &raw.module, base)?,
            sessions: document.number("hsm.sessions", raw.sessions, 1..=64)?,
            queue: document.number("hsm.queue", raw.queue, 1..=100_000)?,
            ca: Token {
                label: document.token_label("hsm.ca.token", &raw.ca.token)?,
                pin_file: document.path("hsm.ca.pin_file", &raw.ca.pin_file, base)?,
            },
            root: Token {
                label: document.token_label("hsm.root.token", &raw.root.token)?,
                pin_file: document.path("hsm.root.pin_file", &raw.root.pin_file, base)?,
            },
        };
        if hsm.ca.label == hsm.root.label {
            return Err(document.rule_error(
                "hsm.root.token",
                "the root has a token of its own: who owns the service must not own the hierarchy",
                "give the root's token another label than `hsm.ca.token`",
            ));
        }
        if hsm.ca.pin_file == hsm.root.pin_file {
            return Err(document.rule_error(
                "hsm.root.pin_file",
                "the root's PIN is not the PIN that the service reads",
                "give the root's PIN a file of its own, and take it off this machine when the root is not needed",
            ));
        }
        Ok(hsm)
    }
}

impl Store {
    fn check(raw: &RawStore, service: &Service, document: &Document) -> Result<Self, Error> {
        Ok(Self {
            backend: document.choice("store.backend", &raw.backend, &[("sled", StoreBackend::Sled)])?,
            path: document.path("store.path", &raw.path, &service.data_dir)?,
            cache_megabytes: document.number("store.cache_megabytes", raw.cache_megabytes, 1..=1_048_576)?,
        })
    }
}
