//! Row R6: lists of keys whose private half others know, in the two forms in which they are published.
//!
//! - **Debian**: the text files `blacklist.RSA-2048` and the like of Debian's `openssl-blacklist`, which hold the keys that
//!   Debian's OpenSSL made between 2006 and 2008 (CVE-2008-0166). Lines that begin with `#` are comments; every other one
//!   is the lower half of `SHA-1("Modulus=" ‖ modulus in capital hex ‖ LF)`: 20 hexadecimal digits (openssl-vulnkey(1)).
//! - **badkeys**: the file `blocklist.dat` of the badkeys project: sorted entries of 16 octets, the first 15 of
//!   `SHA-256(modulus, or x of the point)` without leading zeros, and the number of the collection that it is from. It
//!   holds the Debian keys of every kind, and those that were published with software, firmware and standards.
//!
//! Reading the files is for others.

use data_encoding::HEXLOWER_PERMISSIVE;
use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::WeakKey;
use crate::PublicKey;

/// No list is longer, in octets: four times what badkeys publishes today.
pub const MAX_LIST: usize = 256 << 20;

/// Octets of an entry of badkeys' list: the digest, and the collection.
const BADKEYS_ENTRY: usize = 16;
const BADKEYS_DIGEST: usize = 15;

/// Octets of an entry of Debian's list.
const DEBIAN_ENTRY: usize = 10;

/// Why a list is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// Longer than is read here.
    #[error("it has {0} octets, and may have {MAX_LIST}")]
    TooLarge(usize),
    /// Nothing in it.
    #[error("there is no entry in it: fetch it again")]
    Empty,
    /// A line that is no entry.
    #[error(
        "line {0} is neither a comment nor 20 hexadecimal digits, as in blacklist.RSA-2048 of Debian's openssl-blacklist: \
         use that file as it ships"
    )]
    Line(usize),
    /// Cut short.
    #[error(
        "it has {0} octets, which is no multiple of {BADKEYS_ENTRY}, as badkeys' blocklist.dat has: fetch it again"
    )]
    Length(usize),
    /// Out of order.
    #[error(
        "entry {0} is out of order, or there twice, so this is not badkeys' blocklist.dat, or a damaged one: fetch it again"
    )]
    Order(usize),
    /// Nothing at one end of the order, where a whole list has entries.
    #[error(
        "its entries, which are digests, are not spread from end to end, so a part of badkeys' blocklist.dat is away: \
         fetch it again"
    )]
    Part,
}

#[derive(Clone, PartialEq, Eq)]
enum Entries {
    Debian(Vec<[u8; DEBIAN_ENTRY]>),
    /// The file as it is.
    Badkeys(Vec<u8>),
}

/// One list.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyList {
    name: String,
    entries: Entries,
}

impl KeyList {
    /// Reads a list. Text is taken for Debian's form, all else for badkeys'.
    ///
    /// # Errors
    /// When the bytes are neither, from end to end.
    pub fn parse(name: &str, bytes: Vec<u8>) -> Result<Self, ListError> {
        if bytes.len() > MAX_LIST {
            return Err(ListError::TooLarge(bytes.len()));
        }
        if bytes.trim_ascii().is_empty() {
            return Err(ListError::Empty);
        }
        let is_text = bytes.iter().all(|octet| octet.is_ascii_graphic() || octet.is_ascii_whitespace());
        let entries = if is_text { Entries::Debian(debian(&bytes)?) } else { Entries::Badkeys(badkeys(bytes)?) };
        let list = KeyList { name: name.to_owned(), entries };
        if list.is_empty() { Err(ListError::Empty) } else { Ok(list) }
    }

    /// The name that it was read under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        match &self.entries {
            Entries::Debian(entries) => entries.len(),
            Entries::Badkeys(file) => file.len() / BADKEYS_ENTRY,
        }
    }

    /// Whether it has none; a list that was read has some.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The form, in words.
    pub fn form(&self) -> &'static str {
        match self.entries {
            Entries::Debian(_) => "Debian openssl-blacklist",
            Entries::Badkeys(_) => "badkeys blocklist",
        }
    }

    /// Whether the key is on it. A list of Debian's form knows RSA keys only.
    pub fn contains(&self, key: &PublicKey) -> bool {
        match &self.entries {
            Entries::Debian(entries) => debian_entry(key).is_some_and(|entry| entries.binary_search(&entry).is_ok()),
            Entries::Badkeys(file) => {
                let (entries, _) = file.as_chunks::<BADKEYS_ENTRY>();
                let digest = badkeys_digest(key);
                entries.binary_search_by(|entry| entry[..BADKEYS_DIGEST].cmp(&digest)).is_ok()
            }
        }
    }
}

