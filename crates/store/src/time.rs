//! Times as text.

use jiff::Timestamp;

/// The time now as RFC 3339.
pub(crate) fn now() -> String {
    Timestamp::now().to_string()
}

/// Microseconds since 1970 of an RFC 3339 text, when it is one.
pub(crate) fn microseconds(text: &str) -> Option<i64> {
    text.parse::<Timestamp>()
        .ok()
        .map(Timestamp::as_microsecond)
}
