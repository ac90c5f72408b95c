//! Host names and addresses of the web, as certificates hold them (RFC 3986, RFC 5280 4.2.1.6, RFC 5890 2.3.1).

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::name::is_forbidden;

/// A host name in the preferred syntax (RFC 1034 3.5, RFC 1123 2.1), lower case; no wildcard, and no address, which
/// has a kind of its own (RFC 5280 4.2.1.6).
pub(crate) fn check_dns_name(name: &str) -> Result<(), &'static str> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err("a host name has labels of letters, digits and hyphens, 63 octets each and 253 in all");
    }
    if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err("it looks like an IP address, which goes among the addresses");
    }
    if !name.split('.').filter_map(|label| label.strip_prefix("xn--")).all(is_punycode) {
        return Err("a label that begins with xn-- is the Punycode of an international name (RFC 3492)");
    }
    Ok(())
}

/// Whether this decodes to characters that are not all ASCII (RFC 3492 6.2). Each that is added is beyond ASCII.
fn is_punycode(label: &str) -> bool {
    let (basic, extended) = match label.rsplit_once('-') {
        Some(("", _)) => return false,
        Some(parts) => parts,
        None => ("", label),
    };
    decodes(basic.len(), extended).unwrap_or(false)
}

/// Adds the characters of `extended` to so many basic ones; `None` when a number is too large or cut short.
fn decodes(basic: usize, extended: &str) -> Option<bool> {
    let (mut character, mut position, mut bias) = (0x80_u32, 0_u32, 72_u32);
    let mut length = u32::try_from(basic).ok()?;
    let mut digits = extended.bytes().peekable();
    while digits.peek().is_some() {
        let (before, mut weight, mut k) = (position, 1_u32, 36_u32);
        loop {
            let digit = match digits.next()? {
                letter @ b'a'..=b'z' => u32::from(letter - b'a'),
                number @ b'0'..=b'9' => u32::from(number - b'0') + 26,
                _ => return None,
            };
            position = position.checked_add(digit.checked_mul(weight)?)?;
            let threshold = k.saturating_sub(bias).clamp(1, 26);
            if digit < threshold {
                break;
            }
            weight = weight.checked_mul(36 - threshold)?;
            k += 36;
        }
        length += 1;
        bias = adapt(position - before, length, before == 0);
        character = character.checked_add(position / length)?;
        char::from_u32(character).filter(|added| !is_forbidden(*added))?;
        position = position % length + 1;
    }
    Some(!extended.is_empty())
}

/// The bias of the next number (RFC 3492 6.1).
fn adapt(delta: u32, length: u32, first: bool) -> u32 {
    let mut delta = if first { delta / 700 } else { delta / 2 };
    delta += delta / length;
    let mut k = 0;
    while delta > 455 {
        delta /= 35;
        k += 36;
    }
    k + 36 * delta / (delta + 38)
}

/// An absolute URI (RFC 3986 3, RFC 5280 4.2.1.6): a scheme and something behind it, ASCII; where there is an authority,
/// its host is there too.
pub(crate) fn check_uri(uri: &str) -> Result<(), &'static str> {
    let Some((scheme, rest)) = uri.split_once(':') else {
        return Err("a URI has a scheme, as https: or urn:");
    };
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if !is_scheme || rest.is_empty() || rest == "//" {
        return Err("a URI is absolute: a scheme, a colon, and something behind it");
    }
    if uri.len() > 1024 || !uri.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)) {
        return Err("a URI is ASCII without spaces, quotes or brackets, 1024 octets at most");
    }
    let mut behind = rest;
    if let Some(rest) = rest.strip_prefix("//") {
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        check_authority(authority)?;
        behind = path;
    }
    let (hierarchy, fragment) = behind.split_once('#').unwrap_or((behind, ""));
    if fragment.contains('#') {
        return Err("a URI has one # at most");
    }
    check_characters(hierarchy)?;
    check_characters(fragment)
}

/// An address of the web: `http` or `https`, and a host without a user.
pub(crate) fn check_web_address(url: &str) -> Result<(), &'static str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let authority = rest.ok_or("it is neither http nor https")?.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || authority.starts_with(':') || authority.contains('@') {
        return Err("it has no host");
    }
    check_uri(url)
}