impl std::fmt::Debug for KeyList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyList({:?}, {}, {} entries)", self.name, self.form(), self.len())
    }
}

fn debian(text: &[u8]) -> Result<Vec<[u8; DEBIAN_ENTRY]>, ListError> {
    let mut entries = Vec::with_capacity(text.len() / (2 * DEBIAN_ENTRY + 1));
    for (number, line) in text.split(|octet| *octet == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let entry = HEXLOWER_PERMISSIVE.decode(line).ok().and_then(|entry| entry.try_into().ok());
        entries.push(entry.ok_or(ListError::Line(number + 1))?);
    }
    entries.sort_unstable();
    entries.dedup();
    Ok(entries)
}

fn badkeys(file: Vec<u8>) -> Result<Vec<u8>, ListError> {
    let (entries, rest) = file.as_chunks::<BADKEYS_ENTRY>();
    if !rest.is_empty() {
        return Err(ListError::Length(file.len()));
    }
    let falls = |two: &[[u8; BADKEYS_ENTRY]]| two[0][..BADKEYS_DIGEST] > two[1][..BADKEYS_DIGEST] || two[0] == two[1];
    if let Some(before) = entries.windows(2).position(falls) {
        return Err(ListError::Order(before + 2));
    }
    if !is_spread(entries) { Err(ListError::Part) } else { Ok(file) }
}

/// Digests are spread evenly, so a file that was cut between two entries shows it by the gap at its end. A gap of
/// [`GAP`] times the mean comes by chance once in 10^27 lists; what is shorter than that goes unnoticed.
fn is_spread(entries: &[[u8; BADKEYS_ENTRY]]) -> bool {
    const GAP: u128 = 64;
    let place =
        |entry: &[u8; BADKEYS_ENTRY]| entry[..8].iter().fold(0u128, |place, octet| place << 8 | u128::from(*octet));
    let widest = GAP * (1 << 64) / entries.len().max(1) as u128;
    let (first, last) = (entries.first().map_or(0, place), entries.last().map_or(0, place));
    first <= widest && (1 << 64) - last <= widest
}

/// What Debian's lists say of a key; nothing of keys on curves.
pub fn debian_entry(key: &PublicKey) -> Option<[u8; DEBIAN_ENTRY]> {
    let modulus = data_encoding::HEXUPPER.encode(key.rsa_modulus()?);
    let digest: [u8; 20] = Sha1::digest(format!("Modulus={modulus}\n")).into();
    digest[DEBIAN_ENTRY..].try_into().ok()
}

/// What badkeys' list says of a key, less the collection.
pub fn badkeys_digest(key: &PublicKey) -> [u8; BADKEYS_DIGEST] {
    let number = match key.rsa_modulus() {
        Some(modulus) => modulus,
        // An uncompressed point is 04 ‖ x ‖ y.
        None => &key.key_bits()[1..key.key_bits().len().div_ceil(2)],
    };
    let leading = number.iter().take_while(|octet| **octet == 0).count();
    let digest: [u8; 32] = Sha256::digest(&number[leading..]).into();
    let mut entry = [0; BADKEYS_DIGEST];
    entry.copy_from_slice(&digest[..BADKEYS_DIGEST]);
    entry
}

/// All lists that a CA goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyLists {
    lists: Vec<KeyList>,
}

impl KeyLists {
    /// These lists.
    pub fn new(lists: Vec<KeyList>) -> Self {
        KeyLists { lists }
    }

    /// Each list.
    pub fn iter(&self) -> impl Iterator<Item = &KeyList> {
        self.lists.iter()
    }

    /// Refuses a key that stands on one of them.
    ///
    /// # Errors
    /// [`WeakKey::Listed`], with the list.
    // conformance: R6
    pub fn check(&self, key: &PublicKey) -> Result<(), WeakKey> {
        match self.lists.iter().find(|list| list.contains(key)) {
            None => Ok(()),
            Some(list) => Err(WeakKey::Listed { list: list.name.clone() }),
        }
    }
}
