use proptest::prelude::*;

use super::*;

const HEX: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Given, in full, familiar: as docker and skopeo 1.9 normalise them.
#[test]
fn normalisation() {
    let digest = format!("sha256:{HEX}");
    let table = [
        ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("alpine:3", "docker.io/library/alpine:3", "alpine:3"),
        (
            "library/alpine",
            "docker.io/library/alpine:latest",
            "alpine:latest",
        ),
        (
            "docker.io/alpine",
            "docker.io/library/alpine:latest",
            "alpine:latest",
        ),
        (
            "index.docker.io/x",
            "docker.io/library/x:latest",
            "x:latest",
        ),
        ("index.docker.io/a/b", "docker.io/a/b:latest", "a/b:latest"),
        ("a/b/c:t", "docker.io/a/b/c:t", "a/b/c:t"),
        (
            "localhost",
            "docker.io/library/localhost:latest",
            "localhost:latest",
        ),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        (
            "localhost:5000/x:y",
            "localhost:5000/x:y",
            "localhost:5000/x:y",
        ),
        ("a:80/c", "a:80/c:latest", "a:80/c:latest"),
        ("a.b/c", "a.b/c:latest", "a.b/c:latest"),
        ("1.2.3.4:80/x", "1.2.3.4:80/x:latest", "1.2.3.4:80/x:latest"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
        ("[fe80::1]/x", "[fe80::1]/x:latest", "[fe80::1]/x:latest"),
        ("FOO.io/bar", "FOO.io/bar:latest", "FOO.io/bar:latest"),
        (
            "ex_ample.com/x",
            "ex_ample.com/x:latest",
            "ex_ample.com/x:latest",
        ),
        ("a__b", "docker.io/library/a__b:latest", "a__b:latest"),
        ("a--b", "docker.io/library/a--b:latest", "a--b:latest"),
        ("x:_A", "docker.io/library/x:_A", "x:_A"),
        (
            "docker.io/library",
            "docker.io/library/library:latest",
            "library:latest",
        ),
        (
            "docker.io/library/x/y",
            "docker.io/library/x/y:latest",
            "library/x/y:latest",
        ),
        (
            "docker.io/localhost/x",
            "docker.io/localhost/x:latest",
            "docker.io/localhost/x:latest",
        ),
        (
            "docker.io/foo.bar/x",
            "docker.io/foo.bar/x:latest",
            "docker.io/foo.bar/x:latest",
        ),
    ];
    for (given, full, familiar) in table {
        let name = Reference::parse(given).unwrap_or_else(|error| panic!("{given}: {error}"));
        assert_eq!(name.to_string(), full, "{given}");
        assert_eq!(name.familiar(), familiar, "{given}");
        assert_eq!(Reference::parse(familiar).as_ref(), Ok(&name), "{given}");
    }
    let name = Reference::parse(&format!("alpine:t@{digest}")).unwrap();
    assert_eq!(
        name.to_string(),
        format!("docker.io/library/alpine:t@{digest}")
    );
    let name = Reference::parse(&format!("alpine@{digest}")).unwrap();
    assert_eq!(name.familiar(), format!("alpine@{digest}"));
    assert_eq!(name.tag(), None);
    let name = Reference::parse(&format!("{HEX}:t")).unwrap();
    assert_eq!(name.to_string(), format!("docker.io/library/{HEX}:t"));
}

#[test]
fn parts() {
    let name = Reference::parse_bare("localhost:5000/a/b").unwrap();
    assert_eq!(name.domain(), "localhost:5000");
    assert_eq!(name.path(), "a/b");
    assert_eq!(name.repository(), "localhost:5000/a/b");
    assert_eq!(name.tag(), None);
    assert_eq!(name.to_string(), "localhost:5000/a/b");
    assert_eq!(name.with_default_tag().tag(), Some("latest"));
}

/// Refused by skopeo 1.9 and docker 20.10 as well.
#[test]
fn refused() {
    let long_tag = format!("x:{}", "a".repeat(129));
    let long_name = "g".repeat(256);
    let long_when_whole = "g".repeat(240);
    let short_digest = "a@sha256:abc".to_owned();
    let sha512 = format!("a@sha512:{HEX}{HEX}");
    let upper_digest = format!("a@sha256:{}", HEX.to_uppercase());
    for text in [
        "",
        HEX,
        "Foo/bar",
        "foo/Bar",
        "LOCALHOST/x",
        "ALPINE",
        "a___b",
        "a-_b",
        "a..b",
        ".a",
        "a.",
        "-a",
        "a:",
        "a//b",
        "/a",
        "a/",
        "example.com:abc/x",
        "x:-a",
        "a b",
        "é",
        "a.-b.c/x",
        "a@",
        "a@b@c",
        "@",
        ":",
        "a:b:c",
        "[::1/x",
        "[]/x",
        "[::1]x/y",
        "a/b:c/d",
        "../a",
        "a/../b",
        "a\n",
        "a\0",
        "sha256:../x",
        &long_tag,
        &long_name,
        &long_when_whole,
        &short_digest,
        &sha512,
        &upper_digest,
    ] {
        assert!(Reference::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn upper_case_gives_a_hint() {
    let error = Reference::parse("Foo/Bar:V1").unwrap_err();
    assert_eq!(
        error,
        ParseReferenceError::UpperCase {
            text: "Foo/Bar:V1".into(),
            hint: "foo/bar:V1".into()
        }
    );
}

#[test]
fn json_is_the_full_text() {
    let name = Reference::parse("alpine").unwrap();
    let json = serde_json::to_string(&name).unwrap();
    assert_eq!(json, "\"docker.io/library/alpine:latest\"");
    assert_eq!(serde_json::from_str::<Reference>(&json).unwrap(), name);
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in ".{0,300}") {
        if let Ok(name) = Reference::parse(&text) {
            prop_assert_eq!(Reference::parse(&name.to_string()), Ok(name));
        }
    }

    #[test]
    fn both_forms_read_back(
        text in "((localhost|[a-z]{1,3}\\.io|[a-z]{1,2}:[0-9]{1,4}|docker\\.io|index\\.docker\\.io)/)?\
                 ([a-z0-9]{1,3}[._-]?[a-z0-9]/){0,3}[a-z0-9]{1,4}(:[A-Za-z0-9_][\\w.-]{0,5})?"
    ) {
        if let Ok(name) = Reference::parse(&text) {
            prop_assert_eq!(Reference::parse(&name.to_string()), Ok(name.clone()));
            prop_assert_eq!(Reference::parse(&name.familiar()), Ok(name));
        }
    }
}
