//! Certificates and keys in PEM files: read with care, put in place whole.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pki::pem::decode_certificates;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use crate::Error;

/// The longest key or certificate file that is read, in octets.
const MAX_FILE: u64 = 1 << 20;

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let file = |source| Error::File { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(file)?.len();
    if length > MAX_FILE {
        let reason = format!("a key or certificate file of {length} octets is not read (at most {MAX_FILE} are)");
        return Err(Error::Credentials { path: path.to_owned(), reason });
    }
    fs::read(path).map_err(file)
}

/// The certificates in a PEM file, DER.
///
/// # Errors
/// When it cannot be read, or holds none.
pub fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, Error> {
    decode_certificates(&read(path)?)
        .map_err(|error| Error::Credentials { path: path.to_owned(), reason: error.to_string() })
}

/// The private key in a PEM file that its owner alone may read.
///
/// # Errors
/// [`Error::KeyFileMode`] when others may; when it cannot be read, or holds none.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let metadata = fs::metadata(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    if metadata.mode() & 0o077 != 0 {
        return Err(Error::KeyFileMode { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| Error::Credentials { path: path.to_owned(), reason: error.to_string() })
}

/// A file that is written beside its place, and put there whole. One that is not put in place is removed again.
#[derive(Debug)]
pub struct NewFile {
    beside: PathBuf,
    place: PathBuf,
    done: bool,
}

impl NewFile {
    /// Writes a file beside `place`, durable, with this mode.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(place: &Path, content: &[u8], mode: u32) -> Result<Self, Error> {
        let beside = place.with_added_extension("new");
        let new = NewFile { beside: beside.clone(), place: place.to_owned(), done: false };
        let write = || -> io::Result<()> {
            // One that is left over may have another mode.
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
            file.write_all(content)?;
            file.sync_all()
        };
        write().map_err(|source| Error::File { path: beside.clone(), source })?;
        Ok(new)
    }

    /// Puts it in its place. It is durable there once [`sync_directory`] was called.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn put(mut self) -> Result<(), Error> {
        fs::rename(&self.beside, &self.place).map_err(|source| Error::File { path: self.place.clone(), source })?;
        self.done = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.done
            && let Err(error) = fs::remove_file(&self.beside)
        {
            tracing::warn!(path = %self.beside.display(), %error, "a temporary file is left over; delete it");
        }
    }
}

/// Makes durable which files a directory has.
///
/// # Errors
/// [`Error::File`].
pub fn sync_directory(directory: &Path) -> Result<(), Error> {
    let sync = || fs::File::open(directory)?.sync_all();
    sync().map_err(|source| Error::File { path: directory.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn pem_key() -> String {
        rcgen::KeyPair::generate().unwrap().serialize_pem()
    }

    #[test]
    fn a_private_key_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.key");
        NewFile::write(&path, pem_key().as_bytes(), 0o600).unwrap().put().unwrap();
        assert!(private_key(&path).is_ok());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(private_key(&path), Err(Error::KeyFileMode { mode: 0o640, .. })));
    }

    #[test]
    fn a_file_that_is_not_put_in_place_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        drop(NewFile::write(&path, b"half", 0o644).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        // What a killed process left is no obstacle, and its mode does not stay.
        fs::write(path.with_added_extension("new"), "left over").unwrap();
        NewFile::write(&path, b"whole", 0o600).unwrap().put().unwrap();
        sync_directory(dir.path()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_without_a_certificate_is_refused_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        fs::write(&path, pem_key()).unwrap();
        let refused = certificates(&path).unwrap_err().to_string();
        assert!(refused.contains("ca.pem"), "{refused}");
        assert!(matches!(certificates(&dir.path().join("none.pem")), Err(Error::File { .. })));
    }
}
