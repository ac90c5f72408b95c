//! The file with a token's PIN, and how the PIN is changed so that a crash at any point leaves one of two files right
//! (conformance: K4).
//!
//! ```text
//! 1  write  ca.pin.next   the new PIN, durable
//! 2  change               the token takes it
//! 3  rename ca.pin.next -> ca.pin
//! ```
//!
//! Between 1 and 3 nobody can tell from the files which of the two is the token's. Whoever opens the token then tries
//! each once, the old one first, and only if the token does not warn of failed tries beforehand; what it finds settles
//! the files.
//!
//! This holds for these files alone. Whether step 2 leaves the token whole when the process is killed within it is the
//! token's affair: SoftHSM writes its token object in place, and can be left with an empty one, which no PIN opens. A copy
//! of the token, made before, is what helps then.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Error, Module, Pin, Token, TokenOptions, TokenSelector};

/// A token's PIN file, and beside it, while a change is under way, the file with the PIN to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinFile {
    path: PathBuf,
}

/// The PINs that a token may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    /// The one in the PIN file.
    pub current: Pin,
    /// The one that a change was to put in its place; `None` when no change is under way.
    pub next: Option<Pin>,
}

impl From<Pin> for Pins {
    fn from(current: Pin) -> Self {
        Pins { current, next: None }
    }
}

/// What opening a token by its PIN file showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinSettlement {
    /// No change was under way.
    Unchanged,
    /// The change had reached the token: the new PIN is in the PIN file now.
    NextTaken,
    /// The change had not reached the token: the PIN to come was deleted.
    NextDropped,
    /// The token was logged in to already, so that neither PIN was tried; both files stay.
    Open,
}

impl PinFile {
    /// The PIN file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        PinFile { path: path.into() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the PIN to come: the same with `.next` after it.
    pub fn next_path(&self) -> PathBuf {
        let mut path = OsString::from(&self.path);
        path.push(".next");
        path.into()
    }

    /// What the files hold.
    ///
    /// # Errors
    /// [`Error::PinFile`], as with [`Pin::from_file`].
    pub fn read(&self) -> Result<Pins, Error> {
        let current = Pin::from_file(&self.path)?;
        let next = self.next()?.filter(|next| *next != current);
        Ok(Pins { current, next })
    }

    fn next(&self) -> Result<Option<Pin>, Error> {
        let path = self.next_path();
        match path.try_exists() {
            Ok(true) => Pin::from_file(path).map(Some),
            Ok(false) => Ok(None),
            Err(error) => Err(Error::PinFile { path, reason: error.to_string() }),
        }
    }

    /// Step 1: writes the PIN to come, durable. A file that is there already is kept, and its PIN is the answer: a change
    /// that is done again must not forget a PIN which the token may have taken.
    ///
    /// # Errors
    /// [`Error::PinFile`].
    pub fn write_next(&self, pin: &Pin) -> Result<Pin, Error> {
        if let Some(there) = self.next()? {
            return Ok(there);
        }
        self.write(self.next_path(), pin)?;
        Ok(pin.clone())
    }

    /// Writes the first PIN of a token that is to be made, durable.
    ///
    /// # Errors
    /// [`Error::PinFile`].
    pub fn create(&self, pin: &Pin) -> Result<(), Error> {
        self.write(self.path.clone(), pin)
    }

    fn write(&self, path: PathBuf, pin: &Pin) -> Result<(), Error> {
        let mut new = OsString::from(&path);
        new.push(".new");
        let new = PathBuf::from(new);
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(pin.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            self.sync_directory()
        };
        write().map_err(|error| Error::PinFile { path: path.clone(), reason: error.to_string() })
    }

    /// Step 3: puts the PIN to come in the place of the one before. Without one nothing happens.
    ///
    /// # Errors
    /// [`Error::PinFile`].
    pub fn take_next(&self) -> Result<(), Error> {
        self.settle(|next| fs::rename(next, &self.path))
    }

    /// Forgets the PIN to come. Only when it is certain that the token does not have it.
    ///
    /// # Errors
    /// [`Error::PinFile`].
    pub fn drop_next(&self) -> Result<(), Error> {
        self.settle(|next| fs::remove_file(next))
    }

    fn settle(&self, act: impl Fn(&Path) -> io::Result<()>) -> Result<(), Error> {
        let next = self.next_path();
        match act(&next) {
            Ok(()) => self.sync_directory().map_err(|error| Error::PinFile { path: next, reason: error.to_string() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::PinFile { path: next, reason: error.to_string() }),
        }
    }

    fn sync_directory(&self) -> io::Result<()> {
        let directory = self.path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    }

    /// Opens a token by the PIN in its file. Where a change was interrupted, each of the two PINs is tried at most once,
    /// neither if the token warns of failed tries already, and the files are settled by what the token took.
    ///
    /// # Errors
    /// As [`Token::open`]; [`Error::PinCountLow`], [`Error::BothPinsIncorrect`], [`Error::PinFile`].
    pub fn open_token(
        &self,
        module: &Arc<Module>,
        selector: &TokenSelector,
        options: TokenOptions,
    ) -> Result<(Arc<Token>, PinSettlement), Error> {
        let pins = self.read()?;
        let next = pins.next.clone();
        let token = Token::open(module, selector, pins, options)?;
        let Some(next) = next else {
            // A file with the same PIN says nothing: it is what a change leaves that was done by hand.
            self.drop_next()?;
            return Ok((token, PinSettlement::Unchanged));
        };
        let settlement = match token.pin_that_worked() {
            Some(pin) if pin == next => {
                self.take_next()?;
                PinSettlement::NextTaken
            }
            Some(_) => {
                self.drop_next()?;
                token.forget_next_pin();
                PinSettlement::NextDropped
            }
            None => PinSettlement::Open,
        };
        tracing::warn!(token = token.label(), ?settlement, "an interrupted change of the PIN was settled");
        Ok((token, settlement))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(pin: &str) -> (tempfile::TempDir, PinFile) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pin");
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
        file.write_all(pin.as_bytes()).unwrap();
        (directory, PinFile::new(path))
    }

    #[test]
    fn the_pin_to_come_is_written_once_and_kept_when_the_step_is_done_again() {
        let (_directory, file) = file("old");
        assert_eq!(file.read().unwrap(), Pins::from(Pin::new("old")));
        assert_eq!(file.write_next(&Pin::new("first")).unwrap(), Pin::new("first"));
        assert_eq!(file.write_next(&Pin::new("second")).unwrap(), Pin::new("first"));
        assert_eq!(file.read().unwrap().next, Some(Pin::new("first")));
        file.take_next().unwrap();
        file.take_next().unwrap();
        assert_eq!(file.read().unwrap(), Pins::from(Pin::new("first")));
    }

    #[test]
    fn a_dropped_pin_leaves_the_one_in_use() {
        let (_directory, file) = file("old");
        file.write_next(&Pin::new("new")).unwrap();
        file.drop_next().unwrap();
        file.drop_next().unwrap();
        assert_eq!(file.read().unwrap(), Pins::from(Pin::new("old")));
    }

    #[test]
    fn the_pin_to_come_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let (_directory, file) = file("old");
        file.write_next(&Pin::new("new")).unwrap();
        assert_eq!(fs::metadata(file.next_path()).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(file.next_path(), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(file.read(), Err(Error::PinFile { path, .. }) if path == file.next_path()));
    }
}
