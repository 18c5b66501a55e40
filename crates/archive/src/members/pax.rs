//! Pax records: `<length> <key>=<value>\n`.

/// Splits the content of a pax header into its records.
///
/// The first record that breaks the form ends the iteration with an error.
pub(crate) fn records(content: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), String>> {
    let mut rest = content;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let record = record(rest);
        rest = match &record {
            Some((_, _, behind)) => behind,
            None => &[],
        };
        let wrong = || "a pax record is not of the form `<length> <key>=<value>`".to_owned();
        Some(record.map(|(key, value, _)| (key, value)).ok_or_else(wrong))
    })
}

type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn record(content: &[u8]) -> Option<Record<'_>> {
    let blank = content.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(content.get(..blank)?).ok()?).ok()?;
    let text = content.get(blank + 1..length)?.strip_suffix(b"\n")?;
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (text.get(..equals)?, text.get(equals + 1..)?);
    // Names are handed to code that compares them: none may end early in some readers.
    let names = matches!(key, b"path" | b"linkpath");
    if key.is_empty() || (names && value.contains(&0)) {
        return None;
    }
    Some((key, value, content.get(length..)?))
}

/// Reads a number without sign.
pub(crate) fn decimal(text: &[u8]) -> Result<u64, String> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text)
        .ok()
        .filter(|_| digits)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("{:?} is not a number", String::from_utf8_lossy(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_split() {
        let all: Result<Vec<_>, _> = records(b"12 path=abc\n9 size=1\n").collect();
        let all = all.unwrap();
        assert_eq!(
            all,
            [(&b"path"[..], &b"abc"[..]), (&b"size"[..], &b"1"[..])]
        );
    }

    #[test]
    fn broken_records_are_errors() {
        for text in [
            &b"x"[..],
            b"5 a=b",
            b"99 path=abc\n",
            b"0 path=abc\n",
            b"12 path=abc\n9",
            b"2 \n",
            b"-1 a=b\n",
            b"11 path=a\0\n",
            b"999999999999999999999999 a=b\n",
            b"6 =bc\n",
        ] {
            assert!(records(text).any(|record| record.is_err()), "{text:?}");
        }
        assert!(decimal(b"+1").is_err());
        assert!(decimal(b"99999999999999999999999").is_err());
    }
}
