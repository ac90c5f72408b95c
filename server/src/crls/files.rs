//! CRL files: which there are, how one takes another's place, and how they are given out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use ca::crl::PublishedCrl;
use ca::revocations::Shard;
use pki::crl::{CrlDescription, CrlError, CrlLimits, CrlNumber, CrlReader};
use pki::{PublicKey, Timestamp};

use crate::failure::Failure;

/// The largest CRL file that is read: some ten million entries.
const LIMITS: CrlLimits = CrlLimits::octets(1 << 30);

/// A CRL up to this length is kept in memory.
const IN_MEMORY: u64 = 256 << 10;

/// Which of an issuer's CRLs. Its file and its address are named alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CrlName {
    /// The issuer's id.
    pub issuer: String,
    /// The partition, if it is about one.
    pub shard: Shard,
    /// Whether it is a delta.
    pub is_delta: bool,
}

impl CrlName {
    /// The full CRL of an issuer.
    pub fn full(issuer: &str) -> Self {
        CrlName { issuer: issuer.to_owned(), shard: None, is_delta: false }
    }

    /// From the part of its address after `/crl/`: `ISSUER.crl`, `ISSUER/delta.crl`, `ISSUER/SHARD.crl` or
    /// `ISSUER/SHARD/delta.crl`.
    pub fn parse(path: &str) -> Option<Self> {
        // One spelling for each: no leading zero, no sign.
        let shard =
            |text: &str| text.parse::<u16>().ok().filter(|shard| *shard > 0 && shard.to_string() == text).map(Some);
        let name = |issuer: &str, shard, is_delta| {
            let is_id = !issuer.is_empty() && issuer.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            is_id.then(|| CrlName { issuer: issuer.to_owned(), shard, is_delta })
        };
        let parts: Vec<&str> = path.strip_suffix(".crl")?.split('/').collect();
        match parts[..] {
            [issuer] => name(issuer, None, false),
            [issuer, "delta"] => name(issuer, None, true),
            [issuer, number] => name(issuer, shard(number)?, false),
            [issuer, number, "delta"] => name(issuer, shard(number)?, true),
            _ => None,
        }
    }

    /// What it is, in words: `full`, `delta`, `shard 3`, `delta of shard 3`.
    pub fn kind(&self) -> String {
        match (self.shard, self.is_delta) {
            (None, false) => "full".to_owned(),
            (None, true) => "delta".to_owned(),
            (Some(shard), false) => format!("shard {shard}"),
            (Some(shard), true) => format!("delta of shard {shard}"),
        }
    }
}

impl std::fmt::Display for CrlName {
    /// The part of its address after `/crl/`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.shard, self.is_delta) {
            (None, false) => write!(f, "{}.crl", self.issuer),
            (None, true) => write!(f, "{}/delta.crl", self.issuer),
            (Some(shard), false) => write!(f, "{}/{shard}.crl", self.issuer),
            (Some(shard), true) => write!(f, "{}/{shard}/delta.crl", self.issuer),
        }
    }
}

/// A CRL as it is served. Its octets stay what they are when another one takes its place.
#[derive(Clone, Debug)]
pub struct ServedCrl {
    /// Which.
    pub name: CrlName,
    /// cRLNumber.
    pub number: CrlNumber,
    /// Of a delta: the number of its base.
    pub base: Option<CrlNumber>,
    /// How many entries it has.
    pub entries: u64,
    /// thisUpdate.
    pub this_update: Timestamp,
    /// nextUpdate.
    pub next_update: Timestamp,
    /// Whether it names a delta.
    pub names_delta: bool,
    /// The strong entity tag, in its quotes.
    pub etag: String,
    content: Content,
    octets: u64,
}

#[derive(Clone, Debug)]
enum Content {
    Memory(Bytes),
    File(Arc<File>),
}

impl ServedCrl {
    /// How long it is, in octets.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// All of it, if it is short enough to be in memory.
    pub fn in_memory(&self) -> Option<&Bytes> {
        match &self.content {
            Content::Memory(bytes) => Some(bytes),
            Content::File(_) => None,
        }
    }

    /// Some octets from `at`, at most `most`; fewer at its end. Blocks.
    ///
    /// # Errors
    /// The operating system's.
    pub fn read(&self, at: u64, most: usize) -> io::Result<Bytes> {
        let most = usize::try_from(self.octets.saturating_sub(at)).unwrap_or(usize::MAX).min(most);
        match &self.content {
            Content::Memory(bytes) => {
                let start = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes.slice(start..start + most))
            }
            Content::File(file) => {
                let mut buffer = vec![0; most];
                file.read_exact_at(&mut buffer, at)?;
                Ok(buffer.into())
            }
        }
    }

    /// Its entries, as they were published. Blocks.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn reader(&self) -> Result<CrlReader<impl Read + use<>>, CrlError> {
        CrlReader::new(ContentReader { crl: self.clone(), at: 0 }, LIMITS)
    }
}

struct ContentReader {
    crl: ServedCrl,
    at: u64,
}

