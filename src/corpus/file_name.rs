//! File names for ids: any id comes in, a name that stays in its folder leaves, and the way back.

/// Longest name that is given, in bytes; leaves room for endings within the 255 bytes of common file systems.
const LONGEST_BYTES: usize = 240;
/// Name of the empty id.
const EMPTY: &str = "%";

/// Writes an id as a file name: `/`, `\`, control characters, those that Windows forbids and a leading dot become `%` and
/// two hexadecimal digits; all else stays. `None` if the name would be too long.
pub(super) fn encode(id: &str) -> Option<String> {
    if id.is_empty() {
        return Some(EMPTY.into());
    }
    let mut name = String::with_capacity(id.len());
    for (at, c) in id.char_indices() {
        let forbidden = match c {
            '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|' => true,
            '.' => at == 0,
            '%' => id == EMPTY || escaped_byte(&id[at..]).is_some(),
            c => c.is_ascii_control(),
        };
        if forbidden {
            name.push_str(&format!("%{:02X}", u32::from(c)));
        } else {
            name.push(c);
        }
    }
    (name.len() <= LONGEST_BYTES).then_some(name)
}

/// Returns the id of which `name` is the file name; a name that [`encode`] does not give is its own id.
pub(super) fn decode(name: &str) -> String {
    if name == EMPTY {
        return String::new();
    }
    let mut id = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        match escaped_byte(rest) {
            Some(byte) => {
                id.push(char::from(byte));
                rest = &rest[3..];
            }
            None => {
                id.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    if encode(&id).as_deref() == Some(name) { id } else { name.to_owned() }
}

/// The ASCII character that `%` and two hexadecimal digits at the start of `text` stand for.
fn escaped_byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix('%')?.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u8::from_str_radix(digits, 16).ok().filter(u8::is_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_id_leaves_its_folder() {
        for (id, name) in [
            ("17", "17"),
            ("../x", "%2E.%2Fx"),
            ("/etc/passwd", "%2Fetc%2Fpasswd"),
            ("", "%"),
            ("%", "%25"),
            (".", "%2E"),
            ("..", "%2E."),
            ("50 % ИБС.1", "50 % ИБС.1"),
            ("a%2Fb", "a%252Fb"),
            ("a\0\n", "a%00%0A"),
        ] {
            assert_eq!(encode(id).as_deref(), Some(name));
            assert_eq!(decode(name), id);
        }
        assert_eq!(decode("a%41"), "a%41"); // nothing is written so
        assert_eq!(encode(&"ж".repeat(121)), None);
    }

    proptest! {
        #[test]
        fn every_id_comes_back(id in "(?s)([%/.25Fa\\\\]|.){0,20}") {
            let name = encode(&id).unwrap();
            prop_assert!(!name.contains(['/', '\0']) && !name.starts_with('.') && !name.is_empty());
            prop_assert_eq!(decode(&name), id);
        }
    }
}
