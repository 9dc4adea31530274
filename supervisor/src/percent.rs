//! Percent-encoding of the segments of a path and of parameters (RFC 3986, section 2.1).

/// A segment of a path, with everything in it encoded that could end it.
pub(crate) fn encode(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// What was encoded. Strict: nothing where there are not two hexadecimal digits, no UTF-8, or a control character.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        bytes.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_stay_segments() {
        for (text, path) in
            [("web-0", "web-0"), ("a/../b?c#d e", "a%2F%2E%2E%2Fb%3Fc%23d%20e"), ("é", "%C3%A9"), ("", "")]
        {
            assert_eq!(encode(text), path);
            assert_eq!(decode(path).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_no_encoding_is_nothing() {
        for text in ["%", "%4", "%zz", "%+1", "%ff", "%00", "a%0a", "%7f", "\u{1b}"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
