//! JSON as Go's encoder writes it: engines hash it, so every byte counts.

use std::fmt::Write as _;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Largest JSON document that is read, where nothing else is said.
pub const MAX_DOCUMENT: u64 = 4 << 20;

/// Reads an object as a `T`; serde alone would also take a list of its members' values.
pub(crate) fn parse_object<'de, T: Deserialize<'de>>(
    json: &'de [u8],
) -> Result<T, serde_json::Error> {
    let value = serde_json::from_slice(json)?;
    if json.trim_ascii_start().first() == Some(&b'{') {
        Ok(value)
    } else {
        Err(serde_json::Error::custom("expected an object"))
    }
}

/// A member that is an object, for the same reason.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        parse_object(raw.get().as_bytes())
            .map(Object)
            .map_err(D::Error::custom)
    }
}

/// Removes blanks between the values of `json` and escapes what Go escapes, as Go does with
/// raw values nested in what it encodes. Order of keys and spelling of numbers stay.
pub(crate) fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut in_string = false;
    let mut escaped = false;
    for letter in json.chars() {
        match letter {
            ' ' | '\t' | '\n' | '\r' if !in_string => continue,
            '"' if !escaped => in_string = !in_string,
            _ => {}
        }
        escaped = in_string && letter == '\\' && !escaped;
        push(&mut out, letter);
    }
    out
}

/// A text as a JSON string.
pub(crate) fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..'\u{20}' => escape(&mut out, letter),
            _ => push(&mut out, letter),
        }
    }
    out.push('"');
    out
}

/// An object of values that are JSON already, in the order given.
pub(crate) fn object<'a>(members: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let members = members
        .into_iter()
        .map(|(key, value)| format!("{}:{value}", string(key)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// A list of values that are JSON already.
pub(crate) fn list(values: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", values.into_iter().collect::<Vec<_>>().join(","))
}

fn push(out: &mut String, letter: char) {
    match letter {
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => escape(out, letter),
        _ => out.push(letter),
    }
}

fn escape(out: &mut String, letter: char) {
    // Writing to a string cannot fail.
    let _ = write!(out, "\\u{:04x}", u32::from(letter));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values were printed by Go 1.19's `json.Marshal` of a `json.RawMessage`.
    #[test]
    fn compacts_as_go_does() {
        let raw =
            "{ \"b\" : [ 1 , 2.0e1 ] ,\n\t\"a\": \"x < y \\\" & \\\\\" , \"c\":\"\u{2028}\" }";
        let go = r#"{"b":[1,2.0e1],"a":"x \u003c y \" \u0026 \\","c":"\u2028"}"#;
        assert_eq!(compact(raw), go);
    }

    /// Expected values were printed by Go 1.19's `json.Marshal` of a string.
    #[test]
    fn strings_as_go_writes_them() {
        let text = "a\"\\\n\r\t\u{1}\u{8}\u{7f}<>&ä\u{2029}";
        let go = "\"a\\\"\\\\\\n\\r\\t\\u0001\\u0008\u{7f}\\u003c\\u003e\\u0026ä\\u2029\"";
        assert_eq!(string(text), go);
    }
}
