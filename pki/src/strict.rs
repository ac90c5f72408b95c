//! DER, and nothing but DER: a check of a whole encoding before it is taken apart, with bounded depth and linear work.
//!
//! The decoders of the `der` crate look at the fields they know and carry the rest along unread; what is inside an
//! attribute value or an extension could be BER. This walks all of it (X.690 sections 8, 10 and 11).

/// Deeper than any certificate, request or name goes.
const MAX_DEPTH: usize = 24;

const CONSTRUCTED: u8 = 0x20;
const SET: u8 = 0x31;

/// One element: its identifier octet, its content, and all of its octets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
    pub(crate) raw: &'a [u8],
}

/// Checks that `bytes` is exactly one DER element, through and through.
pub(crate) fn check(bytes: &[u8]) -> Result<Element<'_>, &'static str> {
    let (element, rest) = split(bytes)?;
    if !rest.is_empty() {
        return Err("something follows it");
    }
    check_element(element, 0)?;
    Ok(element)
}

/// The first element of `bytes`, and what follows it.
pub(crate) fn split(bytes: &[u8]) -> Result<(Element<'_>, &[u8]), &'static str> {
    const CUT: &str = "it is cut short";
    let (&tag, rest) = bytes.split_first().ok_or(CUT)?;
    if tag & 0x1f == 0x1f || tag == 0 {
        return Err("it has a tag that is not used here");
    }
    let (&first, mut rest) = rest.split_first().ok_or(CUT)?;
    let length = match first {
        0..=0x7f => usize::from(first),
        0x81..=0x83 => {
            let (octets, after) = rest.split_at_checked(usize::from(first & 0x7f)).ok_or(CUT)?;
            rest = after;
            let length = octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
            if octets[0] == 0 || length < 0x80 {
                return Err("a length is not in its shortest form");
            }
            length
        }
        0x80 => return Err("a length is indefinite, which DER forbids"),
        _ => return Err("a length is too large"),
    };
    let (content, rest) = rest.split_at_checked(length).ok_or(CUT)?;
    let raw = &bytes[..bytes.len() - rest.len()];
    Ok((Element { tag, content, raw }, rest))
}

/// The elements that `content` is made of, at most `limit`; `None` when there are more.
pub(crate) fn elements(mut content: &[u8], limit: usize) -> Result<Option<Vec<Element<'_>>>, &'static str> {
    let mut elements = Vec::new();
    while !content.is_empty() {
        if elements.len() == limit {
            return Ok(None);
        }
        let (element, rest) = split(content)?;
        elements.push(element);
        content = rest;
    }
    Ok(Some(elements))
}

fn check_element(element: Element<'_>, depth: usize) -> Result<(), &'static str> {
    if depth > MAX_DEPTH {
        return Err("it is nested too deeply");
    }
    if element.tag & CONSTRUCTED != 0 {
        // X.690 10.2: strings are in one piece. What else is universal is primitive, but for SEQUENCE, SET and their like.
        if element.tag < 0x40 && !matches!(element.tag, 0x28 | 0x2b | 0x30 | SET) {
            return Err("a string, or another simple type, is constructed, which DER forbids");
        }
        let mut rest = element.content;
        let mut previous: Option<&[u8]> = None;
        while !rest.is_empty() {
            let (inner, after) = split(rest)?;
            check_element(inner, depth + 1)?;
            if element.tag == SET {
                if previous.is_some_and(|previous| previous > inner.raw) {
                    return Err("the elements of a SET OF are not in order");
                }
                previous = Some(inner.raw);
            }
            rest = after;
        }
        return Ok(());
    }
    check_primitive(element)
}

fn check_primitive(element: Element<'_>) -> Result<(), &'static str> {
    let content = element.content;
    match element.tag {
        0x01 if content != [0x00] && content != [0xff] => Err("a BOOLEAN is neither 00 nor FF"),
        0x02 | 0x0a => match content {
            [] => Err("an INTEGER is empty"),
            [0x00, second, ..] if second & 0x80 == 0 => Err("an INTEGER is not in its shortest form"),
            [0xff, second, ..] if second & 0x80 != 0 => Err("an INTEGER is not in its shortest form"),
            _ => Ok(()),
        },
        0x03 => match content {
            [0..=7] if content != [0] => Err("an empty BIT STRING has unused bits"),
            [unused @ 0..=7, .., last] if last & ((1u8 << unused) - 1) != 0 => {
                Err("the unused bits of a BIT STRING are not zero")
            }
            [0..=7, ..] => Ok(()),
            _ => Err("a BIT STRING is malformed"),
        },
        0x05 if !content.is_empty() => Err("a NULL has content"),
        0x06 => match content {
            [] => Err("an OBJECT IDENTIFIER is empty"),
            [.., last] if last & 0x80 != 0 => Err("an OBJECT IDENTIFIER is cut short"),
            // X.690 8.19.2: the leading octet of a number is not 80.
            [0x80, ..] => Err("a number of an OBJECT IDENTIFIER is not in its shortest form"),
            _ if content.windows(2).any(|pair| pair[0] & 0x80 == 0 && pair[1] == 0x80) => {
                Err("a number of an OBJECT IDENTIFIER is not in its shortest form")
            }
            _ => Ok(()),
        },
        0x0c if std::str::from_utf8(content).is_err() => Err("a UTF8String is not UTF-8"),
        // X.690 11.7, 11.8: to the second, and in UTC.
        0x17 if !is_time(content, 12) => Err("a UTCTime is not YYMMDDHHMMSSZ"),
        0x18 if !is_time(content, 14) => Err("a GeneralizedTime is not YYYYMMDDHHMMSSZ"),
        // SEQUENCE and SET are constructed, always.
        0x10 | 0x11 => Err("a SEQUENCE or SET is not constructed"),
        _ => Ok(()),
    }
}

fn is_time(content: &[u8], digits: usize) -> bool {
    let fraction = |rest: &[u8]| match rest {
        [] => true,
        [b'.', fraction @ .., last] => {
            digits == 14 && (b'1'..=b'9').contains(last) && fraction.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    let Some(time) = content.strip_suffix(b"Z") else { return false };
    time.split_at_checked(digits).is_some_and(|(whole, rest)| whole.iter().all(u8::is_ascii_digit) && fraction(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ber_is_refused() {
        for (bytes, why) in [
            (&[][..], "cut"),
            (&[0x30, 0x80, 0, 0], "indefinite"),
            (&[0x30, 0x81, 0x00], "shortest"),
            (&[0x30, 0x82, 0x00, 0x01, 0x00], "shortest"),
            (&[0x30, 0x84, 0, 0, 0, 0], "too large"),
            (&[0x02, 0x02, 0x00, 0x01], "shortest"),
            (&[0x01, 0x01, 0x01], "BOOLEAN"),
            (&[0x03, 0x02, 0x01, 0x01], "unused"),
            (&[0x03, 0x01, 0x01], "unused"),
            (&[0x05, 0x01, 0x00], "NULL"),
            (&[0x30, 0x00, 0x00], "follows"),
            (&[0x31, 0x06, 0x02, 0x01, 0x02, 0x02, 0x01, 0x01], "order"),
            (&[0x30, 0x03, 0x02, 0x05, 0x00], "cut"),
            (&[0x06, 0x03, 0x2a, 0x80, 0x00], "shortest"),
            (&[0x06, 0x03, 0x80, 0x2a, 0x00], "shortest"),
            (&[0x06, 0x04, 0x2a, 0x01, 0x80, 0x01], "shortest"),
            (&[0x06, 0x02, 0x2a, 0x81], "cut"),
            (&[0x24, 0x03, 0x04, 0x01, 0x00], "constructed"),
            (&[0x2c, 0x00], "constructed"),
            (&[0x0c, 0x01, 0xff], "UTF-8"),
            (b"\x17\x0b2601010000Z", "UTCTime"),
            (b"\x17\x11260101000000+0100", "UTCTime"),
            (b"\x17\x0d2601010000001", "UTCTime"),
            (b"\x17\x00", "UTCTime"),
            (b"\x18\x0d260101000000Z", "GeneralizedTime"),
            (b"\x18\x1220260101000000.10Z", "GeneralizedTime"),
            (b"\x18\x1020260101000000.Z", "GeneralizedTime"),
        ] {
            let rule = check(bytes).unwrap_err();
            assert!(rule.contains(why), "{bytes:02x?}: {rule}");
        }
        assert!(check(&[0x31, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x02]).is_ok());
        assert!(check(b"\x17\x0d260101000000Z").is_ok() && check(b"\x18\x1120260101000000.1Z").is_ok());
        assert!(check(&[0x06, 0x04, 0x2a, 0x81, 0x80, 0x00]).is_ok(), "80 inside a number is its middle");
    }

    #[test]
    fn depth_is_bounded() {
        let mut bytes = vec![0x05, 0x00];
        for _ in 0..40 {
            let mut outer = vec![0x30, bytes.len() as u8];
            outer.append(&mut bytes);
            bytes = outer;
        }
        assert!(check(&bytes).unwrap_err().contains("nested"));
    }

    #[test]
    fn more_elements_than_the_limit_are_not_read() {
        let content = [0x05, 0x00, 0x05, 0x00, 0x05, 0x00];
        assert_eq!(elements(&content, 3).unwrap().unwrap().len(), 3);
        assert!(elements(&content, 2).unwrap().is_none());
    }
}
