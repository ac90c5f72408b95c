//! Distinguished names (RFC 5280 4.1.2.4): ordered attributes of known types, each within its limits.
//!
//! What is read here from DER is held to the same rules as what is written: one attribute per RDN, UTF8String or
//! PrintableString in NFC, no control characters, the upper bounds of RFC 5280 appendix A.1.

use std::fmt;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519;
use der::asn1::{Any, SetOfVec};
use der::{Encode, Tag};
use unicode_normalization::{UnicodeNormalization, is_nfc};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::{RdnSequence, RelativeDistinguishedName};

use crate::strict;

/// ub-common-name: how many characters a CN may have (RFC 5280 appendix A.1).
pub const MAX_COMMON_NAME: usize = 64;

/// No name here has more attributes.
const MAX_ATTRIBUTES: usize = 16;

/// No encoded name here is longer, in octets.
const MAX_NAME_OCTETS: usize = 8 * 1024;

/// The attribute types that may stand in a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttributeType {
    /// C: two capital letters of ISO 3166.
    Country,
    /// ST.
    StateOrProvince,
    /// L.
    Locality,
    /// O.
    Organization,
    /// OU.
    OrganizationalUnit,
    /// CN.
    CommonName,
    /// serialNumber: of the subject, not of the certificate. Here it is the user id, or a lending id.
    SerialNumber,
    /// GN.
    GivenName,
    /// SN.
    Surname,
    /// title.
    Title,
    /// DC.
    DomainComponent,
}

impl AttributeType {
    /// All of them.
    pub const ALL: [AttributeType; 11] = [
        Self::Country,
        Self::StateOrProvince,
        Self::Locality,
        Self::Organization,
        Self::OrganizationalUnit,
        Self::CommonName,
        Self::SerialNumber,
        Self::GivenName,
        Self::Surname,
        Self::Title,
        Self::DomainComponent,
    ];

    /// Its object identifier.
    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Country => rfc4519::COUNTRY_NAME,
            Self::StateOrProvince => rfc4519::ST,
            Self::Locality => rfc4519::LOCALITY_NAME,
            Self::Organization => rfc4519::ORGANIZATION_NAME,
            Self::OrganizationalUnit => rfc4519::ORGANIZATIONAL_UNIT_NAME,
            Self::CommonName => rfc4519::COMMON_NAME,
            Self::SerialNumber => rfc4519::SERIAL_NUMBER,
            Self::GivenName => rfc4519::GIVEN_NAME,
            Self::Surname => rfc4519::SURNAME,
            Self::Title => rfc4519::TITLE,
            Self::DomainComponent => rfc4519::DOMAIN_COMPONENT,
        }
    }

    /// The type with this object identifier.
    pub fn from_oid(oid: ObjectIdentifier) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.oid() == oid)
    }

    /// Its short name (RFC 4519): `CN`, `serialNumber`.
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::Country => "C",
            Self::StateOrProvince => "ST",
            Self::Locality => "L",
            Self::Organization => "O",
            Self::OrganizationalUnit => "OU",
            Self::CommonName => "CN",
            Self::SerialNumber => "serialNumber",
            Self::GivenName => "GN",
            Self::Surname => "SN",
            Self::Title => "title",
            Self::DomainComponent => "DC",
        }
    }

    /// The type with this short name.
    pub fn from_short_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.short_name() == name)
    }

    /// The greatest number of characters (RFC 5280 appendix A.1; given name and surname have ub-name there, 32768, which
    /// no reader wants: they get 64 too).
    pub const fn limit(self) -> usize {
        match self {
            Self::Country => 2,
            Self::StateOrProvince | Self::Locality => 128,
            Self::Organization
            | Self::OrganizationalUnit
            | Self::CommonName
            | Self::SerialNumber
            | Self::GivenName
            | Self::Surname
            | Self::Title => MAX_COMMON_NAME,
            Self::DomainComponent => 63,
        }
    }

    /// How a value is written: PrintableString where RFC 5280 demands it, IA5String for DC, UTF8String for the rest.
    const fn string_tag(self) -> Tag {
        match self {
            Self::Country | Self::SerialNumber => Tag::PrintableString,
            Self::DomainComponent => Tag::Ia5String,
            _ => Tag::Utf8String,
        }
    }

    /// Whether a name may have several: hierarchies of units and of domains have; all else has one.
    const fn may_repeat(self) -> bool {
        matches!(self, Self::OrganizationalUnit | Self::DomainComponent)
    }
}

impl fmt::Display for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short_name())
    }
}

