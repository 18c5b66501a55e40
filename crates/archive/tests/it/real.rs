//! What docker, podman and skopeo wrote.

use crate::support::{Root, bzip2, fixture, gzip, members, order, xz, zstd};

const ALL: [&str; 5] = [
    "podman-multi.tar.gz",
    "skopeo.tar.gz",
    "docker-multi.tar.gz",
    "docker-id.tar.gz",
    "docker-built.tar.gz",
];

/// A config and the layers it belongs to.
type Content = (Vec<u8>, Vec<Vec<u8>>);

/// The content of every config and layer of an archive, by digest, and its names.
fn contents(archive: &[u8]) -> (Vec<Content>, Vec<String>) {
    let members = members(archive);
    let manifest: serde_json::Value = serde_json::from_slice(&members["manifest.json"].2).unwrap();
    let mut names = Vec::new();
    let mut images = Vec::new();
    for item in manifest.as_array().unwrap() {
        for name in item["RepoTags"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap();
            names.push(name.parse::<lith_store::Reference>().unwrap().to_string());
        }
        let config = members[item["Config"].as_str().unwrap()].2.clone();
        let layers = item["Layers"].as_array().unwrap().iter().map(|path| {
            let mut path = path.as_str().unwrap().to_owned();
            while members[&path].0 == b'2' {
                path = members[&path].1.trim_start_matches("../").to_owned();
            }
            members[&path].2.clone()
        });
        images.push((config, layers.collect()));
    }
    (images, names)
}

#[test]
fn round_trips_keep_configs_layers_and_names() {
    for name in ALL {
        let archive = fixture(name);
        for stream in [false, true] {
            let root = Root::new();
            let report = match stream {
                false => root.load_file(&archive).unwrap(),
                true => root.load_stream(&archive).unwrap(),
            };
            assert!(report.warnings.is_empty(), "{name}: {:?}", report.warnings);
            let (images, names) = contents(&archive);
            assert_eq!(report.images.len(), images.len(), "{name}");
            let wanted: Vec<String> = report
                .images
                .iter()
                .map(|image| match image.names.first() {
                    Some(name) => name.to_string(),
                    None => image.id.to_string(),
                })
                .collect();
            let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
            let saved = root.save(&wanted);
            assert_eq!(contents(&saved), (images, names), "{name}");
            assert_eq!(root.save(&wanted), saved, "{name}: saving twice");
        }
    }
}

#[test]
fn whole_archives_may_be_compressed() {
    let archive = fixture("docker-multi.tar.gz");
    for compressed in [
        gzip(&archive),
        zstd(&archive),
        bzip2(&archive),
        xz(&archive),
    ] {
        for stream in [false, true] {
            let root = Root::new();
            let report = match stream {
                false => root.load_file(&compressed).unwrap(),
                true => root.load_stream(&compressed).unwrap(),
            };
            assert_eq!(report.images.len(), 2);
            assert_eq!(
                report.images[1].names[0].familiar(),
                "example.com/team/tiny2:latest"
            );
        }
    }
}

/// The layout is that of podman and skopeo: every member is the same, headers included; only
/// the configs stand behind the v1 folders instead of between them and the layers.
#[test]
fn members_are_those_that_podman_and_skopeo_write() {
    for (name, wanted) in [
        ("skopeo.tar.gz", &["example.com/team/tiny:1"][..]),
        (
            "podman-multi.tar.gz",
            &["example.com/team/tiny:1", "example.com/team/tiny2"][..],
        ),
    ] {
        let theirs = fixture(name);
        let root = Root::new();
        root.load_file(&theirs).unwrap();
        let ours = root.save(wanted);
        assert_eq!(ours.len(), theirs.len(), "{name}");
        assert_eq!(raw_members(&ours), raw_members(&theirs), "{name}");
        let last = |archive: &[u8]| order(archive).split_off(order(archive).len() - 2);
        assert_eq!(last(&ours), ["manifest.json", "repositories"]);
        assert_eq!(last(&theirs), last(&ours));
    }
}

/// Header block and content of each member, sorted.
fn raw_members(archive: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut tar = tar::Archive::new(archive);
    let entries = tar.entries().unwrap();
    let mut all: Vec<_> = entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let header = entry.header().as_bytes().to_vec();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            (header, content)
        })
        .collect();
    all.sort();
    all
}

#[test]
fn order_of_members_is_fixed() {
    let root = Root::new();
    root.load_file(&fixture("docker-multi.tar.gz")).unwrap();
    let saved = root.save(&["example.com/team/tiny:1", "example.com/team/tiny2"]);
    let kinds: Vec<&str> = order(&saved)
        .iter()
        .map(|name| match name.rsplit_once('/') {
            Some((_, "layer.tar")) => "link",
            Some((_, "VERSION")) => "version",
            Some((_, "json")) => "json",
            None if name.ends_with(".tar") => "layer",
            None if name == "manifest.json" => "manifest",
            None if name == "repositories" => "repositories",
            None if name.ends_with(".json") => "config",
            _ => "unknown",
        })
        .collect();
    let v1 = ["link", "version", "json"];
    let expected: Vec<&str> = ["layer"; 3]
        .into_iter()
        // The two images share the lowest one.
        .chain(v1.repeat(4))
        .chain(["config", "config", "manifest", "repositories"])
        .collect();
    assert_eq!(kinds, expected);
}