impl Read for ContentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.crl.read(self.at, buffer.len())?;
        buffer[..read.len()].copy_from_slice(&read);
        self.at += read.len() as u64;
        Ok(read.len())
    }
}

/// A CRL that was written beside the one that it is to replace.
#[derive(Debug)]
pub(crate) struct WrittenCrl {
    served: ServedCrl,
    new: PathBuf,
    path: PathBuf,
}

impl WrittenCrl {
    /// What it will be once it has taken its place.
    pub(crate) fn served(&self) -> &ServedCrl {
        &self.served
    }

    /// Throws it away.
    pub(crate) fn discard(self) {
        if let Err(error) = std::fs::remove_file(&self.new) {
            tracing::warn!(file = %self.new.display(), %error, "an unpublished CRL was left");
        }
    }
}

/// The CRLs that are served.
#[derive(Debug)]
pub struct Crls {
    dir: PathBuf,
    served: RwLock<BTreeMap<CrlName, Arc<ServedCrl>>>,
    publishing: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
}

/// Writes a file whole or not at all.
///
/// # Errors
/// The operating system's.
pub(crate) fn write_atomically(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let new = beside(path);
    let mut file = File::options().write(true).create(true).truncate(true).mode(mode).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    sync_dir(path)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn not_written(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::unavailable("crl", "the CRL cannot be written", format!("{}: {error}", path.display()))
}

impl Crls {
    /// The CRLs in this directory, each verified with its issuer's key. A file that is none is passed over, and made anew
    /// when its time comes; one that was not finished is removed.
    ///
    /// # Errors
    /// When the directory cannot be made or read.
    // conformance: C15
    pub fn open(dir: PathBuf, keys: &BTreeMap<String, PublicKey>) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let mut files = Vec::new();
        list(&dir, "", 3, &mut files)?;
        let mut served = BTreeMap::new();
        for file in files {
            let path = dir.join(&file);
            if file.ends_with(".crl.new") {
                std::fs::remove_file(&path)?;
                continue;
            }
            let Some(name) = CrlName::parse(&file) else { continue };
            let read = File::open(&path).map_err(|error| error.to_string()).and_then(|file| {
                let key = keys.get(&name.issuer).ok_or("there is no issuer of this name")?;
                serve(&name, file, |description| description.verify_signed_by(key).map_err(|error| error.to_string()))
            });
            match read {
                Ok(crl) => {
                    served.insert(name, Arc::new(crl));
                }
                Err(error) => {
                    tracing::warn!(file = %path.display(), error, "a CRL file is not in order; it is left out");
                }
            }
        }
        Ok(Crls { dir, served: RwLock::new(served), publishing: Mutex::default() })
    }

    /// One of them.
    pub fn find(&self, name: &CrlName) -> Option<Arc<ServedCrl>> {
        self.served.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The full CRL of an issuer.
    pub fn get(&self, issuer: &str) -> Option<Arc<ServedCrl>> {
        self.find(&CrlName::full(issuer))
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<ServedCrl>> {
        self.served.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Held while an issuer's CRLs are made: one publication at a time for each, and none waits for another issuer's.
    pub(crate) fn publishing(&self, issuer: &str) -> Arc<Mutex<()>> {
        let mut locks = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(issuer.to_owned()).or_default())
    }

    /// Has a CRL written beside the one that it is to replace, and makes it durable.
    ///
    /// # Errors
    /// What `make` fails with, or when the file cannot be written or is not what `make` meant to write.
    pub(crate) fn write(
        &self,
        name: &CrlName,
        make: impl FnOnce(&mut dyn Write) -> Result<pki::crl::SignedCrlSummary, Failure>,
    ) -> Result<WrittenCrl, Failure> {
        let path = self.dir.join(name.to_string());
        let new = beside(&path);
        let written = (|| {
            std::fs::create_dir_all(path.parent().unwrap_or(&self.dir)).map_err(|error| not_written(&path, error))?;
            let file = File::options().read(true).write(true).create(true).truncate(true).mode(0o644).open(&new);
            let mut out = BufWriter::with_capacity(256 << 10, file.map_err(|error| not_written(&new, error))?);
            let summary = make(&mut out)?;
            let file = out.into_inner().map_err(|error| not_written(&new, error))?;
            file.sync_all().map_err(|error| not_written(&new, error))?;
            // Read back from the disk: what is published is what a client will get.
            let served = serve(name, file, |description| {
                let same = description.fingerprint() == summary.fingerprint && description.octets == summary.octets;
                if same { Ok(()) } else { Err("it is not what was written".to_owned()) }
            });
            Ok(WrittenCrl { served: served.map_err(|error| not_written(&new, error))?, new: new.clone(), path })
        })();
        if written.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        written
    }

    /// Puts a CRL that was written in the place of the one before. A lower number is refused, and a delta whose base was
    /// never published.
    ///
    /// # Errors
    /// When it cannot be put there.
    // conformance: C7, C15
    pub(crate) fn swap(&self, written: WrittenCrl) -> Result<(), Failure> {
        let WrittenCrl { served, new, path } = written;
        let name = served.name.clone();
        let refuse = |rule: String| {
            let _ = std::fs::remove_file(&new);
            Err(Failure::internal(format!("{name} with number {} is not published: {rule}", served.number)))
        };
        if let Some(before) = self.find(&name).filter(|before| before.number >= served.number) {
            return refuse(format!("the published one has {}", before.number));
        }
        if let Some(base) = served.base {
            let published = self.find(&CrlName { is_delta: false, ..name.clone() }).map(|full| full.number);
            if published.is_none_or(|published| published < base) {
                return refuse(format!("its base {base} is not published"));
            }
        }
        std::fs::rename(&new, &path).and_then(|()| sync_dir(&path)).map_err(|error| not_written(&path, error))?;
        self.served.write().unwrap_or_else(PoisonError::into_inner).insert(name, Arc::new(served));
        Ok(())
    }

    /// Publishes a full CRL that was made and verified elsewhere: the root's.
    ///
    /// # Errors
    /// When it is no full CRL, its number is not higher than the last, or it cannot be written.
    pub fn publish(&self, crl: &PublishedCrl) -> Result<(), Failure> {
        let name = CrlName::full(&crl.issuer);
        let path = self.dir.join(name.to_string());
        let new = beside(&path);
        let write = || {
            let mut file = File::options().read(true).write(true).create(true).truncate(true).mode(0o644).open(&new)?;
            file.write_all(&crl.der)?;
            file.sync_all()?;
            Ok(file)
        };
        let file = write().map_err(|error: io::Error| not_written(&new, error))?;
        let served = serve(&name, file, |_| Ok(())).map_err(Failure::internal)?;
        self.swap(WrittenCrl { served, new, path })
    }

    /// Takes the CRLs of partitions that no certificate names any more out of service.
    pub(crate) fn withdraw(&self, name: &CrlName) {
        self.served.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        let path = self.dir.join(name.to_string());
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(file = %path.display(), %error, "the CRL of a partition that nothing names was left");
        }
    }
}

/// The files below a directory, by their paths from it, a few levels deep.
fn list(dir: &Path, prefix: &str, levels: usize, files: &mut Vec<String>) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type()?;
        if kind.is_dir() && levels > 1 {
            list(&entry.path(), &format!("{prefix}{name}/"), levels - 1, files)?;
        } else if kind.is_file() {
            files.push(format!("{prefix}{name}"));
        }
    }
    Ok(())
}

