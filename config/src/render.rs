//! New configuration files: the shipped ones, with their comments, and a deployment's own values put in.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use toml_edit::{Array, DocumentMut, Item, Value};

use crate::{
    Config, Error, Place, ResponderConfig, SHIPPED_CARDINAL_TOML, SHIPPED_RESPONDER_TOML, SHIPPED_STATION_TOML,
    StationConfig,
};

/// What a new deployment says about itself. What is `None` stays as it ships.
#[derive(Debug, Clone, Default)]
pub struct Deployment {
    /// `service.name`.
    pub name: Option<String>,
    /// `service.organisation`.
    pub organisation: Option<String>,
    /// `service.data_dir`.
    pub data_dir: Option<PathBuf>,
    /// `service.public_base_url`; if `None` and `public` is given, it is made from that.
    pub public_base_url: Option<String>,
    /// `service.host_names`.
    pub host_names: Option<Vec<String>>,
    /// `service.addresses`.
    pub addresses: Option<Vec<IpAddr>>,
    /// `listen.api`.
    pub api: Option<SocketAddr>,
    /// `listen.public`.
    pub public: Option<SocketAddr>,
    /// `listen.metrics`.
    pub metrics: Option<SocketAddr>,
    /// `listen.admin_socket`.
    pub admin_socket: Option<PathBuf>,
    /// `hsm.module`.
    pub module: Option<PathBuf>,
    /// `hsm.ca.token`.
    pub ca_token: Option<String>,
    /// `hsm.ca.pin_file`.
    pub ca_pin_file: Option<PathBuf>,
    /// `hsm.root.token`.
    pub root_token: Option<String>,
    /// `hsm.root.pin_file`.
    pub root_pin_file: Option<PathBuf>,
    /// `policy.file`.
    pub policy_file: Option<PathBuf>,
    /// `profiles.file`.
    pub profiles_file: Option<PathBuf>,
}

impl Deployment {
    /// The text of the deployment's `cardinal.toml`, with the shipped comments, and the configuration that it gives
    /// when it stands at `origin`.
    ///
    /// # Errors
    /// [`Error`], placed in the new text, when a value does not pass the checks.
    pub fn render(&self, origin: &Path) -> Result<(String, Config), Error> {
        let base_url = self.public_base_url.clone().or_else(|| self.public.map(|public| format!("http://{public}")));
        let mut template = Template::new(SHIPPED_CARDINAL_TOML, origin)?;
        template.text("service.name", self.name.as_deref());
        template.text("service.organisation", self.organisation.as_deref());
        template.path("service.data_dir", self.data_dir.as_deref())?;
        template.text("service.public_base_url", base_url.as_deref());
        template.list("service.host_names", self.host_names.as_deref());
        template.list("service.addresses", self.addresses.as_deref());
        template.text("listen.api", self.api.map(|address| address.to_string()).as_deref());
        template.text("listen.public", self.public.map(|address| address.to_string()).as_deref());
        template.text("listen.metrics", self.metrics.map(|address| address.to_string()).as_deref());
        template.path("listen.admin_socket", self.admin_socket.as_deref())?;
        template.path("hsm.module", self.module.as_deref())?;
        template.text("hsm.ca.token", self.ca_token.as_deref());
        template.path("hsm.ca.pin_file", self.ca_pin_file.as_deref())?;
        template.text("hsm.root.token", self.root_token.as_deref());
        template.path("hsm.root.pin_file", self.root_pin_file.as_deref())?;
        template.path("policy.file", self.policy_file.as_deref())?;
        template.path("profiles.file", self.profiles_file.as_deref())?;
        let text = template.finish();
        let config = Config::parse(&text, origin)?;
        Ok((text, config))
    }
}

/// What a new station says about itself. What is `None` stays as it ships.
#[derive(Debug, Clone, Default)]
pub struct StationDeployment {
    /// `station.name`.
    pub name: String,
    /// `station.server`.
    pub server: Option<String>,
    /// `station.ca_file`.
    pub ca_file: Option<PathBuf>,
    /// `station.certificate_file`.
    pub certificate_file: Option<PathBuf>,
    /// `station.key_file`.
    pub key_file: Option<PathBuf>,
    /// `cards.module`.
    pub module: Option<PathBuf>,
    /// `cards.token_label`.
    pub token_label: Option<String>,
    /// `cards.token_serial`.
    pub token_serial: Option<String>,
    /// `cards.pin_file`.
    pub pin_file: Option<PathBuf>,
}

