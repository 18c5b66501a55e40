//! One image of an archive by its location, as skopeo takes it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use lith_archive::{Defaults, Input, LoadError, LoadOptions, Location, load};
use lith_store::ImageId;

use crate::support::{self, Image, Root, manifest, tar};

/// The image that a location of the archive leads to.
fn loaded(text: &str) -> Result<Vec<ImageId>, LoadError> {
    let root = Root::new();
    let location = Location::parse(OsStr::new(text)).unwrap();
    let input = Input::at(location, &Defaults::default())?;
    let report = load(&root.graph, input, &LoadOptions::default(), &())?;
    Ok(report.images.iter().map(|image| image.id).collect())
}

/// Two images in one archive.
fn archive(one: &Image, two: &Image) -> Vec<u8> {
    let item = |config: &str, name: &str, image: &Image| {
        let list = manifest(config, &[name], &[image.layer_name(0)]);
        let item = list
            .strip_prefix('[')
            .and_then(|item| item.strip_suffix(']'));
        item.unwrap().to_owned()
    };
    let first = item("one.json", "localhost:5000/team/app:1", one);
    let second = item("two.json", "localhost:5000/team/app:latest", two);
    let manifest = format!("[{first},{second}]");
    tar(&[
        (&one.layer_name(0), &one.layers[0]),
        (&two.layer_name(0), &two.layers[0]),
        ("one.json", &one.config),
        ("two.json", &two.config),
        ("manifest.json", manifest.as_bytes()),
    ])
}

#[test]
fn names_of_an_archive_mean_what_they_mean_to_skopeo() {
    let (one, two) = (Image::new(&["one"]), Image::new(&["two"]));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("two.tar");
    std::fs::write(&path, archive(&one, &two)).unwrap();
    std::fs::copy(&path, folder.path().join("a:b.tar")).unwrap();
    let (path, colon) = (path.display(), folder.path().join("a:b.tar"));
    for (text, found) in [
        (
            format!("docker-archive:{path}:localhost:5000/team/app:1"),
            Some(one.id()),
        ),
        (
            format!("docker-archive:{path}:localhost:5000/team/app"),
            Some(two.id()),
        ),
        (
            format!("docker-archive:{path}:localhost:5000/team/app:2"),
            None,
        ),
        (format!("docker-archive:{path}:team/app:1"), None),
        (format!("docker-archive:{}", colon.display()), None),
    ] {
        match found {
            Some(id) => assert_eq!(loaded(&text).unwrap(), [id], "{text}"),
            None => drop(loaded(&text).unwrap_err()),
        }
        if let Some(digest) = skopeo(&text) {
            assert_eq!(digest, found, "skopeo {text}");
        }
    }
    // What skopeo does not have: the whole archive, IDs, a path with a colon.
    let all = [one.id(), two.id()];
    assert_eq!(loaded(&format!("docker-archive:{path}")).unwrap(), all);
    assert_eq!(loaded(&colon.display().to_string()).unwrap(), all);
    let by_id = format!("docker-archive:{path}:{}", &two.id().to_string()[..20]);
    assert_eq!(loaded(&by_id).unwrap(), [two.id()]);
    let error = loaded(&format!("docker-archive:{path}:sha256:ffff")).unwrap_err();
    assert!(matches!(&error, LoadError::NotInArchive { available, .. } if available.len() == 2));
}

/// The image that skopeo finds there; nothing to say when there is no skopeo.
fn skopeo(location: &str) -> Option<Option<ImageId>> {
    let mut command = Command::new("skopeo");
    command.args(["inspect", "--config", "--raw", location]);
    command.stdin(Stdio::null());
    let Ok(output) = command.output() else {
        support::skipped("comparison with skopeo", "it is not installed");
        return None;
    };
    let config = output.status.success().then_some(output.stdout);
    Some(config.map(|config| ImageId::of_bytes(&config)))
}

#[test]
fn what_is_not_read_yet_is_said() {
    let error = loaded("store:x").unwrap_err();
    assert!(matches!(error, LoadError::Unsupported { .. }), "{error}");
    for text in ["oci:x", "oci-archive:x", "dir:x"] {
        let error = loaded(text).unwrap_err();
        assert!(matches!(error, LoadError::Open { .. }), "{text}: {error}");
    }
    assert!(!Path::new("oci:x").exists());
}
