//! PINs: kept out of logs and errors, and wiped when they are dropped.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cryptoki::types::AuthPin;
use data_encoding::BASE32_NOPAD;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::Error;

/// Longer than any token's PIN; a file beyond it is not a PIN file.
const MAX_LENGTH: usize = 255;

/// A token's PIN, the user's or the security officer's.
#[derive(Clone, PartialEq, Eq)]
pub struct Pin(Zeroizing<String>);

impl Pin {
    /// From its characters.
    pub fn new(pin: impl Into<String>) -> Self {
        Pin(Zeroizing::new(pin.into()))
    }

    /// A new one: 16 characters of base 32 with 80 random bits, which fits what tokens take.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn random() -> Result<Self, Error> {
        let mut octets = Zeroizing::new([0; 10]);
        SystemRandom::new().fill(octets.as_mut()).map_err(|_| Error::Random)?;
        Ok(Pin::new(BASE32_NOPAD.encode(octets.as_slice())))
    }

    /// From a file that holds nothing else; one newline at its end is not part of the PIN.
    ///
    /// # Errors
    /// [`Error::PinFile`] when the file cannot be read, when others than its owner may read it, or when what it holds is
    /// empty, longer than 255 octets or not UTF-8.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let refused = |reason: String| Error::PinFile { path: path.to_owned(), reason };
        let mut file = File::open(path).map_err(|error| refused(error.to_string()))?;
        let metadata = file.metadata().map_err(|error| refused(error.to_string()))?;
        if !metadata.is_file() {
            return Err(refused("it is not a regular file".into()));
        }
        if metadata.mode() & 0o077 != 0 {
            let mode = metadata.mode() & 0o7777;
            return Err(refused(format!("others than its owner may use it (mode {mode:04o}): run chmod 600 on it")));
        }
        let mut buffer = Zeroizing::new([0; MAX_LENGTH + 3]);
        let mut length = 0;
        while length < buffer.len() {
            match file.read(&mut buffer[length..]).map_err(|error| refused(error.to_string()))? {
                0 => break,
                read => length += read,
            }
        }
        let pin = std::str::from_utf8(&buffer[..length]).map_err(|_| refused("it is not UTF-8 text".into()))?;
        let pin = pin.strip_suffix('\n').unwrap_or(pin);
        let pin = pin.strip_suffix('\r').unwrap_or(pin);
        match pin.len() {
            0 => Err(refused("it is empty".into())),
            1..=MAX_LENGTH => Ok(Pin::new(pin)),
            _ => Err(refused(format!("it holds more than the {MAX_LENGTH} octets of a PIN"))),
        }
    }

    pub(crate) fn to_auth_pin(&self) -> AuthPin {
        AuthPin::from(self.0.as_str())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file_with(content: &[u8], mode: u32) -> (tempfile::TempDir, Result<Pin, Error>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pin");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let pin = Pin::from_file(&path);
        (directory, pin)
    }

    #[test]
    fn one_newline_at_the_end_is_not_part_of_the_pin() {
        assert_eq!(file_with(b"1234", 0o600).1.unwrap(), Pin::new("1234"));
        assert_eq!(file_with(b"1234\n", 0o400).1.unwrap(), Pin::new("1234"));
        assert_eq!(file_with(b"1234\r\n", 0o400).1.unwrap(), Pin::new("1234"));
        assert_eq!(file_with(b" 1234\n\n", 0o400).1.unwrap(), Pin::new(" 1234\n"));
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        for mode in [0o640, 0o604, 0o620] {
            let message = file_with(b"1234", mode).1.unwrap_err().to_string();
            assert!(message.contains("chmod 600"), "{message}");
            assert!(!message.contains("1234"), "{message}");
        }
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        assert!(file_with(b"\n", 0o600).1.is_err());
        assert!(file_with(&[b'1'; MAX_LENGTH + 1], 0o600).1.is_err());
        assert!(file_with(&[b'1'; 5000], 0o600).1.is_err());
        assert!(file_with(&[0xff, 0xfe], 0o600).1.is_err());
        assert!(Pin::from_file("/nonexistent/pin").is_err());
        assert!(file_with(&[b'1'; MAX_LENGTH], 0o600).1.is_ok());
    }

    #[test]
    fn debug_output_hides_it() {
        assert!(!format!("{:?}", Pin::new("987654")).contains("987654"));
    }
}
