//! Raw values to checked ones: durations, addresses, names, URLs, paths, choices. Each takes the key it speaks for.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::document::Document;
use crate::error::Error;

/// No duration is longer: sums with a date must stay inside what a certificate can express.
const LONGEST: Duration = Duration::from_secs(50 * 366 * 24 * 3600);

impl Document {
    /// A duration such as "15m": longer than nothing, in whole milliseconds.
    pub(crate) fn duration(&self, key: &str, text: &str) -> Result<Duration, Error> {
        let remedy = "write a number with a unit: \"500ms\", \"5s\", \"15m\", \"8h\", \"90d\"";
        let duration =
            humantime::parse_duration(text.trim()).map_err(|error| self.value_error(key, error.to_string(), remedy))?;
        if duration.is_zero() {
            return Err(self.rule_error(key, "a duration is longer than nothing", remedy));
        }
        if duration.subsec_nanos() % 1_000_000 != 0 {
            return Err(self.rule_error(key, "durations are whole milliseconds", remedy));
        }
        if duration > LONGEST {
            return Err(self.rule_error(key, "no duration is longer than 50 years", remedy));
        }
        Ok(duration)
    }

    /// A whole number within bounds.
    pub(crate) fn number(&self, key: &str, number: i64, bounds: RangeInclusive<usize>) -> Result<usize, Error> {
        usize::try_from(number).ok().filter(|number| bounds.contains(number)).ok_or_else(|| {
            let remedy = format!("choose a number from {} to {}", bounds.start(), bounds.end());
            self.rule_error(key, format!("{number} is outside of {} to {}", bounds.start(), bounds.end()), remedy)
        })
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, key: &str, text: &str, choices: &[(&str, T)]) -> Result<T, Error> {
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Ok(*value);
        }
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        Err(self.value_error(
            key,
            format!("\"{text}\" is not known here"),
            format!("write one of {}", names.join(", ")),
        ))
    }

    /// An address and port to listen on.
    pub(crate) fn listener(&self, key: &str, text: &str) -> Result<SocketAddr, Error> {
        text.parse().map_err(|_| {
            self.value_error(
                key,
                format!("\"{text}\" is not an address with a port"),
                "write an IP address and a port, such as \"127.0.0.1:8443\" or \"[::]:8443\"",
            )
        })
    }

    /// An IP address.
    pub(crate) fn address(&self, key: &str, text: &str) -> Result<IpAddr, Error> {
        text.parse().map_err(|_| {
            self.value_error(
                key,
                format!("\"{text}\" is not an IP address"),
                "write addresses as \"192.0.2.1\" or \"2001:db8::1\", and names under `host_names`",
            )
        })
    }

    /// A host name: labels of letters, digits and hyphens (RFC 1123 section 2.1), as it goes into a dNSName.
    pub(crate) fn host_name(&self, key: &str, text: &str) -> Result<String, Error> {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let all_digits = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if text.len() <= 253 && text.split('.').all(label) && !all_digits {
            return Ok(text.to_ascii_lowercase());
        }
        let problem =
            if text.is_empty() { "it is missing".to_owned() } else { format!("\"{text}\" is not a host name") };
        Err(self.value_error(
            key,
            problem,
            "write labels of letters, digits and hyphens joined by dots, such as \"ra.example.org\"",
        ))
    }

    /// A short name that is used in file names, URLs, token labels and signed contexts.
    pub(crate) fn identifier(&self, key: &str, text: &str) -> Result<String, Error> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=63).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('-') && !text.ends_with('-') {
            return Ok(text.to_owned());
        }
        let problem =
            if text.is_empty() { "it is missing".to_owned() } else { format!("\"{text}\" is not a plain name") };
        Err(self.value_error(key, problem, "write 1 to 63 small letters, digits and hyphens, such as \"desk-1\""))
    }

    /// Text for an attribute of a distinguished name (X.520 upper bound 64), or another one-line text up to `longest`
    /// characters.
    pub(crate) fn line(&self, key: &str, text: &str, longest: usize) -> Result<String, Error> {
        let length = text.chars().count();
        if text.trim() == text && (1..=longest).contains(&length) && !text.chars().any(char::is_control) {
            return Ok(text.to_owned());
        }
        let problem = if text.is_empty() { "it is missing".to_owned() } else { format!("{text:?} does not fit") };
        Err(self.value_error(
            key,
            problem,
            format!("write 1 to {longest} characters on one line, without spaces at either end"),
        ))
    }

    /// A PKCS#11 token label: padded to 32 octets in the token, so no longer than that.
    pub(crate) fn token_label(&self, key: &str, text: &str) -> Result<String, Error> {
        let label = self.line(key, text, 32)?;
        if label.len() > 32 {
            return Err(self.rule_error(key, "a token label has at most 32 octets in UTF-8", "shorten it"));
        }
        Ok(label)
    }

    /// A path; a relative one is taken from `base`.
    pub(crate) fn path(&self, key: &str, text: &str, base: &Path) -> Result<PathBuf, Error> {
        if text.is_empty() || text.contains('\0') {
            return Err(self.value_error(key, "it is not a path", "write the path of the file or folder"));
        }
        Ok(base.join(text))
    }

    /// A URL of the given scheme, made of an authority and perhaps a path, returned without a slash at its end.
    pub(crate) fn url(&self, key: &str, text: &str, scheme: &str) -> Result<String, Error> {
        let remedy = format!("write it as \"{scheme}://host\" or \"{scheme}://host:port/path\"");
        let refuse = |problem: String| self.value_error(key, problem, remedy.clone());
        let rest = text
            .strip_prefix(scheme)
            .and_then(|rest| rest.strip_prefix("://"))
            .ok_or_else(|| refuse(format!("\"{text}\" does not begin with {scheme}://")))?;
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}?#@".contains(&byte);
        if text.len() > 255 || !rest.bytes().all(plain) {
            return Err(refuse(format!("\"{text}\" holds something other than a host, a port and a path")));
        }
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = split_port(authority);
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host_fits = match bracketed {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => host.parse::<std::net::Ipv4Addr>().is_ok() || self.host_name(key, host).is_ok(),
        };
        if !host_fits {
            return Err(refuse(format!("\"{host}\" is not a host")));
        }
        if port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return Err(refuse(format!("\"{}\" is not a port", port.unwrap_or_default())));
        }
        Ok(text.trim_end_matches('/').to_owned())
    }
}

/// Host and port of a URL's authority; an IPv6 address keeps its brackets.
pub(crate) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => (&authority[..colon], Some(&authority[colon + 1..])),
        _ => (authority, None),
    }
}