/// Why a name is refused (conformance: E6, E8).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A name without attributes.
    #[error("the name is empty")]
    Empty,
    /// More attributes or octets than a name may have here.
    #[error("the name has more than {MAX_ATTRIBUTES} attributes or {MAX_NAME_OCTETS} octets")]
    TooLarge,
    /// Not the DER of a Name.
    #[error("not a DER Name (RFC 5280 4.1.2.4): {0}")]
    Malformed(&'static str),
    /// An attribute type that names have not here.
    #[error("attribute type {0} is not used in names here")]
    UnknownType(ObjectIdentifier),
    /// An RDN of several attributes, or of none.
    #[error("a relative distinguished name must have exactly one attribute")]
    MultiValued,
    /// An attribute type that stands twice (conformance: E6).
    #[error("rule E6: {0} stands twice in the name")]
    Repeated(AttributeType),
    /// An attribute without a value.
    #[error("{0} is empty")]
    EmptyValue(AttributeType),
    /// A value over its upper bound (conformance: E8).
    #[error("rule E8: {attribute} has {length} characters, and may have {limit}")]
    TooLong {
        /// Which attribute.
        attribute: AttributeType,
        /// How many characters it has.
        length: usize,
        /// How many it may have.
        limit: usize,
    },
    /// A character that must not stand there (conformance: E8).
    #[error("rule E8: {attribute} contains the character U+{:04X}, which must not stand there", *.character as u32)]
    Character {
        /// Which attribute.
        attribute: AttributeType,
        /// The first such character.
        character: char,
    },
    /// A string type that the attribute must not have (conformance: E8).
    #[error("rule E8: {0} is neither a UTF8String nor a PrintableString, or not the one that it must be")]
    StringType(AttributeType),
    /// Not normalised (conformance: E8).
    #[error("rule E8: {0} is not in Unicode normalisation form C")]
    NotNormalised(AttributeType),
}

/// A distinguished name: its attributes in order, and its DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistinguishedName {
    attributes: Vec<(AttributeType, String)>,
    name: RdnSequence,
    der: Vec<u8>,
}

impl DistinguishedName {
    /// From attributes, the outermost first (C, O, OU, CN). Values are brought into normalisation form C.
    ///
    /// # Errors
    /// When the name is empty or too large, a value breaks a limit of its type, or a type other than OU and DC stands
    /// twice.
    // conformance: E8
    pub fn new<V: AsRef<str>>(attributes: impl IntoIterator<Item = (AttributeType, V)>) -> Result<Self, NameError> {
        let mut checked: Vec<(AttributeType, String)> = Vec::new();
        for (attribute, value) in attributes {
            let value: String = value.as_ref().nfc().take(MAX_NAME_OCTETS).collect();
            check_value(attribute, &value)?;
            if checked.len() == MAX_ATTRIBUTES {
                return Err(NameError::TooLarge);
            }
            if !attribute.may_repeat() && checked.iter().any(|(known, _)| *known == attribute) {
                return Err(NameError::Repeated(attribute));
            }
            checked.push((attribute, value));
        }
        if checked.is_empty() {
            return Err(NameError::Empty);
        }
        let name = to_rdn_sequence(&checked).map_err(|_| NameError::TooLarge)?;
        let der = name.to_der().map_err(|_| NameError::TooLarge)?;
        Ok(DistinguishedName { attributes: checked, name, der })
    }

    /// From DER.
    ///
    /// # Errors
    /// When it is not DER, or breaks any rule of [`DistinguishedName::new`]; nothing is mended.
    // conformance: E8
    pub fn from_der(der: &[u8]) -> Result<Self, NameError> {
        if der.len() > MAX_NAME_OCTETS {
            return Err(NameError::TooLarge);
        }
        let outer = strict::check(der).map_err(NameError::Malformed)?;
        if outer.tag != 0x30 {
            return Err(NameError::Malformed("it is not a SEQUENCE"));
        }
        let rdns = strict::elements(outer.content, MAX_ATTRIBUTES)
            .map_err(NameError::Malformed)?
            .ok_or(NameError::TooLarge)?;
        let attributes = rdns.into_iter().map(read_rdn).collect::<Result<Vec<_>, _>>()?;
        let name = Self::new(attributes)?;
        if name.der != der {
            // All else was checked: a directory string that came as PrintableString stays as it came.
            let parsed: RdnSequence = der::Decode::from_der(der).map_err(|_| NameError::Malformed("it is no Name"))?;
            return Ok(DistinguishedName { name: parsed, der: der.to_vec(), ..name });
        }
        Ok(name)
    }

    /// The DER of the Name.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The attributes, the outermost first.
    pub fn attributes(&self) -> impl Iterator<Item = (AttributeType, &str)> {
        self.attributes.iter().map(|(attribute, value)| (*attribute, value.as_str()))
    }

