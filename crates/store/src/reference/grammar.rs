//! The grammar of image references: which texts are a domain, a path, a tag.

/// Longest repository name, domain and path together.
pub(super) const MAX_NAME: usize = 255;
/// Longest tag.
const MAX_TAG: usize = 128;

/// `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`
pub(super) fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let mut bytes = text.bytes();
    text.len() <= MAX_TAG
        && bytes.next().is_some_and(word)
        && bytes.all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

/// Lower-case letters and digits, separated by one `.`, one or two `_`, or any run of `-`.
pub(super) fn is_path_component(text: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    if !bytes.first().is_some_and(plain) || !bytes.last().is_some_and(plain) {
        return false;
    }
    bytes
        .split(plain)
        .all(|between| matches!(between, b"" | b"." | b"_" | b"__") || is_dashes(between))
}

fn is_dashes(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == b'-')
}

/// A path: components between slashes.
pub(super) fn is_path(text: &str) -> bool {
    text.split('/').all(is_path_component)
}

/// A host name, IPv4 address or bracketed IPv6 address, with or without a port.
///
/// A name with underscores is no host name, but the field takes it where it stands as one
/// because it could be a path component: so does this.
pub(super) fn is_domain(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix('[') {
        return rest
            .split_once(']')
            .is_some_and(|(address, port)| is_ipv6(address) && is_port_suffix(port));
    }
    let (host, port) = match text.find(':') {
        Some(colon) => text.split_at(colon),
        None => (text, ""),
    };
    is_port_suffix(port)
        && (host.split('.').all(is_domain_component)
            || (port.is_empty() && is_path_component(host)))
}

fn is_domain_component(text: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    ends(bytes.first())
        && ends(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

fn is_ipv6(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b':')
}

/// Nothing, or a colon and digits.
fn is_port_suffix(text: &str) -> bool {
    match text.strip_prefix(':') {
        None => text.is_empty(),
        Some(port) => !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// Tells whether the first part of a name, before its first slash, is a domain rather
/// than the first path component.
pub(super) fn looks_like_domain(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':'])
}
