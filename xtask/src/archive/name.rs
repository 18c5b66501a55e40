//! The full form of an image name, as every tool of the field understands it.

/// `alpine` is `docker.io/library/alpine:latest`; what is full already stays.
pub(crate) fn normalise(name: &str) -> String {
    let (domain, rest) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => ("docker.io", name),
    };
    let domain = if domain == "index.docker.io" {
        "docker.io"
    } else {
        domain
    };
    let rest = match domain == "docker.io" && !rest.contains('/') {
        true => format!("library/{rest}"),
        false => rest.to_owned(),
    };
    match rest.contains([':', '@']) {
        true => format!("{domain}/{rest}"),
        false => format!("{domain}/{rest}:latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::normalise;

    #[test]
    fn short_names_become_full_ones() {
        assert_eq!(normalise("alpine"), "docker.io/library/alpine:latest");
        assert_eq!(normalise("alpine:3"), "docker.io/library/alpine:3");
        assert_eq!(normalise("me/app"), "docker.io/me/app:latest");
        assert_eq!(
            normalise("docker.io/alpine:3"),
            "docker.io/library/alpine:3"
        );
        assert_eq!(normalise("localhost/x:1"), "localhost/x:1");
        assert_eq!(normalise("localhost:5000/x"), "localhost:5000/x:latest");
    }
}