impl StationDeployment {
    /// The text of the station's `station.toml`, with the shipped comments, and the configuration that it gives when it
    /// stands at `origin`.
    ///
    /// # Errors
    /// [`Error`], placed in the new text, when a value does not pass the checks.
    pub fn render(&self, origin: &Path) -> Result<(String, StationConfig), Error> {
        let mut template = Template::new(SHIPPED_STATION_TOML, origin)?;
        template.text("station.name", Some(&self.name));
        template.text("station.server", self.server.as_deref());
        template.path("station.ca_file", self.ca_file.as_deref())?;
        template.path("station.certificate_file", self.certificate_file.as_deref())?;
        template.path("station.key_file", self.key_file.as_deref())?;
        template.path("cards.module", self.module.as_deref())?;
        template.text("cards.token_label", self.token_label.as_deref());
        template.text("cards.token_serial", self.token_serial.as_deref());
        template.path("cards.pin_file", self.pin_file.as_deref())?;
        let text = template.finish();
        let config = StationConfig::parse(&text, origin)?;
        Ok((text, config))
    }
}

/// What a new OCSP responder says about itself. What is `None` stays as it ships.
#[derive(Debug, Clone, Default)]
pub struct ResponderDeployment {
    /// `responder.name`.
    pub name: String,
    /// `responder.server`.
    pub server: Option<String>,
    /// `responder.data_dir`.
    pub data_dir: Option<PathBuf>,
    /// `listen.public`.
    pub public: Option<SocketAddr>,
    /// `listen.metrics`.
    pub metrics: Option<SocketAddr>,
}

impl ResponderDeployment {
    /// The text of the responder's `ocsp-responder.toml`, with the shipped comments, and the configuration that it gives
    /// when it stands at `origin`.
    ///
    /// # Errors
    /// [`Error`], placed in the new text, when a value does not pass the checks.
    pub fn render(&self, origin: &Path) -> Result<(String, ResponderConfig), Error> {
        let mut template = Template::new(SHIPPED_RESPONDER_TOML, origin)?;
        template.text("responder.name", Some(&self.name));
        template.text("responder.server", self.server.as_deref());
        template.path("responder.data_dir", self.data_dir.as_deref())?;
        template.text("listen.public", self.public.map(|address| address.to_string()).as_deref());
        template.text("listen.metrics", self.metrics.map(|address| address.to_string()).as_deref());
        let text = template.finish();
        let config = ResponderConfig::parse(&text, origin)?;
        Ok((text, config))
    }
}

/// A shipped file under change.
struct Template {
    document: DocumentMut,
    origin: PathBuf,
}

impl Template {
    fn new(shipped: &str, origin: &Path) -> Result<Self, Error> {
        let document = shipped.parse().map_err(|error: toml_edit::TomlError| Error::Syntax {
            at: Place { file: origin.to_owned(), line: 1, column: 1 },
            problem: error.message().to_owned(),
            remedy: "the example that ships with this program is damaged: build it again".to_owned(),
        })?;
        Ok(Self { document, origin: origin.to_owned() })
    }

    fn text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.set(key, Value::from(value));
        }
    }

    fn path(&mut self, key: &str, value: Option<&Path>) -> Result<(), Error> {
        let Some(path) = value else { return Ok(()) };
        let text = path.to_str().ok_or_else(|| Error::Value {
            at: Place { file: self.origin.clone(), line: 1, column: 1 },
            key: key.to_owned(),
            problem: format!("{} is not UTF-8, and a TOML file is", path.display()),
            remedy: "choose a path that can be written as text".to_owned(),
        })?;
        self.text(key, Some(text));
        Ok(())
    }

    fn list<T: ToString>(&mut self, key: &str, values: Option<&[T]>) {
        if let Some(values) = values {
            self.set(key, Value::Array(values.iter().map(ToString::to_string).collect::<Array>()));
        }
    }

    /// Replaces a value and keeps the white space and the comment that stand around it.
    fn set(&mut self, key: &str, mut value: Value) {
        let mut item = self.document.as_item_mut();
        for part in key.split('.') {
            item = &mut item[part];
        }
        if let Some(old) = item.as_value() {
            *value.decor_mut() = old.decor().clone();
        }
        *item = Item::Value(value);
    }

    fn finish(self) -> String {
        self.document.to_string()
    }
}