fn check_authority(authority: &str) -> Result<(), &'static str> {
    let host = match authority.split_once('@') {
        Some((_, host)) if host.contains('@') => return Err("a URI has one @ at most before its host"),
        Some((user, host)) => {
            check_characters(user)?;
            host
        }
        None => authority,
    };
    check_host(host)
}

/// Outside the host there are no brackets, and `%` begins an octet in two hexadecimal digits (RFC 3986 2.1, 3.3).
fn check_characters(part: &str) -> Result<(), &'static str> {
    if part.contains(['[', ']']) {
        return Err("a URI has brackets around an IPv6 address only");
    }
    let is_octet = |after: &str| after.len() >= 2 && after.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if part.split('%').skip(1).all(is_octet) { Ok(()) } else { Err("after % come two hexadecimal digits") }
}

/// The host of an authority is a host name or an address, perhaps with a port (RFC 5280 4.2.1.6).
fn check_host(authority: &str) -> Result<(), &'static str> {
    const FORM: &str = "a URI with // names a host: a host name or an IP address";
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or(FORM)?;
            address.parse::<Ipv6Addr>().map_err(|_| FORM)?;
            (None, port)
        }
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            (Some(host), port)
        }
    };
    if !port.is_empty() {
        let number = port.strip_prefix(':').ok_or(FORM)?;
        let is_port = number.starts_with(|first: char| matches!(first, '1'..='9')) && number.parse::<u16>().is_ok();
        if !is_port {
            return Err("the port of a URI is a number from 1 to 65535, without zeros in front");
        }
    }
    match host {
        Some(host) if host.parse::<Ipv4Addr>().is_err() => match check_dns_name(&host.to_ascii_lowercase()) {
            Err(rule) if rule.contains("xn--") => Err(rule),
            checked => checked.map_err(|_| FORM),
        },
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_checked() {
        for good in
            ["localhost", "a.example", "xn--bcher-kva.example", "xn--p1ai", "xn--fiqs8s", "station-1.ra.example", "1.a"]
        {
            assert_eq!(check_dns_name(good), Ok(()), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "*.example",
            "a b",
            "127.0.0.1",
            "bücher.example",
            "a.",
            "xn--a.example",
            "xn--99999999",
            "xn--0",
            &long,
        ] {
            assert!(check_dns_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_among_the_names_are_absolute() {
        for good in [
            "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
            "https://a.example/x?y",
            "https://a.example/x%20y?z=%C3%BC#part/1?2",
            "spiffe://a/b",
            "a+b:c",
            "https://[::1]:8443/",
            "https://[2001:db8::1]",
            "https://10.0.0.1/",
            "https://u@a.example:1",
            "https://a.example:65535/@x",
        ] {
            assert_eq!(check_uri(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a",
            "/x",
            "//a.example/",
            "https:",
            "https://",
            "https:///x",
            "https://:1/",
            "1a:b",
            "a:b c",
            "https://a/ü",
            "a:\"",
            "https://u@/",
            "https://a_b/",
            "https://[::x]/",
            "https://[::1/",
            "https://[::1]x/",
            "https://[::1]8443/",
            "https://a:b/",
            "https://a:/",
            "https://a:0/",
            "https://a:080/",
            "https://a:+80/",
            "https://a:65536/",
            "https://1.2.3/",
            "https://256.1.1.1/",
            "https://-a/",
            "https://u@v@a/",
            "https://u%zz@a/",
            "https://a/%",
            "https://a/%2",
            "https://a/%zz",
            "https://a/?%g0",
            "https://a/#x#y",
            "https://a/#%",
            "https://a/[x]",
            "https://xn--99999999/",
        ] {
            assert!(check_uri(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_of_the_web_has_a_host_and_no_user() {
        for good in ["https://a.example/cps.pdf", "http://10.0.0.1:8080/", "https://[::1]/x"] {
            assert_eq!(check_web_address(good), Ok(()), "{good}");
        }
        for bad in
            ["ftp://a/", "https://", "https://:1/", "https://u@a/", "https://a_b/", "https://a/%zz", "https://a:99999/"]
        {
            assert!(check_web_address(bad).is_err(), "{bad}");
        }
    }
}