    /// The first value of an attribute.
    pub fn get(&self, attribute: AttributeType) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| *known == attribute).map(|(_, value)| value.as_str())
    }

    /// The first attribute type that stands twice, if one does. A leaf's name has none (conformance: E6).
    pub fn repeated(&self) -> Option<AttributeType> {
        self.attributes
            .iter()
            .enumerate()
            .find(|(index, (attribute, _))| self.attributes[..*index].iter().any(|(known, _)| known == attribute))
            .map(|(_, (attribute, _))| *attribute)
    }

    pub(crate) fn to_x509(&self) -> RdnSequence {
        self.name.clone()
    }
}

impl fmt::Display for DistinguishedName {
    /// As RFC 4514 writes it: the innermost attribute first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (attribute, value)) in self.attributes.iter().rev().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{attribute}=")?;
            write_escaped(f, value)?;
        }
        Ok(())
    }
}

/// The CN of a card: `userid_Given_Family`, cut by [`cut_common_name`].
pub fn card_common_name(user_id: &str, given: &str, family: &str) -> String {
    cut_common_name(&format!("{user_id}_{given}_{family}"))
}

/// The one rule by which long names are made to fit a CN: normalisation form C, the first 64 characters, and no white
/// space at either end.
pub fn cut_common_name(name: &str) -> String {
    let cut: String = name.trim().nfc().take(MAX_COMMON_NAME).collect();
    cut.trim_end().to_owned()
}

fn check_value(attribute: AttributeType, value: &str) -> Result<(), NameError> {
    if value.is_empty() {
        return Err(NameError::EmptyValue(attribute));
    }
    let length = value.chars().count();
    let limit = attribute.limit();
    if length > limit {
        return Err(NameError::TooLong { attribute, length, limit });
    }
    let allowed = |character: char| match attribute {
        AttributeType::Country => character.is_ascii_uppercase(),
        _ => match attribute.string_tag() {
            Tag::PrintableString => is_printable_string(character),
            Tag::Ia5String => character.is_ascii_graphic(),
            _ => !is_forbidden(character),
        },
    };
    if let Some(character) = value.chars().find(|character| !allowed(*character)) {
        return Err(NameError::Character { attribute, character });
    }
    if attribute == AttributeType::Country && length != 2 {
        return Err(NameError::TooLong { attribute, length, limit });
    }
    Ok(())
}

/// Control characters, and those that change how the rest of a line is shown, by which one name can pass for another.
pub(crate) fn is_forbidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{fffe}' | '\u{ffff}')
}

/// The characters of a PrintableString (X.680 41.4).
fn is_printable_string(character: char) -> bool {
    character.is_ascii_alphanumeric() || " '()+,-./:=?".contains(character)
}

fn to_rdn_sequence(attributes: &[(AttributeType, String)]) -> der::Result<RdnSequence> {
    let rdns = attributes.iter().map(|(attribute, value)| {
        let value = Any::new(attribute.string_tag(), value.as_bytes())?;
        Ok(RelativeDistinguishedName(SetOfVec::try_from([AttributeTypeAndValue { oid: attribute.oid(), value }])?))
    });
    Ok(RdnSequence(rdns.collect::<der::Result<_>>()?))
}

fn read_rdn(rdn: strict::Element<'_>) -> Result<(AttributeType, String), NameError> {
    if rdn.tag != 0x31 {
        return Err(NameError::Malformed("an RDN is not a SET"));
    }
    let pairs = strict::elements(rdn.content, 1).map_err(NameError::Malformed)?.ok_or(NameError::MultiValued)?;
    let [pair] = pairs[..] else { return Err(NameError::MultiValued) };
    let pair: AttributeTypeAndValue =
        der::Decode::from_der(pair.raw).map_err(|_| NameError::Malformed("an attribute is not a type and a value"))?;
    let attribute = AttributeType::from_oid(pair.oid).ok_or(NameError::UnknownType(pair.oid))?;
    let tag = der::Tagged::tag(&pair.value);
    // Other issuers write directory strings as PrintableString, which is as good (RFC 5280 4.1.2.4).
    let fits = tag == attribute.string_tag()
        || (attribute.string_tag() == Tag::Utf8String && tag == Tag::PrintableString && pair.value.value().is_ascii());
    if !fits {
        return Err(NameError::StringType(attribute));
    }
    let text = std::str::from_utf8(pair.value.value()).map_err(|_| NameError::StringType(attribute))?;
    if tag == Tag::PrintableString
        && let Some(character) = text.chars().find(|character| !is_printable_string(*character))
    {
        return Err(NameError::Character { attribute, character });
    }
    if !is_nfc(text) {
        return Err(NameError::NotNormalised(attribute));
    }
    Ok((attribute, text.to_owned()))
}

fn write_escaped(f: &mut fmt::Formatter<'_>, value: &str) -> fmt::Result {
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        let escape = match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => true,
            ' ' => index == 0 || index == last,
            '#' => index == 0,
            _ => false,
        };
        if escape {
            f.write_str("\\")?;
        }
        write!(f, "{character}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
