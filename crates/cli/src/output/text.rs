//! Numbers, dates and untrusted names, as people read them.

use std::fmt::Write as _;

use jiff::Timestamp;
use lith_store::LayerId;

/// A name from an archive, with everything that a terminal would obey made visible.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) {
            // Writing to a string cannot fail.
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// The ID of a layer as documents show it: as a digest, like that of an image.
pub(crate) fn layer(id: &LayerId) -> String {
    format!("sha256:{id}")
}

/// The digits of an ID that tables show.
pub(crate) fn short(id: &str) -> String {
    id.strip_prefix("sha256:")
        .unwrap_or(id)
        .chars()
        .take(12)
        .collect()
}

/// A number of things.
pub(crate) fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Characters that change how their neighbours are shown.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Bytes in decimal units, three digits, as docker shows them.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    #[allow(clippy::cast_precision_loss)] // Three digits are shown.
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        // 999.5 would be shown as 1000.
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    let digits = if value < 9.995 {
        2
    } else {
        usize::from(value < 99.95)
    };
    format!("{value:.digits$} {unit}")
}

/// A date for programs: what is no RFC 3339 time is none.
pub(crate) fn date(text: Option<&str>) -> Option<&str> {
    text.filter(|text| text.parse::<Timestamp>().is_ok())
}

/// How long ago an RFC 3339 time was; what is no such time is shown as nothing.
pub(crate) fn ago(created: Option<&str>, now: Timestamp) -> String {
    let Some(created) = created.and_then(|text| text.parse::<Timestamp>().ok()) else {
        return "-".to_owned();
    };
    let seconds = now.duration_since(created).as_secs();
    if seconds < 0 {
        return "in the future".to_owned();
    }
    const STEPS: [(i64, &str); 6] = [
        (31_557_600, "year"),
        (2_629_800, "month"),
        (604_800, "week"),
        (86_400, "day"),
        (3_600, "hour"),
        (60, "minute"),
    ];
    let (count, unit) = STEPS
        .iter()
        .find(|(length, _)| seconds >= *length)
        .map_or((seconds, "second"), |(length, unit)| {
            (seconds / length, *unit)
        });
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (9_995, "10.0 kB"),
            (99_949, "99.9 kB"),
            (99_950, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (611_000_000, "611 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(size(bytes), shown, "{bytes}");
        }
    }

    #[test]
    fn terminals_obey_no_name() {
        assert_eq!(escape("plain-ü:1"), "plain-ü:1");
        assert_eq!(escape("a\u{1b}[2Jb\n\u{202e}"), "a\\u{1b}[2Jb\\n\\u{202e}");
    }

    #[test]
    fn times_are_told_in_their_largest_unit() {
        let now: Timestamp = "2024-05-20T12:00:00Z".parse().unwrap();
        for (created, shown) in [
            ("2024-05-20T11:59:59Z", "1 second ago"),
            ("2024-05-20T10:00:00+00:00", "2 hours ago"),
            ("2024-05-12T12:00:00Z", "1 week ago"),
            ("2014-05-20T12:00:00.123456789Z", "10 years ago"),
            ("2024-05-21T12:00:00Z", "in the future"),
            ("yesterday", "-"),
        ] {
            assert_eq!(ago(Some(created), now), shown, "{created}");
        }
        assert_eq!(ago(None, now), "-");
    }
}
