use lith_store::{Digest, ImageId, Reference};

use super::*;

fn parse(text: &str) -> Result<Location, LocationError> {
    Location::parse(OsStr::new(text))
}

fn image(text: &str) -> Wanted {
    Wanted::parse(text).unwrap()
}

const ID: &str = "368a2b7b0105136598c4c54c3d41988496eabe880313fcae7306d1de734c2da5";

#[test]
fn paths_are_what_has_no_known_prefix() {
    for text in [
        "x.tar",
        "./oci:x",
        "/a:b/c.tar",
        "a:b.tar",
        "docker-archive",
        "OCI:x",
    ] {
        assert_eq!(parse(text), Ok(Location::Path(text.into())));
    }
    assert_eq!(parse("-"), Ok(Location::Standard));
    let raw = OsStr::from_bytes(b"\xff:\xfe");
    assert_eq!(Location::parse(raw), Ok(Location::Path(raw.into())));
    assert_eq!(parse("docker://alpine"), Err(LocationError::Registry));
}

#[test]
fn a_path_ends_at_its_first_colon_and_the_name_takes_the_rest() {
    let location = parse("docker-archive:/a/b.tar:localhost:5000/team/app:1").unwrap();
    let name = Some(image("localhost:5000/team/app:1"));
    let path = PathBuf::from("/a/b.tar");
    assert_eq!(location, Location::DockerArchive { path, name });
    let location = parse("docker-archive:b:c.tar").unwrap();
    let (path, name) = ("b".into(), Some(image("c.tar")));
    assert_eq!(location, Location::DockerArchive { path, name });
    let location = parse("oci:/a/b:c:d").unwrap();
    let (dir, name) = ("/a/b".into(), Some("c:d".into()));
    assert_eq!(location, Location::OciDir { dir, name });
    let location = parse("oci-archive:x.tar").unwrap();
    let (path, name) = ("x.tar".into(), None);
    assert_eq!(location, Location::OciArchive { path, name });
    let dir = "/a:b".into();
    assert_eq!(parse("dir:/a:b"), Ok(Location::DockerDir { dir }));
    let location = parse("docker-store:/var/lib/docker:alpine:3").unwrap();
    let (root, name) = ("/var/lib/docker".into(), Some(image("alpine:3")));
    assert_eq!(location, Location::DockerStore { root, name });
    let name = "a:1".into();
    assert_eq!(parse("store:a:1"), Ok(Location::Store { name }));
}

#[test]
fn paths_need_not_be_text() {
    let raw = OsStr::from_bytes(b"docker-archive:/\xff:x");
    let location = Location::parse(raw).unwrap();
    let path = PathBuf::from(OsStr::from_bytes(b"/\xff"));
    let name = Some(image("x"));
    assert_eq!(location, Location::DockerArchive { path, name });
    let raw = OsStr::from_bytes(b"docker-archive:/x:\xff");
    let prefix = "docker-archive";
    assert_eq!(Location::parse(raw), Err(LocationError::NotText { prefix }));
}

#[test]
fn what_is_missing_is_said() {
    for text in [
        "docker-archive:",
        "docker-archive::x",
        "docker-archive:x:",
        "oci:",
        "oci:x:",
        "dir:",
        "docker-daemon:",
        "docker-store:",
        "store:",
    ] {
        let error = parse(text).unwrap_err();
        assert!(
            matches!(error, LocationError::Missing { .. }),
            "{text}: {error}"
        );
    }
    for text in [
        "docker-daemon:Example",
        "docker-archive:x:Example",
        "docker-store:x:a b",
    ] {
        let error = parse(text).unwrap_err();
        assert!(
            matches!(error, LocationError::Name { .. }),
            "{text}: {error}"
        );
    }
    let error = parse("docker-archive:x:@0").unwrap_err();
    assert!(matches!(error, LocationError::Index { .. }));
}

#[test]
fn brackets_say_which_store() {
    let spec = |driver: Option<&str>, root: &str, run: Option<&str>| StorageSpec {
        driver: driver.map(str::to_owned),
        root: root.into(),
        run: run.map(PathBuf::from),
    };
    for (text, store, name) in [
        ("", None, None),
        ("alpine", None, Some("alpine")),
        (
            "[overlay@/r+/run]",
            Some(spec(Some("overlay"), "/r", Some("/run"))),
            None,
        ),
        (
            "[vfs@/r]a:5000/b:1",
            Some(spec(Some("vfs"), "/r", None)),
            Some("a:5000/b:1"),
        ),
        ("[/r]@36", Some(spec(None, "/r", None)), Some("@36")),
        ("[/r+/s]x@y", None, None),
    ] {
        let parsed = parse(&format!("containers-storage:{text}"));
        if text.ends_with("x@y") {
            assert!(
                matches!(parsed, Err(LocationError::Name { .. })),
                "{parsed:?}"
            );
            continue;
        }
        let name = name.map(image);
        assert_eq!(
            parsed,
            Ok(Location::ContainersStorage { store, name }),
            "{text}"
        );
    }
    for text in [
        "[]x",
        "[overlay@r]x",
        "[@/r]x",
        "[/r",
        "[/r+run]x",
        "[vfs@/r:a=b]x",
    ] {
        let error = parse(&format!("containers-storage:{text}")).unwrap_err();
        assert!(
            matches!(error, LocationError::Brackets { .. }),
            "{text}: {error}"
        );
    }
}

#[test]
fn names_and_ids() {
    assert_eq!(
        image("alpine").name.unwrap().to_string(),
        "docker.io/library/alpine:latest"
    );
    for text in [ID.to_owned(), format!("sha256:{ID}"), format!("@{ID}")] {
        let wanted = image(&text);
        assert_eq!(
            (wanted.name, wanted.id.as_deref()),
            (None, Some(ID)),
            "{text}"
        );
    }
    assert_eq!(image("sha256:368a").id.as_deref(), Some("368a"));
    let either = image("beef");
    assert!(either.name.is_some() && either.id.as_deref() == Some("beef"));
    assert!(Wanted::parse("@xyz").is_err());
}

#[test]
fn a_name_wins_over_an_id() {
    let id: ImageId = format!("sha256:{ID}").parse().unwrap();
    let other = ImageId::of_bytes(b"other");
    let digest = Digest::of(b"manifest");
    let names: Vec<Reference> = ["368a", "a/b:1"].map(|n| n.parse().unwrap()).into();
    let images = [
        Candidate {
            id: Some(id),
            names: &[],
            digests: &[],
        },
        Candidate {
            id: Some(other),
            names: &names,
            digests: &[digest],
        },
    ];
    for (text, found) in [
        ("368a", &[1][..]),
        ("@368a", &[0]),
        ("368a2", &[0]),
        ("a/b:1", &[1]),
        ("a/b", &[]),
        ("a/b:2", &[]),
        ("@ffffffff", &[]),
        (&format!("a/b@{digest}"), &[1]),
        (&format!("a/c@{digest}"), &[]),
    ] {
        assert_eq!(image(text).find(&images), found, "{text}");
    }
}