/// Reads a file as a CRL of this name, and keeps it, or the file, for serving.
fn serve(
    name: &CrlName,
    file: File,
    check: impl FnOnce(&CrlDescription) -> Result<(), String>,
) -> Result<ServedCrl, String> {
    let octets = file.metadata().map_err(|error| error.to_string())?.len();
    let mut content = Content::File(Arc::new(file));
    if octets <= IN_MEMORY {
        let mut bytes = vec![0; octets as usize];
        if let Content::File(file) = &content {
            file.read_exact_at(&mut bytes, 0).map_err(|error| error.to_string())?;
        }
        content = Content::Memory(bytes.into());
    }
    let mut served = ServedCrl {
        name: name.clone(),
        number: CrlNumber::from(0),
        base: None,
        entries: 0,
        this_update: Timestamp::EPOCH,
        next_update: Timestamp::EPOCH,
        names_delta: false,
        etag: String::new(),
        content,
        octets,
    };
    let read = served.reader().and_then(CrlReader::finish).map_err(|error| error.to_string())?;
    check(&read)?;
    if read.base.is_some() != name.is_delta || read.distribution_point.is_some() != name.shard.is_some() {
        return Err(format!("it is not what its name says, {}", name.kind()));
    }
    served.number = read.number;
    served.base = read.base;
    served.entries = read.entries;
    served.this_update = read.this_update;
    served.next_update = read.next_update;
    served.names_delta = !read.freshest_crls.is_empty();
    served.etag = format!("\"{}\"", data_encoding::HEXLOWER.encode(&read.fingerprint()[..16]));
    Ok(served)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crl_is_found_under_one_spelling_of_its_address() {
        for path in ["a-1.crl", "a-1/delta.crl", "a-1/3.crl", "a-1/65535/delta.crl"] {
            assert_eq!(CrlName::parse(path).unwrap().to_string(), path);
        }
        for path in [
            "a-1",
            ".crl",
            "/a-1.crl",
            "a-1/0.crl",
            "a-1/03.crl",
            "a-1/+3.crl",
            "a-1/65536.crl",
            "../a-1.crl",
            "a-1/3/4.crl",
            "a-1/x/delta.crl",
            "a-1/3/delta.crl/x.crl",
            "a%2d1.crl",
        ] {
            assert_eq!(CrlName::parse(path), None, "{path}");
        }
        assert_eq!(CrlName::parse("a-1/7/delta.crl").unwrap().kind(), "delta of shard 7");
    }
}
