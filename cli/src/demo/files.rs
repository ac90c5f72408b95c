//! Where the demo keeps its things, and what it remembers for a second run.

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The demo's directory.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) dir: PathBuf,
}

/// What a second run starts from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// How many tours there were.
    pub(crate) tours: u32,
    /// The RA manager's user id, once the card is good.
    pub(crate) manager: Option<String>,
    /// The ID checker's user id, once the card is good.
    pub(crate) checker: Option<String>,
}

impl Files {
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let dir = std::path::absolute(dir).map_err(Error::file(dir))?;
        let files = Files { dir };
        for part in ["tokens", "cards", "certificates"] {
            let path = files.dir.join(part);
            std::fs::create_dir_all(&path).map_err(Error::file(&path))?;
        }
        let softhsm = files.softhsm();
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
            files.dir.join("tokens").display()
        );
        std::fs::write(&softhsm, text).map_err(Error::file(&softhsm))?;
        Ok(files)
    }

    pub(crate) fn softhsm(&self) -> PathBuf {
        self.dir.join("softhsm2.conf")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("cardinal.toml")
    }

    pub(crate) fn station_dir(&self) -> PathBuf {
        self.dir.join("station")
    }

    pub(crate) fn station(&self) -> PathBuf {
        self.station_dir().join("station.toml")
    }

    pub(crate) fn responder_dir(&self) -> PathBuf {
        self.dir.join("responder")
    }

    pub(crate) fn responder(&self) -> PathBuf {
        self.responder_dir().join("ocsp-responder.toml")
    }

    pub(crate) fn passcode(&self, card: &str) -> PathBuf {
        self.dir.join("cards").join(format!("{card}.passcode"))
    }

    pub(crate) fn so_pin(&self, card: &str) -> PathBuf {
        self.dir.join("cards").join(format!("{card}.so-pin"))
    }

    pub(crate) fn certificate(&self, name: &str) -> PathBuf {
        self.dir.join("certificates").join(format!("{name}.pem"))
    }

    pub(crate) fn ca(&self, issuer: &str) -> PathBuf {
        self.dir.join("data").join("ca").join(format!("{issuer}.pem"))
    }

    pub(crate) fn crl(&self, issuer: &str) -> PathBuf {
        self.dir.join("data").join("crl").join(format!("{issuer}.crl"))
    }

    fn memory(&self) -> PathBuf {
        self.dir.join("demo.json")
    }

    pub(crate) fn remembered(&self) -> Result<Memory, Error> {
        let path = self.memory();
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| Error::Demo(format!("{}: {error}; remove the directory", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Memory::default()),
            Err(error) => Err(Error::file(path)(error)),
        }
    }

    pub(crate) fn remember(&self, memory: &Memory) -> Result<(), Error> {
        let path = self.memory();
        let new = path.with_extension("new");
        let text = serde_json::to_vec_pretty(memory).map_err(|error| Error::Demo(error.to_string()))?;
        std::fs::write(&new, text).map_err(Error::file(&new))?;
        std::fs::rename(&new, &path).map_err(Error::file(&path))
    }
}

/// Writes a secret that only its owner can read.
pub(crate) fn write_secret(path: &Path, secret: &str) -> Result<(), Error> {
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(secret.as_bytes())).map_err(Error::file(path))
}

/// Eight random digits.
pub(crate) fn random_digits() -> Result<String, Error> {
    let path = Path::new("/dev/urandom");
    let mut octets = [0; 8];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut octets)).map_err(Error::file(path))?;
    Ok(octets.iter().map(|octet| char::from(b'0' + octet % 10)).collect())
}
